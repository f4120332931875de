//! Chance: everything that is drawn in a simulated world comes from one seed, through streams that do not disturb each other.
//!
//! - A stream is named when it is split off: drawing more from one changes nothing in another.
//! - Integers only: the same seed draws the same numbers on every machine.

use net::dice::Dice;

/// One stream of draws.
#[derive(Clone, Debug)]
pub struct Chance(Dice);

impl Chance {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Dice::new(seed))
    }

    /// The stream of this seed and name.
    #[must_use]
    pub fn named(seed: u64, name: &str) -> Self {
        let name = u64::from(crc32fast::hash(name.as_bytes()));
        let mut dice = Dice::new(seed ^ name << 32 ^ name);
        Self(Dice::new(dice.roll()))
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0.roll()
    }

    /// A number below `bound`; 0 where the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A place in a list of this length.
    ///
    /// # Panics
    /// If there is none.
    pub fn place(&mut self, length: usize) -> usize {
        assert!(length > 0, "nothing to choose from");
        usize::try_from(self.0.below(length as u64)).expect("below a usize")
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.place(among.len())]
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.below(most.saturating_sub(least) + 1)
    }

    /// A number from `least` to `most` of which every magnitude is as likely as any other.
    pub fn magnitude(&mut self, least: u64, most: u64) -> u64 {
        let (low, high) = (least.max(1).ilog2(), most.max(1).ilog2());
        let top = 1 << self.between(u64::from(low), u64::from(high));
        (top + self.0.below(top)).clamp(least, most)
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, odds: u64) -> bool {
        self.0.below(1000) < odds
    }

    /// A waiting time with this mean: the sum of two uniform draws, so that short and long ones are rarer.
    pub fn around(&mut self, mean: u64) -> u64 {
        self.0.below(mean + 1) + self.0.below(mean + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draws = |name| {
            let mut chance = Chance::named(42, name);
            [
                chance.roll(),
                chance.between(3, 5),
                chance.magnitude(1, 1 << 20),
            ]
        };
        assert_eq!(draws("network"), draws("network"));
        assert_ne!(draws("network")[0], draws("clients")[0]);
        assert!((3..=5).contains(&draws("network")[1]));
    }
}
