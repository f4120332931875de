//! Files that leave a folder: their space goes back to the disk in small cuts, so that no client's write waits behind a large one.
//!
//! - A file that is to go takes another name first, one that the next start removes: from then on nobody finds it.
//! - It is cut from its end, slice by slice, and not before nobody reads it in place any more.
//! - What cannot be cut is removed whole.
//!
//! Why: a disk that is told of freed space (ext4 with `discard`) is told while the file goes, and a device that gives back
//! twenty megabytes at once serves nobody for some milliseconds ([decision 56](../../../docs/decisions/0056-background-writes-in-slices.md)).

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Weak;

use memmap2::Mmap;

/// Bytes given back at once.
const CUT_BYTES: u64 = 256 << 10;

/// A file that has lost its name.
#[derive(Debug)]
struct Leaving {
    path: PathBuf,
    /// Open for writing; `None` where that was refused.
    file: Option<File>,
    length: u64,
    /// Who reads it in place.
    readers: Weak<Mmap>,
}

/// What leaves, in its order; one per thread that removes. Dropping it removes what is left.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    queue: VecDeque<Leaving>,
}

impl Departures {
    /// Takes a file under the name by which only we know it.
    pub(crate) fn take(&mut self, path: PathBuf, readers: Weak<Mmap>) {
        let file = File::options().write(true).open(&path).ok();
        let length = file.as_ref().and_then(|file| file.metadata().ok());
        self.queue.push_back(Leaving {
            path,
            length: length.map_or(0, |metadata| metadata.len()),
            file,
            readers,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives back one slice; false when all that are left are still read.
    pub(crate) fn cut(&mut self) -> bool {
        for _ in 0..self.queue.len() {
            let Some(mut leaving) = self.queue.pop_front() else {
                break;
            };
            if leaving.readers.strong_count() > 0 {
                self.queue.push_back(leaving);
                continue;
            }
            if leaving.shorten() {
                self.queue.push_front(leaving);
            } else {
                // What stays behind is removed at the next start.
                let _ = fs::remove_file(&leaving.path);
            }
            return true;
        }
        false
    }
}

impl Leaving {
    /// Cuts a slice off; false when what is left may go whole.
    fn shorten(&mut self) -> bool {
        let Some(file) = self.file.as_ref().filter(|_| self.length > CUT_BYTES) else {
            return false;
        };
        self.length -= CUT_BYTES;
        file.set_len(self.length).is_ok()
    }
}

impl Drop for Departures {
    fn drop(&mut self) {
        for leaving in self.queue.drain(..) {
            // Whoever still reads it keeps its bytes; what stays behind is removed at the next start.
            let _ = fs::remove_file(&leaving.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_file_shrinks_slice_by_slice_and_not_while_it_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("going");
        fs::write(&path, vec![7; 3 * CUT_BYTES as usize + 5]).expect("room");
        let file = File::open(&path).expect("there");
        #[expect(unsafe_code, reason = "a mapping has no safe form")]
        // SAFETY: the file is not changed while the mapping lives, which is what this test shows.
        let map = Arc::new(unsafe { Mmap::map(&file) }.expect("a mapping"));
        let mut departures = Departures::default();
        departures.take(path.clone(), Arc::downgrade(&map));
        let length = || fs::metadata(&path).map(|metadata| metadata.len()).ok();
        assert!(!departures.cut(), "it is read");
        assert_eq!(length(), Some(3 * CUT_BYTES + 5));
        assert_eq!(map.last(), Some(&7));
        drop(map);
        for left in [2, 1, 0] {
            assert!(departures.cut());
            assert_eq!(length(), Some(left * CUT_BYTES + 5));
        }
        assert!(departures.cut());
        assert_eq!(length(), None);
        assert!(departures.is_empty());
    }

    #[test]
    fn what_is_left_at_the_end_goes_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("going");
        fs::write(&path, vec![7; 3 * CUT_BYTES as usize]).expect("room");
        let mut departures = Departures::default();
        departures.take(path.clone(), Weak::new());
        departures.take(folder.path().join("never there"), Weak::new());
        assert!(departures.cut());
        drop(departures);
        assert!(!path.exists());
    }
}
