//! The archive of production: a folder for each core, and one side thread of low priority that serves all of a node.
//!
//! - A file is written as `NAME.partial`, flushed, renamed, and its folder flushed, before anybody hears of it.
//! - A step that fails removes what there is: whether a failed flush wrote anything cannot be known.
//! - Finished files are mapped read-only and never changed; removing one leaves its bytes to those who hold them.
//! - The disk is asked for little at a time, both to write and to give back (`leaving.rs`): what clients wait
//!   for goes to the same disk.
//! - The thread ends when the last folder and the last handle are gone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use memmap2::Mmap;
use rustc_hash::FxHashMap;

use crate::archive::leaving::Departures;
use crate::archive::{
    Archive, ArchiveError, Completion, Contents, Name, PIECE_BYTES_MAX, Place, QUEUE_BYTES_MAX,
    READS_MAX,
};
use crate::device::Errno;
use crate::device::file::Waker;

const UNFINISHED: &str = "partial";
/// Written bytes are handed to the disk in steps of this size: what waits in the device's cache delays the next durable
/// write of the log, which empties it.
const FLUSH_BYTES: u64 = 256 << 10;
/// Pause between two cuts of files that leave, while nothing else is to be done.
const CUT_PAUSE: Duration = Duration::from_millis(1);
/// Pause while all files that leave are still read.
const READERS_PAUSE: Duration = Duration::from_millis(200);
/// How much less urgent the thread is than those who serve clients: nice levels.
const NICENESS: i32 = 10;

fn fault(error: &io::Error) -> ArchiveError {
    const EIO: i32 = 5;
    const EDQUOT: i32 = 122;
    match error.kind() {
        io::ErrorKind::StorageFull => ArchiveError::Full,
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => ArchiveError::Missing,
        _ if error.raw_os_error() == Some(EDQUOT) => ArchiveError::Full,
        _ => ArchiveError::Io(Errno(error.raw_os_error().unwrap_or(EIO))),
    }
}

/// The thread that writes and reads for the archives of all cores; clones share it.
#[derive(Clone, Debug)]
pub struct Clerk(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Clerk {
    /// Starts the thread, which calls `first` before all else.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(first: fn()) -> io::Result<Self> {
        let (jobs, orders) = channel();
        let thread = thread::Builder::new()
            .name("archive".to_owned())
            .spawn(move || {
                first();
                work(&orders);
            })?;
        Ok(Self(Arc::new(Desk {
            jobs: Some(jobs),
            thread: Some(thread),
        })))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already; there is nothing left to undo.
            let _ = thread.join();
        }
    }
}

/// What the thread knows of a folder.
struct Shelf {
    path: PathBuf,
    /// Bytes of pieces that wait.
    waiting: AtomicUsize,
    answers: Sender<Completion>,
    wake: Option<Waker>,
    /// Files that are read in place, or were.
    read: Mutex<FxHashMap<Name, Weak<Mmap>>>,
    /// Numbers the names of files that leave.
    gone: AtomicU64,
}

type Readers<'a> = MutexGuard<'a, FxHashMap<Name, Weak<Mmap>>>;

impl Shelf {
    fn readers(&self) -> Readers<'_> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, name: Name) -> PathBuf {
        self.path.join(name.to_string())
    }

    /// A name for a file that leaves: the next start removes what has it.
    fn way_out(&self, name: Name) -> PathBuf {
        let number = self.gone.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{name}-{number}.{UNFINISHED}"))
    }

    /// The file's bytes; who reads it already and who begins to share one mapping.
    fn open(&self, name: Name) -> io::Result<Contents> {
        let mut readers = self.readers();
        if let Some(map) = readers.get(&name).and_then(Weak::upgrade) {
            return Ok(map);
        }
        let map = Arc::new(map(&self.path_of(name))?);
        readers.insert(name, Arc::downgrade(&map));
        Ok(map)
    }
}

enum Order {
    Write(Name, Vec<u8>, Place),
    Abandon(Name),
    Remove(Name),
    Read(Name, u64, usize, u64),
}

