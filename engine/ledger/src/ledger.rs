//! The machine: takes committed commands in order and moves money.
//!
//! - State after a command is a function of the log up to it: no clock, no dice, no allocation addresses,
//!   no order of hashing shows in any reply or in the digest.
//! - Time. A command begins at `max(its time, last timestamp + 1)`. Each reservation that expires takes
//!   one timestamp from there on, then each event takes one, whether it succeeds or fails. So
//!   timestamps are unique and rise strictly over the whole log, whatever the leaders' clocks do.
//! - A command that does not parse changes nothing and has an empty reply: `admit` keeps it out of the
//!   log, and a replica must not stop over one that came in all the same.

use core::mem;
use std::sync::Arc;

use raft::state_machine::{Admission, Command, Refusal, RestoreError, Shelved, StateMachine};
use zerocopy::IntoBytes;

use crate::account::Account;
use crate::audit::{Audit, Totals};
use crate::batch;
use crate::books::Books;
use crate::changes;
use crate::chapter::{Chapter, Footer};
use crate::chapter_writer::{Buffers, ChapterWriter};
use crate::create_accounts::AccountCreation;
use crate::create_transfers::TransferCreation;
use crate::digest::Digest;
use crate::expiry;
use crate::id_index::IdHasher;
use crate::image::{Clock, Image};
use crate::instruction::{Instruction, InstructionError, operation};
use crate::journal::Journal;
use crate::limits::{COMMAND_TIME_MAX, Limits, LimitsError};
use crate::mutants::{Mutant, is_planted};
pub use crate::pages::{CHUNK_BYTES, ChunkSource};
use crate::periods;
use crate::query;
use crate::restore::Restore;
use crate::shelf::Shape;
use crate::transfer::Transfer;

/// A group's ledger. One per replica of a group, owned by its shard.
pub struct Ledger {
    limits: Limits,
    hasher: IdHasher,
    books: Books,
    /// The last timestamp that was assigned; 0 before the first.
    timestamp: u64,
    digest: Digest,
    journal: Journal,
    image: Option<Box<Image>>,
    restore: Option<Box<Restore>>,
    writer: Option<Box<ChapterWriter>>,
    /// What the next writer works with.
    buffers: Buffers,
    /// The footer of the due chapter, once it was written.
    written: Option<Footer>,
    /// Where accounts lie that need not stay in memory.
    source: Option<ChunkSource>,
    /// Memory for transfers that was touched before.
    stock: Option<ChunkSource>,
}

impl Ledger {
    /// An empty ledger that will hold at most so much.
    ///
    /// # Errors
    /// If the limits are beyond what rows can be numbered.
    pub fn new(limits: Limits) -> Result<Self, LimitsError> {
        Self::with_seed(limits, 0)
    }

    /// Touches the memory of the first `transfers` transfers, so that no page is asked for while they are
    /// applied. Changes nothing else.
    pub fn reserve(&mut self, transfers: usize) {
        self.books.transfers.reserve(transfers);
    }

    /// The same, with a seed for the hashes of its indexes. It shows in no answer and in no digest, so
    /// each replica may have its own; one that clients cannot know keeps them from choosing ids that
    /// collide.
    ///
    /// # Errors
    /// If the limits are beyond what rows can be numbered.
    pub fn with_seed(limits: Limits, seed: u128) -> Result<Self, LimitsError> {
        limits.check()?;
        Ok(Self::empty(limits, IdHasher::new(seed)))
    }

    fn empty(limits: Limits, hasher: IdHasher) -> Self {
        Self {
            limits,
            hasher,
            books: Books::new(&limits, hasher),
            timestamp: 0,
            digest: Digest::default(),
            journal: Journal::default(),
            image: None,
            restore: None,
            writer: None,
            buffers: Buffers::default(),
            written: None,
            source: None,
            stock: None,
        }
    }

    /// Has accounts lie there instead of in memory from now on: those that are not in use may leave it. Changes no answer.
    /// Accounts that are there already stay where they are.
    pub fn draw_accounts_from(&mut self, source: ChunkSource) {
        self.books.accounts.draw_from(Arc::clone(&source));
        self.source = Some(source);
    }

    /// Has transfers that are not in chapters lie in chunks from there, of [`CHUNK_BYTES`] each, as long as there are some: so that
    /// their pages need not be asked for while they are applied. Changes no answer. Memory drawn once is kept for use again.
    pub fn draw_transfers_from(&mut self, stock: ChunkSource) {
        self.books.transfers.draw_on(Arc::clone(&stock));
        self.stock = Some(stock);
    }

    /// The account with this id, as it stands.
    #[must_use]
    pub fn account(&self, id: u128) -> Option<Account> {
        let row = self.books.accounts.find(id)?;
        Some(self.books.accounts.row(row).to_wire())
    }

    /// The transfer with this id.
    #[must_use]
    pub fn transfer(&self, id: u128) -> Option<Transfer> {
        let row = self.books.transfers.find_transfer(id)?;
        Some(self.books.transfers.row(row))
    }

