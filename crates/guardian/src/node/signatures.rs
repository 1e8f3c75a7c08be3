//! Signatures under sessions that are not signed by a threshold yet.
//!
//! A signature is verified as soon as the session has ended here. Before that, one from each
//! guardian is kept, and only from itself: nobody can put a false one in another's place.

use std::collections::BTreeMap;

use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::{PeerId, SessionHeader, SessionIndex};

/// All of them. Bounded: the caller keeps to two sessions, each holds one signature per guardian.
pub(super) struct Signatures {
    keys: BTreeMap<PeerId, PublicKey>,
    sessions: BTreeMap<SessionIndex, OfSession>,
}

#[derive(Default)]
struct OfSession {
    /// What must be signed, once it is known.
    header: Option<SessionHeader>,
    /// Verified if the header is known.
    signatures: BTreeMap<PeerId, Signature>,
    /// How often each guardian gave a signature that does not fit.
    liars: BTreeMap<PeerId, u8>,
}

/// False signatures of one guardian that are looked at in one session. An honest one may be wrong
/// before it has seen the end; who goes on costs the writer no more.
const PATIENCE: u8 = 8;

impl OfSession {
    /// Notes a false signature; true if it is this guardian's first one, which is told of.
    fn is_first_lie(&mut self, peer: PeerId) -> bool {
        let lies = self.liars.entry(peer).or_default();
        *lies = lies.saturating_add(1);
        *lies == 1
    }

    fn is_ignored(&self, peer: PeerId) -> bool {
        self.liars.get(&peer).is_some_and(|lies| *lies >= PATIENCE)
    }
}

impl Signatures {
    /// None yet, from the holders of these keys.
    pub(super) fn new(keys: BTreeMap<PeerId, PublicKey>) -> Self {
        Self { keys, sessions: BTreeMap::new() }
    }

    /// A session has ended here. Returns the guardians whose early signature does not fit.
    pub(super) fn begin(
        &mut self,
        header: SessionHeader,
        me: PeerId,
        own: Signature,
    ) -> Vec<PeerId> {
        let keys = &self.keys;
        let session = self.sessions.entry(header.index).or_default();
        session.header = Some(header);
        session.signatures.insert(me, own);
        let verify = |peer: &PeerId, signature: &Signature| {
            *peer == me || header.verify_one(keys, *peer, signature)
        };
        let early = std::mem::take(&mut session.signatures);
        let (good, bad): (BTreeMap<_, _>, BTreeMap<_, _>) =
            early.into_iter().partition(|(peer, signature)| verify(peer, signature));
        session.signatures = good;
        bad.into_keys().filter(|peer| session.is_first_lie(*peer)).collect()
    }

    /// A guardian's own signature; false if it is the first of this guardian that does not fit.
    pub(super) fn hear_own(
        &mut self,
        index: SessionIndex,
        from: PeerId,
        signature: Signature,
    ) -> bool {
        if !self.keys.contains_key(&from) {
            return true;
        }
        let session = self.sessions.entry(index).or_default();
        match session.header {
            // Not known yet: the latest word of each guardian counts.
            None => {
                session.signatures.insert(from, signature);
                true
            }
            Some(_) if session.signatures.contains_key(&from) || session.is_ignored(from) => true,
            Some(header) if header.verify_one(&self.keys, from, &signature) => {
                session.signatures.insert(from, signature);
                true
            }
            Some(_) => !session.is_first_lie(from),
        }
    }

