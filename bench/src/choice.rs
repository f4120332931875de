//! Chooses accounts: all alike, or a few far more often than the rest.
//!
//! - A choice is a pure function of 64 random bits, so a transfer can be drawn again from its key.

/// A distribution over `0..count`.
#[derive(Clone, Debug)]
pub enum Choice {
    /// Every account alike.
    Uniform {
        /// Accounts to choose from.
        count: u32,
    },
    /// Account `k` with weight `1 / (k + 1)^theta`, by Walker's alias method.
    Zipf {
        /// Per column: keep it where the coin is below `keep`, else take `other`.
        columns: Vec<Column>,
    },
}

/// One column of the alias table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    keep: u32,
    other: u32,
}

impl Choice {
    /// Uniform over `count` accounts.
    pub fn uniform(count: u32) -> Self {
        assert!(count > 0, "nothing to choose from");
        Choice::Uniform { count }
    }

    /// Zipf over `count` accounts: exact, not an approximation, and one table look-up per draw.
    pub fn zipf(count: u32, theta: f64) -> Self {
        assert!(count > 0, "nothing to choose from");
        let weights: Vec<f64> = (1..=count)
            .map(|rank| f64::from(rank).powf(-theta))
            .collect();
        let scale = f64::from(count) / weights.iter().sum::<f64>();
        let mut shares: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let mut columns: Vec<Column> = (0..count)
            .map(|column| Column {
                keep: u32::MAX,
                other: column,
            })
            .collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..count).partition(|&column| shares[column as usize] < 1.0);
        // Each step fills one small column to the brim from a large one.
        while let (Some(&giver), Some(taker)) = (large.last(), small.pop()) {
            let share = shares[taker as usize];
            columns[taker as usize] = Column {
                keep: coin(share),
                other: giver,
            };
            shares[giver as usize] -= 1.0 - share;
            if shares[giver as usize] < 1.0 {
                large.pop();
                small.push(giver);
            }
        }
        Choice::Zipf { columns }
    }

    /// The account that these random bits choose.
    #[inline]
    pub fn draw(&self, bits: u64) -> u32 {
        let (low, high) = (bits as u32, (bits >> 32) as u32);
        match self {
            Choice::Uniform { count } => scale(low, *count),
            Choice::Zipf { columns } => {
                let index = scale(low, columns.len() as u32);
                let column = columns[index as usize];
                if high < column.keep {
                    index
                } else {
                    column.other
                }
            }
        }
    }
}

/// Maps 32 random bits to `0..count` without a division.
#[inline]
pub fn scale(bits: u32, count: u32) -> u32 {
    ((u64::from(bits) * u64::from(count)) >> 32) as u32
}

fn coin(share: f64) -> u32 {
    (share * f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::mix;

    fn counts(choice: &Choice, count: u32, draws: u64) -> Vec<u64> {
        let mut counts = vec![0u64; count as usize];
        for draw in 0..draws {
            counts[choice.draw(mix(draw)) as usize] += 1;
        }
        counts
    }

    #[test]
    fn uniform_reaches_every_account_about_equally() {
        let counts = counts(&Choice::uniform(100), 100, 1_000_000);
        assert!(
            counts.iter().all(|&count| (9_000..11_000).contains(&count)),
            "{counts:?}"
        );
    }

    #[test]
    fn zipf_follows_its_weights() {
        let draws = 2_000_000;
        let counts = counts(&Choice::zipf(1000, 0.99), 1000, draws);
        let total: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-0.99)).sum();
        for rank in [1u32, 2, 10, 100] {
            let expected = f64::from(rank).powf(-0.99) / total * draws as f64;
            let found = counts[rank as usize - 1] as f64;
            assert!(
                (found / expected - 1.0).abs() < 0.1,
                "rank {rank}: {found} for {expected}"
            );
        }
        assert!(counts.iter().all(|&count| count > 0));
    }

    #[test]
    fn one_account_is_always_chosen() {
        assert_eq!(Choice::zipf(1, 0.99).draw(u64::MAX), 0);
        assert_eq!(Choice::uniform(1).draw(u64::MAX), 0);
    }
}
