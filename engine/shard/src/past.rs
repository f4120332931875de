//! A group's past: the sealed files that hold what its log gave up, and what is known to lie in the object store.
//!
//! - A file is in the list when it is durable and was opened; what is in the list may be read in place.
//! - `stored` holds what the group's own log says is in the object store: a copy here may go for no other reason,
//!   unless the history is kept here alone and is larger than it may be.
//! - Files may overlap for a while: one that takes the place of others is durable before they go.

use std::fmt;

use sealed::{Codec, Damage, OwnedEntry, SegmentReader};
use wal::archive::{Contents, FileKind, Name};

use crate::shelf::Lent;

/// Whether and how the entries that a core's log gives up are kept. Per core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The cluster, which every file names.
    pub cluster: u128,
    /// How blocks are compressed.
    pub codec: Codec,
    /// A file ends when it has so many bytes.
    pub file_bytes: u64,
    /// Bytes of files that may lie here. Beyond, with an object store, nothing more is sealed until it has taken some;
    /// without one the oldest files go.
    pub bytes_max: u64,
}

impl History {
    /// The usual: Zstandard at its quickest level, files of 32 MiB, 16 GiB of them.
    #[must_use]
    pub const fn of(cluster: u128) -> Self {
        Self {
            cluster,
            codec: Codec::Zstd(1),
            file_bytes: 32 << 20,
            bytes_max: 16 << 30,
        }
    }
}

/// Indexes as ascending stretches that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretches(Vec<(u64, u64)>);

impl Stretches {
    /// Adds `first..=last`.
    pub fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let from = self
            .0
            .partition_point(|&(_, end)| end.saturating_add(1) < first);
        let to = self
            .0
            .partition_point(|&(begin, _)| begin <= last.saturating_add(1));
        let joined = self.0[from..to]
            .iter()
            .fold((first, last), |(low, high), &(begin, end)| {
                (low.min(begin), high.max(end))
            });
        self.0.splice(from..to, [joined]);
    }

    /// The stretch that holds an index.
    #[must_use]
    pub fn holding(&self, index: u64) -> Option<(u64, u64)> {
        let nth = self.0.partition_point(|&(_, end)| end < index);
        self.0
            .get(nth)
            .copied()
            .filter(|&(begin, _)| begin <= index)
    }

    /// How many indexes they hold.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.0.iter().map(|(begin, end)| end - begin + 1).sum()
    }

    /// What is left of `first..=last` when the stretches at its two ends are cut off.
    #[must_use]
    pub fn rest_of(&self, first: u64, last: u64) -> Option<(u64, u64)> {
        let first = self
            .holding(first)
            .map_or(first, |(_, end)| end.saturating_add(1));
        let last = self
            .holding(last)
            .map_or(last, |(begin, _)| begin.saturating_sub(1));
        (first <= last).then_some((first, last))
    }
}

/// A sealed file of this node.
#[derive(Clone)]
pub struct SealedFile {
    /// Its first entry.
    pub first: u64,
    /// Its last entry.
    pub last: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The latest time of an entry in it, nanoseconds since the Unix epoch.
    pub newest: u64,
    /// Its bytes, in place.
    pub contents: Contents,
}

impl fmt::Debug for SealedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first, last, bytes, ..
        } = self;
        write!(f, "sealed {first}..={last}, {bytes} bytes")
    }
}

impl SealedFile {
    /// Of these bytes, once they pass as a segment of this cluster's group.
    ///
    /// # Errors
    /// What is wrong with header, footer or envelope; a segment of another cluster or group is none.
    pub fn open(cluster: u128, group: u64, contents: Contents) -> Result<Self, Option<Damage>> {
        let segment = SegmentReader::open(Lent(contents.clone())).map_err(Some)?;
        if (segment.spec().cluster, segment.spec().group) != (cluster, group) {
            return Err(None);
        }
        Ok(Self {
            first: segment.first(),
            last: segment.last(),
            bytes: segment.file_bytes(),
            newest: segment.time_range().1,
            contents,
        })
    }

    /// The segment in it.
    ///
    /// # Errors
    /// When the bytes have changed since they were opened.
    pub(crate) fn segment(&self) -> Result<SegmentReader<Lent>, Damage> {
        SegmentReader::open(Lent(self.contents.clone()))
    }

    pub(crate) fn holds(&self, index: u64) -> bool {
        (self.first..=self.last).contains(&index)
    }
}

