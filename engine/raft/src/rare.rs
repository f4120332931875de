//! A list that is nearly always empty: then it is one null pointer, and costs nothing to move, ask or drop.
//!
//! - It holds a heap allocation exactly while it has elements.

use core::fmt;
use core::ops::{Deref, DerefMut};

/// A list that is nearly always empty.
#[derive(Clone, PartialEq, Eq, Hash)]
#[expect(
    clippy::box_collection,
    reason = "one word where a vector is three: what carries it is moved often"
)]
pub struct Rare<T>(Option<Box<Vec<T>>>);

impl<T> Rare<T> {
    /// No elements.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// There are no elements.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds an element at the end.
    pub fn push(&mut self, value: T) {
        self.0.get_or_insert_default().push(value);
    }

    /// Keeps the elements for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.edit(|list| list.retain(keep));
    }

    /// Changes a list that is not empty.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Vec<T>)) {
        if let Some(list) = &mut self.0 {
            change(list);
            if list.is_empty() {
                self.0 = None;
            }
        }
    }

    /// Forgets all elements.
    #[inline]
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for Rare<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl<T> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().map_or(&mut [], Vec::as_mut_slice)
    }
}

impl<T> From<Vec<T>> for Rare<T> {
    fn from(list: Vec<T>) -> Self {
        Self((!list.is_empty()).then(|| Box::new(list)))
    }
}

impl<T> FromIterator<T> for Rare<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Vec::from_iter(elements).into()
    }
}

impl<'a, T> IntoIterator for &'a Rare<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptied_lists_hold_nothing() {
        let mut list = Rare::from(vec![1, 2, 3]);
        list.push(4);
        list.retain(|number| number % 2 == 0);
        assert_eq!(&*list, [2, 4]);
        list.retain(|_| false);
        assert!(list.is_empty() && list.0.is_none());
        assert_eq!(list, Rare::from(vec![]));
        assert_eq!(size_of::<Rare<u64>>(), size_of::<usize>());
    }
}
