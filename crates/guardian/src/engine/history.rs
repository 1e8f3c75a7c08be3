//! Sessions: how they end and how they are signed.
//!
//! Crash contract. The root of an ended session is stored before its header is signed, and is what is
//! signed after any restart. The signatures replace it in the same commit. The items stay where they
//! were written when they were accepted: sessions end at all guardians at once, in the midst of
//! payments, and should then cost next to nothing (docs/decisions/0019).
//!
//! A session is one answer of the API, so it is bounded: see [`SESSION_LIMIT_BYTES`].

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
        let Some(signatures) = tables::SIGNED.get(state, &session)? else { return Ok(None) };
        let session_outcome = SessionOutcome { items: self.items(state, session)? };
        Ok(Some(SignedSessionOutcome { session_outcome, signatures }))
    }

    /// The signatures of a signed session, without its items.
    pub fn session_signatures(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<Option<BTreeMap<PeerId, Signature>>, StoreError> {
        tables::SIGNED.get(state, &session)
    }

    /// The key in the guardian's store that appears when the session is signed.
    pub fn signed_session_key(&self, session: SessionIndex) -> Vec<u8> {
        tables::SIGNED.key(&session)
    }

    /// What is to be signed of a session that has ended here and is not signed by a threshold yet.
    pub fn ended_session(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<Option<SessionHeader>, StoreError> {
        Ok(tables::ENDED.get(state, &session)?.map(|root| SessionHeader { index: session, root }))
    }

    /// What a client is told of a session (core.md 4.3).
    pub fn session_status(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<SessionStatusV2, StoreError> {
        if let Some(signed) = self.signed_session(state, session)? {
            return Ok(SessionStatusV2::Complete(signed));
        }
        if session != self.session_count(state)? {
            return Ok(SessionStatusV2::Initial);
        }
        Ok(SessionStatusV2::Pending(self.items(state, session)?))
    }

    /// Ends a session; returns what is to be signed. Ending it again gives the same.
    ///
    /// Errors: [`Halt`] if a module's books do not match; nothing may be signed then.
    pub fn end_session(
        &self,
        writes: &mut WriteSet<'_>,
        session: SessionIndex,
    ) -> Result<SessionHeader, Halt> {
        if let Some(header) = self.ended_session(writes, session)? {
            return Ok(header);
        }
        self.check_books(writes)?;
        let header = SessionOutcome { items: self.items(writes, session)? }.header(session);
        tables::RUNNING_BYTES.remove(writes, &session);
        // Nothing that consensus repeats of this session counts any more.
        tables::PROGRESS.insert(writes, &session, &u64::MAX);
        tables::ENDED.insert(writes, &session, &header.root);
        Ok(header)
    }

    /// Stores the signatures of exactly a threshold, which ends the session for good.
    pub fn complete_session(
        &self,
        writes: &mut dyn Write,
        session: SessionIndex,
        signatures: &BTreeMap<PeerId, Signature>,
    ) {
        tables::SIGNED.insert(writes, &session, signatures);
        tables::ENDED.remove(writes, &session);
        tables::RUNNING_BYTES.remove(writes, &session);
        tables::PROGRESS.remove(writes, &session);
    }

    /// How many items a session has so far.
    pub(super) fn item_count(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<u64, StoreError> {
        Ok(tables::ITEMS.last_key(state, &session)?.map_or(0, |(_, position)| position + 1))
    }

    /// How many encoded bytes the accepted items of the running session have together.
    pub fn running_bytes(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<u64, StoreError> {
        Ok(tables::RUNNING_BYTES.get(state, &session)?.unwrap_or(0))
    }

    /// The items that a session has so far, in order.
    pub(super) fn items(
        &self,
        state: &dyn Read,
        session: SessionIndex,
    ) -> Result<Vec<AcceptedItem>, StoreError> {
        let rows = tables::ITEMS.starting_with(state, &session, Order::Ascending);
        rows.map(|row| Ok(row?.1)).collect()
    }
}

/// What an accepted item adds to its session's outcome.
pub(super) fn size_bytes(item: &AcceptedItem) -> u64 {
    item.to_bytes().len() as u64
}
