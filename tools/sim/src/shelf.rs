//! A shelf of small objects, the machine of the workloads `register`, `append` and `set`: what is asked of a key is a
//! handful of numbers, and every request carries an id by which it is done once.
//!
//! ```text
//! request   u64 id | u64 key | u64 value | u64 from      (a read: only its key counts; `from` 1 names a register)
//! reply     the numbers at the key, 8 bytes each; of a write, u64 1 if it was done, 0 if `from` did not fit
//! ```
//!
//! - An id that was done before is answered as it was then.
//! - All integers are little-endian.

use std::collections::BTreeMap;

use raft::state_machine::{Admission, Command, Refusal};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The key's numbers.
pub const READ: u8 = 200;
/// The value takes the place of everything.
pub const WRITE: u8 = 201;
/// The value takes the place of `from`, if that is what is there.
pub const CAS: u8 = 202;
/// The value is put behind the others.
pub const APPEND: u8 = 203;
/// The value is put among the others, in order of size, once.
pub const ADD: u8 = 204;

/// In the place of `from`, a read says that it reads a register.
pub const REGISTER: u64 = 1;

/// Bytes of a request.
const REQUEST_BYTES: usize = 32;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// By which it is done once.
    pub id: u64,
    /// Of what.
    pub key: u64,
    /// The value.
    pub value: u64,
    /// What must be there; only for [`CAS`].
    pub from: u64,
}

impl Wish {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        let numbers = [self.id, self.key, self.value, self.from];
        for (into, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            into.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// From bytes; `None` if there are too few or too many.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [id, key, value, from] = numbers(bytes)?.try_into().ok()?;
        Some(Self {
            id,
            key,
            value,
            from,
        })
    }
}

/// The numbers that bytes hold; `None` if they are cut.
#[must_use]
pub fn numbers(bytes: &[u8]) -> Option<Vec<u64>> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    rest.is_empty()
        .then(|| numbers.iter().copied().map(u64::from_le_bytes).collect())
}

/// Does this operation travel through the log?
#[must_use]
pub const fn is_write(operation: u8) -> bool {
    matches!(operation, WRITE | CAS | APPEND | ADD)
}

/// May it enter the log?
///
/// # Errors
/// If nobody knows what it is.
pub fn admit(operation: u8, payload: &[u8]) -> Result<Admission, Refusal> {
    if Wish::decode(payload).is_none() {
        return Err(Refusal::MalformedBody);
    }
    match operation {
        READ => Ok(Admission::Read),
        _ if is_write(operation) => Ok(Admission::Write),
        _ => Err(Refusal::UnknownOperation),
    }
}

/// One per replica.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    objects: BTreeMap<u64, Vec<u64>>,
    /// What was answered to each id.
    done: BTreeMap<u64, u64>,
    digest: u128,
}

impl Shelf {
    /// Applies one entry.
    pub fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>) {
        let Some(wish) = Wish::decode(command.payload) else {
            return;
        };
        let answer = match self.done.get(&wish.id) {
            Some(answer) => *answer,
            None => {
                let answer = self.carry_out(command.operation, wish);
                self.done.insert(wish.id, answer);
                answer
            }
        };
        let mut bytes = Vec::with_capacity(REQUEST_BYTES + 16);
        bytes.extend_from_slice(command.payload);
        bytes.extend(
            [answer, u64::from(command.operation)]
                .map(u64::to_le_bytes)
                .as_flattened(),
        );
        self.digest = self.digest.rotate_left(1) ^ xxh3_128_with_seed(&bytes, command.index.0);
        reply.extend_from_slice(&answer.to_le_bytes());
    }

    fn carry_out(&mut self, operation: u8, wish: Wish) -> u64 {
        let object = self.objects.entry(wish.key).or_default();
        match operation {
            WRITE => *object = vec![wish.value],
            CAS if object.as_slice() == [wish.from] => *object = vec![wish.value],
            APPEND => object.push(wish.value),
            ADD => {
                if let Err(place) = object.binary_search(&wish.value) {
                    object.insert(place, wish.value);
                }
            }
            _ => return 0,
        }
        1
    }

    /// Answers a read.
    pub fn query(&self, payload: &[u8], reply: &mut Vec<u8>) {
        let object = Wish::decode(payload).and_then(|wish| self.objects.get(&wish.key));
        for number in object.into_iter().flatten() {
            reply.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Bytes of its numbers and answers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let numbers: usize = self.objects.values().map(|object| 8 * object.len()).sum();
        numbers + 16 * self.done.len()
    }

    /// The state hash: of everything that was ever applied.
    #[must_use]
    pub const fn digest(&self) -> u128 {
        self.digest
    }
}
