//! The log of one core: append copies, submit writes, poll learns what is durable.
//!
//! - Records become durable in the order they were appended: `durable` never passes one that is not.
//! - What is appended while writes are in flight leaves together in the next one; nothing waits for a timer.
//! - A failed durable write ends the log's life: nothing after it is ever said to be durable.
//! - Hot: append, submit and poll allocate nothing in steady state and never wait.

use std::collections::VecDeque;

use crate::block::BLOCK_HEADER_BYTES;
use crate::block::buffer::Buffer;
use crate::block::tally::Tally;
use crate::damage::Damage;
use crate::device::{ALIGNMENT, Completion, Device, DeviceError, Operation};
use crate::error::{AppendError, Failure, ReadError, WalError};
use crate::filling::{Closed, Facts, Filling, Place};
use crate::flight::{Flight, Landing, Written};
use crate::identity::Life;
use crate::index::{Fit, Index, Position};
use crate::limits::{
    HEAD_BYTES_MAX, LATENCY_SAMPLES_MAX, META_BYTES_MAX, Options, RECORD_PAYLOAD_MAX,
    RELOCATIONS_PER_SUBMIT_MAX, SEGMENT_BYTES_MAX, SEGMENTS_MIN, record_block_bytes,
};
use crate::mutants::{Mutant, is_planted};
use crate::reading::Reading;
use crate::record::{self, FLAG_RESTART, FLAG_SUPERSEDES, Kind, OwnedRecord, Record};
use crate::recovery::{self, Opening, Recovered, ShownOnly, Visit};
use crate::repair::{self, REPAIR_TOKEN, Repair, Rotten};
use crate::scrub::{SCRUB_TOKEN, Scrub};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::space::{NO_SLOT, Segment, Space};
use crate::stats::{Progress, Stats};

/// Log sequence number: strictly increasing in the order of appending. Zero is before all records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// One log; one per core.
pub struct Wal<D: Device> {
    pub(crate) device: D,
    pub(crate) options: Options,
    pub(crate) life: Life,
    pub(crate) index: Index,
    pub(crate) space: Space,
    pub(crate) reading: Reading,
    pub(crate) scrub: Scrub,
    repair: Repair,
    incarnation: u32,
    origin: u64,
    place: Place,
    filling: Option<Filling>,
    ready: VecDeque<Closed>,
    flight: Flight,
    free: Vec<Buffer>,
    next_block: u64,
    next_lsn: u64,
    /// Everything appended, by kind.
    tally: Tally,
    previous_crc: u32,
    durable: Lsn,
    /// Sequence of the last block of which all before are durable too.
    durable_block: u64,
    /// What the last durable block said of the oldest segment needed.
    confirmed_live: u64,
    failed: Option<Failure>,
    starved: bool,
    /// The last block written holds records: only a later block can say that it was durable.
    unwitnessed: bool,
    /// Segment and offset behind the last durable block.
    durable_end: (u64, u32),
    now_ns: u64,
    latencies: Vec<u64>,
    completions: Vec<Completion>,
    relocating: Vec<u32>,
    pub(crate) stats: Stats,
}

