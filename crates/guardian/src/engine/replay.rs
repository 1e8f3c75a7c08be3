//! How a guardian that was away replays what the others have signed.
//!
//! A session is replayed item by item into one commit. It may stop at any item for outside data and
//! goes on there, so that a session of many votes for blocks needs only those of one vote at a time.
//!
//! Nearly all of the work is curve arithmetic that needs no state: decoding, verifying and signing.
//! So items are decoded and prepared in portions, on all processors, and the portion after the one
//! that is being applied is prepared beside it.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

use moneta_core::{AcceptedItem, ConsensusItem, SessionIndex, SignedSessionOutcome};
use moneta_module::server::Facts;
use moneta_store::{Batch, Read, StoreError, WriteSet};

use super::{Engine, Halt, Stop, Unit, tables};

/// Inputs and outputs prepared at once. Two portions are in work, and modules remember some thousands of
/// prepared values ([`moneta_module::server::ServerModule::prepare`]); what was forgotten would be worked
/// out once more, one by one. Large enough that a batch costs little more than its points.
const PORTION: usize = 600;

/// Why a signed session could not be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The session is not the next one.
    #[error("session {got} cannot be replayed, the next one is {next}")]
    OutOfOrder {
        /// The one that was given.
        got: SessionIndex,
        /// The one that is next.
        next: SessionIndex,
    },
    /// Outside data is missing, or the guardian must halt.
    #[error(transparent)]
    Stop(#[from] Stop),
}

impl From<StoreError> for ReplayError {
    fn from(error: StoreError) -> Self {
        Self::Stop(error.into())
    }
}

/// A signed session that is being replayed. Nothing of it is in the store before its end.
pub struct Replay {
    session: SessionIndex,
    signed: SignedSessionOutcome,
    /// How many of the items may have been signed, the likeliest first.
    lengths: VecDeque<usize>,
    /// How far it came with the first of these lengths.
    attempt: Option<Attempt>,
}

struct Attempt {
    /// Items that are not prepared yet, as a range of the outcome's.
    to_prepare: Range<usize>,
    /// What is prepared and not processed yet, one item each: those before them.
    ready: VecDeque<Unit>,
    /// What the items before these wrote.
    writes: Batch,
}

impl Replay {
    /// How many items are left: whether two stops were for the same one.
    pub fn items_left(&self) -> usize {
        self.attempt
            .as_ref()
            .map_or(usize::MAX, |attempt| attempt.ready.len() + attempt.to_prepare.len())
    }
}

impl Engine {
    /// Begins to apply a session that a threshold of guardians has signed; the caller has verified
    /// the signatures.
    ///
    /// Signatures do not fix the number of items (core.md 4.2): who gives the session may have
    /// repeated its tail. What no guardian would have accepted a second time is left out again.
    pub fn begin_replay(&self, session: SessionIndex, signed: SignedSessionOutcome) -> Replay {
        let given = &signed.session_outcome;
        let lengths =
            [given.items.len()].into_iter().chain(given.shorter_with_same_root()).collect();
        Replay { session, signed, lengths, attempt: None }
    }

    /// Goes on with a replay, and returns all its writes when it is done. What this guardian
    /// processed of the session before is compared, not repeated. `state` must be the same at every
    /// call, but for what is no consensus state.
    ///
    /// Errors: [`Stop::Blocked`], after which it goes on where it was, given the data;
    /// [`Halt::Fork`] if the signed items are not what this guardian's own state leads to.
    pub fn replay(
        &self,
        state: &dyn Read,
        replay: &mut Replay,
        facts: &Facts,
    ) -> Result<Batch, ReplayError> {
        let session = replay.session;
        let next = self.session_count(state)?;
        if session != next {
            return Err(ReplayError::OutOfOrder { got: session, next });
        }
        let fork = Stop::Halt(Halt::Fork { session });
        if let Some(mine) = self.ended_session(state, session)? {
            // Compared by what was signed: a list with a repeated tail has the same root as ours.
            if mine != replay.signed.session_outcome.header(session) {
                return Err(fork.into());
            }
            self.check_books(state).map_err(Stop::Halt)?;
            let mut writes = WriteSet::new(state);
            self.complete_session(&mut writes, session, &replay.signed.signatures);
            return Ok(writes.into_batch());
        }
        let mine = self.items(state, session)?;
        while let Some(length) = replay.lengths.front().copied() {
            if self.try_length(state, replay, length, &mine, facts)? {
                let done = replay.attempt.take().map(|attempt| attempt.writes);
                let mut writes = WriteSet::resume(state, done.unwrap_or_default());
                self.check_books(&writes).map_err(Stop::Halt)?;
                let items = replay.signed.session_outcome.items[..length].iter().enumerate();
                for (position, item) in items.skip(mine.len()) {
                    tables::ITEMS.insert(&mut writes, &(session, position as u64), item);
                }
                self.complete_session(&mut writes, session, &replay.signed.signatures);
                return Ok(writes.into_batch());
            }
            replay.lengths.pop_front();
            replay.attempt = None;
        }
        Err(fork.into())
    }

