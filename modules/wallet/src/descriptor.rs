//! Scripts of the federation: a sorted multisig of all guardian keys, moved by a tweak.
//!
//! With guardian keys `P` and a tweak `T`, the keys in the script are `Q = P + T*G` with the same
//! `T` for all. For deposits `T` is the hash of the claim key, for the federation's own change the
//! hash of the coin before it. The two hash inputs differ in length, so neither can be taken for the
//! other.
//!
//! Source: docs/protocol/wallet.md, section 1.3.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::opcodes::all::OP_CHECKMULTISIG;
use bitcoin::script::{Builder, PushBytes, Script, ScriptBuf};
use bitcoin::secp256k1::{All, PublicKey, Scalar, Secp256k1, SecretKey};
use moneta_core::{Encode, FederationSize, PeerId};

use crate::words::{FederationWallet, MAX_GUARDIANS};

/// The tables of the curve, made once.
pub(crate) static SECP: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// A tweak: a hash, read as a big-endian scalar.
pub type Tweak = sha256::Hash;

/// Returns the tweak of the deposit address of a claim key.
pub fn claim_tweak(claim_key: &PublicKey) -> Tweak {
    sha256::Hash::hash(&claim_key.serialize())
}

/// Returns the tweak of the change that follows `wallet`.
pub fn change_tweak(wallet: &FederationWallet) -> Tweak {
    sha256::Hash::hash(&wallet.to_bytes())
}

/// The tweak is not below the group order, or hits the negative of a key. Nobody can find such a
/// tweak: it takes 2^128 attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tweak gives no key")]
pub struct TweakError;

/// The family of scripts of one federation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    keys: BTreeMap<PeerId, PublicKey>,
    threshold: usize,
    pks_hash: sha256::Hash,
}

impl Descriptor {
    /// The scripts of the guardians with these keys; `None` without keys and with more than a
    /// multisig script holds.
    pub fn new(keys: &BTreeMap<PeerId, PublicKey>) -> Option<Self> {
        let size = FederationSize::new(keys.len()).filter(|_| keys.len() <= MAX_GUARDIANS)?;
        let pks_hash = sha256::Hash::hash(&keys.to_bytes());
        Some(Self { keys: keys.clone(), threshold: size.threshold(), pks_hash })
    }

    /// The hash of all guardian keys, which salts the filter.
    pub fn pks_hash(&self) -> sha256::Hash {
        self.pks_hash
    }

    /// How many signatures a script takes.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Returns the guardians' keys under `tweak`.
    pub fn tweaked_keys(&self, tweak: &Tweak) -> Result<BTreeMap<PeerId, PublicKey>, TweakError> {
        let shift = Shift::new(tweak)?;
        let shifted = self.keys.iter().map(|(peer, key)| Ok((*peer, shift.apply(key)?)));
        shifted.collect()
    }

    /// Returns the key of one guardian under `tweak`.
    pub fn tweaked_key(&self, peer: PeerId, tweak: &Tweak) -> Option<PublicKey> {
        Shift::new(tweak).ok()?.apply(self.keys.get(&peer)?).ok()
    }

    /// Returns the witness script under `tweak`.
    pub fn witness_script(&self, tweak: &Tweak) -> Result<ScriptBuf, TweakError> {
        let shift = Shift::new(tweak)?;
        let mut keys = Vec::with_capacity(self.keys.len());
        for key in self.keys.values() {
            keys.push(shift.apply(key)?.serialize());
        }
        keys.sort_unstable();
        let mut script = Builder::new().push_int(self.threshold as i64);
        for key in &keys {
            let key: &PushBytes = key.into();
            script = script.push_slice(key);
        }
        Ok(script.push_int(keys.len() as i64).push_opcode(OP_CHECKMULTISIG).into_script())
    }

    /// Returns the script on the chain under `tweak`.
    pub fn script_pubkey(&self, tweak: &Tweak) -> Result<ScriptBuf, TweakError> {
        Ok(self.witness_script(tweak)?.to_p2wsh())
    }

    /// Whether guardians log outputs with this script. One of 65,536 random scripts passes.
    pub fn is_logged(&self, script: &Script) -> bool {
        let hash = self.filter_hash(script);
        hash.as_byte_array().starts_with(&[0, 0])
    }

    /// The hash whose first two bytes the filter looks at.
    pub fn filter_hash(&self, script: &Script) -> sha256::Hash {
        let mut engine = sha256::Hash::engine();
        engine.input(&bitcoin::consensus::serialize(script));
        engine.input(self.pks_hash.as_byte_array());
        sha256::Hash::from_engine(engine)
    }
}

/// Returns a guardian's secret key under `tweak`.
pub fn tweaked_secret(secret: &SecretKey, tweak: &Tweak) -> Result<SecretKey, TweakError> {
    let scalar = Scalar::from_be_bytes(tweak.to_byte_array()).map_err(|_| TweakError)?;
    secret.add_tweak(&scalar).map_err(|_| TweakError)
}

/// The point `T*G` that is added to every key, computed once for all of them.
enum Shift {
    Nothing,
    By(PublicKey),
}

impl Shift {
    fn new(tweak: &Tweak) -> Result<Self, TweakError> {
        if tweak.to_byte_array() == [0; 32] {
            return Ok(Self::Nothing);
        }
        let scalar = SecretKey::from_slice(tweak.as_byte_array()).map_err(|_| TweakError)?;
        Ok(Self::By(scalar.public_key(&SECP)))
    }

    fn apply(&self, key: &PublicKey) -> Result<PublicKey, TweakError> {
        match self {
            Self::Nothing => Ok(*key),
            Self::By(point) => key.combine(point).map_err(|_| TweakError),
        }
    }
}
