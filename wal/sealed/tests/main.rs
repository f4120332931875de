//! What sealed files promise: the right answer or named damage, and the same bytes from the same input.

mod formats;
mod nonsense;
mod run_corruption;
mod run_merging;
mod runs;
mod segment_corruption;
mod segments;
mod support;
mod tiers;
