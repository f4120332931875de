//! Waiting for the one read that was begun ahead while a log is opened.

use crate::device::{Completion, Device, DeviceError, Operation};

/// A device that reads while its owner looks at what it has read.
pub(crate) trait Ahead: Device {
    /// Whether anything is in flight.
    fn has_begun(&self) -> bool;
}

/// Waits for the read in flight, if there is one.
pub(crate) fn take(device: &mut impl Ahead) -> Option<(Operation, Result<(), DeviceError>)> {
    let mut completions = Vec::with_capacity(1);
    while device.has_begun() {
        device.wait();
        device.poll(0, &mut completions);
        for completion in completions.drain(..) {
            if let Completion::Read(operation, result) = completion {
                return Some((operation, result));
            }
        }
    }
    None
}
