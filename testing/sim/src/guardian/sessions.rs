//! Sessions that have ended: signatures, and history for guardians that are behind.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::session::SignerRule;
use moneta_core::{PeerId, SessionHeader, SessionIndex, SignedSessionOutcome};
use moneta_guardian::engine::{ReplayError, Stop};
use moneta_module::server::Facts;
use moneta_store::WriteSet;

use super::{Effect, Process, Trouble};
use crate::check::Ledger;

/// Looks at a gap of one session before it is fetched.
const PATIENCE_LOOKS: u32 = 6;

impl Process {
    /// Outcomes that are stored are signed again, always the same.
    pub(super) fn resume_signing(&mut self) -> Result<(), Trouble> {
        let view = self.store.snapshot();
        let count = self.engine.session_count(&view)?;
        for session in [count, SessionIndex(count.0 + 1)] {
            if let Some(header) = self.engine.ended_session(&view, session)? {
                self.sign(header);
            }
        }
        Ok(())
    }

    pub(super) fn sign(&mut self, header: SessionHeader) -> BTreeMap<PeerId, Signature> {
        let key = self.federation.broadcast_key(self.me);
        let sign = || (header, header.sign(&self.federation.broadcast_keys, key));
        let (_, signature) = *self.ended.entry(header.index).or_insert_with(sign);
        self.signatures.entry(header.index).or_default().insert(self.me, signature);
        BTreeMap::from([(self.me, signature)])
    }

    /// Takes signatures of a session from a peer that has signed `claimed` sessions.
    pub(crate) fn hear(
        &mut self,
        from: PeerId,
        session: SessionIndex,
        signatures: BTreeMap<PeerId, Signature>,
        ledger: &mut Ledger,
        now_ms: u64,
    ) -> Result<Vec<Effect>, Trouble> {
        let mut effects = Vec::new();
        let view = self.store.snapshot();
        let count = self.engine.session_count(&view)?;
        if session < count {
            if signatures.len() == 1
                && let Some(signatures) = self.engine.session_signatures(&view, session)?
            {
                effects.push(Effect::Help(from, session, signatures));
            }
            return Ok(effects);
        }
        if session.0 > count.0 + 1 {
            return Ok(effects);
        }
        let known = self.signatures.entry(session).or_default();
        for (signer, signature) in signatures {
            if self.federation.size.contains(signer) {
                known.entry(signer).or_insert(signature);
            }
        }
        self.complete(ledger, now_ms, &mut effects)?;
        Ok(effects)
    }

    pub(super) fn complete(
        &mut self,
        ledger: &mut Ledger,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Trouble> {
        loop {
            let view = self.store.snapshot();
            let session = self.engine.session_count(&view)?;
            let Some((header, _)) = self.ended.get(&session).copied() else { return Ok(()) };
            let keys = &self.federation.broadcast_keys;
            let known = self.signatures.entry(session).or_default();
            known.retain(|signer, signature| header.verify_one(keys, *signer, signature));
            let threshold = self.federation.size.threshold();
            if known.len() < threshold {
                return Ok(());
            }
            let chosen = known.iter().take(threshold).map(|(p, s)| (*p, *s)).collect();
            if self.engine.ended_session(&view, session)?.is_none() {
                return Err(Trouble::Broken(format!("session {session} ended without outcome")));
            }
            let mut writes = WriteSet::new(&view);
            self.engine.complete_session(&mut writes, session, &chosen);
            let batch = writes.into_batch();
            self.commit(batch, &BTreeSet::new(), now_ms, effects)?;
            self.finished(session, ledger)?;
        }
    }

    fn finished(&mut self, session: SessionIndex, ledger: &mut Ledger) -> Result<(), Trouble> {
        self.ended.retain(|index, _| *index > session);
        self.signatures.retain(|index, _| *index > session);
        self.pending.retain(|ordered| ordered.session > session);
        let view = self.store.snapshot();
        let signed = self.engine.signed_session(&view, session)?;
        let signed = signed.ok_or(Trouble::Broken("a signed session is not stored".to_owned()))?;
        let rule = SignerRule::ExactlyThreshold;
        signed
            .verify(session, &self.federation.broadcast_keys, rule)
            .map_err(|error| Trouble::Broken(format!("session {session}: {error}")))?;
        ledger.note_header(signed.session_outcome.header(session))
    }

    /// Whether this guardian has waited long enough to fetch the next session from others, of which
    /// the furthest has signed `best` sessions.
    pub(crate) fn wants_history(&mut self, best: u64) -> Result<Option<SessionIndex>, Trouble> {
        let count = self.engine.session_count(&self.store.snapshot())?;
        if best <= count.0 || self.is_fetching {
            self.behind_for = 0;
            return Ok(None);
        }
        self.behind_for += 1;
        let far = best > count.0 + 1;
        Ok((far || self.behind_for >= PATIENCE_LOOKS).then_some(count))
    }

    /// A signed session for a peer.
    pub(crate) fn history(
        &self,
        session: SessionIndex,
    ) -> Result<Option<SignedSessionOutcome>, Trouble> {
        Ok(self.engine.signed_session(&self.store.snapshot(), session)?)
    }

    /// Applies a session that was fetched from a peer.
    pub(crate) fn replay(
        &mut self,
        session: SessionIndex,
        signed: SignedSessionOutcome,
        ledger: &mut Ledger,
        facts: &Facts,
        now_ms: u64,
    ) -> Result<Vec<Effect>, Trouble> {
        let mut effects = Vec::new();
        let view = self.store.snapshot();
        if session != self.engine.session_count(&view)? {
            return Ok(effects);
        }
        let keys = &self.federation.broadcast_keys;
        if signed.verify(session, keys, SignerRule::ExactlyThreshold).is_err() {
            return Ok(effects);
        }
        let mut writes = WriteSet::new(&view);
        match self.engine.replay_session(&mut writes, session, signed, facts) {
            Ok(()) => {}
            // The chain source is behind; the next look tries again.
            Err(ReplayError::Stop(Stop::Blocked(_))) => return Ok(effects),
            Err(ReplayError::Stop(Stop::Halt(halt))) => return Err(halt.into()),
            Err(error) => return Err(Trouble::Broken(error.to_string())),
        }
        let batch = writes.into_batch();
        self.commit(batch, &BTreeSet::new(), now_ms, &mut effects)?;
        self.finished(session, ledger)?;
        self.propose(now_ms)?;
        Ok(effects)
    }
}
