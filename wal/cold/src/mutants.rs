//! Faults that tests plant into the keeping of objects to show that they would be noticed.
//!
//! - Without the feature `mutants` the question is a constant: a production build has no such branch.

#[cfg(not(feature = "mutants"))]
use crate::key::{DataKey, WrappedKey};

/// A known way of getting an object wrong.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// The first key serves all objects: a nonce hangs on the chunk's index alone.
    NonceOfIndexAlone,
}

#[cfg(feature = "mutants")]
mod planted {
    use std::cell::{Cell, RefCell};

    use super::Mutant;
    use crate::key::{DataKey, WrappedKey};

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
        static FIRST: RefCell<Option<(DataKey, WrappedKey)>> = const { RefCell::new(None) };
    }

    /// From here on the uploads of this thread go wrong in this way; `None`: in no way.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
        FIRST.set(None);
    }

    /// What an object is encrypted with for which these were made.
    pub(crate) fn of_object(key: DataKey, wrapped: WrappedKey) -> (DataKey, WrappedKey) {
        match PLANTED.get() {
            Some(Mutant::NonceOfIndexAlone) => FIRST.with_borrow_mut(|first| {
                let (key, wrapped) = first.get_or_insert((key, wrapped));
                (key.clone(), wrapped.clone())
            }),
            None => (key, wrapped),
        }
    }
}

#[cfg(feature = "mutants")]
pub(crate) use planted::of_object;
#[cfg(feature = "mutants")]
pub use planted::plant;

/// What an object is encrypted with: what was made for it.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn of_object(key: DataKey, wrapped: WrappedKey) -> (DataKey, WrappedKey) {
    (key, wrapped)
}
