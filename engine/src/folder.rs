//! The data folder of one node: formatted once, locked while in use, checked before anything is read.
//!
//! ```text
//! DIR/
//!   LOCK            held with flock(2) while a process has the folder open; names that process
//!   quorate.toml    who this node is and what its cluster looks like; written last by `format`
//!   core-000/       the log of core 0
//!   core-001/ ..    one for each core
//! ```
//!
//! - `quorate.toml` appears whole or not at all: written aside, synced, renamed, folder synced. A folder
//!   without it was never formatted completely and is never started.
//! - Its first line is the format version, read before anything else is believed; its last line is the
//!   CRC-32 of every byte before it.
//! - At most one process has a folder open; the lock dies with its process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use raft::ids::NodeId;
use rustix::fs::{FlockOperation, flock};

use crate::config::{ConfigError, Layout};
use crate::error::EngineError;

/// The format that `format` writes and the newest that `Folder::open` reads.
pub const FORMAT_VERSION: u64 = 1;

const DESCRIPTION: &str = "quorate.toml";
const DESCRIPTION_ASIDE: &str = "quorate.toml.partial";
const LOCK: &str = "LOCK";
const VERSION_LINE: &str = "# quorate data folder, format ";
const NODE_LINE: &str = "# node ";
const CHECKSUM_LINE: &str = "# crc32 ";
/// A description is some hundred bytes per node; more than this is not one.
const DESCRIPTION_BYTES_MAX: u64 = 64 << 10;

/// What to format.
#[derive(Clone, Debug)]
pub struct FormatOptions {
    /// The cluster.
    pub layout: Layout,
    /// Which of its nodes lives here.
    pub node: u32,
    /// Bytes of log written with zeros for each core beforehand, in whole segments and at least two: a
    /// log that grows while it is used is slower.
    pub prewrite_bytes: u64,
}

impl FormatOptions {
    /// A node of this layout, with as much log written beforehand as is necessary.
    #[must_use]
    pub fn new(layout: Layout, node: u32) -> Self {
        Self {
            layout,
            node,
            prewrite_bytes: 0,
        }
    }
}

/// An open, locked data folder. Dropping it releases the lock.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    node: NodeId,
    layout: Layout,
    _lock: File,
}

/// Makes `dir` the data folder of a node; creates it when it is missing.
///
/// `make_log` is called with each core's new folder and prepares its log there.
///
/// # Errors
/// `Config`, `FolderNotEmpty`, `FolderInUse`, `File`, and whatever `make_log` returns.
pub(crate) fn format_with<E: From<EngineError>>(
    dir: &Path,
    options: &FormatOptions,
    mut make_log: impl FnMut(u16, &Path) -> Result<(), E>,
) -> Result<(), E> {
    let layout = &options.layout;
    layout.check().map_err(EngineError::from)?;
    let node = options.node;
    if layout.address_of(NodeId(node), 0).is_none() {
        return Err(EngineError::from(ConfigError::UnknownNode { id: node }).into());
    }
    fs::create_dir_all(dir).map_err(EngineError::file("create", dir))?;
    let mut entries = fs::read_dir(dir).map_err(EngineError::file("read", dir))?;
    if entries.next().is_some() {
        return Err(EngineError::FolderNotEmpty {
            dir: dir.to_owned(),
        }
        .into());
    }
    let _lock = lock(dir)?;
    for core in 0..layout.cores {
        let path = core_dir(dir, core);
        fs::create_dir(&path).map_err(EngineError::file("create", &path))?;
        make_log(core, &path)?;
        sync_dir(&path)?;
    }
    write_description(dir, &describe(layout, node))?;
    Ok(())
}

