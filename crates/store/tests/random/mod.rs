//! Randomness that a seed replays, for tests that compare a store with a model.

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    /// Short keys of few bytes meet often, and 0xff is among the bytes.
    pub(crate) fn key(&mut self) -> Vec<u8> {
        (0..self.below(4)).map(|_| [0, 1, 0x7f, 0xff][self.below(4) as usize]).collect()
    }
}
