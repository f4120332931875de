//! When requests are meant to leave in open loop, whatever the replies do.
//!
//! - Intended instants depend on seed, rate and arrival alone; they never decrease.

use crate::options::Arrival;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// The intended instants of one load thread, in nanoseconds from the start of its load, without end.
#[derive(Clone, Debug)]
pub struct Schedule {
    random: ChaCha8Rng,
    arrival: Arrival,
    gap_ns: f64,
    next_ns: f64,
}

impl Schedule {
    /// `requests_per_s` requests each second of this thread; `thread` sets the phase of threads apart.
    pub fn new(
        seed: u64,
        thread: u32,
        threads: u32,
        arrival: Arrival,
        requests_per_s: f64,
    ) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(u64::from(thread) + 1);
        let gap_ns = 1e9 / requests_per_s;
        let mut schedule = Self {
            random,
            arrival,
            gap_ns,
            next_ns: 0.0,
        };
        schedule.next_ns = match arrival {
            Arrival::Uniform => gap_ns * f64::from(thread) / f64::from(threads),
            Arrival::Poisson => schedule.draw_gap(),
        };
        schedule
    }

    /// The next intended instant.
    pub fn peek(&self) -> u64 {
        self.next_ns as u64
    }

    /// Takes the next intended instant.
    pub fn take(&mut self) -> u64 {
        let taken = self.peek();
        self.next_ns += self.draw_gap();
        taken
    }

    fn draw_gap(&mut self) -> f64 {
        match self.arrival {
            Arrival::Uniform => self.gap_ns,
            Arrival::Poisson => {
                // 53 bits, in (0, 1]: its logarithm is finite.
                let unit = ((self.random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
                -unit.ln() * self.gap_ns
            }
        }
    }
}

/// How probable gaps so far from an exponential distribution of this mean are by chance alone
/// (Kolmogorov and Smirnov). `None` for fewer than 20 gaps. Sorts `gaps`.
pub fn exponential_probability(gaps: &mut [u64], mean_ns: f64) -> Option<f64> {
    if gaps.len() < 20 {
        return None;
    }
    gaps.sort_unstable();
    let count = gaps.len() as f64;
    let mut distance = 0.0f64;
    for (rank, &gap) in gaps.iter().enumerate() {
        let expected = 1.0 - (-(gap as f64) / mean_ns).exp();
        let (below, above) = (rank as f64 / count, (rank + 1) as f64 / count);
        distance = distance
            .max((expected - below).abs())
            .max((above - expected).abs());
    }
    let lambda = (count.sqrt() + 0.12 + 0.11 / count.sqrt()) * distance;
    // The alternating series below converges slowly near zero, where the probability is 1.
    if lambda < 0.2 {
        return Some(1.0);
    }
    let term = |k: f64| (-2.0 * k * k * lambda * lambda).exp();
    let sum: f64 = (1..=100)
        .map(|k| {
            if k % 2 == 1 {
                term(f64::from(k))
            } else {
                -term(f64::from(k))
            }
        })
        .sum();
    Some((2.0 * sum).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(arrival: Arrival) -> Vec<u64> {
        let mut schedule = Schedule::new(7, 0, 1, arrival, 1e6);
        let instants: Vec<u64> = (0..20_001).map(|_| schedule.take()).collect();
        instants.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn the_rate_is_kept() {
        for arrival in [Arrival::Poisson, Arrival::Uniform] {
            let total: u64 = gaps(arrival).iter().sum();
            let mean = total as f64 / 20_000.0;
            assert!(
                (mean / 1000.0 - 1.0).abs() < 0.05,
                "{arrival:?}: {mean} ns apart"
            );
        }
    }

    #[test]
    fn poisson_gaps_are_exponential_and_uniform_ones_are_not() {
        let poisson =
            exponential_probability(&mut gaps(Arrival::Poisson), 1000.0).expect("enough gaps");
        assert!(poisson > 0.001, "{poisson}");
        let uniform =
            exponential_probability(&mut gaps(Arrival::Uniform), 1000.0).expect("enough gaps");
        assert!(uniform < 1e-6, "{uniform}");
        assert_eq!(exponential_probability(&mut [1, 2], 1.0), None);
    }

    #[test]
    fn threads_of_a_uniform_schedule_interleave() {
        let first = |thread| Schedule::new(7, thread, 4, Arrival::Uniform, 1000.0).peek();
        assert_eq!(
            [first(0), first(1), first(2), first(3)],
            [0, 250_000, 500_000, 750_000]
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_instants() {
        assert_eq!(gaps(Arrival::Poisson), gaps(Arrival::Poisson));
    }
}