struct Job {
    shelf: Arc<Shelf>,
    order: Order,
}

/// One core's folder.
pub struct FolderArchive {
    clerk: Clerk,
    shelf: Arc<Shelf>,
    answers: Receiver<Completion>,
    reads: usize,
}

impl std::fmt::Debug for FolderArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FolderArchive({})", self.shelf.path.display())
    }
}

impl FolderArchive {
    /// Opens or makes the folder. `wake` is called from the thread when something has ended.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(path: &Path, clerk: Clerk, wake: Option<Waker>) -> Result<Self, ArchiveError> {
        if !path.is_dir() {
            fs::create_dir_all(path).map_err(|error| fault(&error))?;
            if let Some(parent) = path.parent() {
                sync_dir(parent).map_err(|error| fault(&error))?;
            }
        }
        let (sender, answers) = channel();
        let shelf = Shelf {
            path: path.to_owned(),
            waiting: AtomicUsize::new(0),
            answers: sender,
            wake,
            read: Mutex::default(),
            gone: AtomicU64::new(0),
        };
        Ok(Self {
            clerk,
            shelf: Arc::new(shelf),
            answers,
            reads: 0,
        })
    }

    fn order(&self, order: Order) {
        let job = Job {
            shelf: Arc::clone(&self.shelf),
            order,
        };
        let jobs = self.clerk.0.jobs.as_ref().expect("the desk stands");
        jobs.send(job)
            .expect("the thread ends only when nobody can ask it any more");
    }
}