impl Folder {
    /// Opens and locks the data folder at `dir`. Nothing in it changes but the name in `LOCK`.
    ///
    /// # Errors
    /// `FolderNotFormatted`, `FolderInUse`, `FolderNewer`, `FolderDamaged`, `FolderMalformed`,
    /// `WrongCluster` (when `cluster` is given), `Config`, `File`.
    pub fn open(dir: &Path, cluster: Option<u64>) -> Result<Self, EngineError> {
        let path = dir.join(DESCRIPTION);
        if !path.is_file() {
            let interrupted = dir.join(LOCK).is_file();
            return Err(EngineError::FolderNotFormatted {
                dir: dir.to_owned(),
                interrupted,
            });
        }
        let lock = lock(dir)?;
        let text = read_description(&path)?;
        let (node, layout) = undescribe(dir, &path, &text)?;
        if let Some(asked) = cluster.filter(|&asked| asked != layout.cluster) {
            let found = layout.cluster;
            return Err(EngineError::WrongCluster {
                dir: dir.to_owned(),
                found,
                asked,
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
            node,
            layout,
            _lock: lock,
        })
    }

    /// Which node lives here.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The cluster as it was formatted.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whose the log of a core should be.
    #[must_use]
    pub fn log_identity(&self, core: u16) -> wal::Identity {
        crate::log::identity(&self.layout, self.node, core)
    }

    /// Where a core keeps its log.
    #[must_use]
    pub fn core_dir(&self, core: u16) -> PathBuf {
        core_dir(&self.dir, core)
    }
}

fn core_dir(dir: &Path, core: u16) -> PathBuf {
    dir.join(format!("core-{core:03}"))
}

/// Takes the lock and writes this process down as its holder.
fn lock(dir: &Path) -> Result<File, EngineError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options
        .open(&path)
        .map_err(EngineError::file("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // The name is a courtesy: without it the error is as true.
            let read = file.take(32).read_to_string(&mut holder);
            let pid = read.ok().and_then(|_| holder.trim().parse().ok());
            return Err(EngineError::FolderInUse {
                dir: dir.to_owned(),
                pid,
            });
        }
        Err(errno) => return Err(EngineError::file("lock", &path)(io::Error::from(errno))),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(EngineError::file("write", &path))?;
    Ok(file)
}

fn describe(layout: &Layout, node: u32) -> String {
    let mut text = format!(
        "{VERSION_LINE}{FORMAT_VERSION}\n# Written by format; the last line guards every byte above it.\n\
         {NODE_LINE}{node}\n\n{}\n",
        layout.to_toml()
    );
    let crc = crc32fast::hash(text.as_bytes());
    text.push_str(&format!("{CHECKSUM_LINE}{crc:08x}\n"));
    text
}

fn write_description(dir: &Path, text: &str) -> Result<(), EngineError> {
    let aside = dir.join(DESCRIPTION_ASIDE);
    let mut file = File::create(&aside).map_err(EngineError::file("create", &aside))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(EngineError::file("write", &aside))?;
    let path = dir.join(DESCRIPTION);
    fs::rename(&aside, &path).map_err(EngineError::file("rename", &path))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<(), EngineError> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(EngineError::file("sync", dir))
}

fn read_description(path: &Path) -> Result<String, EngineError> {
    let file = File::open(path).map_err(EngineError::file("open", path))?;
    let mut bytes = Vec::new();
    file.take(DESCRIPTION_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(EngineError::file("read", path))?;
    let malformed = || EngineError::FolderMalformed {
        path: path.to_owned(),
    };
    if bytes.len() as u64 > DESCRIPTION_BYTES_MAX {
        return Err(malformed());
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

/// Version first, then the checksum, then the content: nothing is believed before what guards it.
fn undescribe(dir: &Path, path: &Path, text: &str) -> Result<(NodeId, Layout), EngineError> {
    let malformed = || EngineError::FolderMalformed {
        path: path.to_owned(),
    };
    let version = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix(VERSION_LINE));
    let found: u64 = version
        .and_then(|version| version.parse().ok())
        .ok_or_else(malformed)?;
    if found > FORMAT_VERSION {
        let supported = FORMAT_VERSION;
        return Err(EngineError::FolderNewer {
            dir: dir.to_owned(),
            found,
            supported,
        });
    }
    let guarded = text.rfind(CHECKSUM_LINE).ok_or_else(malformed)?;
    let (body, guard) = text.split_at(guarded);
    let guard = guard
        .strip_prefix(CHECKSUM_LINE)
        .and_then(|guard| guard.strip_suffix('\n'));
    let guard = guard.and_then(|guard| u32::from_str_radix(guard, 16).ok());
    let expected = guard.ok_or_else(malformed)?;
    let found = crc32fast::hash(body.as_bytes());
    if found != expected {
        return Err(EngineError::FolderDamaged {
            path: path.to_owned(),
            found,
            expected,
        });
    }
    let node = body.lines().find_map(|line| line.strip_prefix(NODE_LINE));
    let node: u32 = node
        .and_then(|node| node.parse().ok())
        .ok_or_else(malformed)?;
    let layout = Layout::parse(body)?;
    if layout.address_of(NodeId(node), 0).is_none() {
        return Err(ConfigError::UnknownNode { id: node }.into());
    }
    Ok((NodeId(node), layout))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use raft::ids::NodeId;

    use super::{FORMAT_VERSION, Folder, FormatOptions, format_with};
    use crate::config::{ConfigError, Layout, NodeAddress};
    use crate::error::EngineError;

    fn options() -> FormatOptions {
        let address = |id, port| NodeAddress {
            id,
            address: ([127, 0, 0, 1], port).into(),
        };
        let layout = Layout::new(42, vec![address(1, 7000), address(2, 7100)], 2, 8);
        FormatOptions::new(layout, 2)
    }

    fn format_here(dir: &Path, options: &FormatOptions) -> Result<(), EngineError> {
        format_with(dir, options, |_, path| {
            fs::write(path.join("log"), b"log").map_err(EngineError::file("write", path))
        })
    }

    fn formatted() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        format_here(dir.path(), &options()).expect("an empty folder can be formatted");
        dir
    }

    /// Rewrites the description and, if asked, its guard.
    fn edit(dir: &Path, from: &str, to: &str, guard: bool) {
        let path = dir.join("quorate.toml");
        let text = fs::read_to_string(&path).expect("it was formatted");
        assert!(text.contains(from), "{from:?} is in the description");
        let mut text = text.replacen(from, to, 1);
        if guard {
            text.truncate(text.rfind("# crc32").expect("the guard is there"));
            let crc = crc32fast::hash(text.as_bytes());
            text.push_str(&format!("# crc32 {crc:08x}\n"));
        }
        fs::write(path, text).expect("the description can be written");
    }

    #[test]
    fn a_formatted_folder_opens_with_what_was_asked_for() {
        let dir = formatted();
        let folder = Folder::open(dir.path(), Some(42)).expect("it was formatted");
        assert_eq!(folder.node(), NodeId(2));
        assert_eq!(*folder.layout(), options().layout);
        assert!(folder.core_dir(1).join("log").is_file());
        assert!(!folder.core_dir(2).exists());
    }

    /// The worked example of docs/formats-folder.md is what `format` writes.
    #[test]
    fn the_documented_example_is_true() {
        let document = include_str!("../../docs/formats-folder.md");
        let text = super::describe(&options().layout, 2);
        assert!(
            document.contains(&format!("```toml\n{text}```\n")),
            "{text}"
        );
        let guarded = text.rfind("# crc32").expect("the guard is there");
        assert!(
            document.contains(&format!("guards the {guarded} bytes above it")),
            "{guarded}"
        );
    }

    #[test]
    fn a_folder_that_holds_something_is_not_formatted() {
        let dir = formatted();
        let again = format_here(dir.path(), &options());
        assert!(
            matches!(again, Err(EngineError::FolderNotEmpty { .. })),
            "{again:?}"
        );
    }

    #[test]
    fn a_node_outside_the_layout_is_not_formatted() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let stranger = FormatOptions {
            node: 3,
            ..options()
        };
        let refused = format_here(dir.path(), &stranger);
        assert!(matches!(
            refused,
            Err(EngineError::Config(ConfigError::UnknownNode { id: 3 }))
        ));
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn an_interrupted_format_is_never_started() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let broken = format_with(dir.path(), &options(), |core, path| match core {
            0 => Ok(()),
            _ => Err(EngineError::file("write", path)(std::io::Error::other(
                "disk full",
            ))),
        });
        assert!(matches!(
            broken,
            Err(EngineError::File {
                action: "write",
                ..
            })
        ));
        let opened = Folder::open(dir.path(), None);
        assert!(matches!(
            opened,
            Err(EngineError::FolderNotFormatted {
                interrupted: true,
                ..
            })
        ));
        let empty = tempfile::tempdir().expect("a temporary folder");
        let opened = Folder::open(empty.path(), None);
        assert!(matches!(
            opened,
            Err(EngineError::FolderNotFormatted {
                interrupted: false,
                ..
            })
        ));
    }

    #[test]
    fn a_second_opener_is_told_who_holds_the_folder() {
        let dir = formatted();
        let first = Folder::open(dir.path(), None).expect("nobody holds it");
        match Folder::open(dir.path(), None) {
            Err(EngineError::FolderInUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("the folder is in use: {other:?}"),
        }
        drop(first);
        Folder::open(dir.path(), None).expect("it was released");
    }

    #[test]
    fn a_newer_format_is_refused_before_its_checksum_is_judged() {
        let dir = formatted();
        edit(dir.path(), "format 1\n", "format 2\n", false);
        match Folder::open(dir.path(), None) {
            Err(EngineError::FolderNewer {
                found: 2,
                supported: FORMAT_VERSION,
                ..
            }) => {}
            other => panic!("a newer format was expected: {other:?}"),
        }
    }

    #[test]
    fn every_flipped_byte_of_the_description_is_noticed() {
        let dir = formatted();
        let path = dir.path().join("quorate.toml");
        let good = fs::read(&path).expect("it was formatted");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x02;
            fs::write(&path, &bad).expect("the description can be written");
            let opened = Folder::open(dir.path(), None);
            assert!(
                opened.is_err(),
                "byte {at} of {:?}",
                String::from_utf8_lossy(&bad)
            );
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).expect("the description can be written");
            assert!(Folder::open(dir.path(), None).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn another_cluster_and_a_forged_description_are_refused() {
        let dir = formatted();
        let other = Folder::open(dir.path(), Some(43));
        assert!(matches!(
            other,
            Err(EngineError::WrongCluster {
                found: 42,
                asked: 43,
                ..
            })
        ));
        edit(dir.path(), "cores = 2", "cores = 0", true);
        let forged = Folder::open(dir.path(), None);
        assert!(matches!(
            forged,
            Err(EngineError::Config(ConfigError::OutOfRange { .. }))
        ));
        edit(dir.path(), "cores = 0", "cores = 2", false);
        let unguarded = Folder::open(dir.path(), None);
        assert!(
            matches!(unguarded, Err(EngineError::FolderDamaged { .. })),
            "{unguarded:?}"
        );
    }
}