/// One per group.
#[derive(Clone, Debug, Default)]
pub struct Past {
    files: Vec<SealedFile>,
    stored: Stretches,
    /// What will not be sealed here: it could not be read, or was let go.
    passed: Stretches,
}

impl Past {
    /// The sealed files, by their first entries.
    #[must_use]
    pub fn files(&self) -> &[SealedFile] {
        &self.files
    }

    /// Bytes of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// What the group's log says is in the object store.
    #[must_use]
    pub const fn stored(&self) -> &Stretches {
        &self.stored
    }

    /// The log says that this is in the object store.
    pub(crate) fn store(&mut self, first: u64, last: u64) {
        self.stored.insert(first, last);
    }

    /// This will not be sealed here.
    pub(crate) fn pass(&mut self, first: u64, last: u64) {
        self.passed.insert(first, last);
    }

    /// A file is durable; one with the same first entry has lost its name to it.
    pub(crate) fn insert(&mut self, file: SealedFile) {
        let nth = self.files.partition_point(|other| other.first < file.first);
        let same = usize::from(
            self.files
                .get(nth)
                .is_some_and(|other| other.first == file.first),
        );
        self.files.splice(nth..nth + same, [file]);
    }

    /// Forgets the file that begins here.
    pub(crate) fn forget(&mut self, first: u64) -> Option<SealedFile> {
        let nth = self.files.iter().position(|file| file.first == first)?;
        Some(self.files.remove(nth))
    }

    /// The last entry up to which everything from `first` on is sealed, stored or passed over; `first - 1` when it is not.
    #[must_use]
    pub fn reach(&self, first: u64) -> u64 {
        let mut next = first;
        loop {
            let stretches = [&self.stored, &self.passed];
            let ends = stretches
                .into_iter()
                .filter_map(|some| some.holding(next))
                .map(|(_, end)| end);
            let sealed = self.files.iter().filter(|file| file.holds(next));
            let Some(end) = ends.chain(sealed.map(|file| file.last)).max() else {
                return next.saturating_sub(1);
            };
            next = end.saturating_add(1);
        }
    }

    /// The first stretch before an index of which nothing is sealed, stored or passed over.
    pub(crate) fn gap_before(&self, end: u64) -> Option<(u64, u64)> {
        let first = self.reach(1) + 1;
        let files = self.files.iter().map(|file| file.first);
        let elsewhere = self.stored.0.iter().chain(&self.passed.0);
        let known = files.chain(elsewhere.map(|&(begin, _)| begin));
        let end = known.filter(|begin| *begin > first).fold(end, u64::min);
        (first < end).then(|| (first, end - 1))
    }

    /// An old entry, read in place; `None` when no file here holds it.
    ///
    /// # Errors
    /// The damage that the entry lies in.
    pub fn entry(&self, index: u64) -> Result<Option<OwnedEntry>, Damage> {
        let file = self.files.iter().find(|file| file.holds(index));
        file.map_or(Ok(None), |file| file.segment()?.entry(index))
    }

    /// Files whose every entry is in the object store or in another file, but for those that are busy; each may go.
    pub(crate) fn needless(&self, is_busy: &dyn Fn(u64) -> bool) -> Vec<u64> {
        let mut gone: Vec<u64> = Vec::new();
        for file in self.files.iter().filter(|file| !is_busy(file.first)) {
            let rest = self.stored.rest_of(file.first, file.last);
            let is_elsewhere = rest.is_none_or(|(first, last)| {
                self.files.iter().any(|other| {
                    other.first != file.first
                        && !gone.contains(&other.first)
                        && other.first <= first
                        && last <= other.last
                })
            });
            if is_elsewhere {
                gone.push(file.first);
            }
        }
        gone
    }

    /// The first file that holds something which is not in the object store, and what that is.
    pub(crate) fn next_to_store(&self) -> Option<(&SealedFile, (u64, u64))> {
        let mut rests = self.files.iter().filter_map(|file| {
            let rest = self.stored.rest_of(file.first, file.last);
            rest.map(|rest| (file, rest))
        });
        rests.next()
    }