impl Archive for FolderArchive {
    fn list_now(&mut self) -> Result<Vec<(Name, u64)>, ArchiveError> {
        let mut found = Vec::new();
        let failed = |error: io::Error| fault(&error);
        for entry in fs::read_dir(&self.shelf.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let text = entry.file_name();
            let Some(text) = text.to_str() else { continue };
            if let Some(name) = Name::parse(text) {
                found.push((name, entry.metadata().map_err(failed)?.len()));
            } else if text.ends_with(UNFINISHED) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn open_now(&mut self, name: Name) -> Result<Contents, ArchiveError> {
        self.shelf.open(name).map_err(|error| fault(&error))
    }

    fn remove_now(&mut self, name: Name) -> Result<(), ArchiveError> {
        let removed = fs::remove_file(self.shelf.path_of(name));
        self.shelf.readers().remove(&name);
        unless_missing(removed)
    }

    fn write(
        &mut self,
        _now_ns: u64,
        name: Name,
        piece: Vec<u8>,
        place: Place,
    ) -> Result<(), Vec<u8>> {
        debug_assert!(piece.len() <= PIECE_BYTES_MAX, "a piece is bounded");
        let waiting = self.shelf.waiting.load(Ordering::Acquire);
        if waiting > 0 && waiting + piece.len() > QUEUE_BYTES_MAX {
            return Err(piece);
        }
        self.shelf.waiting.fetch_add(piece.len(), Ordering::AcqRel);
        self.order(Order::Write(name, piece, place));
        Ok(())
    }

    fn abandon(&mut self, _now_ns: u64, name: Name) {
        self.order(Order::Abandon(name));
    }

    fn remove(&mut self, _now_ns: u64, name: Name) {
        self.order(Order::Remove(name));
    }

    fn read(&mut self, _now_ns: u64, name: Name, offset: u64, bytes: usize, token: u64) -> bool {
        if self.reads >= READS_MAX || bytes > PIECE_BYTES_MAX {
            return false;
        }
        self.reads += 1;
        self.order(Order::Read(name, offset, bytes, token));
        true
    }

    fn poll(&mut self, _now_ns: u64, completions: &mut Vec<Completion>) {
        while let Ok(completion) = self.answers.try_recv() {
            self.reads -= usize::from(matches!(completion, Completion::Read(..)));
            completions.push(completion);
        }
    }
}

/// A file being made.
struct Partial {
    file: File,
    written: u64,
    /// Of it, not handed to the disk yet.
    unflushed: u64,
}

/// Files being made, by the path of their folder's shelf.
type Partials = FxHashMap<(usize, Name), Partial>;

/// The thread: one job after the other, until nobody is left to give one.
fn work(orders: &Receiver<Job>) {
    // Being less urgent is a courtesy to the cores: refused, everything works as well.
    let _ = rustix::process::setpriority_process(None, NICENESS);
    let mut partials = Partials::default();
    let mut leaving = Departures::default();
    let mut pause = CUT_PAUSE;
    loop {
        let order = if leaving.is_empty() {
            orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            orders.recv_timeout(pause)
        };
        let Job { shelf, order } = match order {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                pause = if leaving.cut() {
                    CUT_PAUSE
                } else {
                    READERS_PAUSE
                };
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let answer = perform(&shelf, &mut partials, &mut leaving, order);
        leaving.cut();
        if let Some(answer) = answer {
            // A core that has ended does not listen.
            let _ = shelf.answers.send(answer);
        }
        if let Some(wake) = &shelf.wake {
            wake();
        }
    }
}

fn perform(
    shelf: &Arc<Shelf>,
    partials: &mut Partials,
    leaving: &mut Departures,
    order: Order,
) -> Option<Completion> {
    let key = |name| (Arc::as_ptr(shelf) as usize, name);
    match order {
        Order::Write(name, piece, place) => {
            let result = write(shelf, partials, leaving, key(name), &piece, place);
            shelf.waiting.fetch_sub(piece.len(), Ordering::AcqRel);
            match result {
                Ok(None) => None,
                Ok(Some(contents)) => Some(Completion::Finished(name, contents)),
                Err(error) => {
                    give_up(shelf, partials, key(name));
                    Some(Completion::Failed(name, fault(&error)))
                }
            }
        }
        Order::Abandon(name) => {
            give_up(shelf, partials, key(name));
            None
        }
        Order::Remove(name) => Some(Completion::Removed(name, remove(shelf, leaving, name))),
        Order::Read(name, offset, bytes, token) => {
            let read = read(&shelf.path_of(name), offset, bytes);
            Some(Completion::Read(token, read.map_err(|error| fault(&error))))
        }
    }
}

fn partial_path(shelf: &Shelf, name: Name) -> PathBuf {
    shelf.path.join(format!("{name}.{UNFINISHED}"))
}

/// Writes a piece; the contents when the file is finished with it.
fn write(
    shelf: &Shelf,
    partials: &mut Partials,
    leaving: &mut Departures,
    key: (usize, Name),
    piece: &[u8],
    place: Place,
) -> io::Result<Option<Contents>> {
    let aside = partial_path(shelf, key.1);
    if place.is_first {
        let file = File::create(&aside)?;
        let partial = Partial {
            file,
            written: 0,
            unflushed: 0,
        };
        partials.insert(key, partial);
    }
    let Some(partial) = partials.get_mut(&key) else {
        // It was given up, and whoever writes it was told so or said so.
        return Ok(None);
    };
    partial.file.write_all(piece)?;
    partial.written += piece.len() as u64;
    partial.unflushed += piece.len() as u64;
    if partial.unflushed >= FLUSH_BYTES {
        hand_over(
            &partial.file,
            partial.written - partial.unflushed,
            partial.unflushed,
        )?;
        partial.unflushed = 0;
    }
    if !place.is_last {
        return Ok(None);
    }
    partial.file.sync_all()?;
    name_it(shelf, leaving, &aside, key.1)?;
    partials.remove(&key);
    let named = sync_dir(&shelf.path).and_then(|()| shelf.open(key.1));
    if named.is_err() {
        // The name may or may not survive a crash: so it must not be relied on.
        let _ = fs::remove_file(shelf.path_of(key.1));
        shelf.readers().remove(&key.1);
    }
    named.map(Some)
}

/// Gives a durable file its name; one that had it leaves.
fn name_it(shelf: &Shelf, leaving: &mut Departures, aside: &Path, name: Name) -> io::Result<()> {
    let (path, out) = (shelf.path_of(name), shelf.way_out(name));
    let mut readers = shelf.readers();
    let is_replaced = fs::hard_link(&path, &out).is_ok();
    let renamed = fs::rename(aside, &path);
    if is_replaced {
        let held = match renamed {
            Ok(()) => readers.remove(&name),
            // It keeps its name and must not be cut: only the second name goes.
            Err(_) => return fs::remove_file(&out).and(renamed),
        };
        leaving.take(out, held.unwrap_or_default());
    }
    renamed
}

/// Has the disk write these bytes and waits until it took them; that they last is promised by a flush later.
///
/// An error here may be told only once: it counts as the flush's.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the call has no safe form")]
fn hand_over(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let (Ok(offset), Ok(bytes)) = (i64::try_from(offset), i64::try_from(bytes)) else {
        return file.sync_data();
    };
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the descriptor is open as long as `file` is borrowed; no memory is handed over.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, flags) };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOSYS) => file.sync_data(),
        error => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
fn hand_over(file: &File, _offset: u64, _bytes: u64) -> io::Result<()> {
    file.sync_data()
}

/// Removes what there is of a file that is not finished.
fn give_up(shelf: &Shelf, partials: &mut Partials, key: (usize, Name)) {
    if partials.remove(&key).is_some() {
        // What stays behind is removed at the next start.
        let _ = fs::remove_file(partial_path(shelf, key.1));
    }
}

fn remove(shelf: &Shelf, leaving: &mut Departures, name: Name) -> Result<(), ArchiveError> {
    let out = shelf.way_out(name);
    let mut readers = shelf.readers();
    let renamed = fs::rename(shelf.path_of(name), &out);
    if renamed.is_ok() {
        leaving.take(out, readers.remove(&name).unwrap_or_default());
    }
    unless_missing(renamed)
}

/// What is not there need not be removed.
fn unless_missing(removed: io::Result<()>) -> Result<(), ArchiveError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(&error)),
        _ => Ok(()),
    }
}

