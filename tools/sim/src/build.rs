//! Programs of two ages: the older one writes the sessions in images as version 2 and reads no later version.
//!
//! - Rules are the same in both: where they differ the handshake refuses (`engine::config::RULES`), and nothing is to be simulated.
//! - Version 2 is version 3 without floors for each origin, which nobody has whose sessions came without an origin to a group
//!   other than 0; so the older program's bytes are the newer one's, but for the number.

/// Where the version stands in an image that begins with sessions, and what stands before it.
const MAGIC: &[u8] = b"QSES";
const VERSION_AT: usize = 4;
/// Where the number of floors stands, four bytes.
const FLOORS_AT: usize = 20;
/// What the older program writes, and reads at most.
const OLDER: u8 = 2;
/// What the newer one writes.
pub const NEWER: u32 = 3;

/// What a program can meet at the beginning of an image that the other one wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// The newer program reads what the older one wrote.
    ReadOlder,
    /// The older program does not read what the newer one wrote.
    RefusedNewer,
}

/// A program, and whether it is at the beginning of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The older one.
    pub is_older: bool,
    is_at_start: bool,
}

impl Build {
    /// A program of this age.
    #[must_use]
    pub fn new(is_older: bool) -> Self {
        Self {
            is_older,
            is_at_start: false,
        }
    }

    /// An image begins.
    pub fn begin(&mut self) {
        self.is_at_start = true;
    }

    /// The next bytes of an image, as this program writes them.
    ///
    /// # Panics
    /// If the older program could not have written them.
    pub fn wrote(&mut self, bytes: &mut [u8]) {
        if std::mem::take(&mut self.is_at_start) && self.is_older {
            assert!(bytes.starts_with(MAGIC), "an image begins with sessions");
            assert_eq!(
                bytes[FLOORS_AT..FLOORS_AT + 4],
                [0; 4],
                "version 2 has no floors"
            );
            bytes[VERSION_AT] = OLDER;
        }
    }

    /// The next bytes of an image, to be read: whose they are, at its beginning, if they are the other program's.
    #[must_use]
    pub fn reads(&mut self, bytes: &[u8]) -> Option<Met> {
        if !std::mem::take(&mut self.is_at_start) {
            return None;
        }
        let version = bytes.get(VERSION_AT).copied()?;
        match (self.is_older, version > OLDER) {
            (true, true) => Some(Met::RefusedNewer),
            (false, false) => Some(Met::ReadOlder),
            _ => None,
        }
    }
}
