//! What sealed files promise: the right answer or named damage, and the same bytes from the same input.

mod formats;
mod nonsense;
mod segment_corruption;
mod segments;
mod support;
