//! The module's configuration and its fees.
//!
//! Source: docs/protocol/mint.md, sections 3.2 and 3.3.

use std::collections::BTreeMap;
use std::fmt;

use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::codec::Reader;
use moneta_core::{Decode, DecodeError, Encode, PeerId};
use moneta_crypto::tbs::{AggregatePublicKey, PublicKeyShare, SecretKeyShare};
use serde::{Deserialize, Serialize};

use super::Denomination;

const MILLION: u64 = 1_000_000;

/// The configuration: the same for guardians and wallets.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct MintConfig {
    /// The keys that notes are verified against.
    pub tbs_agg_pks: BTreeMap<Denomination, AggregatePublicKey>,
    /// The keys that guardians' shares are verified against.
    pub tbs_pks: BTreeMap<Denomination, BTreeMap<PeerId, PublicKeyShare>>,
    /// What inputs and outputs cost.
    pub fee_consensus: Fees,
    /// What the notes count.
    pub amount_unit: AmountUnit,
}

impl MintConfig {
    /// Whether notes of `denomination` exist: it has a key and a value.
    #[must_use]
    pub fn issues(&self, denomination: Denomination) -> bool {
        denomination.value().is_some() && self.tbs_agg_pks.contains_key(&denomination)
    }
}

/// One guardian's secrets. Redacted in `Debug`.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct MintPrivate {
    /// What it signs with.
    pub tbs_sks: BTreeMap<Denomination, SecretKeyShare>,
}

impl fmt::Debug for MintPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MintPrivate({} keys, redacted)", self.tbs_sks.len())
    }
}

/// What each input and each output costs, on its face value.
///
/// Only two kinds exist, all others are refused wherever they are read: no fee at all, or a base
/// of 100 msat and at most 1000 parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Serialize, Deserialize)]
#[serde(try_from = "AnyFees")]
pub struct Fees {
    base: Msat,
    parts_per_million: u64,
}

/// Fees before they are checked.
#[derive(Decode, Deserialize)]
struct AnyFees {
    base: Msat,
    parts_per_million: u64,
}

/// The fees are none that the protocol allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a base of {base} and {parts_per_million} parts per million are not permitted as fees")]
pub struct FeesError {
    /// The base.
    pub base: Msat,
    /// The relative part.
    pub parts_per_million: u64,
}

impl Fees {
    /// No fees.
    pub const NONE: Self = Self { base: Msat::ZERO, parts_per_million: 0 };
    /// The fees of new federations: 100 msat for each input and output.
    pub const DEFAULT: Self = Self { base: Msat(100), parts_per_million: 0 };

    /// The largest relative part.
    const MAX_PARTS_PER_MILLION: u64 = 1000;

    /// Fees of `base` and `parts_per_million`.
    ///
    /// Errors: [`FeesError`] unless both are zero or the base is 100 msat and the relative part at
    /// most 1000.
    pub fn new(base: Msat, parts_per_million: u64) -> Result<Self, FeesError> {
        let fees = Self { base, parts_per_million };
        let with_base =
            base == Self::DEFAULT.base && parts_per_million <= Self::MAX_PARTS_PER_MILLION;
        if fees == Self::NONE || with_base {
            Ok(fees)
        } else {
            Err(FeesError { base, parts_per_million })
        }
    }

    /// The absolute part.
    #[must_use]
    pub const fn base(self) -> Msat {
        self.base
    }

    /// The relative part.
    #[must_use]
    pub const fn parts_per_million(self) -> u64 {
        self.parts_per_million
    }

    /// The fee of an input or output of `amount`, rounded down; the product saturates.
    #[must_use]
    pub const fn fee(self, amount: Msat) -> Msat {
        let relative = amount.0.saturating_mul(self.parts_per_million) / MILLION;
        Msat(relative).saturating_add(self.base)
    }
}

impl TryFrom<AnyFees> for Fees {
    type Error = FeesError;

    fn try_from(fees: AnyFees) -> Result<Self, FeesError> {
        Self::new(fees.base, fees.parts_per_million)
    }
}

impl Decode for Fees {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fees = AnyFees::decode(input)?;
        Self::try_from(fees).map_err(|_| DecodeError::Invalid("fee, it is not permitted"))
    }
}