    /// A replay that has all it needs from the beginning, into `writes`.
    ///
    /// Errors: as [`Engine::replay`]; nothing is written then.
    pub fn replay_session(
        &self,
        writes: &mut WriteSet<'_>,
        session: SessionIndex,
        signed: SignedSessionOutcome,
        facts: &Facts,
    ) -> Result<(), ReplayError> {
        let mut replay = self.begin_replay(session, signed);
        let batch = self.replay(writes, &mut replay, facts)?;
        writes.absorb(batch);
        Ok(())
    }

    /// Applies what this guardian has not processed of the first `length` items; true if all of it was
    /// accepted.
    fn try_length(
        &self,
        state: &dyn Read,
        replay: &mut Replay,
        length: usize,
        mine: &[AcceptedItem],
        facts: &Facts,
    ) -> Result<bool, Stop> {
        let items = &replay.signed.session_outcome.items[..length];
        let mut attempt = match replay.attempt.take() {
            Some(attempt) => attempt,
            None if !items.starts_with(mine) => return Ok(false),
            None => Attempt {
                to_prepare: mine.len()..length,
                ready: VecDeque::new(),
                writes: Batch::new(),
            },
        };
        let mut writes = WriteSet::resume(state, std::mem::take(&mut attempt.writes));
        let outcome = loop {
            let next = portion(&items[attempt.to_prepare.clone()]);
            if attempt.ready.is_empty() && next.is_empty() {
                break Ok(true);
            }
            let prepare = || self.prepare_history(next);
            let (applied, prepared) = if attempt.ready.is_empty() {
                (Ok(true), prepare())
            } else {
                let ready = &mut attempt.ready;
                let mut apply = || self.apply(&mut writes, replay.session, ready, facts);
                if next.is_empty() { (apply(), Some(Vec::new())) } else { beside(apply, prepare) }
            };
            let Some(prepared) = prepared else { break Ok(false) };
            attempt.to_prepare.start += prepared.len();
            attempt.ready.extend(prepared);
            if !matches!(applied, Ok(true)) {
                break applied;
            }
        };
        attempt.writes = writes.into_batch();
        replay.attempt = Some(attempt);
        outcome
    }

    /// Applies prepared items up to the first that is not accepted or stops; true if there is none.
    fn apply(
        &self,
        writes: &mut WriteSet<'_>,
        session: SessionIndex,
        ready: &mut VecDeque<Unit>,
        facts: &Facts,
    ) -> Result<bool, Stop> {
        while let Some(unit) = ready.front() {
            if !self.process_whole(writes, unit, facts)? {
                return Ok(false);
            }
            tables::LAST_CONTRIBUTION.insert(writes, &unit.creator, &session);
            ready.pop_front();
        }
        Ok(true)
    }

    /// Decodes items of a signed session and does the expensive work of them; `None` if one does not
    /// decode.
    fn prepare_history(&self, items: &[AcceptedItem]) -> Option<Vec<Unit>> {
        let units = self.decode_history(items)?;
        self.prepare(&units.iter().collect::<Vec<_>>());
        Some(units)
    }
}

/// The first items, as many as are prepared at once; at least one if there is any.
fn portion(items: &[AcceptedItem]) -> &[AcceptedItem] {
    let mut weight = 0;
    let end = items.iter().position(|item| {
        weight += weight_of(item);
        weight >= PORTION
    });
    end.map_or(items, |last| &items[..=last])
}

fn weight_of(item: &AcceptedItem) -> usize {
    match &item.item {
        ConsensusItem::Transaction(transaction) => {
            transaction.inputs.len() + transaction.outputs.len()
        }
        _ => 1,
    }
}

/// Does both at the same time, or one after the other where no thread can be had.
fn beside<A, B: Send>(here: impl FnOnce() -> A, there: impl Fn() -> B + Sync) -> (A, B) {
    thread::scope(|scope| {
        let handle = thread::Builder::new().spawn_scoped(scope, &there);
        let here = here();
        match handle {
            Ok(handle) => (here, handle.join().unwrap_or_else(|panic| resume_unwind(panic))),
            Err(_) => (here, there()),
        }
    })
}
