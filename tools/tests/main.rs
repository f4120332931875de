//! Everything that is checked about the binary and about the house from outside, as one test program.

mod cold_store;
mod command_line;
mod damaged;
mod expiry;
mod history;
mod inspecting;
mod interrupted;
mod kill;
mod peers;
#[path = "../../engine/tests/ports.rs"]
mod ports;
mod processes;
mod rot;
mod stock;
mod stopped;
mod tidy;
