//! Watches a descriptor while the executor sleeps: one poll on a ring of its own, which pulls the core's rope.
//!
//! - Armed before a rest, never in the middle of work: a core that is awake looks itself, undisturbed.
//! - The poll is followed by one byte on the rope, linked hard; what was there before it was armed counts too.
//! - It fires once: whoever rests again arms it again, if it has fired.
#![expect(unsafe_code, reason = "the ring is shared memory with the kernel")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode, types};

/// A poll and its byte.
const RING_ENTRIES: u32 = 4;
const POLL: u64 = 1;
const PULL: u64 = 2;
static BYTE: u8 = 1;

/// One descriptor under watch.
pub(super) struct Vigil {
    ring: IoUring,
    watched: RawFd,
    rope: OwnedFd,
    is_armed: bool,
}

impl Vigil {
    /// Watches `watched`, which outlives the vigil, for those who sleep on the other end of `rope`.
    pub(super) fn over(watched: RawFd, rope: OwnedFd) -> io::Result<Self> {
        // Without interruptions where the kernel can do that (5.19): a core that is awake needs none.
        let ring = IoUring::builder()
            .setup_coop_taskrun()
            .build(RING_ENTRIES)
            .or_else(|_| IoUring::new(RING_ENTRIES))?;
        Ok(Self {
            ring,
            watched,
            rope,
            is_armed: false,
        })
    }

    /// From here on the rope is pulled as soon as the descriptor is readable, or at once if it is.
    pub(super) fn arm(&mut self) -> io::Result<()> {
        while let Some(entry) = self.ring.completion().next() {
            self.is_armed &= entry.user_data() != POLL;
        }
        if self.is_armed {
            return Ok(());
        }
        let poll = opcode::PollAdd::new(types::Fd(self.watched), libc::POLLIN as u32)
            .build()
            .flags(Flags::IO_HARDLINK)
            .user_data(POLL);
        let pull = opcode::Send::new(types::Fd(self.rope.as_raw_fd()), &raw const BYTE, 1)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .build()
            .user_data(PULL);
        let mut queue = self.ring.submission();
        // SAFETY: the byte is static, the rope is ours and lives as long as the ring, the watched descriptor
        // longer; a poll touches no memory.
        let pushed = unsafe { queue.push(&poll).and_then(|()| queue.push(&pull)) };
        pushed.expect("an unarmed ring is empty");
        drop(queue);
        self.is_armed = true;
        loop {
            match self.ring.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }
}
