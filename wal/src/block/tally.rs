//! How many records of each kind came before: what kind of records is missing when a block is lost.

use crate::record::Kind;

/// Records counted by what their loss would mean, modulo 65,536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Metadata.
    pub(crate) metas: u16,
    /// Entries that superseded others or began their group anew.
    pub(crate) turns: u16,
}

impl Tally {
    /// One more record.
    pub(crate) fn count(&mut self, kind: Kind, is_turn: bool) {
        self.metas = self.metas.wrapping_add(u16::from(kind == Kind::Meta));
        self.turns = self.turns.wrapping_add(u16::from(is_turn));
    }

    /// What both counted.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            metas: self.metas.wrapping_add(other.metas),
            turns: self.turns.wrapping_add(other.turns),
        }
    }

    /// What was counted since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            metas: self.metas.wrapping_sub(before.metas),
            turns: self.turns.wrapping_sub(before.turns),
        }
    }
}
