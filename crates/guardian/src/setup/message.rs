//! What guardians say to each other during key generation.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::{Decode, Encode, PeerId};

/// First: do we all hold the same setup codes?
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Hello {
    /// Hash of all codes in order.
    pub(super) codes: [u8; 32],
}

/// Second: public parts, and a hash that fixes the dealing before anyone sees another's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Contribution {
    pub(super) broadcast_key: PublicKey,
    /// Under the ceremony and the guardian's id by that key: nobody can show another's key as his.
    pub(super) proof: Signature,
    /// One per module, in the order of the instance ids.
    pub(super) modules: Vec<Vec<u8>>,
    pub(super) dealing: [u8; 32],
}

/// Fourth: what each guardian received in public from everybody, so that nobody can have told
/// different guardians different things.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Echo {
    /// Hash of contribution and dealing, by guardian.
    pub(super) heard: BTreeMap<PeerId, [u8; 32]>,
}

/// Sixth: whose shares did not verify.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Complaints {
    pub(super) dealers: BTreeSet<PeerId>,
}

/// Seventh: the shares that were complained about, now in public, by complainant; and what
/// complaints each guardian heard, so that nobody can complain to some only.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Answers {
    pub(super) heard: BTreeMap<PeerId, [u8; 32]>,
    pub(super) shares: BTreeMap<PeerId, Vec<u8>>,
}

/// Last: have we all arrived at the same configuration?
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Finished {
    pub(super) config: [u8; 32],
}