impl<D: Device> Wal<D> {
    /// Opens the log on this device and shows every record that survived to `visit`, in log order, payloads
    /// verified. Of one group, a later record at an index not above that of an earlier one supersedes that one
    /// and everything after it; one marked `restart` drops all before it. The log is ready when this returns.
    ///
    /// # Errors
    /// When the disk fails, or what it holds is not this log. Damage is no error: it is in the report.
    pub fn open(
        device: D,
        options: Options,
        now_ns: u64,
        visit: &mut dyn FnMut(&Recovered<'_>),
    ) -> Result<(Self, Opening), WalError> {
        Self::open_with(device, options, now_ns, &mut ShownOnly(visit))
    }

    /// Like [`Wal::open`], for a visitor that is also told what was lost, and at which place of the order.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn open_with(
        mut device: D,
        options: Options,
        now_ns: u64,
        visit: &mut dyn Visit,
    ) -> Result<(Self, Opening), WalError> {
        let (least, most) = (options.segment_bytes_min(), SEGMENT_BYTES_MAX);
        let segment_bytes = device.segment_bytes();
        let aligned = segment_bytes.is_multiple_of(ALIGNMENT as u64)
            && options.block_bytes_max.is_multiple_of(ALIGNMENT);
        if segment_bytes < least
            || segment_bytes > most
            || options.segments_max < SEGMENTS_MIN
            || !aligned
        {
            return Err(WalError::Options {
                segment_bytes,
                least,
                most,
            });
        }
        let recovered = recovery::recover(&mut device, &options, now_ns, visit)?;
        let scrubbers = usize::from(options.scrub_bytes_per_second > 0);
        let mut buffers = device.allocate(
            options.blocks.max(2) + options.reads_in_flight_max + scrubbers,
            options.block_bytes_max,
        );
        let mut reads = buffers.split_off(options.blocks.max(2));
        let scrubs = reads.split_off(reads.len() - scrubbers).pop();
        let tail = recovered.tail;
        let mut wal = Self {
            reading: Reading::new(reads, options.reads_queued_max),
            scrub: Scrub::new(scrubs, options.scrub_bytes_per_second),
            repair: Repair::default(),
            life: recovered.life,
            index: recovered.index,
            space: recovered.space,
            incarnation: recovered.incarnation,
            origin: recovered.next_block,
            place: tail,
            filling: None,
            ready: VecDeque::with_capacity(options.blocks),
            flight: Flight::new(recovered.next_block + 1, options.blocks * 2),
            free: buffers,
            next_block: recovered.next_block,
            next_lsn: recovered.next_lsn,
            tally: recovered.tally,
            previous_crc: recovered.previous_crc,
            durable: Lsn(recovered.next_lsn - 1),
            durable_block: recovered.next_block - 1,
            confirmed_live: 0,
            failed: None,
            starved: false,
            unwitnessed: false,
            durable_end: (0, 0),
            now_ns,
            latencies: Vec::with_capacity(LATENCY_SAMPLES_MAX),
            completions: Vec::with_capacity(64),
            relocating: Vec::new(),
            stats: Stats {
                device: device.traits(),
                ..Stats::default()
            },
            device,
            options,
        };
        wal.resume(recovered.tail_is_sound)?;
        Ok((wal, recovered.opening))
    }