    /// The sums of all accounts, by ledger. Visits every account.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::of(&self.books)
    }

    /// The numbers that prove a run. Visits every account.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::of(&self.books, self.timestamp, self.digest())
    }

    /// When the next reservation expires, so that the shard can send a pulse when nothing else happens.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.books.pendings.next_expiry()
    }

    /// Rows in memory that are in no shelved chapter. Beyond `unshelved_max` no new transfers are admitted; a follower
    /// that is so far behind with its chapters should stop applying until it has shelved some.
    #[must_use]
    pub fn unshelved(&self) -> usize {
        self.books.transfers.len() - self.books.transfers.rows().shelved()
    }

    /// Bytes that the ledger occupies in memory, to within its fixed parts; without accounts that may leave it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.books.bytes() + self.buffers.bytes()
    }

    /// Lets time pass up to a command's: expires what is due. The timestamp for the first event.
    fn begin(&mut self, time: u64) -> u64 {
        let earliest = if is_planted(Mutant::TimestampFromClock) {
            1
        } else {
            self.timestamp + 1
        };
        let now = time.min(COMMAND_TIME_MAX).max(earliest);
        if self.books.accounts.is_elsewhere() {
            self.books.accounts.begin_command();
            self.books.fetch_due(now);
        }
        let expired = expiry::expire(&mut self.books, &mut self.digest, now);
        if expired > 0 {
            self.timestamp = now + expired - 1;
        }
        now + expired
    }

    fn write(&mut self, instruction: Instruction<'_>, time: u64, reply: &mut Vec<u8>) {
        let base = self.begin(time);
        let records = reply.len();
        let events = match instruction {
            Instruction::CreateAccounts(events) => {
                let mut creation = AccountCreation {
                    books: &mut self.books,
                    digest: &mut self.digest,
                    chain: None,
                };
                batch::run(&mut creation, events, base, reply);
                events.len()
            }
            Instruction::CreateTransfers(events) => {
                let (books, digest, journal) =
                    (&mut self.books, &mut self.digest, &mut self.journal);
                let mut creation = TransferCreation::new(books, digest, journal, events);
                batch::run(&mut creation, events, base, reply);
                events.len()
            }
            _ => 0,
        };
        if events > 0 {
            self.timestamp = base + events as u64 - 1;
        }
        self.books.index();
        self.digest.answered(&reply[records..]);
    }

    fn read(&self, instruction: Instruction<'_>, reply: &mut Vec<u8>) {
        match instruction {
            Instruction::LookupAccounts(ids) => query::lookup_accounts(&self.books, ids, reply),
            Instruction::LookupTransfers(ids) => query::lookup_transfers(&self.books, ids, reply),
            Instruction::GetAccountTransfers(filter) => {
                query::account_transfers(&self.books, filter, reply)
            }
            Instruction::GetAccountBalances(filter) => {
                query::account_balances(&self.books, filter, reply)
            }
            Instruction::QueryAccounts(filter) => query::accounts(&self.books, filter, reply),
            Instruction::QueryTransfers(filter) => query::transfers(&self.books, filter, reply),
            Instruction::GetChangeEvents(filter) => changes::of_period(&self.books, filter, reply),
            Instruction::GetChanges(filter) => changes::from_number(&self.books, filter, reply),
            Instruction::GetBalancesAt(moments) => {
                periods::balances_at(&self.books, moments, reply)
            }
            Instruction::GetAccountSums(filter) => {
                periods::account_sums(&self.books, filter, reply)
            }
            Instruction::Audit => reply.extend_from_slice(self.audit().as_bytes()),
            Instruction::Pulse
            | Instruction::CreateAccounts(_)
            | Instruction::CreateTransfers(_) => {}
        }
    }

    /// Forgets everything.
    fn clear(&mut self) {
        let (source, stock) = (self.source.take(), self.stock.take());
        *self = Self::empty(self.limits, self.hasher);
        if let Some(source) = source {
            self.draw_accounts_from(source);
        }
        if let Some(stock) = stock {
            self.draw_transfers_from(stock);
        }
    }

    /// Would every event be refused because a table is full? Ids that are known already are answered.
    fn refuses_all(&self, instruction: &Instruction<'_>) -> bool {
        match instruction {
            Instruction::CreateAccounts(events) => {
                let accounts = &self.books.accounts;
                !events.is_empty()
                    && accounts.full()
                    && events
                        .iter()
                        .all(|event| accounts.find(event.id.get()).is_none())
            }
            Instruction::CreateTransfers(events) => {
                let transfers = &self.books.transfers;
                !events.is_empty()
                    && transfers.full()
                    && events
                        .iter()
                        .all(|event| transfers.find(event.id.get()).is_none())
            }
            _ => false,
        }
    }
}

