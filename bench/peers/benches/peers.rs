//! The peers: raft-engine, okaywal, fjall, and RocksDB's log where it was built.
//!
//! - Each is set up for its best: files recycled or written ahead where it can, no compression, one durable write for
//!   each batch.
//! - `one-each`: a thread for each group, as their own group commits are made for.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cell::{Mode, Reading, System, Watch, Work};

/// A log that waits until what it was given is durable.
pub(crate) trait Peer: Send + Sync + 'static {
    /// One entry of each of these groups, in one durable write.
    fn write(&self, groups: std::ops::Range<usize>, index: u64, payload: &[u8]);
}

struct Driven<P> {
    name: &'static str,
    peer: Arc<P>,
    work: Work,
    payload: Vec<u8>,
    /// Of each group, the next index.
    next: Vec<u64>,
}

impl<P: Peer> Driven<P> {
    fn boxed(name: &'static str, peer: P, work: &Work) -> Option<Box<dyn System>> {
        Some(Box::new(Self {
            name,
            peer: Arc::new(peer),
            work: *work,
            payload: vec![7; work.bytes],
            next: vec![1; work.groups],
        }))
    }

    fn together(&mut self, window: Duration) -> Reading {
        let (mut entries, mut latencies) = (0, Vec::new());
        let watch = Watch::start();
        while watch.elapsed_ns() < window.as_nanos() as u64 {
            let began = watch.elapsed_ns();
            self.peer
                .write(0..self.work.groups, self.next[0], &self.payload);
            latencies.push(watch.elapsed_ns() - began);
            self.next[0] += 1;
            entries += self.work.groups as u64;
        }
        watch.stop(entries, latencies)
    }

    fn one_each(&mut self, window: Duration) -> Reading {
        let is_over = Arc::new(AtomicBool::new(false));
        let watch = Watch::start();
        let threads: Vec<_> = (0..self.work.groups)
            .map(|group| {
                let (peer, is_over) = (Arc::clone(&self.peer), Arc::clone(&is_over));
                let payload = self.payload.clone();
                let first = self.next[group];
                std::thread::spawn(move || {
                    let mut latencies = Vec::new();
                    let mut index = first;
                    while !is_over.load(Ordering::Relaxed) {
                        let began = std::time::Instant::now();
                        peer.write(group..group + 1, index, &payload);
                        latencies.push(began.elapsed().as_nanos() as u64);
                        index += 1;
                    }
                    latencies
                })
            })
            .collect();
        std::thread::sleep(window);
        is_over.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        for (thread, next) in threads.into_iter().zip(&mut self.next) {
            let own = thread.join().expect("the peer is sound");
            *next += own.len() as u64;
            latencies.extend(own);
        }
        watch.stop(latencies.len() as u64, latencies)
    }
}

impl<P: Peer> System for Driven<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, window: Duration) -> Reading {
        match self.work.mode {
            Mode::Together => self.together(window),
            Mode::OneEach => self.one_each(window),
        }
    }
}

/// Opens the peer of this name, if it was built.
pub(crate) fn open(name: &str, folder: &Path, work: &Work) -> Option<Box<dyn System>> {
    match name {
        "raft-engine" => Driven::boxed("raft-engine", RaftEngine::open(folder), work),
        "okaywal" => Driven::boxed("okaywal", Okaywal::open(folder), work),
        "fjall" => Driven::boxed("fjall", Fjall::open(folder), work),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Driven::boxed("rocksdb", Rocks::open(folder), work),
        _ => None,
    }
}

/// Entries are messages; the index is in the first eight bytes.
#[derive(Clone)]
struct Messages;

impl raft_engine::MessageExt for Messages {
    type Entry = protobuf::well_known_types::BytesValue;

    fn index(entry: &Self::Entry) -> u64 {
        u64::from_le_bytes(entry.value[..8].try_into().expect("an entry has an index"))
    }
}

struct RaftEngine(raft_engine::Engine);