fn read(path: &Path, offset: u64, bytes: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; bytes];
    File::open(path)?.read_exact_at(&mut buffer, offset)?;
    Ok(Bytes::from(buffer))
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[expect(unsafe_code, reason = "a mapping has no safe form")]
fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: the file is finished: this process never writes to it again, only removes or replaces its name,
    // which leaves the mapped bytes as they are, and cuts it when no mapping of it is left; the folder is locked
    // against other processes of ours.
    unsafe { Mmap::map(&file) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::archive::FileKind;

    const NAME: Name = Name {
        group: 1,
        kind: FileKind::Image,
        number: 9,
    };

    struct Bench {
        folder: tempfile::TempDir,
        archive: FolderArchive,
        woken: mpsc::Receiver<()>,
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (sender, woken) = mpsc::channel();
        let wake: Waker = Arc::new(move || {
            // A test that has ended does not listen.
            let _ = sender.send(());
        });
        let clerk = Clerk::start(|| ()).expect("a thread");
        let archive = FolderArchive::open(&folder.path().join("archive"), clerk, Some(wake));
        Bench {
            archive: archive.expect("a folder"),
            folder,
            woken,
        }
    }

    impl Bench {
        fn write(&mut self, piece: &[u8], is_first: bool, is_last: bool) {
            let place = Place { is_first, is_last };
            self.archive
                .write(0, NAME, piece.to_vec(), place)
                .expect("room");
        }

        /// Waits for the ends of so many orders.
        fn ends(&mut self, orders: usize) -> Vec<Completion> {
            (0..orders).for_each(|_| self.woken.recv().expect("the thread wakes us"));
            let mut found = Vec::new();
            self.archive.poll(0, &mut found);
            found
        }

        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(self.folder.path().join("archive")).expect("a folder");
            let names = entries.map(|entry| entry.expect("an entry").file_name());
            names
                .map(|name| name.into_string().expect("ASCII"))
                .collect()
        }
    }

    #[test]
    fn a_file_is_seen_when_it_is_whole_and_read_after_it_is_gone() {
        let mut bench = bench();
        bench.write(b"one ", true, false);
        assert!(bench.ends(1).is_empty());
        assert_eq!(bench.files(), [format!("{NAME}.partial")]);
        bench.write(b"two", false, true);
        let ends = bench.ends(1);
        let [Completion::Finished(NAME, contents)] = &ends[..] else {
            panic!("{ends:?}")
        };
        assert_eq!(contents.as_ref().as_ref(), b"one two");
        assert_eq!(bench.files(), [NAME.to_string()]);
        assert_eq!(bench.archive.list_now(), Ok(vec![(NAME, 7)]));
        assert!(bench.archive.read(0, NAME, 4, 3, 77));
        assert!(bench.archive.read(0, NAME, 5, 3, 78));
        let ends = bench.ends(2);
        let [
            Completion::Read(77, Ok(part)),
            Completion::Read(78, Err(ArchiveError::Missing)),
        ] = &ends[..]
        else {
            panic!("{ends:?}")
        };
        assert_eq!(&part[..], b"two");
        bench.archive.remove(0, NAME);
        assert!(matches!(
            bench.ends(1)[..],
            [Completion::Removed(NAME, Ok(()))]
        ));
        assert_eq!(contents.as_ref().as_ref(), b"one two");
        assert_eq!(bench.archive.list_now(), Ok(Vec::new()));
        assert!(matches!(
            bench.archive.open_now(NAME),
            Err(ArchiveError::Missing)
        ));
    }

    #[test]
    fn a_file_that_is_replaced_stays_as_it_is_for_its_readers() {
        let mut bench = bench();
        let older = vec![1; 2 << 20];
        older
            .chunks(PIECE_BYTES_MAX)
            .enumerate()
            .for_each(|(nth, piece)| bench.write(piece, nth == 0, nth == 1));
        let ends = bench.ends(2);
        let [Completion::Finished(NAME, old)] = &ends[..] else {
            panic!("{ends:?}")
        };
        bench.write(b"newer", true, true);
        let ends = bench.ends(1);
        let [Completion::Finished(NAME, new)] = &ends[..] else {
            panic!("{ends:?}")
        };
        // Were it cut while it is mapped, this would end the process.
        assert_eq!(old.as_ref().as_ref(), &older[..]);
        assert_eq!(new.as_ref().as_ref(), b"newer");
        let again = bench.archive.open_now(NAME).expect("it is there");
        assert!(std::ptr::eq(again.as_ref().as_ref(), new.as_ref().as_ref()));
    }

    #[test]
    fn what_is_given_up_or_half_made_leaves_nothing() {
        let mut bench = bench();
        bench.write(b"half", true, false);
        bench.archive.abandon(0, NAME);
        bench.write(b"more", false, true);
        assert!(bench.ends(3).is_empty(), "nobody waits for it any more");
        assert!(bench.files().is_empty());
        bench.write(b"half", true, false);
        bench.ends(1);
        assert_eq!(bench.files().len(), 1);
        assert_eq!(bench.archive.list_now(), Ok(Vec::new()));
        assert!(bench.files().is_empty(), "unfinished files go at the start");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_told() {
        let mut bench = bench();
        fs::remove_dir(bench.folder.path().join("archive")).expect("empty");
        bench.write(b"a", true, false);
        bench.write(b"b", false, true);
        let ends = bench.ends(2);
        assert!(
            matches!(ends[..], [Completion::Failed(NAME, ArchiveError::Missing)]),
            "once: {ends:?}"
        );
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut bench = bench();
        let mut taken = 0;
        let place = |is_first| Place {
            is_first,
            is_last: false,
        };
        // The thread may keep up; then every piece is taken, and what waits stays below the bound all the same.
        for _ in 0..64 {
            let piece = vec![7; PIECE_BYTES_MAX];
            taken += usize::from(
                bench
                    .archive
                    .write(0, NAME, piece, place(taken == 0))
                    .is_ok(),
            );
            let waiting = bench.archive.shelf.waiting.load(Ordering::Acquire);
            assert!(waiting <= QUEUE_BYTES_MAX, "{waiting}");
        }
        bench.ends(taken);
    }
}
