//! Several batches in one body: the elements of all, one after the other, and a trailer that says whose is what.
//!
//! ```text
//! | elements of batch 0 | of batch 1 | ... | ff ff ... | count n-1 | ... | count 1 | count 0 | batches |
//!                                          '----------- trailer: a whole number of elements ------------'
//! ```
//!
//! - Counts are u16, little-endian, the last batch's first. At least one batch, at most 65,534.
//! - Reading is total and canonical: what is accepted is written back as the same bytes.

use thiserror::Error;

/// Most batches in one body: the largest u16 marks what is unused.
pub const BATCHES_MAX: usize = u16::MAX as usize - 1;
const COUNT_BYTES: usize = 2;
const UNUSED: u8 = 0xff;

/// Bytes that are no list of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the body is no list of batches")]
pub struct BadBatches;

/// A body, taken apart in place.
#[derive(Clone, Copy, Debug)]
pub struct Batches<'a> {
    elements: &'a [u8],
    counts: &'a [u8],
    element_bytes: usize,
}

/// Bytes of the trailer of so many batches.
#[must_use]
pub const fn trailer_bytes(batches: usize, element_bytes: usize) -> usize {
    ((batches + 1) * COUNT_BYTES).next_multiple_of(element_bytes)
}

impl<'a> Batches<'a> {
    /// Takes a body apart whose elements have `element_bytes`, an even number.
    ///
    /// # Errors
    /// If the trailer does not describe the body exactly.
    pub fn parse(body: &'a [u8], element_bytes: usize) -> Result<Self, BadBatches> {
        assert!(element_bytes >= COUNT_BYTES && element_bytes.is_multiple_of(COUNT_BYTES));
        let (rest, last) = body.split_last_chunk::<COUNT_BYTES>().ok_or(BadBatches)?;
        let batches = usize::from(u16::from_le_bytes(*last));
        if batches == 0 || batches > BATCHES_MAX {
            return Err(BadBatches);
        }
        let trailer = trailer_bytes(batches, element_bytes);
        let elements_bytes = body.len().checked_sub(trailer).ok_or(BadBatches)?;
        let (elements, rest) = rest.split_at(elements_bytes);
        let (unused, counts) = rest.split_at(rest.len() - batches * COUNT_BYTES);
        if unused.iter().any(|&byte| byte != UNUSED) {
            return Err(BadBatches);
        }
        let parsed = Self {
            elements,
            counts,
            element_bytes,
        };
        // At most 65,534 batches of 65,535 elements: no overflow in 64 bits.
        let total: usize = parsed.counts().sum();
        if total * element_bytes != elements.len() {
            return Err(BadBatches);
        }
        Ok(parsed)
    }

    /// How many batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len() / COUNT_BYTES
    }

    /// Never: there is one at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The elements of all batches.
    #[must_use]
    pub fn elements(&self) -> &'a [u8] {
        self.elements
    }

    /// Elements per batch, in order.
    pub fn counts(&self) -> impl Iterator<Item = usize> + use<'a> {
        let counts = self.counts.as_chunks::<COUNT_BYTES>().0;
        counts
            .iter()
            .rev()
            .map(|count| usize::from(u16::from_le_bytes(*count)))
    }

    /// The batches, in order, each the bytes of its elements.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (mut rest, element_bytes) = (self.elements, self.element_bytes);
        self.counts().map(move |count| {
            let (batch, behind) = rest.split_at(count * element_bytes);
            rest = behind;
            batch
        })
    }
}

/// Writes the trailer behind the elements of batches with these counts, which are already in `body`.
///
/// # Panics
/// If there is no batch, or more than [`BATCHES_MAX`], or the counts are not those of the elements since `start`.
pub fn close(body: &mut Vec<u8>, start: usize, counts: &[u16], element_bytes: usize) {
    assert!(!counts.is_empty() && counts.len() <= BATCHES_MAX);
    let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
    assert_eq!(total * element_bytes, body.len() - start);
    let trailer = trailer_bytes(counts.len(), element_bytes);
    let used = (counts.len() + 1) * COUNT_BYTES;
    body.resize(body.len() + trailer - used, UNUSED);
    for count in counts.iter().rev() {
        body.extend_from_slice(&count.to_le_bytes());
    }
    body.extend_from_slice(&(counts.len() as u16).to_le_bytes());
}

/// What holds for any bytes; shared by the property test and the fuzz target.
///
/// # Panics
/// If a promise of this file is broken.
pub fn check(body: &[u8], element_bytes: usize) {
    let Ok(batches) = Batches::parse(body, element_bytes) else {
        return;
    };
    let counts: Vec<u16> = batches.counts().map(|count| count as u16).collect();
    assert_eq!(counts.len(), batches.len());
    let joined: Vec<u8> = batches.iter().flatten().copied().collect();
    assert_eq!(joined, batches.elements());
    let mut again = joined;
    close(&mut again, 0, &counts, element_bytes);
    assert_eq!(again, body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_batches_and_back() {
        let mut body: Vec<u8> = (0..13 * 128).map(|at| at as u8).collect();
        close(&mut body, 0, &[8, 1, 0, 4], 128);
        assert_eq!(body.len(), 14 * 128);
        assert_eq!(&body[body.len() - 10..], [4, 0, 0, 0, 1, 0, 8, 0, 4, 0]);
        let batches = Batches::parse(&body, 128).expect("own bytes");
        let lengths: Vec<usize> = batches.iter().map(<[u8]>::len).collect();
        assert_eq!(lengths, [1024, 128, 0, 512]);
        check(&body, 128);
    }

    #[test]
    fn small_bodies_exhaustively() {
        // Elements of two bytes, each byte one of three that matter: all bodies of up to four u16.
        for length in 0..=8_u32 {
            for number in 0..3_u32.pow(length) {
                let byte = |at: u32| [0, 1, UNUSED][(number / 3_u32.pow(at) % 3) as usize];
                let body: Vec<u8> = (0..length).map(byte).collect();
                check(&body, 2);
                check(&body, 4);
            }
        }
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let mut body = vec![0; 256];
        close(&mut body, 0, &[2], 128);
        for (at, byte) in [
            (body.len() - 1, 1),
            (body.len() - 2, 0),
            (body.len() - 4, 1),
            (300, 0),
        ] {
            let mut bytes = body.clone();
            bytes[at] = byte;
            assert!(Batches::parse(&bytes, 128).is_err(), "byte {at}");
        }
        assert!(Batches::parse(&body[1..], 128).is_err());
        assert!(Batches::parse(&[], 16).is_err());
    }
}
