//! The one writer of federation state.
//!
//! Takes ordered units, ended sessions, peers' signatures and signed sessions fetched from peers,
//! and turns them into commits. Units that arrive together are processed over one view and
//! committed together; replies and signatures leave only after the commit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bitcoin::secp256k1::schnorr::Signature;
use futures::FutureExt;
use moneta_consensus::{Event, Events};
use moneta_core::session::SignerRule;
use moneta_core::{
    FederationSize, PeerId, SessionHeader, SessionIndex, SignedSessionOutcome, TransactionId,
};
use moneta_module::server::{Facts, Need};
use moneta_store::WriteSet;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::shared::Node;
use super::signing::SignatureMessage;
use super::{NodeError, chain, signing};
use crate::engine::{Halt, ReplayError, Stop, Unit};

/// Most units processed over one view. Enough to gather a burst, few enough that the first of
/// them is not kept waiting for long.
const GROUP_UNITS: usize = 64;

/// What other tasks hand to the writer.
pub(super) enum Command {
    /// A peer's message about signatures.
    Signature(PeerId, SignatureMessage),
    /// A session that was fetched from a peer; its signatures are not verified yet.
    Replay(SessionIndex, SignedSessionOutcome),
}

/// Sessions that have ended here and wait for signatures, and signatures that came early.
pub(super) struct Ordering {
    node: Arc<Node>,
    facts: Facts,
    pending: VecDeque<Event>,
    ended: BTreeMap<SessionIndex, SessionHeader>,
    signatures: BTreeMap<SessionIndex, BTreeMap<PeerId, Signature>>,
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
    verdicts: Vec<(PeerId, bool)>,
    ended: Vec<SessionHeader>,
    accepted: bool,
}

