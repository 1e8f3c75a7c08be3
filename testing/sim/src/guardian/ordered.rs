//! What consensus ordered: taken from the log, processed by the engine, committed.

use std::collections::BTreeSet;

use moneta_core::{ConsensusItem, SessionHeader, SessionIndex, TransactionId};
use moneta_guardian::engine::{Stop, Unit};
use moneta_store::{Batch as Writes, WriteSet};

use super::calls::Waiting;
use super::{Effect, Process, Trouble};
use crate::check::Ledger;
use crate::order::{Batch, Entry, Log};

/// Something that was ordered and is not processed yet; without a unit the session has ended.
pub(super) struct Ordered {
    pub(super) session: SessionIndex,
    pub(super) position: u64,
    pub(super) unit: Option<Batch>,
}

impl Process {
    /// The session it is in, and a unit for it with what is queued, if none is on its way.
    pub(crate) fn make_unit(&self, limit: usize) -> Option<(u64, Vec<Vec<u8>>)> {
        let items = || self.queue.iter().take(limit).cloned().collect();
        (!self.in_flight).then(|| (self.cursor.0, items()))
    }

    /// Takes what the log has behind what it took before; true if there was anything.
    pub(crate) fn follow(&mut self, log: &Log) -> Result<bool, Trouble> {
        let count = self.engine.session_count(&self.store.snapshot())?.0;
        let (mut session, mut position) = self.cursor;
        if session < count {
            // The rest of it was fetched; units of ours in it may be void.
            (session, position) = (count, 0);
            self.in_flight = false;
        }
        // Consensus does not run further ahead of signatures than this.
        if count < self.told_from || session > count + 1 {
            self.cursor = (session, position);
            return Ok(false);
        }
        let index = SessionIndex(session);
        match log.at(session, position) {
            Entry::Unit(unit) => {
                if unit.creator() == self.me {
                    self.in_flight = false;
                    self.queue.retain(|item| !unit.items().contains(item));
                }
                let unit = Some(unit.clone());
                self.pending.push_back(Ordered { session: index, position, unit });
                self.cursor = (session, position + 1);
            }
            Entry::End => {
                // A unit of ours that is not among these is void.
                self.in_flight = false;
                self.pending.push_back(Ordered { session: index, position, unit: None });
                self.cursor = (session + 1, 0);
            }
            Entry::Nothing => {
                self.cursor = (session, position);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Processes what is pending, as one commit.
    pub(crate) fn process(
        &mut self,
        ledger: &mut Ledger,
        now_ms: u64,
    ) -> Result<Vec<Effect>, Trouble> {
        if self.is_fetching || self.pending.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.store.snapshot();
        let count = self.engine.session_count(&view)?;
        let unit = |ordered: &'_ Ordered| ordered.unit.clone();
        let batches: Vec<Option<Batch>> = self.pending.iter().map(unit).collect();
        let units: Vec<Option<&Unit>> =
            batches.iter().map(|batch| batch.as_ref()?.unit(&self.engine)).collect();
        self.engine.prepare(&units.iter().copied().flatten().collect::<Vec<_>>());
        let mut writes = WriteSet::new(&view);
        let mut effects = Vec::new();
        let (mut refused, mut headers) = (BTreeSet::new(), Vec::new());
        let mut done = 0;
        for (ordered, unit) in self.pending.iter().zip(&units) {
            let mut of_unit = writes.child();
            match self.process_one(&mut of_unit, count, ordered, *unit, &mut refused) {
                Ok(header) => {
                    headers.extend(header);
                    let batch = of_unit.into_batch();
                    if !batch.is_empty() {
                        ledger.note_unit(
                            &self.engine,
                            ordered.session,
                            ordered.position,
                            &batch,
                        )?;
                    }
                    writes.absorb(batch);
                    done += 1;
                }
                Err(Stop::Blocked(need)) => {
                    self.is_fetching = true;
                    effects.push(Effect::Fetch(need));
                    break;
                }
                Err(Stop::Halt(halt)) => return Err(halt.into()),
                Err(other) => return Err(Trouble::Broken(other.to_string())),
            }
        }
        self.pending.drain(..done);
        if done > 0 {
            self.facts.blocks.clear();
        }
        let batch = writes.into_batch();
        self.commit(batch, &refused, now_ms, &mut effects)?;
        for header in headers {
            ledger.note_header(header)?;
            effects.push(Effect::Tell(header.index, self.sign(header)));
        }
        self.complete(ledger, now_ms, &mut effects)?;
        self.propose(now_ms)?;
        self.broadcast(&mut effects)?;
        Ok(effects)
    }

    fn process_one(
        &self,
        writes: &mut WriteSet<'_>,
        count: SessionIndex,
        ordered: &Ordered,
        unit: Option<&Unit>,
        refused: &mut BTreeSet<TransactionId>,
    ) -> Result<Option<SessionHeader>, Stop> {
        let Ordered { session, position, unit: raw } = ordered;
        let (session, position) = (*session, *position);
        if raw.is_none() {
            let ended = (session >= count).then(|| self.engine.end_session(writes, session));
            return Ok(ended.transpose()?);
        }
        let known = session < count
            || self.engine.ended_session(writes, session)?.is_some()
            || self.engine.progress(writes, session)? > position;
        if known {
            return Ok(None);
        }
        let Some(unit) = unit else {
            self.engine.skip_unit(writes, session, position)?;
            return Ok(None);
        };
        let processed = self.engine.process_unit(writes, session, position, unit, &self.facts)?;
        // Whoever waits for one of these asks again, and those without room are queued once more.
        refused.extend(processed.refused);
        refused.extend(processed.postponed.iter().filter_map(|item| match item {
            ConsensusItem::Transaction(transaction) => Some(transaction.txid()),
            _ => None,
        }));
        Ok(None)
    }

    /// Makes writes durable, then answers whoever waited for one of them.
    pub(super) fn commit(
        &mut self,
        batch: Writes,
        refused: &BTreeSet<TransactionId>,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Trouble> {
        let mut keys: BTreeSet<Vec<u8>> = batch.iter().map(|(key, _)| key.to_vec()).collect();
        keys.extend(refused.iter().map(|txid| self.engine.accepted_key(*txid)));
        if !batch.is_empty() {
            self.store.commit(batch)?;
        }
        let (woken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| keys.contains(&w.key));
        self.waiting = left;
        for Waiting { call, method, params, since_ms, .. } in woken {
            // What was queued has been ordered or is queued once more.
            self.look(call, method, params, since_ms, now_ms, effects)?;
        }
        Ok(())
    }
}
