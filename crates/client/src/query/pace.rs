//! Pauses between attempts.

/// Pauses that double from a first value up to a cap. Units: milliseconds.
///
/// Without jitter: what spreads clients that lost the same guardian at the same moment is the
/// reconnecting below, not the asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    first_ms: u64,
    cap_ms: u64,
}

impl Pace {
    /// Of calls to guardians (core.md 9.1).
    pub const CALLS: Self = Self::new(250, 10_000);
    /// Of submitting a transaction again whose fate is open (core.md 9.1).
    pub const RESUBMIT: Self = Self::new(2_000, 600_000);
    /// Of machines that cannot go on now: they wait for something local or rare.
    pub const MACHINES: Self = Self::new(1_000, 300_000);
    /// Of telling that a transaction is not accepted yet: guardians order in seconds, and a session
    /// that hangs is mended in less than a minute.
    pub const STALLED: Self = Self::new(60_000, 3_600_000);
    /// Of attempts to join (core.md 5.4).
    pub const JOIN: Self = Self::new(200, 5_000);

    /// Pauses from `first_ms`, doubling, at most `cap_ms`.
    pub const fn new(first_ms: u64, cap_ms: u64) -> Self {
        Self { first_ms, cap_ms }
    }

    /// The pause before the attempt that follows `repeats` earlier pauses.
    pub fn delay_ms(self, repeats: u32) -> u64 {
        let factor = 1_u64.checked_shl(repeats).unwrap_or(u64::MAX);
        self.first_ms.saturating_mul(factor).min(self.cap_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let delays = [0, 1, 2, 6, 63, 64, u32::MAX].map(|n| Pace::CALLS.delay_ms(n));
        assert_eq!(delays, [250, 500, 1_000, 10_000, 10_000, 10_000, 10_000]);
    }
}
