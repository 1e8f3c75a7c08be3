//! The price of space on the chain.

use serde::{Deserialize, Serialize};

use crate::{Decode, Encode};

/// A fee rate in satoshi per 1000 virtual bytes.
///
/// JSON: `{"sats_per_kvb":1000}`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct Feerate {
    /// Satoshi per 1000 virtual bytes.
    pub sats_per_kvb: u64,
}

impl Feerate {
    /// The fee for a transaction of `weight` weight units: the virtual size is rounded up, the fee
    /// down. `None` on overflow.
    #[must_use]
    pub fn checked_fee(self, weight: u64) -> Option<bitcoin::Amount> {
        let virtual_size_bytes = weight.div_ceil(4);
        let millisats = virtual_size_bytes.checked_mul(self.sats_per_kvb)?;
        Some(bitcoin::Amount::from_sat(millisats / 1000))
    }
}
