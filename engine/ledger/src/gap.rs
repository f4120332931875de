//! Two neighbours in a list of rising ids: a hint for the next search.
//!
//! - No id of the list lies between theirs.

/// Where a search ended.
#[derive(Clone, Copy)]
pub(crate) struct Gap {
    /// The place of the first.
    pub(crate) place: usize,
    pub(crate) after: u128,
    pub(crate) before: u128,
}

impl Gap {
    /// No id lies in it.
    pub(crate) const NONE: Self = Self {
        place: 0,
        after: u128::MAX,
        before: 0,
    };
}
