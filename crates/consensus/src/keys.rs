//! The guardians' keys as AlephBFT wants them: BIP340 Schnorr signatures over secp256k1.
//!
//! The same broadcast key also signs session headers. A message signed here is the BIP340-style
//! tagged hash `sha256(sha256(TAG) || sha256(TAG) || context || message)`, where the context is
//! a hash of all guardians' keys, so no signature made here means anything to another federation
//! or elsewhere in the protocol.

use std::sync::Arc;

use aleph_bft::{Index, Keychain, MultiKeychain, NodeCount, NodeIndex, NodeMap};
use bitcoin::{
    hashes::{Hash as _, HashEngine as _, sha256},
    secp256k1::{All, Keypair, Message, PublicKey, Secp256k1, XOnlyPublicKey, schnorr},
};
use parity_scale_codec::{Decode, Encode};

const TAG: &[u8] = b"moneta/consensus";

/// Why a set of keys is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// Refused: our index does not name one of the guardians.
    #[error("guardian {me} is not one of {total}")]
    NoSuchGuardian {
        /// Our index.
        me: usize,
        /// How many guardians there are.
        total: usize,
    },
    /// Refused: our key pair is not the one the federation knows for our index.
    #[error("the key pair does not match the public key of guardian {me}")]
    WrongKey {
        /// Our index.
        me: usize,
    },
    /// Refused: two guardians have the same key.
    #[error("guardians {first} and {second} have the same key")]
    SharedKey {
        /// The smaller index.
        first: usize,
        /// The larger index.
        second: usize,
    },
}

/// My key pair and every guardian's public key, in the order of their indices.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    me: usize,
    keypair: Keypair,
    public: Vec<XOnlyPublicKey>,
    /// The midstate of the tagged hash after tag and context.
    midstate: sha256::HashEngine,
    secp: Secp256k1<All>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys(guardian {} of {})", self.inner.me, self.inner.public.len())
    }
}

