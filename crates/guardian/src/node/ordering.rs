//! The one writer of federation state.
//!
//! Takes ordered units, ended sessions, peers' signatures and signed sessions fetched from peers,
//! and turns them into commits. Units that arrive together are processed over one view and
//! committed together; replies and signatures leave only after the commit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::secp256k1::schnorr::Signature;
use futures::FutureExt;
use moneta_consensus::{Event, Events};
use moneta_core::{
    ConsensusItem, Decode, PeerId, SessionHeader, SessionIndex, Transaction, TransactionId,
};
use moneta_module::server::{Facts, Need};
use moneta_store::WriteSet;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::catch_up::Proven;
use super::entry::{Entry, Way};
use super::postponed::Postponed;
use super::shared::Node;
use super::signatures::Signatures;
use super::signing::SignatureMessage;
use super::{NodeError, chain, signing};
use crate::engine::{Halt, Stop, Unit};

/// Most units processed over one view. Enough to gather a burst, few enough that the first of
/// them is not kept waiting for long.
const GROUP_UNITS: usize = 64;

/// What other tasks hand to the writer.
pub(super) enum Command {
    /// A peer's message about signatures.
    Signature(PeerId, SignatureMessage),
    /// Sessions in a row that were fetched from peers. Tells when they are durable here; dropped if they
    /// were of no use.
    Replay(Vec<Proven>, oneshot::Sender<()>),
    /// A guardian in doubt knows how to go on.
    Enter(Way),
}

/// The pause before the same need is fetched once more: it can only mean that what was fetched
/// did not help, and trying again at once would keep a core busy.
pub(super) const SAME_NEED_PAUSE: Duration = Duration::from_millis(500);

/// The writer's state between two commits; all of it follows from the store after a restart.
pub(super) struct Ordering {
    pub(super) node: Arc<Node>,
    pub(super) facts: Facts,
    pending: VecDeque<Event>,
    /// Of sessions that are not signed yet.
    signatures: Signatures,
    /// The session that was marked for closing for what is in it.
    closing: Option<SessionIndex>,
    /// Of ours, from sessions that had no room.
    pub(super) postponed: Postponed,
    /// The signatures of the last signed session, for peers that are behind by a moment.
    last_signed: Option<(SessionIndex, BTreeMap<PeerId, Signature>)>,
}

/// Why a group of events was not processed to its end.
enum Paused {
    /// Everything is done.
    Done,
    /// The next event needs this first.
    Needs(Need),
}

/// What a group of events leads to once it is committed.
#[derive(Default)]
struct Consequences {
    refused: Vec<TransactionId>,
    transactions: Vec<TransactionId>,
    postponed: Vec<(SessionIndex, Transaction)>,
    verdicts: Vec<(PeerId, bool)>,
    /// Whose batch did not decode.
    void: Vec<PeerId>,
    ended: Vec<SessionHeader>,
    accepted: bool,
    /// This session has what it may have: it is to be closed.
    full: Option<SessionIndex>,
}

impl Ordering {
    pub(super) fn new(node: Arc<Node>) -> Self {
        let keys = node.config.consensus.broadcast_public_keys.clone();
        Self {
            node,
            facts: Facts::default(),
            pending: VecDeque::new(),
            signatures: Signatures::new(keys),
            closing: None,
            postponed: Postponed::default(),
            last_signed: None,
        }
    }

