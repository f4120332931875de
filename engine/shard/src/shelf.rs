//! What a group keeps beside the log: the manifest of its durable state, its chapters, and what its log has cost since.
//!
//! - `manifest` is durable, and so is every file that it names. The promise in the log names its digest.
//! - A chapter is in `chapters` when it is durable and its machine reads it in place.
//! - `strays` are durable and in no manifest: chapters fetched for an installation that did not end. They are used by
//!   the next one, or removed.

use std::collections::BTreeMap;

use raft::ids::Index;
use wal::archive::{Contents, Name};

use crate::manifest::{FileId, Manifest};
use crate::past::Past;
use crate::receipt::Receipt;

/// One per group.
#[derive(Debug, Default)]
pub struct Shelf {
    /// The newest durable state.
    pub manifest: Option<Manifest>,
    /// Finished chapters, from number 0 on.
    pub chapters: Vec<FileId>,
    /// Files that no manifest names.
    pub strays: BTreeMap<Name, FileId>,
    /// Older states, kept while a peer fetches them: their indexes and images.
    pub retired: Vec<(u64, FileId)>,
    /// The last entry that the log holds and cannot give back; 0 when there is none.
    pub rotten: Index,
    /// Bytes of entries that entered the log since the manifest's image was begun.
    pub log_bytes: u64,
    /// The machine keeps no images.
    pub is_plain: bool,
    /// A newer state is being fetched: what could be made of this one is not worth it.
    pub is_fetching: bool,
    /// What was sealed of its log, and what of it is in the object store.
    pub past: Past,
    /// A receipt was applied since the files were looked at.
    pub has_receipt: bool,
    /// Stands in the list of those with something to seal.
    pub wants_sealing: bool,
    /// Stands in the list of those that want an image.
    pub wants_image: bool,
    /// Stands in the list of those with a chapter due.
    pub wants_chapter: bool,
}

impl Shelf {
    /// The group's log says that this is in the object store.
    pub(crate) fn received(&mut self, receipt: &Receipt) {
        let (first, last) = receipt.stretch();
        self.past.store(first, last);
        self.has_receipt = true;
    }

    /// The last entry in the newest durable state; 0 without one.
    #[must_use]
    pub fn image_index(&self) -> Index {
        self.manifest
            .as_ref()
            .map_or(Index(0), |manifest| manifest.last.index)
    }
}

/// A file's bytes as a machine is lent them.
pub(crate) struct Lent(pub(crate) Contents);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_ref()
    }
}
