//! Tests of the core from outside: small worlds, scenarios, peers' data, models.

mod chaos;
mod cluster;
mod election;
