//! What a group agrees about: the face that a replicated state machine shows to its shard.

use std::fmt;
use std::sync::Arc;

use crate::ids::Index;

/// One committed entry, lent for the time of the call. The bytes are those that the client sent.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Position in the group's log.
    pub index: Index,
    /// The leader's wall clock when it proposed the entry, in nanoseconds since the Unix epoch.
    /// Not monotone across leaders: a machine that needs monotone time takes the maximum itself.
    pub time: u64,
    /// What to do; its meaning is the machine's.
    pub operation: u8,
    /// The request's body.
    pub payload: &'a [u8],
}

/// Who asked for a command, as its entry's head says: a number that the client drew, and its own count of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The client.
    pub client: u128,
    /// Its number of the request.
    pub number: u64,
}

/// A deterministic machine: its state after an entry is a function of the log up to that entry alone.
///
/// No clock, no dice, no floats, no iteration over hash maps: two replicas at one index must have one
/// digest (docs/architecture.md, idea 10).
pub trait StateMachine {
    /// May this request enter the log? Checked by the leader before it proposes, so that a malformed
    /// body costs no entry. Returns a reply to send instead, or `Ok` to go on. Must not change state.
    fn admit(&self, operation: u8, payload: &[u8]) -> Result<Admission, Refusal>;

    /// Applies one committed entry and appends the reply to `reply`. Never fails: what a customer did
    /// wrong is an outcome inside the reply.
    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>);

    /// As [`StateMachine::apply`], told who asked: for a machine that remembers its clients.
    fn apply_for(&mut self, asker: Asker, command: Command<'_>, reply: &mut Vec<u8>) {
        let _ = asker;
        self.apply(command, reply);
    }

    /// Answers a read-only request from the state as it stands.
    fn query(&self, operation: u8, payload: &[u8], reply: &mut Vec<u8>);

    /// The state hash: equal on two replicas that applied the same entries.
    fn digest(&self) -> u128;

    /// What time alone will change: when next (nanoseconds, as in [`Command::time`]), and the operation, without a body,
    /// that lets it happen. A leader proposes it then if nobody else proposes anything.
    fn due(&self) -> Option<(u64, u8)> {
        None
    }

    /// Begins an image of the state as it stands. Commands may be applied while its pieces are taken; the image
    /// stays that of this moment. An image begun before is given up. False from a machine that keeps none: its
    /// log is its only memory and is never shortened.
    ///
    /// The pieces put together are a function of the state and of how many chapters were shelved at that moment: two
    /// replicas at one index that had shelved as many make the same bytes. It counts on those chapters, which are
    /// not in it; see [`StateMachine::due_chapter`].
    fn begin_image(&mut self) -> bool {
        false
    }

    /// Appends the next piece of the image, at most about `budget` bytes. True when it was the last.
    fn next_image_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        let _ = (budget, piece);
        true
    }

    /// The image is not wanted any more, finished or not.
    fn abandon_image(&mut self) {}

    /// Forgets all state, shelved chapters too, and is ready for the pieces of an image.
    fn begin_restore(&mut self) {}

    /// Takes the next piece of an image, cut anywhere.
    ///
    /// # Errors
    /// When the bytes cannot be an image of this machine. It is of no use then until a restore ends well.
    fn restore_piece(&mut self, piece: &[u8]) -> Result<(), RestoreError> {
        let _ = piece;
        Err(RestoreError::Unsupported)
    }

    /// The image is complete, and every chapter that it counts on has been shelved. The state is that of the
    /// moment when the image was begun.
    ///
    /// # Errors
    /// When something is missing or does not fit together.
    fn end_restore(&mut self) -> Result<(), RestoreError> {
        Err(RestoreError::Unsupported)
    }

    /// The number of the next chapter, when enough of the state is finished for it. A chapter is a stretch of
    /// the state that will never change again, written once and read in place from then on, so that it need not
    /// stay in memory. Chapters are numbered from 0 and cut by the state alone: every replica makes the same
    /// bytes, no matter when.
    fn due_chapter(&self) -> Option<u64> {
        None
    }

    /// Appends the next piece of the due chapter, at most about `budget` bytes. True when it was the last. The
    /// chapter stays due until it is shelved.
    fn next_chapter_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        let _ = (budget, piece);
        true
    }

    /// A chapter is durable and can be read in place: the machine may drop it from memory. In the order of their
    /// numbers; while a restore is under way, any chapter that its image counts on.
    ///
    /// # Errors
    /// When the bytes are not that chapter.
    fn shelve(&mut self, chapter: u64, bytes: Arc<dyn Shelved>) -> Result<(), RestoreError> {
        let _ = (chapter, bytes);
        Err(RestoreError::Unsupported)
    }

    /// A chapter that was shelved had rotted, and lies anew as it was: the machine reads it there from here on.
    ///
    /// # Errors
    /// When the bytes are not that chapter.
    fn reshelve(&mut self, chapter: u64, bytes: Arc<dyn Shelved>) -> Result<(), RestoreError> {
        let _ = (chapter, bytes);
        Err(RestoreError::Unsupported)
    }

    /// How many chapters have been shelved: all with lower numbers.
    fn chapters(&self) -> u64 {
        0
    }
}

/// A finished chapter, read in place: the bytes of a file, most of them not in memory.
pub trait Shelved: Send + Sync {
    /// All of it.
    fn bytes(&self) -> &[u8];
}

impl<B: AsRef<[u8]> + Send + Sync> Shelved for B {
    fn bytes(&self) -> &[u8] {
        self.as_ref()
    }
}

/// Why an image or a chapter was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// The machine keeps no images.
    Unsupported,
    /// The bytes belong to a version that this machine does not read.
    Version(u32),
    /// The bytes are damaged or of another machine; the offset of what does not fit.
    Malformed(u64),
    /// The image ended before its end.
    Incomplete,
    /// The image counts on a chapter that was not shelved.
    MissingChapter(u64),
    /// What was restored exceeds the limits that this machine was given.
    Full,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => write!(f, "the machine keeps no images"),
            Self::Version(version) => {
                write!(f, "the image has version {version}, which is not known")
            }
            Self::Malformed(offset) => write!(f, "the image makes no sense at byte {offset}"),
            Self::Incomplete => write!(f, "the image ends early"),
            Self::MissingChapter(chapter) => write!(f, "chapter {chapter} is missing"),
            Self::Full => write!(f, "the image holds more than the machine may"),
        }
    }
}

impl std::error::Error for RestoreError {}

/// How an admitted request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Through the log.
    Write,
    /// Answered by `query` once the replica may answer at the asked consistency.
    Read,
}

/// Why a request may not enter the log. The number travels to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The operation is unknown to this machine.
    UnknownOperation,
    /// The body has a wrong length, count or a reserved bit.
    MalformedBody,
    /// The machine has reached a limit it was given and would have to refuse every event.
    Full,
    /// Too much of the state waits to be shelved. It may be asked again soon.
    Busy,
}