impl Keys {
    /// Puts together the keys of guardian `me`; `public` holds all guardians' keys by index.
    pub fn new(me: usize, keypair: Keypair, public: &[PublicKey]) -> Result<Self, KeysError> {
        let x_only: Vec<_> = public.iter().map(|key| key.x_only_public_key().0).collect();
        let own = x_only.get(me).ok_or(KeysError::NoSuchGuardian { me, total: x_only.len() })?;
        if *own != keypair.x_only_public_key().0 {
            return Err(KeysError::WrongKey { me });
        }
        for (second, key) in x_only.iter().enumerate() {
            if let Some(first) = x_only[..second].iter().position(|earlier| earlier == key) {
                return Err(KeysError::SharedKey { first, second });
            }
        }
        let tag = sha256::Hash::hash(TAG);
        let mut midstate = sha256::Hash::engine();
        midstate.input(tag.as_byte_array());
        midstate.input(tag.as_byte_array());
        let mut context = sha256::Hash::engine();
        for key in &x_only {
            context.input(&key.serialize());
        }
        midstate.input(sha256::Hash::from_engine(context).as_byte_array());
        let inner = Inner { me, keypair, public: x_only, midstate, secp: Secp256k1::new() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Our own index.
    pub fn me(&self) -> usize {
        self.inner.me
    }

    /// How many guardians there are.
    pub fn total(&self) -> usize {
        self.inner.public.len()
    }

    /// How many guardians may be faulty without harm: the largest f with 3f < n.
    pub fn max_faulty(&self) -> usize {
        self.total().saturating_sub(1) / 3
    }

    /// How many guardians suffice to agree: n - f.
    pub fn threshold(&self) -> usize {
        self.total() - self.max_faulty()
    }

    /// Every index but ours.
    pub(crate) fn peers(&self) -> impl Iterator<Item = usize> + use<> {
        let me = self.me();
        (0..self.total()).filter(move |peer| *peer != me)
    }

    fn digest(&self, message: &[u8]) -> Message {
        let mut engine = self.inner.midstate.clone();
        engine.input(message);
        Message::from_digest(sha256::Hash::from_engine(engine).to_byte_array())
    }
}

/// A BIP340 signature.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) struct Signature(pub(crate) [u8; 64]);

/// The keys as AlephBFT asks for them; a type of its own so that [`Keys`] shows nothing of it.
#[derive(Clone)]
pub(crate) struct Keyring(pub(crate) Keys);

impl Index for Keyring {
    fn index(&self) -> NodeIndex {
        NodeIndex(self.0.me())
    }
}

impl Keychain for Keyring {
    type Signature = Signature;

    fn node_count(&self) -> NodeCount {
        NodeCount(self.0.total())
    }

    fn sign(&self, message: &[u8]) -> Signature {
        let inner = &self.0.inner;
        let digest = self.0.digest(message);
        Signature(inner.secp.sign_schnorr_no_aux_rand(&digest, &inner.keypair).serialize())
    }

    fn verify(&self, message: &[u8], signature: &Signature, index: NodeIndex) -> bool {
        let Some(key) = self.0.inner.public.get(index.0) else { return false };
        let Ok(signature) = schnorr::Signature::from_slice(&signature.0) else { return false };
        self.0.inner.secp.verify_schnorr(&signature, &self.0.digest(message), key).is_ok()
    }
}

impl MultiKeychain for Keyring {
    type PartialMultisignature = NodeMap<Signature>;

    fn bootstrap_multi(&self, signature: &Signature, index: NodeIndex) -> NodeMap<Signature> {
        let mut signatures = NodeMap::with_size(self.node_count());
        signatures.insert(index, signature.clone());
        signatures
    }

    fn is_complete(&self, message: &[u8], partial: &NodeMap<Signature>) -> bool {
        // The map may come from a peer, with any size. All signatures must hold: a threshold of
        // good ones beside a bad one would let two honest guardians disagree on what is complete.
        partial.size() == self.node_count()
            && partial.item_count() >= self.0.threshold()
            && partial.iter().all(|(index, signature)| self.verify(message, signature, index))
    }
}

/// SHA-256, by which units are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sha256;

impl aleph_bft::Hasher for Sha256 {
    type Hash = [u8; 32];

    fn hash(bytes: &[u8]) -> [u8; 32] {
        sha256::Hash::hash(bytes).to_byte_array()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use bitcoin::secp256k1::SecretKey;

    use super::*;

    /// Fixed keys of a federation of `n`, the same in every run.
    pub(crate) fn federation(n: usize) -> Vec<Keys> {
        let secp = Secp256k1::new();
        let pairs: Vec<_> = (1..=n)
            .map(|i| SecretKey::from_slice(&[i as u8; 32]).unwrap().keypair(&secp))
            .collect();
        let public: Vec<_> = pairs.iter().map(|pair| pair.public_key()).collect();
        (0..n).map(|i| Keys::new(i, pairs[i], &public).unwrap()).collect()
    }

    fn rings(n: usize) -> Vec<Keyring> {
        federation(n).into_iter().map(Keyring).collect()
    }

    #[test]
    fn signature_holds_for_its_signer_and_message_only() {
        let keys = rings(4);
        let signature = keys[1].sign(b"unit");
        assert!(keys[0].verify(b"unit", &signature, NodeIndex(1)));
        assert!(!keys[0].verify(b"unit", &signature, NodeIndex(2)));
        assert!(!keys[0].verify(b"other", &signature, NodeIndex(1)));
        assert!(!keys[0].verify(b"unit", &signature, NodeIndex(4)));
        let other_federation = rings(5);
        assert!(!other_federation[0].verify(b"unit", &signature, NodeIndex(1)));
    }

    #[test]
    fn multisignature_needs_a_threshold_of_good_ones_and_our_size() {
        let keys = rings(4);
        let mut partial = NodeMap::with_size(NodeCount(4));
        for (i, key) in keys.iter().enumerate().take(2) {
            partial.insert(NodeIndex(i), key.sign(b"m"));
        }
        assert!(!keys[3].is_complete(b"m", &partial));
        partial.insert(NodeIndex(2), keys[2].sign(b"m"));
        assert!(keys[3].is_complete(b"m", &partial));
        partial.insert(NodeIndex(3), keys[2].sign(b"m"));
        assert!(!keys[3].is_complete(b"m", &partial));
        let mut foreign = NodeMap::with_size(NodeCount(9));
        for (i, key) in keys.iter().enumerate() {
            foreign.insert(NodeIndex(i + 5), key.sign(b"m"));
        }
        assert!(!keys[3].is_complete(b"m", &foreign));
    }

    #[test]
    fn foreign_and_shared_keys_are_refused() {
        let secp = Secp256k1::new();
        let pair = |i: u8| SecretKey::from_slice(&[i; 32]).unwrap().keypair(&secp);
        let public = [pair(1).public_key(), pair(2).public_key()];
        assert!(matches!(
            Keys::new(2, pair(1), &public),
            Err(KeysError::NoSuchGuardian { me: 2, total: 2 })
        ));
        assert!(matches!(Keys::new(1, pair(1), &public), Err(KeysError::WrongKey { me: 1 })));
        let shared = [public[0], public[0]];
        assert!(matches!(
            Keys::new(0, pair(1), &shared),
            Err(KeysError::SharedKey { first: 0, second: 1 })
        ));
    }
}
