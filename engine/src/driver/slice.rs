//! How long a thread of ours keeps its processor before one that is woken there may have it: longer than the kernel's own workers ask for.
//!
//! - A durable write is ended by a worker of the kernel on the processor that the disk interrupts, its client is woken there too, and a thread in the
//!   middle of its slice is not interrupted for either: they wait for the next tick, 1 to 10 ms later. It is interrupted for one that asks for a shorter slice
//!   (EEVDF, Linux 6.12). So ours ask for longer ones: they lose nothing of their share, only the moment.
//! - A wish, never a condition: kernels before 6.12 ignore it, and whoever refuses it leaves things as they were.
#![expect(unsafe_code, reason = "attributes of a thread have no safe call")]

use std::mem::{size_of, zeroed};

/// The slice that is asked for, in nanoseconds: several times the 0.7 to 2.8 ms that threads have by default.
const SLICE_NS: u64 = 10_000_000;

/// Asks for it for the calling thread, if that is scheduled like any other.
pub(crate) fn ask() {
    if let Some(mut now) = attributes()
        && now.sched_policy == libc::SCHED_OTHER.cast_unsigned()
    {
        now.sched_runtime = SLICE_NS;
        // SAFETY: thread 0 is the calling one; the kernel reads as many bytes as the size field says, all of them initialised.
        let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const now, 0) };
    }
}

/// How the calling thread is scheduled.
fn attributes() -> Option<libc::sched_attr> {
    // SAFETY: a structure of integers, for which zeros are values.
    let mut found: libc::sched_attr = unsafe { zeroed() };
    let bytes = size_of::<libc::sched_attr>();
    // SAFETY: thread 0 is the calling one; the kernel writes at most as many bytes as it is told are there.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, bytes, 0) };
    found.size = u32::try_from(bytes).expect("some dozens of bytes");
    (result == 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::{SLICE_NS, ask, attributes};

    #[test]
    fn policy_and_priority_stay_and_the_slice_is_the_one_asked_for_where_there_are_slices() {
        let before = attributes().expect("every Linux tells");
        ask();
        let after = attributes().expect("every Linux tells");
        assert_eq!(before.sched_policy, after.sched_policy);
        assert_eq!(before.sched_nice, after.sched_nice);
        if before.sched_runtime != 0 {
            assert_eq!(after.sched_runtime, SLICE_NS);
        }
    }
}
