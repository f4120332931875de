//! The ledger seen from outside: scripts by topic, a reference model, and properties of whole runs.

mod reference;
mod script;
mod twin;

mod accounts;
mod balancing;
mod chains;
mod changes;
mod closing;
mod differential;
mod history;
mod hostile;
mod hostility;
mod imports;
mod limits;
mod machine;
mod memory;
mod periods;
mod queries;
mod tables;
mod transfers;
mod two_phase;
