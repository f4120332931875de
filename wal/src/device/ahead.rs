//! Waiting for reads that were begun ahead while a log is opened.

use crate::device::{Completion, Device, DeviceError, Operation};

/// A device that reads while its owner looks at what it has read.
pub(crate) trait Ahead: Device {
    /// Whether anything is in flight.
    fn has_begun(&self) -> bool;
}

/// Waits for a read in flight, if there is one.
pub(crate) fn take<D: Ahead>(
    device: &mut D,
    landed: impl Fn(&mut D) -> &mut Vec<Completion>,
) -> Option<(Operation, Result<(), DeviceError>)> {
    loop {
        while let Some(completion) = landed(device).pop() {
            if let Completion::Read(operation, result) = completion {
                return Some((operation, result));
            }
        }
        if !device.has_begun() {
            return None;
        }
        device.wait();
        let mut completions = std::mem::take(landed(device));
        device.poll(0, &mut completions);
        *landed(device) = completions;
    }
}
