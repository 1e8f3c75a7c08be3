//! What a transaction must pay to miners.
//!
//! Pending transactions form one chain, and miners look at the chain as a whole: whoever comes next
//! lifts all of it to the feerate of the day. The floor doubles with each pending transaction, so a
//! chain never grows long.
//!
//! Source: docs/protocol/wallet.md, section 1.8.

use bitcoin::Amount;

/// What is pending, and at which price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stack {
    /// How many transactions.
    pub(super) count: u64,
    /// Sum of their estimated sizes.
    pub(super) vbytes: u64,
    /// Sum of their fees in sat.
    pub(super) fees_sat: u64,
}

impl Stack {
    /// Returns this stack with one more transaction on top.
    pub(super) fn with(self, vbytes: u64, fee: Amount) -> Self {
        Self {
            count: self.count.saturating_add(1),
            vbytes: self.vbytes.saturating_add(vbytes),
            fees_sat: self.fees_sat.saturating_add(fee.to_sat()),
        }
    }

    /// Returns the least fee of a transaction of `vbytes` on top of this stack. Saturating
    /// throughout: a fee beyond all money is one that nobody can pay.
    pub(super) fn required_fee(&self, vbytes: u64, feerate: u64, feerate_base: u64) -> Amount {
        let doubling = u32::try_from(self.count).ok().and_then(|count| 1_u64.checked_shl(count));
        let floor = feerate_base.saturating_mul(doubling.unwrap_or(u64::MAX));
        let feerate = feerate.max(floor);
        let price = |vbytes: u64| vbytes.saturating_mul(feerate) / 1000;
        let own = price(vbytes);
        let stack = price(vbytes.saturating_add(self.vbytes)).saturating_sub(self.fees_sat);
        Amount::from_sat(own.max(stack))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: u64 = 228;

    fn stack(fees: &[u64]) -> Stack {
        fees.iter().fold(Stack::default(), |stack, fee| stack.with(316, Amount::from_sat(*fee)))
    }

    #[test]
    fn required_fees_follow_the_table() {
        // Pending fees, consensus feerate, required fee of a withdrawal of 228 vbytes.
        let table: &[(&[u64], u64, u64)] = &[
            (&[], 1000, 228),
            (&[], 100, 57),
            (&[], 2501, 570),
            // Well-paid stacks cost nothing extra.
            (&[316], 1000, 228),
            (&[10_000], 1000, 228),
            // The day's feerate rose: the newcomer lifts the stack.
            (&[316], 5000, 228 * 5 + 316 * 5 - 316),
            // The floor doubles: 1000 at two, 2000 at three, 16,000 at six.
            (&[400, 400], 1000, 228),
            (&[632, 632, 632], 1000, 456),
            (&[632, 632, 632], 2500, (228 + 948) * 25 / 10 - 1896),
            (&[5056; 6], 1000, 228 * 16),
            (&[316; 6], 1000, (228 + 6 * 316) * 16 - 6 * 316),
        ];
        for (fees, feerate, expected) in table {
            let fee = stack(fees).required_fee(SEND, *feerate, 250);
            assert_eq!(fee.to_sat(), *expected, "{fees:?} at {feerate}");
        }
    }

    #[test]
    fn extremes_saturate() {
        let most = Stack { count: u64::MAX, vbytes: u64::MAX, fees_sat: 0 };
        assert_eq!(most.required_fee(SEND, 1000, 250).to_sat(), u64::MAX / 1000);
        let deep = Stack { count: 64, ..Stack::default() };
        assert_eq!(deep.required_fee(SEND, 0, 250).to_sat(), u64::MAX / 1000);
        assert_eq!(Stack::default().required_fee(0, u64::MAX, 250), Amount::ZERO);
    }
}
