//! A short queue that keeps its first few elements in place and allocates only when it grows long.
//!
//! - Elements come out in the order in which they went in.
//! - The far part is used only while the near part is full or not yet emptied: everything near is older.
//! - Once allocated, the far part keeps its room: a queue that breathes does not allocate.

use core::hash::{Hash, Hasher};
use std::collections::VecDeque;

/// A first-in-first-out queue with room for `N` elements in place.
#[derive(Clone, Debug)]
pub(crate) struct Ring<T, const N: usize> {
    near: [T; N],
    head: u8,
    len: u8,
    #[expect(
        clippy::box_collection,
        reason = "a group has many rings, nearly all of them short"
    )]
    far: Option<Box<VecDeque<T>>>,
}

impl<T: Copy + Default + Hash, const N: usize> Hash for Ring<T, N> {
    /// By content: where in the ring it stands does not matter.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        for at in 0..self.len() {
            self.get(at).hash(state);
        }
    }
}

impl<T: Copy + Default, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self {
            near: [T::default(); N],
            head: 0,
            len: 0,
            far: None,
        }
    }
}

impl<T: Copy + Default, const N: usize> Ring<T, N> {
    pub(crate) fn push(&mut self, value: T) {
        if usize::from(self.len) < N && self.far.as_ref().is_none_or(|far| far.is_empty()) {
            let at = (usize::from(self.head) + usize::from(self.len)) % N;
            self.near[at] = value;
            self.len += 1;
        } else {
            self.far.get_or_insert_default().push_back(value);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.len > 0 {
            let value = self.near[usize::from(self.head)];
            self.head = ((usize::from(self.head) + 1) % N) as u8;
            self.len -= 1;
            Some(value)
        } else {
            self.far.as_mut().and_then(|far| far.pop_front())
        }
    }

    pub(crate) fn front(&self) -> Option<&T> {
        if self.len > 0 {
            Some(&self.near[usize::from(self.head)])
        } else {
            self.far.as_ref().and_then(|far| far.front())
        }
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.len) + self.far.as_ref().map_or(0, |far| far.len())
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        let near = usize::from(self.len);
        if at < near {
            Some(&self.near[(usize::from(self.head) + at) % N])
        } else {
            self.far.as_ref().and_then(|far| far.get(at - near))
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let (head, len) = (usize::from(self.head), usize::from(self.len));
        let near = self
            .near
            .iter_mut()
            .enumerate()
            .filter_map(move |(at, value)| {
                let offset = (at + N - head) % N;
                (offset < len).then_some(value)
            });
        near.chain(self.far.iter_mut().flat_map(|far| far.iter_mut()))
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
        if let Some(far) = &mut self.far {
            far.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_across_the_border() {
        let mut ring = Ring::<u32, 2>::default();
        let mut model = VecDeque::new();
        for round in 0..200_u32 {
            for value in 0..(round * 7) % 5 {
                ring.push(round * 10 + value);
                model.push_back(round * 10 + value);
            }
            for _ in 0..(round * 3) % 6 {
                assert_eq!(ring.front(), model.front());
                assert_eq!(ring.pop(), model.pop_front());
            }
            assert_eq!(ring.len(), model.len());
            for at in 0..model.len() + 1 {
                assert_eq!(ring.get(at), model.get(at));
            }
        }
    }
}