    /// Signatures of several guardians as `from` has them; false if it is the first time that some
    /// of this guardian's do not fit. Not kept while the session runs here: `from` repeats them.
    pub(super) fn hear_all(
        &mut self,
        index: SessionIndex,
        from: PeerId,
        signatures: BTreeMap<PeerId, Signature>,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&index) else { return true };
        let Some(header) = session.header else { return true };
        if session.is_ignored(from) {
            return true;
        }
        let mut fits = true;
        for (signer, signature) in signatures {
            if session.signatures.contains_key(&signer) {
                continue;
            }
            if !header.verify_one(&self.keys, signer, &signature) {
                // The rest is not worth the work.
                fits = false;
                break;
            }
            session.signatures.insert(signer, signature);
        }
        fits || !session.is_first_lie(from)
    }

    /// The signatures of exactly `threshold` guardians, if the session has ended here and there
    /// are as many.
    pub(super) fn enough(
        &self,
        index: SessionIndex,
        threshold: usize,
    ) -> Option<BTreeMap<PeerId, Signature>> {
        let session = self.sessions.get(&index).filter(|session| session.header.is_some())?;
        let all = &session.signatures;
        (all.len() >= threshold)
            .then(|| all.iter().take(threshold).map(|(peer, s)| (*peer, *s)).collect())
    }

    /// `last` and all sessions before it are signed.
    pub(super) fn forget(&mut self, last: SessionIndex) {
        self.sessions.retain(|index, _| *index > last);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
    use moneta_core::SessionOutcome;

    use super::*;

    const INDEX: SessionIndex = SessionIndex(7);

    struct World {
        keypairs: Vec<Keypair>,
        keys: BTreeMap<PeerId, PublicKey>,
        header: SessionHeader,
    }

    impl World {
        fn new() -> Self {
            let keypair = |byte: u8| {
                let key = SecretKey::from_slice(&[byte; 32]).unwrap();
                Keypair::from_secret_key(&Secp256k1::new(), &key)
            };
            let keypairs: Vec<_> = (1..=4).map(keypair).collect();
            let public = |(i, pair): (usize, &Keypair)| (PeerId::new(i as u16), pair.public_key());
            let keys = keypairs.iter().enumerate().map(public).collect();
            Self { keypairs, keys, header: SessionOutcome { items: Vec::new() }.header(INDEX) }
        }

        fn sign(&self, peer: u16) -> (PeerId, Signature) {
            let signature = self.header.sign(&self.keys, &self.keypairs[peer as usize]);
            (PeerId::new(peer), signature)
        }
    }

    #[test]
    fn threshold_completes_only_after_the_session_has_ended_here() {
        let world = World::new();
        let mut signatures = Signatures::new(world.keys.clone());
        for peer in 1..4 {
            let (peer, signature) = world.sign(peer);
            assert!(signatures.hear_own(INDEX, peer, signature));
        }
        assert!(signatures.enough(INDEX, 3).is_none());
        let (me, own) = world.sign(0);
        assert!(signatures.begin(world.header, me, own).is_empty());
        assert_eq!(signatures.enough(INDEX, 3).unwrap().len(), 3);
        signatures.forget(INDEX);
        assert!(signatures.enough(INDEX, 3).is_none());
    }

    #[test]
    fn third_guardian_cannot_take_the_place_of_a_true_signature() {
        let world = World::new();
        let mut signatures = Signatures::new(world.keys.clone());
        let (me, own) = world.sign(0);
        let (one, true_one) = world.sign(1);
        let (liar, of_liar) = world.sign(3);
        // Before the end nothing is taken from third parties, afterwards only what verifies.
        assert!(signatures.hear_all(INDEX, liar, BTreeMap::from([(one, of_liar)])));
        signatures.begin(world.header, me, own);
        assert!(!signatures.hear_all(INDEX, liar, BTreeMap::from([(one, of_liar)])));
        assert!(signatures.hear_all(INDEX, liar, BTreeMap::from([(one, of_liar)])), "told once");
        assert!(signatures.hear_own(INDEX, one, true_one));
        assert!(signatures.hear_all(INDEX, one, BTreeMap::from([world.sign(2)])));
        let enough = signatures.enough(INDEX, 3).unwrap();
        assert_eq!(enough.get(&one), Some(&true_one));
    }

    #[test]
    fn early_false_signature_is_named_and_may_be_mended() {
        let world = World::new();
        let mut signatures = Signatures::new(world.keys.clone());
        let (me, own) = world.sign(0);
        let (one, true_one) = world.sign(1);
        signatures.hear_own(INDEX, one, own);
        assert_eq!(signatures.begin(world.header, me, own), [one]);
        assert!(signatures.enough(INDEX, 2).is_none());
        assert!(signatures.hear_own(INDEX, one, true_one));
        assert!(signatures.enough(INDEX, 2).is_some());
    }

    #[test]
    fn steady_liar_is_told_of_once_and_then_costs_nothing() {
        let world = World::new();
        let mut signatures = Signatures::new(world.keys.clone());
        let (me, own) = world.sign(0);
        let (one, true_one) = world.sign(1);
        signatures.begin(world.header, me, own);
        assert!(!signatures.hear_own(INDEX, one, own), "told of");
        for _ in 1..PATIENCE {
            assert!(signatures.hear_own(INDEX, one, own));
        }
        // Not even looked at any more, nor is what it passes on.
        assert!(signatures.hear_own(INDEX, one, true_one));
        assert!(signatures.hear_all(INDEX, one, BTreeMap::from([world.sign(2)])));
        assert!(signatures.enough(INDEX, 2).is_none());
        let (two, true_two) = world.sign(2);
        assert!(signatures.hear_all(
            INDEX,
            two,
            BTreeMap::from([(one, true_one), (two, true_two)])
        ));
        assert_eq!(signatures.enough(INDEX, 3).unwrap().len(), 3);
    }

    #[test]
    fn stranger_is_not_counted() {
        let world = World::new();
        let mut signatures = Signatures::new(world.keys.clone());
        let (me, own) = world.sign(0);
        signatures.hear_own(INDEX, PeerId::new(9), own);
        signatures.begin(world.header, me, own);
        signatures.hear_all(INDEX, PeerId::new(1), BTreeMap::from([(PeerId::new(9), own)]));
        assert_eq!(signatures.enough(INDEX, 1).unwrap().len(), 1);
        assert!(signatures.enough(INDEX, 2).is_none());
    }
}
