//! The history of a node: how it is kept, where it goes, and how long it stays there.
//!
//! - Nothing is kept unless it is asked for; what is kept is bounded here, and by its stay in the object store.

use std::path::PathBuf;
use std::time::Duration;

use shard::past::History;

use crate::config::size::ByteSize;

/// Bytes of files from the object store that a node keeps in memory, unless told otherwise.
const CACHE_BYTES_DEFAULT: u64 = 256 << 20;

/// How blocks of sealed files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: cheap both ways.
    Lz4,
    /// Zstandard at this level, 1 to 19.
    Zstd(u8),
    /// Zstandard at its quickest level.
    #[default]
    Usual,
}

/// How long what is stored stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stay {
    /// For ever.
    #[default]
    Keep,
    /// So long.
    Expire(Duration),
    /// So long, and nobody deletes it before.
    Lock(Duration),
}

/// Whether and how the entries that the log gives up are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Bytes of sealed files that one core keeps. Beyond, the oldest go, or with an object store nothing more is given
    /// up until it has taken some.
    pub bytes_max: ByteSize,
    /// How they are compressed.
    pub compression: Compression,
    /// Where they go, if anywhere.
    pub cold: Option<ColdOptions>,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            bytes_max: ByteSize(History::of(0).bytes_max),
            compression: Compression::default(),
            cold: None,
        }
    }
}

/// The object store of sealed files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdOptions {
    /// `file:///folder` or `s3://bucket/prefix?endpoint=URL&region=NAME`; credentials come from the environment.
    pub address: String,
    /// The file of keys; without it nothing is encrypted.
    pub keys: Option<PathBuf>,
    /// How long what is stored stays.
    pub stay: Stay,
    /// Bytes of files from the store that are kept in memory for those who read the history.
    pub cache: ByteSize,
    /// How often each group is looked after in the store: what is over expires, small files are joined, what nobody names
    /// is swept.
    pub chores_every: Duration,
    /// How old an object must be that is swept because nobody names it.
    pub grace: Duration,
}

impl ColdOptions {
    /// At this address, nothing encrypted, everything kept for ever.
    #[must_use]
    pub fn at(address: String) -> Self {
        const HOUR: Duration = Duration::from_secs(3_600);
        Self {
            address,
            keys: None,
            stay: Stay::Keep,
            cache: ByteSize(CACHE_BYTES_DEFAULT),
            chores_every: HOUR,
            grace: Duration::from_secs(cold::offload::GRACE),
        }
    }
}

impl HistoryOptions {
    /// What a core is told.
    pub(crate) fn of_core(&self, cluster: u64) -> History {
        History {
            codec: match self.compression {
                Compression::None => sealed::Codec::Plain,
                Compression::Lz4 => sealed::Codec::Lz4,
                Compression::Zstd(level) => sealed::Codec::Zstd(level),
                Compression::Usual => History::of(0).codec,
            },
            bytes_max: self.bytes_max.0,
            ..History::of(cluster.into())
        }
    }
}
