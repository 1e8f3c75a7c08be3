//! Where sessions come from: the public API of peers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moneta_core::api::endpoint;
use moneta_core::session::SessionStatusV2;
use moneta_core::{ApiRequest, MeBase64, PeerId, SessionIndex};
use moneta_net::api::ApiConnector;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Proven;
use crate::node::peers::current_url;
use crate::node::shared::Node;

/// How long one peer may take to give one session before another is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a peer that failed once is asked after all others: a guardian that answers nothing would
/// otherwise cost its share of the sessions, each a time-out.
const FORGIVEN: Duration = Duration::from_secs(600);

/// Whom to ask for sessions, and the connections to them.
#[derive(Default)]
pub(super) struct Source {
    connector: ApiConnector,
    /// How many sessions the API at each peer's address said are signed, if anything did.
    told: Mutex<BTreeMap<PeerId, SessionIndex>>,
    /// When each peer last failed to give a session that it claims to have.
    failed: Mutex<BTreeMap<PeerId, Instant>>,
}

impl Source {
    /// Asks every peer's API once how many sessions are signed. Each task notes what it is told.
    pub(super) fn ask_counts(self: &Arc<Self>, node: &Arc<Node>) -> JoinSet<()> {
        let mut asked = JoinSet::new();
        for peer in node.engine.size().peer_ids().filter(|peer| *peer != node.me()) {
            let (source, node) = (self.clone(), node.clone());
            asked.spawn(async move {
                let call = source.call(&node, peer, endpoint::SESSION_COUNT, Value::Null);
                if let Ok(Some(count)) = tokio::time::timeout(ANSWER_TIMEOUT, call).await
                    && let Some(count) = count.as_u64()
                {
                    locked(&source.told).insert(peer, SessionIndex(count));
                }
            });
        }
        asked
    }

    /// The peers that may have signed sessions from `session` on.
    pub(super) fn ahead_of(&self, node: &Node, session: SessionIndex) -> Vec<PeerId> {
        let told = locked(&self.told);
        let told = told.iter().filter(|(_, count)| **count > session).map(|(peer, _)| *peer);
        let ahead: BTreeSet<_> = node.peers_ahead_of(session).into_iter().chain(told).collect();
        ahead.into_iter().collect()
    }

    /// How many sessions any peer may have.
    pub(super) fn longest(&self, node: &Node) -> SessionIndex {
        let told = locked(&self.told);
        let claims = node.claims();
        claims.values().chain(told.values()).copied().max().unwrap_or(SessionIndex(0))
    }

    /// Asks one peer after the other that claims to have the session. Who does not give it is not
    /// asked again until it repeats its claim, and for a while only after all others.
    pub(super) async fn fetch(&self, node: &Node, session: SessionIndex) -> Option<Proven> {
        let mut asked = BTreeSet::new();
        while let Some(peer) = self.next(node, session, &asked) {
            asked.insert(peer);
            match tokio::time::timeout(ANSWER_TIMEOUT, self.ask(node, peer, session)).await {
                Ok(Some(proven)) => return Some(proven),
                Ok(None) => {}
                Err(_) => debug!(target: "moneta::node", %peer, %session, "no answer in time"),
            }
            locked(&self.failed).insert(peer, Instant::now());
            node.doubt(peer, session);
            if let Some(told) = locked(&self.told).get_mut(&peer) {
                *told = (*told).min(session);
            }
        }
        None
    }

    fn next(&self, node: &Node, session: SessionIndex, asked: &BTreeSet<PeerId>) -> Option<PeerId> {
        self.best(self.ahead_of(node, session), asked, session, Instant::now())
    }

    /// Whom to ask next. Looked up before every question: what another session has cost with a peer
    /// should not be paid again.
    fn best(
        &self,
        claimants: Vec<PeerId>,
        asked: &BTreeSet<PeerId>,
        session: SessionIndex,
        now: Instant,
    ) -> Option<PeerId> {
        let failed = locked(&self.failed);
        let is_good = |peer: &PeerId| failed.get(peer).is_none_or(|at| now - *at >= FORGIVEN);
        let left = claimants.into_iter().filter(|peer| !asked.contains(peer));
        let (good, bad): (Vec<_>, Vec<_>) = left.partition(is_good);
        let choice = if good.is_empty() { bad } else { good };
        // Spreads the sessions over the peers.
        let turn = (session.0 % choice.len().max(1) as u64) as usize;
        choice.get(turn).copied()
    }

    /// A session from one peer, verified.
    async fn ask(&self, node: &Node, peer: PeerId, session: SessionIndex) -> Option<Proven> {
        let status = self.call(node, peer, endpoint::SIGNED_SESSION_STATUS, json!(session)).await?;
        // Some megabytes to read and to hash.
        tokio::task::block_in_place(|| {
            let status = serde_json::from_value::<MeBase64<SessionStatusV2>>(status);
            let Ok(MeBase64(SessionStatusV2::Complete(signed))) = status else {
                debug!(target: "moneta::node", %peer, %session, "peer does not give the session");
                return None;
            };
            let proven = Proven::verify(node, session, signed).inspect_err(|error| {
                warn!(target: "moneta::node", %peer, %session, %error,
                    "peer gave a session whose signatures do not verify");
            });
            proven.ok()
        })
    }

    async fn call(&self, node: &Node, peer: PeerId, method: &str, params: Value) -> Option<Value> {
        let url = current_url(node, peer)?;
        let secret = node.api_secrets.first().map(String::as_str);
        let answer = self.connector.call(&url, secret, method, ApiRequest::new(params)).await;
        answer
            .inspect_err(|error| debug!(target: "moneta::node", %peer, method, %error, "no answer"))
            .ok()
    }
}

/// What the locks hold is changed by single insertions.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn peer_that_failed_is_asked_last_until_it_is_forgiven() {
        let source = Source::default();
        let peers: Vec<_> = (0..3).map(PeerId::new).collect();
        let now = Instant::now();
        let best = |asked: &[PeerId], session, now| {
            let asked = asked.iter().copied().collect();
            source.best(peers.clone(), &asked, SessionIndex(session), now)
        };
        let first_choices = |now| (0..3).filter_map(|session| best(&[], session, now)).collect();
        let spread: BTreeSet<_> = first_choices(now);
        assert_eq!(spread.len(), 3);
        locked(&source.failed).insert(peers[1], now);
        for session in 0..6 {
            let first = best(&[], session, now).unwrap();
            let second = best(&[first], session, now).unwrap();
            assert!(first != peers[1] && second != peers[1]);
            assert_eq!(best(&[first, second], session, now), Some(peers[1]));
            assert_eq!(best(&peers, session, now), None);
        }
        let spread: BTreeSet<_> = first_choices(now + FORGIVEN);
        assert_eq!(spread.len(), 3);
    }
}