    /// Small neighbours, at least `least` of them, that make one file of at most `bytes`.
    pub(crate) fn mergeable(&self, least: usize, bytes: u64) -> Option<(u64, u64)> {
        let is_small = |file: &SealedFile| {
            file.bytes <= bytes / 4
                && self.stored.rest_of(file.first, file.last) == Some((file.first, file.last))
        };
        let mut run: Vec<&SealedFile> = Vec::new();
        for file in &self.files {
            let follows = run.last().is_none_or(|last| last.last + 1 == file.first);
            let fits = run.iter().map(|file| file.bytes).sum::<u64>() + file.bytes <= bytes;
            if !follows || !fits || !is_small(file) {
                if run.len() >= least {
                    break;
                }
                run.clear();
            }
            if is_small(file) {
                run.push(file);
            }
        }
        (run.len() >= least).then(|| (run[0].first, run[run.len() - 1].last))
    }
}

/// What was sealed and let go since the start.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct SealCounts {
    /// Sealed files finished.
    pub sealed_files: u64,
    /// Bytes of them.
    pub sealed_bytes: u64,
    /// Of them, files in the place of several smaller ones, or of a part of one.
    pub sealed_anew: u64,
    /// Files that the disk did not take, or gave back otherwise.
    pub seal_failures: u64,
    /// Entries that could not be read to be sealed.
    pub unsealable_entries: u64,
    /// Files that went: stored elsewhere, replaced, or older than there is room for.
    pub sealed_files_gone: u64,
    /// Receipts of the object store in the groups' logs, applied here.
    pub receipts: u64,
    /// Tries to store a file that failed.
    pub store_failures: u64,
}

/// The file of a group whose first entry this is.
#[must_use]
pub const fn sealed_name(group: u64, first: u64) -> Name {
    Name {
        group,
        kind: FileKind::Sealed,
        number: first,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn file(first: u64, last: u64) -> SealedFile {
        SealedFile {
            first,
            last,
            bytes: 10,
            newest: 0,
            contents: Arc::new(Vec::new()),
        }
    }

    fn past(files: &[(u64, u64)], stored: &[(u64, u64)]) -> Past {
        let mut past = Past::default();
        files
            .iter()
            .for_each(|&(first, last)| past.insert(file(first, last)));
        stored
            .iter()
            .for_each(|&(first, last)| past.store(first, last));
        past
    }

    #[test]
    fn stretches_join_where_they_touch() {
        let mut some = Stretches::default();
        for (first, last) in [(10, 20), (30, 40), (22, 28), (50, 40)] {
            some.insert(first, last);
        }
        assert_eq!(some.0, [(10, 20), (22, 28), (30, 40)]);
        some.insert(21, 29);
        assert_eq!(some.0, [(10, 40)]);
        some.insert(1, 9);
        assert_eq!(some.0, [(1, 40)]);
        assert_eq!(some.rest_of(1, 40), None);
        assert_eq!(some.rest_of(35, 45), Some((41, 45)));
        assert_eq!(Stretches::default().rest_of(3, 4), Some((3, 4)));
    }

    #[test]
    fn what_is_sealed_or_stored_reaches_as_far_as_nothing_is_missing() {
        let past = past(&[(11, 20), (31, 40)], &[(1, 10)]);
        assert_eq!(
            (past.reach(1), past.reach(15), past.reach(21)),
            (20, 20, 20)
        );
        assert_eq!(past.reach(35), 40);
    }

    #[test]
    fn a_file_is_needless_only_when_each_of_its_entries_is_elsewhere() {
        let nobody = |_| false;
        let all = past(&[(1, 10), (11, 20), (15, 30)], &[(1, 14)]);
        assert_eq!(all.needless(&nobody), [1, 11], "the rest of 11 is in 15");
        assert_eq!(all.needless(&|first| first == 11), [1]);
        let joined = past(&[(1, 20), (11, 20)], &[]);
        assert_eq!(joined.needless(&nobody), [11]);
        let twins = past(&[(1, 20), (2, 20)], &[(1, 1)]);
        assert_eq!(twins.needless(&nobody), [1], "one of two stays");
        assert_eq!(twins.next_to_store().expect("a rest").1, (2, 20));
    }

    #[test]
    fn small_neighbours_become_one_file() {
        let past = past(&[(1, 2), (3, 4), (6, 7), (8, 9), (10, 11)], &[]);
        assert_eq!(past.mergeable(3, 100), Some((6, 11)));
        assert_eq!(past.mergeable(4, 100), None);
        assert_eq!(past.mergeable(2, 30), None, "none is small then");
    }
}