impl Ordering {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            facts: Facts::default(),
            pending: VecDeque::new(),
            ended: BTreeMap::new(),
            signatures: BTreeMap::new(),
        }
    }

    /// Runs until consensus stops or the guardian must halt.
    pub(super) async fn run(
        mut self,
        mut events: Events,
        mut commands: mpsc::Receiver<Command>,
    ) -> Result<(), NodeError> {
        loop {
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event else {
                        let fault = self.node.broadcast.status().fault;
                        let reason = fault.map_or_else(|| "shut down".to_owned(), |f| f.to_string());
                        return Err(NodeError::ConsensusStopped(reason));
                    };
                    self.pending.push_back(event);
                    while self.pending.len() < GROUP_UNITS
                        && let Some(Some(event)) = events.next().now_or_never()
                    {
                        self.pending.push_back(event);
                    }
                    self.process_pending().await?;
                }
                command = commands.recv() => match command {
                    Some(Command::Signature(peer, message)) => self.hear(peer, message)?,
                    Some(Command::Replay(session, signed)) => self.replay(session, signed).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn process_pending(&mut self) -> Result<(), NodeError> {
        while !self.pending.is_empty() {
            let paused = tokio::task::block_in_place(|| self.process_group())?;
            if let Paused::Needs(need) = paused {
                debug!(target: "moneta::node", ?need, "waiting for blocks");
                chain::fetch(&self.node, need, &mut self.facts).await;
            }
        }
        Ok(())
    }

    /// Processes pending events up to the first that needs something, and commits.
    fn process_group(&mut self) -> Result<Paused, NodeError> {
        let node = self.node.clone();
        let snapshot = node.store.snapshot();
        let count = node.engine.session_count(&snapshot)?;
        let units: Vec<Option<Unit>> =
            self.pending.iter().map(|event| decode(&node, event)).collect();
        node.engine.prepare(&units.iter().flatten().collect::<Vec<_>>());
        let mut writes = WriteSet::new(&snapshot);
        let mut consequences = Consequences::default();
        let mut paused = Paused::Done;
        let mut done = 0;
        for (event, unit) in self.pending.iter().zip(&units) {
            match self.process_event(&mut writes, count, event, unit.as_ref(), &mut consequences) {
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
            Event::Ordered { session, position, creator, .. } => {
                let session = SessionIndex(*session);
                // After a restart consensus tells its sessions from their beginning.
                let known = session < count
                    || engine.ended_session(writes, session)?.is_some()
                    || engine.progress(writes, session)? > *position;
                if known {
                    return Ok(());
                }
                let creator = PeerId::new(*creator as u16);
                let Some(unit) = unit else {
                    consequences.verdicts.push((creator, false));
                    return Ok(engine.skip_unit(writes, session, *position)?);
                };
                let processed =
                    engine.process_unit(writes, session, *position, unit, &self.facts)?;
                consequences.accepted |= !processed.accepted.is_empty();
                consequences.verdicts.push((creator, !processed.accepted.is_empty()));
                consequences.refused.extend(processed.refused);
            }
            Event::SessionEnded { session, .. } => {
                let session = SessionIndex(*session);
                if session >= count {
                    consequences.ended.push(engine.end_session(writes, session)?.header);
                }
            }
            other => {
                warn!(target: "moneta::node", ?other, "unknown consensus event");
            }
        }
        Ok(())
    }

    /// Commits and wakes whoever waits for what was written.
    fn commit(&self, writes: WriteSet<'_>) -> Result<(), NodeError> {
        if writes.is_empty() {
            return Ok(());
        }
        let batch = writes.into_batch();
        if self.node.waiters.is_empty() {
            self.node.store.commit(batch)?;
            return Ok(());
        }
        let keys: Vec<Vec<u8>> = batch.iter().map(|(key, _)| key.to_vec()).collect();
        self.node.store.commit(batch)?;
        self.node.waiters.wake(keys.iter().map(Vec::as_slice));
        Ok(())
    }

    fn follow_up(&mut self, consequences: Consequences) -> Result<(), NodeError> {
        for (creator, accepted) in consequences.verdicts {
            self.node.broadcast.verdict(creator.index(), accepted);
        }
        for txid in consequences.refused {
            // Whoever submitted it asks again and learns why.
            let key = self.node.engine.accepted_key(txid);
            self.node.waiters.wake([key.as_slice()]);
        }
        if consequences.accepted {
            self.node.state_changed.notify_one();
            self.node.proposals_due.notify_one();
        }
        for header in consequences.ended {
            self.sign(header)?;
        }
        Ok(())
    }

    /// Signs a session whose outcome is durable, and tells the others.
    fn sign(&mut self, header: SessionHeader) -> Result<(), NodeError> {
        let node = &self.node;
        let signature =
            header.sign(&node.config.consensus.broadcast_public_keys, &node.broadcast_key);
        self.ended.insert(header.index, header);
        let of_session = self.signatures.entry(header.index).or_default();
        of_session.insert(node.me(), signature);
        let count = node.session_count()?;
        signing::send_to_all(
            node,
            &SignatureMessage::One { session: header.index, signature, count },
        );
        self.complete()
    }

    /// Takes a peer's signatures. Those for sessions far ahead or long past are not kept.
    fn hear(&mut self, peer: PeerId, message: SignatureMessage) -> Result<(), NodeError> {
        let count = self.node.session_count()?;
        let (session, signatures, claimed) = match message {
            SignatureMessage::One { session, signature, count } => {
                (session, BTreeMap::from([(peer, signature)]), count)
            }
            SignatureMessage::All { session, signatures, count } => (session, signatures, count),
            SignatureMessage::Count { count } => {
                self.node.claim(peer, count);
                return Ok(());
            }
        };
        self.node.claim(peer, claimed);
        if session < count {
            // The peer is behind by a moment: all signatures help it more than ours alone.
            if claimed <= session {
                self.help(peer, session, count)?;
            }
            return Ok(());
        }
        if session.0 > count.0 + 1 {
            return Ok(());
        }
        let known = self.signatures.entry(session).or_default();
        for (signer, signature) in signatures {
            if self.node.engine.size().contains(signer) {
                known.entry(signer).or_insert(signature);
            }
        }
        self.complete()
    }

    fn help(
        &self,
        peer: PeerId,
        session: SessionIndex,
        count: SessionIndex,
    ) -> Result<(), NodeError> {
        let signed = self.node.engine.signed_session(&self.node.store.snapshot(), session)?;
        if let Some(SignedSessionOutcome { signatures, .. }) = signed {
            signing::send(&self.node, peer, &SignatureMessage::All { session, signatures, count });
        }
        Ok(())
    }

    /// Completes every session, in order, that has ended here and has enough signatures.
    fn complete(&mut self) -> Result<(), NodeError> {
        let node = self.node.clone();
        loop {
            let session = node.session_count()?;
            let Some(header) = self.ended.get(&session).copied() else { return Ok(()) };
            let known = self.signatures.entry(session).or_default();
            let keys = &node.config.consensus.broadcast_public_keys;
            known.retain(|signer, signature| {
                let valid = header.verify_one(keys, *signer, signature);
                if !valid {
                    warn!(target: "moneta::node", %signer, %session, "signature differs from ours; \
                        this guardian or that one is wrong about the session");
                }
                valid
            });
            let threshold = threshold(&node.engine.size());
            if known.len() < threshold {
                return Ok(());
            }
            let chosen = known.iter().take(threshold).map(|(p, s)| (*p, *s)).collect();
            let snapshot = node.store.snapshot();
            let Some(ended) = node.engine.ended_session(&snapshot, session)? else {
                return Err(Halt::Fork { session }.into());
            };
            let mut writes = WriteSet::new(&snapshot);
            node.engine.complete_session(&mut writes, session, ended.outcome, chosen);
            self.commit(writes)?;
            self.finished(session);
        }
    }

    /// Applies a session that the others have signed.
    async fn replay(
        &mut self,
        session: SessionIndex,
        signed: SignedSessionOutcome,
    ) -> Result<(), NodeError> {
        let node = self.node.clone();
        let keys = &node.config.consensus.broadcast_public_keys;
        if session != node.session_count()? {
            return Ok(());
        }
        if let Err(error) = signed.verify(session, keys, SignerRule::ExactlyThreshold) {
            warn!(target: "moneta::node", %session, %error, "a fetched session is not valid");
            return Ok(());
        }
        loop {
            let need = tokio::task::block_in_place(|| {
                let snapshot = node.store.snapshot();
                let mut writes = WriteSet::new(&snapshot);
                let replayed =
                    node.engine.replay_session(&mut writes, session, signed.clone(), &self.facts);
                match replayed {
                    Ok(()) => self.commit(writes).map(|()| None),
                    Err(ReplayError::Stop(Stop::Blocked(need))) => Ok(Some(need)),
                    Err(ReplayError::Stop(Stop::Halt(halt))) => Err(halt.into()),
                    Err(error) => {
                        warn!(target: "moneta::node", %error, "session not replayed");
                        Ok(None)
                    }
                }
            })?;
            match need {
                Some(need) => chain::fetch(&node, need, &mut self.facts).await,
                None => break,
            }
        }
        self.finished(session);
        node.state_changed.notify_one();
        node.proposals_due.notify_one();
        Ok(())
    }

    /// A session is signed and durable here.
    fn finished(&mut self, session: SessionIndex) {
        debug!(target: "moneta::node", %session, "session signed");
        self.ended.retain(|index, _| *index > session);
        self.signatures.retain(|index, _| *index > session);
        self.pending.retain(|event| match event {
            Event::Ordered { session: of, .. } | Event::SessionEnded { session: of, .. } => {
                *of > session.0
            }
            _ => true,
        });
        self.node.broadcast.session_signed(session.0);
        let count = SessionIndex(session.0 + 1);
        signing::send_to_all(&self.node, &SignatureMessage::Count { count });
        if self.node.scheduled_shutdown() == Some(session) {
            info!(target: "moneta::node", %session, "scheduled shutdown: the session has finished");
            let (node, solo) = (self.node.clone(), self.node.links.is_none());
            let grace = if solo { std::time::Duration::ZERO } else { node.pace.shutdown_grace };
            let stop = node.stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                stop.send_replace(true);
            });
        }
    }
}

fn threshold(size: &FederationSize) -> usize {
    size.threshold()
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
