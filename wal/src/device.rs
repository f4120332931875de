//! The disk door: durable writes and reads of aligned blocks, submitted and polled, never waited for.

use std::io;

/// Every offset, length and buffer address given to a device is a multiple of this many bytes.
pub const ALIGNMENT: usize = 4096;
