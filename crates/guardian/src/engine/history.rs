//! Sessions: how they end and how they are signed.
//!
//! Crash contract. The outcome of an ended session is stored before its header is signed, and is
//! what is signed after any restart. A signed session replaces it in the same commit.
//!
//! A session is one value in the store and one answer of the API, so it is bounded: see
//! [`SESSION_LIMIT_BYTES`].

use std::collections::BTreeMap;

use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::{
    AcceptedItem, Encode, PeerId, SessionHeader, SessionIndex, SessionOutcome, SessionStatusV2,
    SignedSessionOutcome,
};
use moneta_store::{Order, Read, StoreError, Write, WriteSet};

use super::{Engine, Halt, tables};

/// Most encoded bytes of accepted items in one session: 4,500,000. What would go beyond is
/// postponed, by every guardian alike (docs/decisions/0015).
///
/// The tightest of the limits that an outcome meets is the answer of the API: 10 MiB of JSON for the
/// reference's clients and ours (core.md 7.1), in which a session stands in hex, two characters for
/// a byte: 5,242,880 bytes with nothing around them. Signatures add at most 66 bytes for each
/// guardian. Decoding ends at 16,000,000 bytes (core.md 1.7).
///
/// Consensus rule: guardians that differ in it sign different sessions. Signed history is replayed
/// without it.
pub const SESSION_LIMIT_BYTES: u64 = 4_500_000;

/// A session that has ended here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What is to be signed.
    pub header: SessionHeader,
    /// Its items.
    pub outcome: SessionOutcome,
}

impl Engine {
    /// How many sessions are signed: the index of the first that is not.
    pub fn session_count(&self, state: &dyn Read) -> Result<SessionIndex, StoreError> {
        let last = tables::SIGNED.last_key(state, &())?;
        Ok(last.map_or(SessionIndex(0), |last| SessionIndex(last.0 + 1)))
    }

    /// How many units of a session are processed: all that can be, `u64::MAX`, once it has ended or
    /// is signed.
    pub fn progress(&self, state: &dyn Read, session: SessionIndex) -> Result<u64, StoreError> {
        if let Some(units) = tables::PROGRESS.get(state, &session)? {
            return Ok(units);
        }
        Ok(if session < self.session_count(state)? { u64::MAX } else { 0 })
    }

    /// A signed session.
    pub fn signed_session(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<Option<SignedSessionOutcome>, StoreError> {
        tables::SIGNED.get(state, &session)
    }

    /// The key in the guardian's store that appears when the session is signed.
    pub fn signed_session_key(&self, session: SessionIndex) -> Vec<u8> {
        tables::SIGNED.key(&session)
    }

    /// A session that has ended here and is not signed by a threshold yet.
    pub fn ended_session(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<Option<Ended>, StoreError> {
        Ok(tables::ENDED.get(state, &session)?.map(|outcome| ended(session, outcome)))
    }

    /// What a client is told of a session (core.md 4.3).
    pub fn session_status(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<SessionStatusV2, StoreError> {
        if let Some(signed) = tables::SIGNED.get(state, &session)? {
            return Ok(SessionStatusV2::Complete(signed));
        }
        if session != self.session_count(state)? {
            return Ok(SessionStatusV2::Initial);
        }
        let items = match tables::ENDED.get(state, &session)? {
            Some(outcome) => outcome.items,
            None => self.running_items(state, session)?,
        };
        Ok(SessionStatusV2::Pending(items))
    }

    /// Ends a session: gathers its items into the outcome that is to be signed. Ending it again
    /// gives the same.
    ///
    /// Errors: [`Halt`] if a module's books do not match; nothing may be signed then.
    pub fn end_session(
        &self,
        writes: &mut WriteSet<'_>,
        session: SessionIndex,
    ) -> Result<Ended, Halt> {
        if let Some(outcome) = tables::ENDED.get(writes, &session)? {
            return Ok(ended(session, outcome));
        }
        self.check_books(writes)?;
        let items = self.running_items(writes, session)?;
        self.forget_running(writes, session, items.len());
        // Nothing that consensus repeats of this session counts any more.
        tables::PROGRESS.insert(writes, &session, &u64::MAX);
        let outcome = SessionOutcome { items };
        tables::ENDED.insert(writes, &session, &outcome);
        Ok(ended(session, outcome))
    }

    /// Stores a session with the signatures of exactly a threshold, in place of its ended form.
    pub fn complete_session(
        &self,
        writes: &mut dyn Write,
        session: SessionIndex,
        outcome: SessionOutcome,
        signatures: BTreeMap<PeerId, Signature>,
    ) {
        let signed = SignedSessionOutcome { session_outcome: outcome, signatures };
        tables::SIGNED.insert(writes, &session, &signed);
        tables::ENDED.remove(writes, &session);
        tables::PROGRESS.remove(writes, &session);
    }

    /// How many items the running session has so far.
    pub(super) fn running_len(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<u64, StoreError> {
        Ok(tables::RUNNING.last_key(state, &session)?.map_or(0, |(_, position)| position + 1))
    }

    /// How many encoded bytes the accepted items of the running session have together.
    pub fn running_bytes(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<u64, StoreError> {
        if let Some(bytes) = tables::RUNNING_BYTES.get(state, &session)? {
            return Ok(bytes);
        }
        // Nothing was accepted yet, or a release that did not count has begun the session.
        let rows = tables::RUNNING.starting_with(state, &session, Order::Ascending);
        rows.map(|row| Ok(size_bytes(&row?.1))).sum()
    }

    pub(super) fn running_items(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<Vec<AcceptedItem>, StoreError> {
        let rows = tables::RUNNING.starting_with(state, &session, Order::Ascending);
        rows.map(|row| Ok(row?.1)).collect()
    }

    pub(super) fn forget_running(
        &self,
        writes: &mut dyn Write,
        session: SessionIndex,
        count: usize,
    ) {
        for position in 0..count as u64 {
            tables::RUNNING.remove(writes, &(session, position));
        }
        tables::RUNNING_BYTES.remove(writes, &session);
    }
}

/// What an accepted item adds to its session's outcome.
pub(super) fn size_bytes(item: &AcceptedItem) -> u64 {
    item.to_bytes().len() as u64
}

fn ended(session: SessionIndex, outcome: SessionOutcome) -> Ended {
    Ended { header: outcome.header(session), outcome }
}