impl StateMachine for Ledger {
    fn admit(&self, operation: u8, payload: &[u8]) -> Result<Admission, Refusal> {
        let instruction = Instruction::parse(operation, payload).map_err(|error| match error {
            InstructionError::UnknownOperation(_) => Refusal::UnknownOperation,
            _ => Refusal::MalformedBody,
        })?;
        if !instruction.writes() {
            return Ok(Admission::Read);
        }
        if self.refuses_all(&instruction) {
            return Err(Refusal::Full);
        }
        let adds = matches!(instruction, Instruction::CreateTransfers(_));
        if adds && self.limits.chapter_rows > 0 && self.unshelved() >= self.limits.unshelved_max {
            return Err(Refusal::Busy);
        }
        Ok(Admission::Write)
    }

    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>) {
        match Instruction::parse(command.operation, command.payload) {
            Ok(instruction) if instruction.writes() => self.write(instruction, command.time, reply),
            Ok(instruction) => self.read(instruction, reply),
            Err(_) => {}
        }
    }

    fn query(&self, operation: u8, payload: &[u8], reply: &mut Vec<u8>) {
        if let Ok(instruction) = Instruction::parse(operation, payload) {
            self.read(instruction, reply);
        }
    }

    fn digest(&self) -> u128 {
        let counts = self.books.transfers.counts();
        self.digest.value(&[
            self.timestamp,
            self.books.accounts.len() as u64,
            counts.transfers,
            counts.spent,
            self.books.pendings.open_count() as u64,
        ])
    }

    fn due(&self) -> Option<(u64, u8)> {
        self.next_expiry().map(|at| (at, operation::PULSE))
    }

    fn begin_image(&mut self) -> bool {
        let clock = Clock {
            timestamp: self.timestamp,
            digest: self.digest,
        };
        let digest = self.digest();
        let image = Image::begin(&mut self.books, &clock, digest);
        self.image = Some(Box::new(image));
        true
    }

    fn next_image_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        let Some(image) = &mut self.image else {
            return true;
        };
        let last = image.next(&mut self.books, budget, piece);
        if last {
            self.abandon_image();
        }
        last
    }

    fn abandon_image(&mut self) {
        self.image = None;
        self.books.thaw();
    }

    fn begin_restore(&mut self) {
        self.clear();
        self.restore = Some(Box::new(Restore::begin()));
    }

    fn restore_piece(&mut self, piece: &[u8]) -> Result<(), RestoreError> {
        let restore = self.restore.as_mut().ok_or(RestoreError::Incomplete)?;
        let taken = restore.piece(&mut self.books, piece);
        if taken.is_err() {
            self.clear();
        }
        taken
    }

    fn end_restore(&mut self) -> Result<(), RestoreError> {
        let restore = self.restore.take().ok_or(RestoreError::Incomplete)?;
        let ended = restore.end(&mut self.books).and_then(|(clock, expected)| {
            self.timestamp = clock.timestamp;
            self.digest = clock.digest;
            if self.digest() == expected {
                Ok(())
            } else {
                Err(RestoreError::Malformed(0))
            }
        });
        if ended.is_err() {
            self.clear();
        }
        ended
    }

    fn due_chapter(&self) -> Option<u64> {
        let (rows, shelf) = (&self.books.transfers, self.books.transfers.rows().shelf());
        let finished = Shape::finished(rows.len(), shelf.row_bits()).count();
        let shelved = shelf.shape().count();
        (self.restore.is_none() && finished > shelved).then_some(shelved)
    }

    fn next_chapter_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        if self.due_chapter().is_none() {
            return true;
        }
        let rows = self.books.transfers.rows();
        let writer = self.writer.get_or_insert_with(|| {
            Box::new(ChapterWriter::new(rows, mem::take(&mut self.buffers)))
        });
        let last = writer.next(rows, budget, piece);
        if last {
            self.written = Some(*writer.footer());
            self.buffers = self
                .writer
                .take()
                .map_or_else(Buffers::default, |writer| writer.into_buffers());
        }
        last
    }

    fn shelve(&mut self, chapter: u64, bytes: Arc<dyn Shelved>) -> Result<(), RestoreError> {
        let bytes = Chapter::open(bytes)?;
        if let Some(restore) = &mut self.restore {
            return restore.shelve(chapter, bytes);
        }
        if self.due_chapter() != Some(chapter) {
            return Err(RestoreError::MissingChapter(self.chapters()));
        }
        // What was written here need not be read again to know it.
        if self.written.as_ref() != Some(bytes.footer()) {
            bytes.check_content()?;
            self.books.check_rows(&bytes)?;
        }
        self.books.shelve(bytes)?;
        self.writer = None;
        self.written = None;
        Ok(())
    }

    fn reshelve(&mut self, chapter: u64, bytes: Arc<dyn Shelved>) -> Result<(), RestoreError> {
        let bytes = Chapter::open(bytes)?;
        bytes.check_content()?;
        if self.restore.is_some()
            || crate::shelf::number(bytes.name()) != chapter
            || chapter >= self.chapters()
        {
            return Err(RestoreError::Malformed(0));
        }
        self.books.transfers.reshelve(bytes)
    }

    fn chapters(&self) -> u64 {
        self.books.transfers.rows().shelf().shape().count()
    }
}
