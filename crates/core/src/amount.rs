//! Amounts of money.
//!
//! Source: docs/protocol/core.md, section 2.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{DecodeError, Reader};
use crate::{Decode, Encode};

const MSAT_PER_SAT: u64 = 1000;

/// An amount in millisatoshi, or in thousandths of another [`AmountUnit`].
///
/// Encoding: an integer. JSON: a number. Arithmetic is checked or says that it saturates.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Msat(pub u64);

impl Msat {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The sum, `None` on overflow.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, `None` if `other` is larger.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// This amount `count` times, `None` on overflow.
    #[must_use]
    pub const fn checked_mul(self, count: u64) -> Option<Self> {
        match self.0.checked_mul(count) {
            Some(product) => Some(Self(product)),
            None => None,
        }
    }

    /// The sum, or the largest amount.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum of `amounts`, `None` on overflow.
    #[must_use]
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// An amount on the chain in millisatoshi, `None` on overflow.
    #[must_use]
    pub fn from_sat(amount: bitcoin::Amount) -> Option<Self> {
        Self(amount.to_sat()).checked_mul(MSAT_PER_SAT)
    }

    /// The whole satoshis in this amount; the rest is dropped.
    #[must_use]
    pub fn floor_to_sat(self) -> bitcoin::Amount {
        bitcoin::Amount::from_sat(self.0 / MSAT_PER_SAT)
    }

    /// This amount in satoshi, `None` if it is not a whole number of them.
    #[must_use]
    pub fn exact_sat(self) -> Option<bitcoin::Amount> {
        if self.0.is_multiple_of(MSAT_PER_SAT) { Some(self.floor_to_sat()) } else { None }
    }
}

impl fmt::Display for Msat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} msat", self.0)
    }
}

/// What an amount counts.
///
/// Encoding: an integer. JSON: a number.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct AmountUnit(pub u64);

impl AmountUnit {
    /// Bitcoin of the federation's network, in millisatoshi.
    pub const BITCOIN: Self = Self(0);
}

impl fmt::Display for AmountUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unit {}", self.0)
    }
}

/// Amounts of several units, never holding a zero.
///
/// Encoding: a map from unit to amount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode)]
pub struct Amounts(BTreeMap<AmountUnit, Msat>);

impl Amounts {
    /// Nothing of any unit.
    pub const ZERO: Self = Self(BTreeMap::new());

    /// An amount of one unit.
    #[must_use]
    pub fn new(unit: AmountUnit, amount: Msat) -> Self {
        let mut amounts = Self::ZERO;
        amounts.set(unit, amount);
        amounts
    }

    /// An amount of bitcoin.
    #[must_use]
    pub fn bitcoin(amount: Msat) -> Self {
        Self::new(AmountUnit::BITCOIN, amount)
    }

    /// How much of `unit` there is.
    #[must_use]
    pub fn get(&self, unit: AmountUnit) -> Msat {
        self.0.get(&unit).copied().unwrap_or(Msat::ZERO)
    }

    /// These amounts and `amount` of `unit`, `None` on overflow.
    #[must_use]
    pub fn checked_add(mut self, unit: AmountUnit, amount: Msat) -> Option<Self> {
        let sum = self.get(unit).checked_add(amount)?;
        self.set(unit, sum);
        Some(self)
    }

    /// The sum unit by unit, `None` on overflow of any.
    #[must_use]
    pub fn checked_add_all(self, other: &Self) -> Option<Self> {
        other.iter().try_fold(self, |sum, (unit, amount)| sum.checked_add(unit, amount))
    }

    /// The difference unit by unit, `None` if there is less than `other` of any.
    #[must_use]
    pub fn checked_sub_all(mut self, other: &Self) -> Option<Self> {
        for (unit, amount) in other.iter() {
            let difference = self.get(unit).checked_sub(amount)?;
            self.set(unit, difference);
        }
        Some(self)
    }

    /// Whether there is nothing of any unit.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// The units present and how much of each, in ascending order of the unit.
    pub fn iter(&self) -> impl Iterator<Item = (AmountUnit, Msat)> + '_ {
        self.0.iter().map(|(unit, amount)| (*unit, *amount))
    }

    /// The units present, in ascending order.
    pub fn units(&self) -> impl Iterator<Item = AmountUnit> + '_ {
        self.0.keys().copied()
    }

    fn set(&mut self, unit: AmountUnit, amount: Msat) {
        if amount == Msat::ZERO {
            self.0.remove(&unit);
        } else {
            self.0.insert(unit, amount);
        }
    }
}

impl Decode for Amounts {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let amounts = BTreeMap::decode(input)?;
        if amounts.values().any(|amount| *amount == Msat::ZERO) {
            return Err(DecodeError::Invalid("amount, it is zero"));
        }
        Ok(Self(amounts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_satoshis_convert_exactly_and_others_only_with_a_named_rounding() {
        assert_eq!(Msat(2000).exact_sat(), Some(bitcoin::Amount::from_sat(2)));
        assert_eq!(Msat(2001).exact_sat(), None);
        assert_eq!(Msat(2999).floor_to_sat(), bitcoin::Amount::from_sat(2));
        assert_eq!(Msat::from_sat(bitcoin::Amount::from_sat(u64::MAX)), None);
    }

    #[test]
    fn zero_amounts_are_never_held() {
        let some = Amounts::bitcoin(Msat(5));
        assert_eq!(some.clone().checked_sub_all(&some), Some(Amounts::ZERO));
        assert_eq!(Amounts::ZERO.checked_add(AmountUnit(3), Msat::ZERO), Some(Amounts::ZERO));
        assert!(Amounts::from_bytes(&[1, 0, 0]).is_err());
    }

    #[test]
    fn overflow_of_one_unit_is_reported() {
        let most = Amounts::bitcoin(Msat(u64::MAX));
        assert_eq!(most.clone().checked_add(AmountUnit::BITCOIN, Msat(1)), None);
        assert_eq!(most.checked_add(AmountUnit(1), Msat(1)).map(|a| a.units().count()), Some(2));
    }
}