    /// Runs until consensus stops or the guardian must halt.
    ///
    /// `events` is `None` for a guardian in doubt, which opens consensus by `entry` in time.
    pub(super) async fn run(
        mut self,
        entry: Entry,
        mut events: Option<Events>,
        mut commands: mpsc::Receiver<Command>,
    ) -> Result<(), NodeError> {
        self.resume()?;
        loop {
            tokio::select! {
                event = next(&mut events) => {
                    let Some(event) = event else {
                        let fault = self.node.broadcast().and_then(|it| it.status().fault);
                        let reason = fault.unwrap_or_else(|| "shut down".to_owned());
                        return Err(NodeError::ConsensusStopped(reason));
                    };
                    self.pending.push_back(event);
                    while self.pending.len() < GROUP_UNITS
                        && let Some(Some(event)) = next(&mut events).now_or_never()
                    {
                        self.pending.push_back(event);
                    }
                    self.process_pending().await?;
                }
                command = commands.recv() => match command {
                    Some(Command::Signature(peer, message)) => self.hear(peer, message)?,
                    Some(Command::Replay(sessions, done)) => {
                        if self.replay(sessions).await? {
                            // Whoever fetched it may have gone away.
                            let _ = done.send(());
                        }
                    }
                    Some(Command::Enter(way)) => {
                        if let Some(opened) = entry.enter(&self.node, way).await? {
                            events = Some(opened);
                            self.node.proposals_due.notify_one();
                        }
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    /// Signs again what had ended before a restart, without waiting for consensus to repeat it.
    fn resume(&mut self) -> Result<(), NodeError> {
        let node = self.node.clone();
        let snapshot = node.store.snapshot();
        let count = node.engine.session_count(&snapshot)?;
        for session in [count, SessionIndex(count.0 + 1)] {
            if let Some(header) = node.engine.ended_session(&snapshot, session)? {
                self.sign(header)?;
            }
        }
        Ok(())
    }

    /// Waits for outside data as long as it takes; the task may be aborted meanwhile.
    async fn process_pending(&mut self) -> Result<(), NodeError> {
        let mut last = None;
        while !self.pending.is_empty() {
            let paused = tokio::task::block_in_place(|| self.process_group())?;
            if let Paused::Needs(need) = paused {
                self.fetch(need, &mut last).await;
            }
        }
        Ok(())
    }

    async fn fetch(&mut self, need: Need, last: &mut Option<Need>) {
        debug!(target: "moneta::node", ?need, "waiting for blocks");
        if last.replace(need) == Some(need) {
            tokio::time::sleep(SAME_NEED_PAUSE).await;
        }
        chain::fetch(&self.node, need, &mut self.facts).await;
    }

    /// Processes pending events up to the first that needs something, and commits.
    fn process_group(&mut self) -> Result<Paused, NodeError> {
        let node = self.node.clone();
        let snapshot = node.store.snapshot();
        let count = node.engine.session_count(&snapshot)?;
        let mut units: Vec<Option<Unit>> = Vec::with_capacity(self.pending.len());
        for event in &self.pending {
            units.push(match event {
                // After a restart consensus tells its sessions from their beginning.
                Event::Ordered { session, position, .. }
                    if node.engine.progress(&snapshot, SessionIndex(*session))? > *position =>
                {
                    None
                }
                _ => decode(&node, event),
            });
        }
        node.engine.prepare(&units.iter().flatten().collect::<Vec<_>>());
        let mut writes = WriteSet::new(&snapshot);
        let mut consequences = Consequences::default();
        let mut paused = Paused::Done;
        let mut done = 0;
        for (event, unit) in self.pending.iter().zip(&units) {
            let unit = unit.as_ref();
            match self.process_event(&mut writes, count, event, unit, &mut consequences) {
                Ok(()) => done += 1,
                Err(Stop::Blocked(need)) => {
                    paused = Paused::Needs(need);
                    break;
                }
                Err(Stop::Halt(halt)) => return Err(halt.into()),
            }
        }
        self.pending.drain(..done);
        self.commit(writes)?;
        if done > 0 {
            // Not before: a unit with two block votes needs the blocks of both at once.
            self.facts.blocks.clear();
        }
        self.follow_up(consequences)?;
        Ok(paused)
    }

    fn process_event(
        &self,
        writes: &mut WriteSet<'_>,
        count: SessionIndex,
        event: &Event,
        unit: Option<&Unit>,
        consequences: &mut Consequences,
    ) -> Result<(), Stop> {
        let engine = &self.node.engine;
        match event {
            Event::Ordered { session, position, creator, items } => {
                let session = SessionIndex(*session);
                if engine.progress(writes, session)? > *position {
                    return Ok(());
                }
                let creator = PeerId::new(*creator as u16);
                let Some(unit) = unit else {
                    consequences.void.push(creator);
                    // Those of ours in it that others are waiting for have to be proposed again.
                    consequences.refused.extend(readable_transactions(items));
                    return Ok(engine.skip_unit(writes, session, *position)?);
                };
                let processed =
                    engine.process_unit(writes, session, *position, unit, &self.facts)?;
                consequences.accepted |= !processed.accepted.is_empty();
                // A batch that had no room is nobody's fault.
                let fine = !processed.accepted.is_empty() || !processed.postponed.is_empty();
                consequences.verdicts.push((creator, fine));
                if processed.session_bytes >= self.node.pace.session_bytes {
                    consequences.full = Some(session);
                }
                // Also those of callers of ours that were left to a peer's batch.
                let is_ours = |transaction: &Transaction| {
                    creator == self.node.me() || self.node.queued.contains(&transaction.txid())
                };
                let postponed = transactions(processed.postponed).filter(is_ours);
                consequences.postponed.extend(postponed.map(|it| (session, it)));
                consequences.transactions.extend(processed.transactions);
                consequences.refused.extend(processed.refused);
            }
            Event::SessionEnded { session, .. } => {
                let session = SessionIndex(*session);
                if session >= count {
                    consequences.ended.push(engine.end_session(writes, session)?);
                }
            }
            other => {
                warn!(target: "moneta::node", ?other, "unknown consensus event");
            }
        }
        Ok(())
    }

    /// Commits and wakes whoever waits for what was written.
    pub(super) fn commit(&self, writes: WriteSet<'_>) -> Result<(), NodeError> {
        if writes.is_empty() {
            return Ok(());
        }
        let batch = writes.into_batch();
        // Gathered whether somebody waits or not: a caller may begin to wait during the commit.
        let keys: Vec<Vec<u8>> = batch.iter().map(|(key, _)| key.to_vec()).collect();
        self.node.store.commit(batch)?;
        self.node.waiters.wake(keys.iter().map(Vec::as_slice));
        Ok(())
    }

    fn follow_up(&mut self, consequences: Consequences) -> Result<(), NodeError> {
        if let Some(broadcast) = self.node.broadcast() {
            for (creator, accepted) in consequences.verdicts {
                broadcast.verdict(creator.index(), accepted);
            }
            consequences.void.iter().for_each(|creator| broadcast.void(creator.index()));
        }
        for txid in &consequences.transactions {
            self.node.queued.remove(txid);
        }
        if let Some(session) = consequences.full {
            self.close(session);
        }
        for (session, transaction) in consequences.postponed {
            self.postponed.keep(&self.node, session, transaction);
        }
        for txid in consequences.refused {
            self.node.queued.remove(&txid);
            // Whoever submitted it asks again and learns why.
            let key = self.node.engine.accepted_key(txid);
            self.node.waiters.wake([key.as_slice()]);
        }
        if consequences.accepted {
            self.node.state_changed.notify_one();
            self.node.proposals_due.notify_one();
        }
        for header in consequences.ended {
            self.postponed.propose_again(&self.node, header.index)?;
            self.sign(header)?;
        }
        Ok(())
    }

    /// Marks a session for closing, once. Consensus may be further than what is processed here; the
    /// session after this one has done nothing to be closed.
    fn close(&mut self, session: SessionIndex) {
        if self.closing != Some(session)
            && let Some(broadcast) = self.node.broadcast()
            && broadcast.status().session == session.0
        {
            broadcast.close_session();
            self.closing = Some(session);
        }
    }

    /// Signs a session whose outcome is durable, and tells the others.
    fn sign(&mut self, header: SessionHeader) -> Result<(), NodeError> {
        let node = &self.node;
        let signature =
            header.sign(&node.config.consensus.broadcast_public_keys, &node.broadcast_key);
        for liar in self.signatures.begin(header, node.me(), signature) {
            differs(liar, header.index);
        }
        let count = node.session_count()?;
        let message = SignatureMessage::One { session: header.index, signature, count };
        signing::send_to_all(node, &message);
        self.complete()
    }

    /// Takes a peer's signatures. Those for sessions far ahead or long past are not kept.
    fn hear(&mut self, peer: PeerId, message: SignatureMessage) -> Result<(), NodeError> {
        let count = self.node.session_count()?;
        let (session, claimed) = match &message {
            SignatureMessage::One { session, count, .. }
            | SignatureMessage::All { session, count, .. } => (*session, *count),
            SignatureMessage::Count { count } => {
                self.node.claim(peer, *count);
                return Ok(());
            }
            // Not for the writer.
            SignatureMessage::Ask { .. } | SignatureMessage::Answer { .. } => return Ok(()),
        };
        self.node.claim(peer, claimed);
        if session < count {
            // The peer is behind by a moment: all signatures help it more than ours alone. Who is
            // further behind fetches whole sessions.
            if claimed == session && session.0 + 1 == count.0 {
                self.help(peer, session, count)?;
            }
            return Ok(());
        }
        if session.0 > count.0.saturating_add(1) {
            return Ok(());
        }
        let fits = match message {
            SignatureMessage::One { signature, .. } => {
                self.signatures.hear_own(session, peer, signature)
            }
            SignatureMessage::All { signatures, .. } => {
                self.signatures.hear_all(session, peer, signatures)
            }
            _ => true,
        };
        if !fits {
            differs(peer, session);
        }
        self.complete()
    }

    /// Sends all signatures of the last signed session to a peer that lacks some.
    fn help(
        &mut self,
        peer: PeerId,
        session: SessionIndex,
        count: SessionIndex,
    ) -> Result<(), NodeError> {
        if self.last_signed.as_ref().is_none_or(|(index, _)| *index != session) {
            let snapshot = self.node.store.snapshot();
            let signatures = self.node.engine.session_signatures(&snapshot, session)?;
            self.last_signed = signatures.map(|signatures| (session, signatures));
        }
        if let Some((_, signatures)) = &self.last_signed {
            let signatures = signatures.clone();
            signing::send(&self.node, peer, &SignatureMessage::All { session, signatures, count });
        }
        Ok(())
    }

    /// Completes every session, in order, that has ended here and has enough signatures.
    fn complete(&mut self) -> Result<(), NodeError> {
        let node = self.node.clone();
        loop {
            let session = node.session_count()?;
            let threshold = node.engine.size().threshold();
            let Some(chosen) = self.signatures.enough(session, threshold) else { return Ok(()) };
            let snapshot = node.store.snapshot();
            if node.engine.ended_session(&snapshot, session)?.is_none() {
                return Err(Halt::Fork { session }.into());
            }
            let mut writes = WriteSet::new(&snapshot);
            node.engine.complete_session(&mut writes, session, &chosen);
            self.commit(writes)?;
            self.finished(session, chosen);
        }
    }

    /// A session is signed and durable here.
    pub(super) fn finished(
        &mut self,
        session: SessionIndex,
        signatures: BTreeMap<PeerId, Signature>,
    ) {
        debug!(target: "moneta::node", %session, "session signed");
        self.last_signed = Some((session, signatures));
        self.signatures.forget(session);
        self.pending.retain(|event| match event {
            Event::Ordered { session: of, .. } | Event::SessionEnded { session: of, .. } => {
                *of > session.0
            }
            _ => true,
        });
        if let Some(broadcast) = self.node.broadcast() {
            broadcast.session_signed(session.0);
        }
        let count = SessionIndex(session.0 + 1);
        signing::send_to_all(&self.node, &SignatureMessage::Count { count });
        if self.node.scheduled_shutdown() == Some(session) {
            info!(target: "moneta::node", %session, "scheduled shutdown: the session has finished");
            self.node.stop.send_replace(true);
        }
    }
}

/// The next event; none ever while consensus is not open.
async fn next(events: &mut Option<Events>) -> Option<Event> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

fn differs(peer: PeerId, session: SessionIndex) {
    warn!(target: "moneta::node", %peer, %session, "a signature does not fit the session as it \
        ended here; that guardian or this one is wrong about it");
}

fn transactions(items: Vec<ConsensusItem>) -> impl Iterator<Item = Transaction> {
    // What modules wanted ordered, they want still.
    items.into_iter().filter_map(|item| match item {
        ConsensusItem::Transaction(transaction) => Some(transaction),
        _ => None,
    })
}

/// The transactions in a batch that as a whole does not decode.
fn readable_transactions(items: &[Vec<u8>]) -> impl Iterator<Item = TransactionId> {
    let readable = items.iter().filter_map(|bytes| ConsensusItem::from_bytes(bytes).ok()).collect();
    transactions(readable).map(|transaction| transaction.txid())
}

fn decode(node: &Node, event: &Event) -> Option<Unit> {
    let Event::Ordered { creator, items, .. } = event else { return None };
    let creator = PeerId::new(*creator as u16);
    match node.engine.decode_unit(creator, items) {
        Ok(unit) => Some(unit),
        Err(error) => {
            warn!(target: "moneta::node", %creator, %error, "unit dropped: it does not decode");
            None
        }
    }
}
