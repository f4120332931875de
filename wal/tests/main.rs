//! What the log promises, shown on every device and against every crash and fault the disk model knows.

mod common_promises;
mod corruption;
mod crash;
mod decoding;
mod formats;
mod inspecting;
mod kill;
mod moving;
mod pressure;
mod repairing;
mod scrubbing;
mod support;
mod waking;
