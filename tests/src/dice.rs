//! Chance for tests: a seed that is printed gives the same choices again.

/// SplitMix64 (Steele, Lea, Flood 2014), which needs no more state than its seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From `PARCOURS_SEED`, or from the clock; the seed is printed.
    #[must_use]
    pub fn thrown(test: &str) -> Self {
        let given = std::env::var("PARCOURS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::try_from(crate::client::wall_ms()).unwrap_or(0));
        println!("{test}: PARCOURS_SEED={seed}");
        Self(seed)
    }

    /// A number below `below`, which must not be 0.
    pub fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(below).unwrap_or(u64::MAX).max(1);
        usize::try_from((mixed ^ (mixed >> 31)) % bound).unwrap_or(0)
    }

    /// Another one that goes its own way.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(self.below(usize::MAX) as u64)
    }
}