impl RaftEngine {
    fn open(folder: &Path) -> Self {
        let config = raft_engine::Config {
            dir: folder.display().to_string(),
            batch_compression_threshold: raft_engine::ReadableSize(0),
            target_file_size: raft_engine::ReadableSize::mb(64),
            purge_threshold: raft_engine::ReadableSize::gb(1),
            enable_log_recycle: true,
            prefill_for_recycle: true,
            prefill_limit: Some(raft_engine::ReadableSize::mb(768)),
            ..raft_engine::Config::default()
        };
        Self(raft_engine::Engine::open(config).expect("the peer opens"))
    }
}

impl Peer for RaftEngine {
    fn write(&self, groups: std::ops::Range<usize>, index: u64, payload: &[u8]) {
        let mut batch = raft_engine::LogBatch::with_capacity(groups.len());
        let mut entry = protobuf::well_known_types::BytesValue::new();
        entry.value = payload.to_vec();
        entry.value[..8].copy_from_slice(&index.to_le_bytes());
        for group in groups.clone() {
            batch
                .add_entries::<Messages>(group as u64 + 1, std::slice::from_ref(&entry))
                .expect("it fits");
        }
        self.0.write(&mut batch, true).expect("the disk is sound");
        if index.is_multiple_of(64) {
            for group in groups {
                self.0.compact_to(group as u64 + 1, index - 32);
            }
        }
    }
}

#[derive(Debug)]
struct Forget;

impl okaywal::LogManager for Forget {
    fn recover(&mut self, _entry: &mut okaywal::Entry<'_>) -> std::io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: okaywal::EntryId,
        _entries: &mut okaywal::SegmentReader,
        _wal: &okaywal::WriteAheadLog,
    ) -> std::io::Result<()> {
        Ok(())
    }
}

struct Okaywal(okaywal::WriteAheadLog);

impl Okaywal {
    fn open(folder: &Path) -> Self {
        let config = okaywal::Configuration::default_for(folder)
            .preallocate_bytes(64 << 20)
            .checkpoint_after_bytes(48 << 20)
            .buffer_bytes(256 << 10);
        Self(config.open(Forget).expect("the peer opens"))
    }
}

impl Peer for Okaywal {
    fn write(&self, groups: std::ops::Range<usize>, _index: u64, payload: &[u8]) {
        let mut entry = self.0.begin_entry().expect("the peer works");
        for _ in groups {
            entry.write_chunk(payload).expect("it fits");
        }
        entry.commit().expect("the disk is sound");
    }
}

struct Fjall {
    database: fjall::Database,
    keyspace: fjall::Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Self {
        let database = fjall::Database::builder(folder)
            .open()
            .expect("the peer opens");
        let keyspace = database
            .keyspace("log", fjall::KeyspaceCreateOptions::default)
            .expect("the peer works");
        Self { database, keyspace }
    }
}

fn key(group: usize, index: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(group as u64).to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

impl Peer for Fjall {
    fn write(&self, groups: std::ops::Range<usize>, index: u64, payload: &[u8]) {
        let mut batch = self
            .database
            .batch()
            .durability(Some(fjall::PersistMode::SyncData));
        for group in groups {
            batch.insert(&self.keyspace, key(group, index), payload);
        }
        batch.commit().expect("the disk is sound");
    }
}

#[cfg(feature = "rocksdb")]
struct Rocks(rocksdb::DB);

#[cfg(feature = "rocksdb")]
impl Rocks {
    fn open(folder: &Path) -> Self {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_compression_type(rocksdb::DBCompressionType::None);
        options.set_recycle_log_file_num(8);
        options.set_write_buffer_size(256 << 20);
        options.set_enable_pipelined_write(true);
        Self(rocksdb::DB::open(&options, folder).expect("the peer opens"))
    }
}

#[cfg(feature = "rocksdb")]
impl Peer for Rocks {
    fn write(&self, groups: std::ops::Range<usize>, index: u64, payload: &[u8]) {
        let mut batch = rocksdb::WriteBatch::default();
        for group in groups {
            batch.put(key(group, index), payload);
        }
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(true);
        self.0
            .write_opt(batch, &options)
            .expect("the disk is sound");
    }
}
