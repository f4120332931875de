//! The benchmark against replicas that behave, and against replicas that do not.

mod fake;
mod faults;
mod life;
mod processes;
mod schema;
