//! Counters of a core that show rare things, as they stood when they were last looked at.

use crate::node::WorldShard;

/// Counters of a core that show rare things.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Reads of the log.
    pub reads: u64,
    /// Rotten blocks of the log made whole.
    pub repaired: u64,
    /// Groups of which something rotten was covered by an image.
    pub mended: u64,
    /// Segments begun.
    pub segments: u64,
    /// Appends that found no room.
    pub log_busy: u64,
    /// Appends and writes that found no space.
    pub storage_full: u64,
    /// Requests answered "busy".
    pub busy: u64,
    /// Peers cut off.
    pub deaf: u64,
    /// Leaderships handed over.
    pub transfers: u64,
    /// Files sealed.
    pub sealed: u64,
    /// Of them, in the place of others.
    pub sealed_anew: u64,
    /// Receipts applied.
    pub receipts: u64,
    /// Tries to store a file that failed.
    pub store_failures: u64,
    /// Entries of histories told from sealed files.
    pub from_files: u64,
    /// Entries of histories told from the object store.
    pub from_store: u64,
}

impl Counted {
    /// Of a core as it stands.
    #[must_use]
    pub fn of(shard: &WorldShard) -> Self {
        let (log, counts) = (shard.log_stats(), shard.counts());
        let past = shard.seal_counts();
        Self {
            reads: log.reads as u64,
            repaired: log.blocks_repaired,
            mended: shard.upkeep_counts().groups_mended,
            segments: log.segments_used as u64 + log.segments_recycled,
            log_busy: log.busy,
            storage_full: log.storage_full + log.refused_writes,
            busy: shard.reply_counts().busy,
            deaf: counts.deaf_peers,
            transfers: counts.transfers,
            sealed: past.sealed_files,
            sealed_anew: past.sealed_anew,
            receipts: past.receipts,
            store_failures: past.store_failures,
            from_files: shard.history_counts().history_from_files,
            from_store: shard.history_counts().history_from_store,
        }
    }
}