    /// Writes the first block of this incarnation and waits for it: from here on, whatever an earlier one left
    /// behind this place is void.
    fn resume(&mut self, tail_is_sound: bool) -> Result<(), WalError> {
        let missing = self
            .options
            .preallocate_segments
            .max(SEGMENTS_MIN)
            .min(self.options.segments_max);
        while self.space.files() < missing {
            let slot = self.space.next_slot();
            match self.device.create_now(slot) {
                Ok(()) => self.space.add_file(slot),
                // A log that exists opens on a full disk, too.
                Err(DeviceError::Full) if !self.space.used.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        for segment in self.space.used.iter().filter(|used| used.slot != NO_SLOT) {
            self.device.sync_now(segment.slot)?;
        }
        let room = self.device.segment_bytes() - u64::from(self.place.offset);
        let fits = tail_is_sound
            && !self.space.used.is_empty()
            && self.place.slot != NO_SLOT
            && room >= ALIGNMENT as u64;
        let buffer = self
            .free
            .pop()
            .expect("the options ask for at least two blocks");
        let filling = if fits {
            self.place.seeds = self.life.seeds(self.place.segment, self.incarnation);
            let tail = self
                .space
                .used
                .back_mut()
                .expect("there is a tail to resume");
            tail.incarnations
                .push((self.place.offset, self.incarnation));
            Filling::new(
                buffer,
                self.place,
                None,
                room as usize,
                self.next_lsn,
                self.tally,
            )
        } else {
            let previous_end = if tail_is_sound {
                self.place.offset
            } else {
                self.device.segment_bytes() as u32
            };
            let slot = self.space.take_free(true).ok_or(DeviceError::Full)?;
            self.begin_segment(buffer, slot, previous_end)
        };
        let (mut closed, place) = filling.close(self.tally);
        self.place = place;
        let facts = self.facts();
        let crc = closed.sign(&facts);
        let buffer = closed.take_buffer();
        self.device
            .write_now(closed.slot, closed.offset, closed.bytes, &buffer)?;
        self.free.push(buffer);
        self.previous_crc = crc;
        self.durable_block = self.next_block;
        self.next_block += 1;
        self.confirmed_live = facts.live;
        self.durable_end = (self.place.segment, self.place.offset);
        Ok(())
    }

    fn facts(&self) -> Facts {
        Facts {
            birth: self.life.birth,
            incarnation: self.incarnation,
            origin: self.origin,
            sequence: self.next_block,
            durable: self.durable_block,
            live: self.space.oldest(),
            previous_crc: self.previous_crc,
        }
    }

    /// Begins the next segment in the file of `slot` with a block that carries its header.
    fn begin_segment(&mut self, buffer: Buffer, slot: u32, previous_end: u32) -> Filling {
        let sequence = self.place.segment + 1;
        let segment_bytes = self.device.segment_bytes();
        let identity = self.life.identity;
        if let Some(before) = self.space.used.back_mut() {
            before.end = self.place.offset;
        }
        let mut segment = Segment::new(sequence, slot);
        segment.incarnations.push((0, self.incarnation));
        self.space.used.push_back(segment);
        let prefix = SegmentHeader {
            magic: [0; 8],
            version: 0.into(),
            prefix_crc: 0.into(),
            cluster: identity.cluster.into(),
            node: identity.node.into(),
            log: identity.log.into(),
            slot: slot.into(),
            birth: self.life.birth.into(),
            segment: sequence.into(),
            segment_bytes: segment_bytes.into(),
            incarnation: self.incarnation.into(),
            slots: self.space.files().into(),
            origin: self.origin.into(),
            first_block: 0.into(),
            first_lsn: self.next_lsn.into(),
            durable: 0.into(),
            live: 0.into(),
            previous_end: previous_end.into(),
            previous_crc: 0.into(),
            created_ns: self.now_ns.into(),
        };
        let seeds = self.life.seeds(sequence, self.incarnation);
        self.place = Place {
            slot,
            segment: sequence,
            offset: SEGMENT_HEADER_BYTES as u32,
            seeds,
        };
        Filling::new(
            buffer,
            self.place,
            Some(prefix),
            self.room(),
            self.next_lsn,
            self.tally,
        )
    }

    /// Bytes left for blocks in the current segment; the last 4 KiB are kept for an empty block.
    fn room(&self) -> usize {
        (self.device.segment_bytes() - u64::from(self.place.offset))
            .saturating_sub(ALIGNMENT as u64) as usize
    }

    /// Appends a record: copies it into the block being filled. Durable once [`Wal::durable`] has reached the
    /// number returned. An entry at an index its group holds supersedes that one and all after it; one beyond
    /// the group's end begins the group anew.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then.
    pub fn append(&mut self, record: &Record<'_>) -> Result<Lsn, AppendError> {
        debug_assert_eq!(
            crc32fast::hash(record.payload),
            record.payload_crc,
            "the maker's checksum is right"
        );
        self.append_one(record, false)
    }

    /// Appends metadata even when the log is full, into what is kept back for that: for a record that says that
    /// entries may be given up, so that a full log can be relieved.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then.
    ///
    /// # Panics
    /// When the record is an entry: entries wait until there is room.
    pub fn append_relief(&mut self, record: &Record<'_>) -> Result<Lsn, AppendError> {
        assert_eq!(record.kind, Kind::Meta, "only metadata relieves a log");
        self.append_one(record, true)
    }

    /// Appends all entries that a group holds once more, unchanged and in one block, so that the segments they lie in
    /// may go: after a crash the old ones are there or the new ones, all of them. Even when the log is full, into what
    /// is kept back to relieve it.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then. `TooLarge` when they do not fit one block.
    ///
    /// # Panics
    /// When they are not all that the group holds.
    pub fn append_again(&mut self, entries: &[Record<'_>]) -> Result<Lsn, AppendError> {
        let first = entries.first().expect("there is something to append");
        assert_eq!(
            self.entries(first.group),
            Some((first.index, entries.len() as u64)),
            "what is left out would be superseded"
        );
        if let Some(failure) = self.failed {
            return Err(AppendError::Failed(failure));
        }
        let size = |entry: &Record<'_>| record::record_bytes(entry.head.len(), entry.payload.len());
        let bytes = entries.iter().map(size).sum();
        let most = self.block_room();
        if bytes > most {
            return Err(AppendError::TooLarge { bytes, most });
        }
        if self.flight.is_refused() {
            return Err(AppendError::StorageFull);
        }
        if self.filling.as_ref().is_none_or(|it| !it.fits(bytes)) {
            self.close_filling();
            // One of the files kept back stays.
            if !self.space.has_reserve() && bytes + BLOCK_HEADER_BYTES > self.room() {
                return Err(AppendError::StorageFull);
            }
            self.make_room(bytes, true)?;
        }
        if let Some(filling) = &mut self.filling {
            filling.keep_together();
        }
        let mut lsn = self.appended();
        for entry in entries {
            lsn = self
                .append_with(entry, true)
                .expect("there is room for all of them");
        }
        self.stats.relocations += entries.len() as u64;
        Ok(lsn)
    }

    /// Bytes of records that fit the largest block.
    pub fn block_room(&self) -> usize {
        self.options.block_bytes_max - BLOCK_HEADER_BYTES - SEGMENT_HEADER_BYTES
    }

    fn append_one(
        &mut self,
        record: &Record<'_>,
        may_use_reserve: bool,
    ) -> Result<Lsn, AppendError> {
        if let Some(failure) = self.failed {
            return Err(AppendError::Failed(failure));
        }
        self.check_size(record)?;
        if self.flight.is_refused() {
            self.stats.storage_full += 1;
            return Err(AppendError::StorageFull);
        }
        self.append_with(record, may_use_reserve)
    }

    fn check_size(&self, record: &Record<'_>) -> Result<(), AppendError> {
        let too_large = |bytes, most| Err(AppendError::TooLarge { bytes, most });
        let payload_max = if record.kind == Kind::Meta {
            META_BYTES_MAX
        } else {
            RECORD_PAYLOAD_MAX
        };
        if record.head.len() > HEAD_BYTES_MAX {
            return too_large(record.head.len(), HEAD_BYTES_MAX);
        }
        let most = payload_max.min(self.options.payload_bytes_max());
        let block =
            record_block_bytes(record.head.len(), record.payload.len()) + SEGMENT_HEADER_BYTES;
        if record.payload.len() > payload_max || block > self.options.block_bytes_max {
            return too_large(record.payload.len(), most);
        }
        Ok(())
    }

    fn append_with(
        &mut self,
        record: &Record<'_>,
        may_use_reserve: bool,
    ) -> Result<Lsn, AppendError> {
        let bytes = record::record_bytes(record.head.len(), record.payload.len());
        if !may_use_reserve && !self.space.has_reserve() {
            return Err(self.refuse());
        }
        if !self
            .filling
            .as_ref()
            .is_some_and(|filling| filling.fits(bytes))
        {
            self.make_room(bytes, may_use_reserve)?;
        }
        let filling = self.filling.as_mut().expect("room was made");
        let lsn = self.next_lsn;
        if is_planted(Mutant::LostOnRotation)
            && filling.begins_segment()
            && record.index.is_multiple_of(2)
        {
            return Ok(Lsn(lsn - 1));
        }
        let space = &mut self.space;
        match record.kind {
            Kind::Entry => {
                let group = self.index.group_mut(record.group);
                let restarts = group.fit(record.index) != Fit::Follows;
                let flags = if restarts {
                    FLAG_RESTART
                } else if record.index < group.end() {
                    FLAG_SUPERSEDES
                } else {
                    0
                };
                self.tally.count(Kind::Entry, flags != 0);
                let position = filling.push(record, flags);
                let killed = &mut |position| space.died(position, false, lsn);
                group.put_entry(record.index, position, restarts, killed);
                space.born(position, false);
            }
            Kind::Meta => {
                self.tally.count(Kind::Meta, false);
                let position = filling.push(record, 0);
                self.index.put_meta(record, position, &mut |position| {
                    space.died(position, true, lsn)
                });
                space.born(position, true);
            }
        }
        self.next_lsn += 1;
        self.stats.records += 1;
        self.stats.record_bytes += bytes as u64;
        Ok(Lsn(lsn))
    }

    /// Closes the block being filled and begins one with room for a record.
    fn make_room(&mut self, bytes: usize, may_use_reserve: bool) -> Result<(), AppendError> {
        self.close_filling();
        let Some(buffer) = self.free.pop() else {
            self.stats.busy += 1;
            return Err(AppendError::Busy);
        };
        let room = self.room();
        let needed = BLOCK_HEADER_BYTES + bytes;
        if needed <= room {
            self.filling = Some(Filling::new(
                buffer,
                self.place,
                None,
                room,
                self.next_lsn,
                self.tally,
            ));
            return Ok(());
        }
        let Some(slot) = self.space.take_free(may_use_reserve) else {
            self.free.push(buffer);
            return Err(self.refuse());
        };
        self.starved = false;
        self.filling = Some(self.begin_segment(buffer, slot, self.place.offset));
        Ok(())
    }

    /// The answer when no segment can be begun.
    fn refuse(&mut self) -> AppendError {
        self.starved = true;
        if self.space.has_some_soon() {
            self.stats.busy += 1;
            return AppendError::Busy;
        }
        self.stats.storage_full += 1;
        AppendError::StorageFull
    }

    fn close_filling(&mut self) {
        let Some(filling) = self.filling.take() else {
            return;
        };
        let (closed, place) = filling.close(self.tally);
        self.place = place;
        self.ready.push_back(closed);
    }

    /// Begins as many writes as slots allow and hands them to the system. Returns how many were begun.
    pub fn submit(&mut self, now_ns: u64) -> usize {
        if self.failed.is_some() {
            return 0;
        }
        self.now_ns = now_ns;
        self.relocate();
        self.space.grow(&mut self.device, now_ns);
        let mut begun = self.flight.retry(&mut self.device, now_ns);
        self.stats.refused_writes += begun as u64;
        while !self.flight.is_refused() && self.flight.writing() < self.options.writes_in_flight_max
        {
            if self.ready.is_empty() && self.filling.is_some() {
                self.close_filling();
            }
            if self.ready.is_empty() && !self.close_witness() {
                break;
            }
            if !self.begin_write(now_ns) {
                break;
            }
            begun += 1;
        }
        self.begin_reads(now_ns);
        self.repair
            .begin(&mut self.reading.buffers, &mut self.device, now_ns);
        self.scrub
            .begin(&self.space, self.durable_end, &mut self.device, now_ns);
        self.device.submit(now_ns);
        begun
    }

    /// Begins to write the first block that is ready; false when the device takes no more.
    fn begin_write(&mut self, now_ns: u64) -> bool {
        let facts = self.facts();
        let Some(mut closed) = self.ready.pop_front() else {
            return false;
        };
        let crc = closed.sign(&facts);
        let last_lsn = closed.last_lsn();
        let (offset, bytes) = (closed.offset, closed.bytes);
        let (end, records) = (closed.end(), closed.records);
        let (slot, buffer) = (closed.slot, closed.take_buffer());
        let operation = Operation {
            token: facts.sequence,
            slot,
            offset,
            bytes,
            buffer,
        };
        if let Err(operation) = self.device.write(now_ns, operation) {
            closed.put_buffer(operation.buffer);
            self.ready.push_front(closed);
            return false;
        }
        self.previous_crc = crc;
        self.next_block += 1;
        let landing = Landing {
            last_lsn,
            live: facts.live,
            end,
        };
        self.flight.begun(landing, now_ns);
        self.unwitnessed = records > 0;
        self.stats.writes += 1;
        self.stats.written_bytes += bytes as u64;
        true
    }

    /// A log that waits for a retired file while nothing is in flight writes an empty block to say so.
    fn close_witness(&mut self) -> bool {
        let waits =
            self.starved && self.flight.is_empty() && self.confirmed_live < self.space.oldest();
        waits && self.witness_room(true)
    }

    /// Makes an empty block ready, with what is kept back if need be.
    fn witness_room(&mut self, may_use_reserve: bool) -> bool {
        let Some(buffer) = self.free.pop() else {
            return false;
        };
        let whole = (self.device.segment_bytes() - u64::from(self.place.offset)) as usize;
        let room = if may_use_reserve { whole } else { self.room() };
        if room >= ALIGNMENT {
            let filling = Filling::new(
                buffer,
                self.place,
                None,
                ALIGNMENT,
                self.next_lsn,
                self.tally,
            );
            self.filling = Some(filling);
        } else if let Some(slot) = self.space.take_free(may_use_reserve) {
            self.filling = Some(self.begin_segment(buffer, slot, self.place.offset));
        } else {
            self.free.push(buffer);
            return false;
        }
        self.close_filling();
        true
    }

    /// Writes an empty block that says how far the log is durable, if the last one does not say it. Call it
    /// when the log has become idle: rot in its last block is then told from a write that never ended.
    pub fn witness(&mut self) {
        let is_quiet = self.flight.is_empty() && self.ready.is_empty() && self.filling.is_none();
        if is_quiet && self.unwitnessed && self.failed.is_none() {
            // Without memory or room there is nothing to say it with; the next block says it anyway.
            let _ = self.witness_room(false);
        }
    }

    /// Moves newest metadata out of the oldest segment when nothing else holds it.
    fn relocate(&mut self) {
        if !self.space.oldest_holds_only_metadata() || self.flight.is_refused() {
            return;
        }
        let oldest = self.space.oldest() as u32;
        let mut moving = std::mem::take(&mut self.relocating);
        let is_there = |group: &crate::index::Group| {
            group
                .meta
                .as_ref()
                .is_some_and(|meta| meta.position.segment == oldest)
        };
        let numbers = self
            .index
            .groups()
            .iter()
            .enumerate()
            .filter(|(_, group)| is_there(group));
        moving.extend(
            numbers
                .map(|(number, _)| number as u32)
                .take(RELOCATIONS_PER_SUBMIT_MAX),
        );
        for &number in &moving {
            let Some((head, payload)) = self.index.lend_meta(number) else {
                continue;
            };
            let group = &self.index.groups()[number as usize];
            let meta = group
                .meta
                .as_ref()
                .expect("its bytes were lent just before");
            let (index, term, payload_crc) = (meta.index, meta.term, meta.payload_crc);
            let record = Record {
                group: group.id,
                index,
                term,
                kind: Kind::Meta,
                head: &head,
                payload: &payload,
                payload_crc,
            };
            if self.append_with(&record, true).is_err() {
                self.index.return_meta(number, head, payload);
                break;
            }
            self.stats.relocations += 1;
        }
        moving.clear();
        self.relocating = moving;
    }

    /// Learns what has completed. Call it after being woken, and before asking what is durable.
    pub fn poll(&mut self, now_ns: u64) -> Progress {
        let mut completions = std::mem::take(&mut self.completions);
        self.device.poll(now_ns, &mut completions);
        let completed = completions.len();
        for completion in completions.drain(..) {
            match completion {
                Completion::Written(operation, result) if operation.token == REPAIR_TOKEN => {
                    self.repair_written(operation, result);
                }
                Completion::Written(operation, result) => self.written(operation, result, now_ns),
                Completion::Read(operation, result) if operation.token == SCRUB_TOKEN => {
                    let (repair, is_read) = (&mut self.repair, result.is_ok());
                    self.scrub
                        .have_read(&self.space, &self.life, operation, is_read, repair);
                }
                Completion::Read(operation, result) if operation.token == REPAIR_TOKEN => {
                    self.repair_read(operation, result.is_ok());
                }
                Completion::Read(operation, result) => self.have_read(operation, result),
                Completion::Created(slot, result) => self.space.made(slot, result, now_ns),
            }
        }
        self.completions = completions;
        self.advance();
        let storage_full = self.flight.is_refused() || self.space.is_refused();
        Progress {
            durable: self.durable,
            failed: self.failed,
            storage_full,
            completed,
        }
    }

    /// Sleeps until something that was submitted has completed, if anything was: for owners that wait for nothing
    /// else. Poll afterwards.
    pub fn wait(&mut self) {
        self.device.wait();
    }

    fn written(&mut self, operation: Operation, result: Result<(), DeviceError>, now_ns: u64) {
        match self.flight.written(operation, result, now_ns) {
            Written::Durable(buffer, latency_ns) => {
                self.free.push(buffer);
                self.stats.syncs += 1;
                if self.latencies.len() < LATENCY_SAMPLES_MAX {
                    self.latencies.push(latency_ns);
                } else {
                    self.stats.latencies_dropped += 1;
                }
            }
            Written::Refused => {}
            Written::Failed(buffer, error) => {
                self.free.push(buffer);
                self.failed.get_or_insert(Failure::Write(error));
            }
        }
    }

    /// Moves the watermark over every block that is durable with all before it.
    fn advance(&mut self) {
        if self.failed.is_some() {
            return;
        }
        while let Some(landing) = self.flight.next_landed() {
            self.durable = Lsn(landing.last_lsn);
            self.durable_block += 1;
            self.durable_end = landing.end;
            self.confirmed_live = landing.live;
        }
        self.space.retire(self.durable.0);
        self.space.confirmed(self.confirmed_live);
    }

    /// All records up to this one are durable.
    pub fn durable(&self) -> Lsn {
        if is_planted(Mutant::DurableWhenAppended) {
            return self.appended();
        }
        self.durable
    }

    /// The last record appended.
    pub const fn appended(&self) -> Lsn {
        Lsn(self.next_lsn - 1)
    }

    /// Why the log has failed, if it has.
    pub const fn failed(&self) -> Option<Failure> {
        self.failed
    }

    /// Nothing is waiting to be written and nothing is in flight.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.filling.is_none()
            && self.ready.is_empty()
            && self.flight.is_empty()
            && self.reading.is_idle()
            && self.repair.is_idle()
    }

    /// The entries of a group up to and with `upto` are needed no more. Files whose records are all released
    /// or superseded are used again. After the log was opened again they may be shown once more.
    pub fn release(&mut self, group: u64, upto: u64) {
        let lsn = self.next_lsn - 1;
        let space = &mut self.space;
        self.index.release(group, upto, &mut |position| {
            space.died(position, false, lsn)
        });
        self.advance();
    }

    /// No entry of a group counts any more: the next one appended begins the group anew, and says so when the log is opened
    /// again. Until that one is durable they may be shown once more.
    pub fn restart(&mut self, group: u64) {
        let lsn = self.next_lsn - 1;
        let space = &mut self.space;
        self.index
            .restart(group, &mut |position| space.died(position, false, lsn));
        self.advance();
    }

    /// Nothing of a group is needed any more, its metadata neither.
    pub fn forget(&mut self, group: u64) {
        let lsn = self.next_lsn - 1;
        let space = &mut self.space;
        let mut killed = Vec::new();
        self.index.forget(
            group,
            &mut |position| killed.push((position, false)),
            &mut |position| {
                space.died(position, true, lsn);
            },
        );
        for (position, is_meta) in killed {
            self.space.died(position, is_meta, lsn);
        }
        self.advance();
    }

    /// Which groups hold the oldest segment, each with the first index it still needs there: release these to
    /// make space. In the order the groups were first seen.
    pub fn holding(&self, found: &mut dyn FnMut(u64, u64)) {
        let oldest = self.space.oldest() as u32;
        for group in self.index.groups() {
            if group
                .positions
                .front()
                .is_some_and(|position| position.segment == oldest)
            {
                found(group.id, group.first);
            }
        }
    }

    /// The groups that hold the oldest segment, each with the first and the last index that lie in it.
    pub fn oldest(&self, found: &mut dyn FnMut(u64, u64, u64)) {
        let oldest = self.space.oldest() as u32;
        for group in self.index.groups() {
            let inside = group
                .positions
                .iter()
                .take_while(|position| position.segment == oldest);
            let count = inside.count() as u64;
            if count > 0 {
                found(group.id, group.first, group.first + count - 1);
            }
        }
    }

    /// Segments in use, and how many there may be.
    pub fn segments(&self) -> (usize, usize) {
        (self.space.used.len(), self.options.segments_max as usize)
    }

    /// The disk is full, and so is the log but for what was made ahead: whoever can wait should.
    pub fn is_tight(&self) -> bool {
        self.space.is_tight()
    }

    /// Bytes of a segment.
    pub fn segment_bytes(&self) -> u64 {
        self.device.segment_bytes()
    }

    /// Bytes of a group's live records, headers included.
    #[must_use]
    pub fn group_bytes(&self, group: u64) -> u64 {
        self.index.group(group).map_or(0, |group| group.bytes)
    }

    /// First index and number of the entries held for a group.
    #[must_use]
    pub fn entries(&self, group: u64) -> Option<(u64, u64)> {
        let group = self.index.group(group)?;
        (!group.positions.is_empty()).then_some((group.first, group.positions.len() as u64))
    }

    /// Counters and state.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (segments_free, segments_retired) = self.space.free_and_retired();
        Stats {
            writes_in_flight: self.flight.writing(),
            segments_used: self.space.used.len(),
            segments_free,
            segments_retired,
            segments_recycled: self.space.retirements,
            segments_created: self.space.created,
            reads: self.reading.count(),
            scrubbed_bytes: self.scrub.bytes,
            scrub_passes: self.scrub.passes,
            scrub_dropped: self.scrub.dropped,
            blocks_repaired: self.repair.repaired,
            ..self.stats
        }
    }

    /// Hands over the latency of every durable write completed since the last call, in nanoseconds.
    pub fn take_write_latencies(&mut self, found: &mut dyn FnMut(u64)) {
        self.latencies.drain(..).for_each(found);
    }

    /// Asks for the entries `first..=last` of a group, at most `bytes_max` of payload but at least one entry.
    /// The answer, named by `token`, comes through [`Wal::next_read`] after polls and submits; it may end early.
    ///
    /// # Errors
    /// When it can be said at once that there will be no answer; see [`ReadError`].
    pub fn read(
        &mut self,
        group: u64,
        first: u64,
        last: u64,
        bytes_max: u64,
        token: u64,
    ) -> Result<(), ReadError> {
        if let Some(failure) = self.failed {
            return Err(ReadError::Failed(failure));
        }
        let held = self
            .index
            .group(group)
            .ok_or(ReadError::Unknown { group })?;
        if first < held.first || first >= held.end() || last < first {
            return Err(ReadError::OutOfRange {
                first: held.first,
                end: held.end(),
            });
        }
        let last = last.min(held.end() - 1);
        self.reading.accept(group, first, last, bytes_max, token)
    }

    /// The next thing the scrubber found wrong. The entries it names are still counted as held: repair their blocks, see
    /// [`Wal::next_rotten`], or release them.
    pub fn next_damage(&mut self) -> Option<Damage> {
        self.scrub.next_found()
    }

    /// The next block that can be made whole where it lies, and what this log itself can give for that: the newest
    /// metadata of groups. The entries that it names are for the owner to find.
    pub fn next_rotten(&mut self) -> Option<(Rotten, Vec<OwnedRecord>)> {
        while let Some(seen) = self.repair.seen.pop_front() {
            if let Some(rotten) = repair::name(&seen, &self.index) {
                return Some(rotten);
            }
        }
        None
    }

    /// Makes a block whole with these records: those that it names, and what came with it. The outcome comes through
    /// [`Wal::next_repaired`] after polls and submits. False while another block is worked on.
    #[must_use]
    pub fn repair(&mut self, rotten: &Rotten, records: &[OwnedRecord]) -> bool {
        let (rotten, records) = (rotten.clone(), records.to_vec());
        self.failed.is_none() && self.repair.accept(rotten, records, &mut self.space)
    }

    /// The block that was worked on, and whether every record of it is whole on the disk.
    pub fn next_repaired(&mut self) -> Option<(Rotten, bool)> {
        self.repair.next_done()
    }

    /// Whether an entry that a read found damaged will be looked at by the scrubber: the log lost sight of others when it
    /// was opened.
    #[must_use]
    pub fn may_be_repaired(&self, group: u64, index: u64) -> bool {
        let position = self.index.group(group).and_then(|one| one.position(index));
        self.scrub.is_on() && position.is_some_and(|at| at != Position::LOST)
    }

    fn repair_read(&mut self, operation: Operation, is_read: bool) {
        let mut sight = repair::Sight {
            index: &self.index,
            space: &mut self.space,
            life: &self.life,
            buffers: &mut self.reading.buffers,
        };
        self.repair.have_read(operation, is_read, &mut sight);
    }

    fn repair_written(&mut self, operation: Operation, result: Result<(), DeviceError>) {
        let mut sight = repair::Sight {
            index: &self.index,
            space: &mut self.space,
            life: &self.life,
            buffers: &mut self.reading.buffers,
        };
        // What a failed write says of the file it may not say again to another one.
        if let Err(error) = self.repair.written(operation, result, &mut sight) {
            self.failed.get_or_insert(Failure::Write(error));
        }
    }

    /// The next answered read.
    pub fn next_read(&mut self) -> Option<(u64, Result<Vec<OwnedRecord>, ReadError>)> {
        self.reading.next_answer()
    }

    fn begin_reads(&mut self, now_ns: u64) {
        let sight = crate::reading::Sight {
            index: &self.index,
            space: &self.space,
            life: &self.life,
            durable_end: self.durable_end,
        };
        self.reading.begin(&sight, &mut self.device, now_ns);
    }

    fn have_read(&mut self, operation: Operation, result: Result<(), DeviceError>) {
        let sight = crate::reading::Sight {
            index: &self.index,
            space: &self.space,
            life: &self.life,
            durable_end: self.durable_end,
        };
        if let Some(segment) = self.reading.have_read(&sight, operation, result) {
            self.scrub.hurry(segment);
        }
    }
}
