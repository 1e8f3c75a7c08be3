//! Fetches signed sessions from peers when this guardian is behind.
//!
//! ```text
//! how many sessions have you signed? --ahead of us--> fetch, WINDOW at a time, from all peers
//!   links: told when it grows, and when they come up         |
//!   API: asked once at the start                        verify, each in a task of its own
//!                                                            |
//!      the writer <--in order, those that are here together--'
//! ```
//!
//! A guardian that was away for long may wait many seconds until its peers dial it again, so at its start
//! it asks their public API, where the sessions come from as well. What is told there is not
//! authenticated and counts for nothing but whom to ask.
//!
//! Sessions are fetched when consensus does not close the gap by itself within a moment. While the
//! writer applies some of them, the next ones are fetched and verified. A peer that lies about
//! its count or its sessions costs a request: everything fetched is verified against the
//! threshold's signatures.

mod source;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use moneta_core::session::{SessionSignatureError, SignerRule};
use moneta_core::{PeerId, SessionIndex, SignedSessionOutcome};
use moneta_net::Backoff;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::info;

use super::doubt;
use super::entry::{Way, has_begun};
use super::ordering::Command;
use super::shared::Node;
use source::Source;

/// How often peers' counts are compared with ours.
const LOOK: Duration = Duration::from_millis(500);

/// How long consensus may take to close a gap of one session by itself: signatures of a session
/// that ends here at the same moment are on their way.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sessions fetched at the same time. Twice as many may lie in memory while the writer is busy, its own
/// and the next ones; each is bounded by the largest answer of the API, 10 MiB.
const WINDOW: usize = 16;

/// Pauses after tries that brought nothing: peers that boast of sessions nobody has cost little.
const FRUITLESS_FIRST: Duration = Duration::from_millis(500);
const FRUITLESS_CAP: Duration = Duration::from_secs(10);

/// A session with true signatures of a threshold.
pub(super) struct Proven {
    session: SessionIndex,
    signed: SignedSessionOutcome,
}

impl Proven {
    /// Errors: the signatures are not those of exactly a threshold for this session.
    fn verify(
        node: &Node,
        session: SessionIndex,
        signed: SignedSessionOutcome,
    ) -> Result<Self, SessionSignatureError> {
        let keys = &node.config.consensus.broadcast_public_keys;
        signed.verify(session, keys, SignerRule::ExactlyThreshold)?;
        Ok(Self { session, signed })
    }

    pub(super) fn into_parts(self) -> (SessionIndex, SignedSessionOutcome) {
        (self.session, self.signed)
    }
}

/// Runs until dropped.
pub(super) async fn run(node: Arc<Node>, commands: mpsc::Sender<Command>) {
    let source = Arc::new(Source::default());
    let mut behind_since = None;
    let mut fruitless = Backoff::new(FRUITLESS_FIRST, FRUITLESS_CAP);
    let mut doubts = Doubts::default();
    let mut asked = source.ask_counts(&node);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            Some(_) = asked.join_next() => {}
        }
        let Ok(count) = node.session_count() else { continue };
        let in_doubt = node.doubt.is_open();
        if in_doubt {
            doubt::ask(&node);
        }
        if source.ahead_of(&node, count).is_empty() {
            behind_since = None;
            doubts.end(&node, &commands, count, Vec::new()).await;
            continue;
        }
        let since = *behind_since.get_or_insert_with(Instant::now);
        // One guardian alone may lie; more than can be faulty say the truth. While in doubt, there is
        // no consensus that could close the gap.
        let far = source.ahead_of(&node, SessionIndex(count.0.saturating_add(1)));
        let patient = since.elapsed() < PATIENCE && far.len() < node.engine.size().one_honest();
        if patient && !in_doubt {
            continue;
        }
        // Only what is said on the links is a guardian's own word.
        let claimed = node.peers_ahead_of(count);
        let fetched = fetch_from(&node, &source, &commands, count).await;
        if fetched > 0 {
            info!(target: "moneta::node", sessions = fetched, from = %count, "caught up");
            behind_since = None;
            fruitless = Backoff::new(FRUITLESS_FIRST, FRUITLESS_CAP);
        } else {
            doubts.end(&node, &commands, count, claimed).await;
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
        info!(target: "moneta::node", sessions = %count, ?silent, ?also_in_doubt, "this guardian does \
            not know what its former self has said; it takes part when enough of the others have told \
            what they signed, two sessions later");
        if let Some(session) = node.take_part_from {
            let begun = has_begun(node, session).unwrap_or(true);
            let void = session != count;
            info!(target: "moneta::node", %session, void, begun, "told to take part from this session; \
                that holds once all others have answered that they have as many sessions and not \
                signed it, unless it is void or has begun here");
        }
    }
}

/// Fetches sessions from `first` on as far as any peer has them, and has them replayed; returns how many
/// were.
async fn fetch_from(
    node: &Arc<Node>,
    source: &Arc<Source>,
    commands: &mpsc::Sender<Command>,
    first: SessionIndex,
) -> u64 {
    let last = source.longest(node);
    // Lazy: however many sessions a peer claims, the first that nobody gives ends it.
    let fetches = stream::iter(first.0..last.0).map(|session| {
        let (node, source) = (node.clone(), source.clone());
        // In a task of its own, so that it goes on while the writer is waited for.
        let fetch = async move { source.fetch(&node, SessionIndex(session)).await };
        Owned(tokio::spawn(fetch))
    });
    let mut in_order = std::pin::pin!(fetches.buffered(WINDOW).ready_chunks(WINDOW));
    let mut fetched = 0;
    while let Some(sessions) = in_order.next().await {
        let asked = sessions.len();
        let here: Vec<Proven> = sessions.into_iter().map_while(Option::flatten).collect();
        let count = here.len();
        if count > 0 {
            let (done, durable) = oneshot::channel();
            // Waits for the writer, which bounds how many sessions lie in memory.
            let sent = commands.send(Command::Replay(here, done)).await;
            if sent.is_err() || durable.await.is_err() {
                break;
            }
            fetched += count as u64;
        }
        if count < asked {
            break;
        }
    }
    fetched
}

/// A task that ends with this value; it comes to `None` if it panics.
struct Owned<T>(JoinHandle<T>);

impl<T> Future for Owned<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(context).map(Result::ok)
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
