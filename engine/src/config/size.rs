//! Sizes as people write them: `64MiB`, `1.5 GB` is refused, `4096` is bytes.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Unit names and their bytes, largest first within a family so that printing finds the shortest form.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes that reads and prints with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Why a text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// It does not begin with a whole number.
    #[error("a size begins with a whole number, as in 64MiB")]
    NoNumber,
    /// What follows the number is none of the known units.
    #[error("unknown unit of size: use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB")]
    UnknownUnit,
    /// It is more than 2^64 - 1 bytes.
    #[error("the size does not fit in 64 bits")]
    TooLarge,
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim();
        let digits_end = text
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_end);
        let digits: String = digits.chars().filter(|&c| c != '_').collect();
        if digits.is_empty() {
            return Err(SizeError::NoNumber);
        }
        let number: u64 = digits.parse().map_err(|_| SizeError::TooLarge)?;
        let unit = unit.trim();
        let factor = if unit.is_empty() {
            1
        } else {
            let known = UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit));
            known.ok_or(SizeError::UnknownUnit)?.1
        };
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or(SizeError::TooLarge)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS[..4]
            .iter()
            .find(|(_, bytes)| self.0 > 0 && self.0.is_multiple_of(*bytes));
        match binary {
            Some((name, bytes)) => write!(f, "{}{name}", self.0 / bytes),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, as in \"64MiB\" or 4096")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<ByteSize, E> {
                u64::try_from(number)
                    .map(ByteSize)
                    .map_err(|_| E::custom(SizeError::NoNumber))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Size)
    }
}

#[cfg(test)]
mod tests {
    use super::{ByteSize, SizeError};

    fn check(text: &str, expected: Result<u64, SizeError>) {
        assert_eq!(
            text.parse::<ByteSize>().map(|size| size.0),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn sizes_are_read_with_and_without_units() {
        check("4096", Ok(4096));
        check("1_048_576", Ok(1 << 20));
        check("64MiB", Ok(64 << 20));
        check(" 2 gib ", Ok(2 << 30));
        check("3kB", Ok(3000));
        check("0B", Ok(0));
        check("MiB", Err(SizeError::NoNumber));
        check("-1", Err(SizeError::NoNumber));
        check("1.5GiB", Err(SizeError::UnknownUnit));
        check("64Mb/s", Err(SizeError::UnknownUnit));
        check("16777216TiB", Err(SizeError::TooLarge));
        check("99999999999999999999", Err(SizeError::TooLarge));
    }

    #[test]
    fn printing_and_reading_are_inverse() {
        for bytes in [
            0,
            1,
            1000,
            1024,
            4096,
            64 << 20,
            (64 << 20) + 1,
            5 << 40,
            u64::MAX,
        ] {
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
        assert_eq!(ByteSize(64 << 20).to_string(), "64MiB");
    }
}
