//! What a note is worth.

use std::fmt;

use moneta_core::amount::Msat;
use moneta_core::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A denomination: the exponent `d` of a note worth `2^d` msat.
///
/// Encoding: one raw byte. JSON: a number, or a decimal string as a map key. Any byte decodes;
/// only those up to [`Denomination::MAX`] have a value.
/// Source: docs/protocol/mint.md, section 3.1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Denomination(pub u8);

impl Denomination {
    /// The smallest with federation keys, 1 msat.
    pub const MIN: Self = Self(0);
    /// The largest with federation keys, about 22 BTC.
    pub const MAX: Self = Self(41);
    /// The smallest that wallets ask for, 512 msat: below it the fee would eat the note.
    pub const MIN_MINTED: Self = Self(9);

    /// How many denominations have federation keys.
    pub const COUNT: usize = 42;

    /// What a note of it is worth; `None` for a denomination that no federation issues.
    #[must_use]
    pub const fn value(self) -> Option<Msat> {
        if self.0 <= Self::MAX.0 { Some(Msat(1 << self.0)) } else { None }
    }

    /// All denominations with federation keys, ascending.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + Clone {
        (Self::MIN.0..=Self::MAX.0).map(Self)
    }

    /// All denominations that wallets ask for, ascending.
    pub fn minted() -> impl DoubleEndedIterator<Item = Self> + Clone {
        (Self::MIN_MINTED.0..=Self::MAX.0).map(Self)
    }
}

/// The exponent.
impl fmt::Display for Denomination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_powers_of_two_and_end_at_the_last_key() {
        assert_eq!(Denomination(0).value(), Some(Msat(1)));
        assert_eq!(Denomination(41).value(), Some(Msat(2_199_023_255_552)));
        assert_eq!(Denomination(42).value(), None);
        assert_eq!(Denomination(255).value(), None);
        assert_eq!(Denomination::all().count(), Denomination::COUNT);
    }
}
