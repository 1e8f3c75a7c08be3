//! Fetches signed sessions from peers when this guardian is behind.
//!
//! Peers tell on the links how many sessions they have signed. When one of them is ahead and
//! consensus does not close the gap by itself within a moment, the missing sessions are fetched
//! from the peers' public API, several at a time, and replayed in order. A peer that lies about
//! its count or its sessions costs a request: everything fetched is verified against the
//! threshold's signatures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use moneta_core::api::endpoint;
use moneta_core::session::{SessionStatusV2, SignerRule};
use moneta_core::{ApiRequest, MeBase64, PeerId, SessionIndex, SignedSessionOutcome};
use moneta_net::Backoff;
use moneta_net::api::ApiConnector;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::doubt;
use super::entry::{Way, has_begun};
use super::ordering::Command;
use super::peers::current_url;
use super::shared::Node;

/// How often peers' counts are compared with ours.
const LOOK: Duration = Duration::from_millis(500);

/// How long consensus may take to close a gap of one session by itself: signatures of a session
/// that ends here at the same moment are on their way.
const PATIENCE_LOOKS: u32 = 6;

/// Sessions fetched at the same time. This many may lie in memory while the writer is busy; each is
/// bounded by the largest answer of the API, 10 MiB.
const PARALLEL: usize = 16;

/// How long one peer may take to give one session before another is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a peer that failed once is asked after all others: a guardian that answers nothing would
/// otherwise cost its share of the sessions, each a time-out.
const FORGIVEN: Duration = Duration::from_secs(600);

/// Pauses after tries that brought nothing: peers that boast of sessions nobody has cost little.
const FRUITLESS_FIRST: Duration = Duration::from_millis(500);
const FRUITLESS_CAP: Duration = Duration::from_secs(10);

/// Runs until dropped.
pub(super) async fn run(node: Arc<Node>, commands: mpsc::Sender<Command>) {
    let source = Source::default();
    let mut behind_for = 0;
    let mut fruitless = Backoff::new(FRUITLESS_FIRST, FRUITLESS_CAP);
    let mut doubts = Doubts::default();
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(count) = node.session_count() else { continue };
        let in_doubt = node.doubt.is_open();
        if in_doubt {
            doubt::ask(&node);
        }
        let ahead = node.peers_ahead_of(count);
        if ahead.is_empty() {
            behind_for = 0;
            doubts.end(&node, &commands, count, Vec::new()).await;
            continue;
        }
        behind_for += 1;
        // One guardian alone may lie; more than can be faulty say the truth. While in doubt, there is
        // no consensus that could close the gap.
        let far = node.peers_ahead_of(SessionIndex(count.0.saturating_add(1)));
        let patient = behind_for < PATIENCE_LOOKS && far.len() < node.engine.size().one_honest();
        if patient && !in_doubt {
            continue;
        }
        let fetched = fetch_from(&node, &source, &commands, count).await;
        if fetched > 0 {
            info!(target: "moneta::node", sessions = fetched, from = %count, "caught up");
            behind_for = 0;
            fruitless = Backoff::new(FRUITLESS_FIRST, FRUITLESS_CAP);
        } else {
            doubts.end(&node, &commands, count, ahead).await;
            tokio::time::sleep(fruitless.next_delay()).await;
        }
    }
}

/// Tells the operator now and then what a guardian in doubt waits for.
#[derive(Default)]
struct Doubts {
    reminded: Option<Instant>,
}

/// How often that is.
const REMIND: Duration = Duration::from_secs(30);

impl Doubts {
    /// With `count` sessions replayed and nobody giving more: ends the doubt if that is possible.
    /// `unproven` claimed more just now.
    async fn end(
        &mut self,
        node: &Arc<Node>,
        commands: &mpsc::Sender<Command>,
        count: SessionIndex,
        unproven: Vec<PeerId>,
    ) {
        if !node.doubt.is_open() {
            return;
        }
        let size = node.engine.size();
        let unproven = unproven.into_iter().collect();
        let vouched = node.doubt.may_enter_at(size, count, &unproven);
        let told = node
            .take_part_from
            .filter(|session| *session == count && node.doubt.nobody_has_signed(size, count));
        let way = match (vouched, told) {
            (_, Some(session)) => Some(Way::TakePart(session)),
            (Some(at), None) if count >= at => Some(Way::SitOut(at)),
            _ => None,
        };
        if let Some(way) = way {
            // Refused if the count has changed meanwhile; then the next look decides anew.
            let _ = commands.send(Command::Enter(way)).await;
        }
        if self.reminded.is_none_or(|at| at.elapsed() >= REMIND) {
            self.reminded = Some(Instant::now());
            self.remind(node, count);
        }
    }

