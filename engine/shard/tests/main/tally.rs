//! The smallest state machine that notices a lost, doubled or reordered command; with images and chapters if wished.
//!
//! ```text
//! image: count u64 | chain u128 | chapters u64 | payloads not in a chapter
//! chapter: payloads | CRC-32 of them        payload: length u32 | bytes
//! ```

use std::cell::Cell;
use std::sync::Arc;

use raft::state_machine::{Admission, Command, Refusal, RestoreError, Shelved, StateMachine};

/// Adds the payload to the digest.
pub(crate) const ADD: u8 = 1;
/// Answers the number of commands and the digest.
pub(crate) const LOOK: u8 = 2;

thread_local! {
    /// Machines of this thread read no image: it was written by another program.
    static IS_OLDER: Cell<bool> = const { Cell::new(false) };
}

/// From here on images are of a version that this thread's machines do not read, or do.
pub(crate) fn be_older(is_older: bool) {
    IS_OLDER.set(is_older);
}

/// Counts commands and chains their payloads.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    chain: u128,
    /// Payloads that are in no shelved chapter.
    payloads: Vec<Vec<u8>>,
    chapters: Vec<Arc<dyn Shelved>>,
    /// Payloads in a chapter; 0: neither chapters nor images.
    chapter: usize,
    image: Option<Vec<u8>>,
    /// Bytes of the image that were given out.
    drawn: usize,
    /// The due chapter while it is given out, and its bytes that were.
    due: Vec<u8>,
    given: usize,
    /// What was taken of an image.
    taken: Option<Vec<u8>>,
}

impl Tally {
    /// One that puts so many payloads into a chapter.
    pub(crate) fn with_chapters_of(chapter: usize) -> Self {
        Self {
            chapter,
            ..Self::default()
        }
    }

    /// Every payload, in order.
    pub(crate) fn all(&self) -> Vec<Vec<u8>> {
        let shelved = self
            .chapters
            .iter()
            .flat_map(|chapter| chapter_of(chapter.bytes()).expect("checked when it was shelved"));
        shelved.chain(self.payloads.iter().cloned()).collect()
    }

    fn due_bytes(&self) -> Vec<u8> {
        let mut bytes = encode(&self.payloads[..self.chapter]);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }
}

/// The payloads of a chapter, if it is sound.
fn chapter_of(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (payloads, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(payloads) != u32::from_le_bytes(*crc) {
        return None;
    }
    decode(payloads)
}

fn encode(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(payload);
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut payloads = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        payloads.push(payload.to_vec());
        bytes = rest;
    }
    bytes.is_empty().then_some(payloads)
}

/// The next part of `bytes` behind `from`; true when it was the last.
fn cut(bytes: &[u8], from: usize, budget: usize, piece: &mut Vec<u8>) -> bool {
    let end = bytes.len().min(from + budget.min(700));
    piece.extend_from_slice(&bytes[from..end]);
    end == bytes.len()
}

impl StateMachine for Tally {
    fn admit(&self, operation: u8, payload: &[u8]) -> Result<Admission, Refusal> {
        match operation {
            ADD if payload.is_empty() => Err(Refusal::MalformedBody),
            ADD => Ok(Admission::Write),
            LOOK => Ok(Admission::Read),
            _ => Err(Refusal::UnknownOperation),
        }
    }

    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>) {
        self.count += 1;
        for byte in command.payload {
            self.chain = self.chain.wrapping_mul(0x0100_0000_01b3) ^ u128::from(*byte);
        }
        self.chain = self.chain.wrapping_add(u128::from(command.index.0) << 64);
        self.payloads.push(command.payload.to_vec());
        reply.extend_from_slice(&self.count.to_le_bytes());
    }

    fn query(&self, _operation: u8, _payload: &[u8], reply: &mut Vec<u8>) {
        reply.extend_from_slice(&self.count.to_le_bytes());
    }

    fn digest(&self) -> u128 {
        self.chain
    }

    fn begin_image(&mut self) -> bool {
        let mut image = self.count.to_le_bytes().to_vec();
        image.extend_from_slice(&self.chain.to_le_bytes());
        image.extend_from_slice(&(self.chapters.len() as u64).to_le_bytes());
        image.extend_from_slice(&encode(&self.payloads));
        (self.image, self.drawn) = ((self.chapter > 0).then_some(image), 0);
        self.chapter > 0
    }

    fn next_image_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        let image = self.image.as_ref().expect("it was begun");
        let is_last = cut(image, self.drawn, budget, piece);
        self.drawn += piece.len();
        is_last
    }

    fn abandon_image(&mut self) {
        self.image = None;
    }

    fn begin_restore(&mut self) {
        *self = Self {
            taken: Some(Vec::new()),
            ..Self::with_chapters_of(self.chapter)
        };
    }

    fn restore_piece(&mut self, piece: &[u8]) -> Result<(), RestoreError> {
        if IS_OLDER.get() {
            return Err(RestoreError::Version(9));
        }
        let taken = self.taken.as_mut().ok_or(RestoreError::Unsupported)?;
        taken.extend_from_slice(piece);
        Ok(())
    }

    fn end_restore(&mut self) -> Result<(), RestoreError> {
        let taken = self.taken.take().ok_or(RestoreError::Unsupported)?;
        let (count, rest) = taken.split_first_chunk().ok_or(RestoreError::Incomplete)?;
        let (chain, rest) = rest.split_first_chunk().ok_or(RestoreError::Incomplete)?;
        let (chapters, rest) = rest.split_first_chunk().ok_or(RestoreError::Incomplete)?;
        self.count = u64::from_le_bytes(*count);
        self.chain = u128::from_le_bytes(*chain);
        let missing = u64::from_le_bytes(*chapters) > self.chapters();
        if missing {
            return Err(RestoreError::MissingChapter(self.chapters()));
        }
        self.payloads = decode(rest).ok_or(RestoreError::Incomplete)?;
        Ok(())
    }

    fn due_chapter(&self) -> Option<u64> {
        // Room for some payloads more, so that images hold some too.
        let is_due = self.chapter > 0 && self.payloads.len() >= self.chapter + self.chapter / 2;
        is_due.then_some(self.chapters.len() as u64)
    }

    fn next_chapter_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        if self.given == 0 {
            self.due = self.due_bytes();
        }
        let is_last = cut(&self.due, self.given, budget, piece);
        self.given = if is_last { 0 } else { self.given + piece.len() };
        is_last
    }

    fn shelve(&mut self, chapter: u64, bytes: Arc<dyn Shelved>) -> Result<(), RestoreError> {
        if chapter != self.chapters() || chapter_of(bytes.bytes()).is_none() {
            return Err(RestoreError::Malformed(0));
        }
        if self.taken.is_none() {
            if bytes.bytes() != self.due_bytes() {
                return Err(RestoreError::Malformed(0));
            }
            self.payloads.drain(..self.chapter);
        }
        self.chapters.push(bytes);
        Ok(())
    }

    fn reshelve(&mut self, chapter: u64, bytes: Arc<dyn Shelved>) -> Result<(), RestoreError> {
        let place = self.chapters.get_mut(chapter as usize);
        let place = place.filter(|_| chapter_of(bytes.bytes()).is_some());
        *place.ok_or(RestoreError::Malformed(0))? = bytes;
        Ok(())
    }

    fn chapters(&self) -> u64 {
        self.chapters.len() as u64
    }
}
