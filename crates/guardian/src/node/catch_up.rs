//! Fetches signed sessions from peers when this guardian is behind.
//!
//! Peers tell on the links how many sessions they have signed. When one of them is ahead and
//! consensus does not close the gap by itself within a moment, the missing sessions are fetched
//! from the peers' public API, several at a time, and replayed in order. A peer that lies about
//! its count or its sessions costs a request: everything fetched is verified against the
//! threshold's signatures.

use std::sync::Arc;
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
use tracing::{debug, info};

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

/// Pauses after tries that brought nothing: peers that boast of sessions nobody has cost little.
const FRUITLESS_FIRST: Duration = Duration::from_millis(500);
const FRUITLESS_CAP: Duration = Duration::from_secs(10);

/// Runs until dropped.
pub(super) async fn run(node: Arc<Node>, commands: mpsc::Sender<Command>) {
    let connector = ApiConnector::default();
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
        let fetched = fetch_from(&node, &connector, &commands, count).await;
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
    connector: &ApiConnector,
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
            (session, fetch(&node, connector, session).await)
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

/// Asks one peer after the other that claims to have the session. Who does not give it is not
/// asked again until it repeats its claim.
async fn fetch(
    node: &Node,
    connector: &ApiConnector,
    session: SessionIndex,
) -> Option<SignedSessionOutcome> {
    let mut peers = node.peers_ahead_of(session);
    if !peers.is_empty() {
        // Spreads the sessions over the peers.
        let shift = session.0 as usize % peers.len();
        peers.rotate_left(shift);
    }
    for peer in peers {
        let Some(url) = current_url(node, peer) else { continue };
        let request = ApiRequest::new(json!(session));
        let secret = node.api_secrets.first().map(String::as_str);
        let call = connector.call(&url, secret, endpoint::SIGNED_SESSION_STATUS, request);
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, call).await;
        let status =
            answer.map(|answer| answer.map(serde_json::from_value::<MeBase64<SessionStatusV2>>));
        let Ok(Ok(Ok(MeBase64(SessionStatusV2::Complete(signed))))) = status else {
            debug!(target: "moneta::node", %peer, %session, "peer does not give the session");
            node.doubt(peer, session);
            continue;
        };
        let keys = &node.config.consensus.broadcast_public_keys;
        match signed.verify(session, keys, SignerRule::ExactlyThreshold) {
            Ok(()) => return Some(signed),
            Err(error) => {
                node.doubt(peer, session);
                tracing::warn!(target: "moneta::node", %peer, %session, %error,
                    "peer gave a session whose signatures do not verify");
            }
        }
    }
    None
}