    fn remind(&self, node: &Node, count: SessionIndex) {
        let (silent, also_in_doubt) = node.doubt.awaited(node.engine.size(), node.me());
        info!(target: "moneta::node", sessions = %count, ?silent, ?also_in_doubt, "this guardian does             not know what its former self has said; it takes part when enough of the others have told             what they signed, two sessions later");
        if let Some(session) = node.take_part_from {
            let begun = has_begun(node, session).unwrap_or(true);
            let void = session != count;
            info!(target: "moneta::node", %session, void, begun, "told to take part from this session;                 that holds once all others have answered that they have as many sessions and not                 signed it, unless it is void or has begun here");
        }
    }
}

/// Fetches sessions from `first` on as far as any peer has them; returns how many.
async fn fetch_from(
    node: &Arc<Node>,
    source: &Source,
    commands: &mpsc::Sender<Command>,
    first: SessionIndex,
) -> u64 {
    let last = node.claims().values().map(|count| count.0).max().unwrap_or(0);
    let mut fetched = 0;
    // Lazy: however many sessions a peer claims, the first that nobody gives ends it.
    let sessions = stream::iter(first.0..last).map(|session| {
        let node = node.clone();
        async move {
            let session = SessionIndex(session);
            (session, source.fetch(&node, session).await)
        }
    });
    let mut in_order = std::pin::pin!(sessions.buffered(PARALLEL));
    while let Some((session, signed)) = in_order.next().await {
        let Some(signed) = signed else { break };
        let (done, durable) = oneshot::channel();
        let command = Command::Replay(session, Box::new(signed), done);
        // Waits for the writer, which bounds how many sessions lie in memory.
        if commands.send(command).await.is_err() || durable.await.is_err() {
            break;
        }
        fetched += 1;
    }
    fetched
}

/// Where sessions come from: the public API of peers.
#[derive(Default)]
struct Source {
    connector: ApiConnector,
    /// When each peer last failed to give a session that it claims to have.
    failed: Mutex<BTreeMap<PeerId, Instant>>,
}

impl Source {
    /// Asks one peer after the other that claims to have the session. Who does not give it is not
    /// asked again until it repeats its claim, and for a while only after all others.
    async fn fetch(&self, node: &Node, session: SessionIndex) -> Option<SignedSessionOutcome> {
        let mut asked = BTreeSet::new();
        while let Some(peer) = self.next(node, session, &asked) {
            asked.insert(peer);
            match tokio::time::timeout(ANSWER_TIMEOUT, self.ask(node, peer, session)).await {
                Ok(Some(signed)) => return Some(signed),
                Ok(None) => {}
                Err(_) => debug!(target: "moneta::node", %peer, %session, "no answer in time"),
            }
            self.failures().insert(peer, Instant::now());
            node.doubt(peer, session);
        }
        None
    }

    fn next(&self, node: &Node, session: SessionIndex, asked: &BTreeSet<PeerId>) -> Option<PeerId> {
        self.best(node.peers_ahead_of(session), asked, session, Instant::now())
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
        let failed = self.failures();
        let is_good = |peer: &PeerId| failed.get(peer).is_none_or(|at| now - *at >= FORGIVEN);
        let left = claimants.into_iter().filter(|peer| !asked.contains(peer));
        let (good, bad): (Vec<_>, Vec<_>) = left.partition(is_good);
        let choice = if good.is_empty() { bad } else { good };
        // Spreads the sessions over the peers.
        let turn = (session.0 % choice.len().max(1) as u64) as usize;
        choice.get(turn).copied()
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<PeerId, Instant>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session from one peer, verified.
    async fn ask(
        &self,
        node: &Node,
        peer: PeerId,
        session: SessionIndex,
    ) -> Option<SignedSessionOutcome> {
        let url = current_url(node, peer)?;
        let request = ApiRequest::new(json!(session));
        let secret = node.api_secrets.first().map(String::as_str);
        let call = self.connector.call(&url, secret, endpoint::SIGNED_SESSION_STATUS, request);
        let status = call.await.map(serde_json::from_value::<MeBase64<SessionStatusV2>>);
        let Ok(Ok(MeBase64(SessionStatusV2::Complete(signed)))) = status else {
            debug!(target: "moneta::node", %peer, %session, "peer does not give the session");
            return None;
        };
        let keys = &node.config.consensus.broadcast_public_keys;
        match signed.verify(session, keys, SignerRule::ExactlyThreshold) {
            Ok(()) => Some(signed),
            Err(error) => {
                warn!(target: "moneta::node", %peer, %session, %error,
                    "peer gave a session whose signatures do not verify");
                None
            }
        }
    }
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
        source.failures().insert(peers[1], now);
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
