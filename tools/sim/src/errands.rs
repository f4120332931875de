//! Who thinks up a client's requests, by workload.

use crate::bank::Teller;
use crate::clerk::Clerk;
use crate::history::{Done, Request};
use crate::machine::{Model, Workload};

/// One per client.
#[derive(Debug)]
pub enum Errands {
    /// Of the bank.
    Teller(Box<Teller>),
    /// Of the shelf.
    Clerk(Box<Clerk>),
}

impl Errands {
    /// For a client of a cluster.
    #[must_use]
    pub fn new(model: Model, client: usize, cluster: usize, groups: u64, seed: u64) -> Self {
        match model.workload {
            Workload::Bank => {
                let mut teller = Teller::new(client, cluster, groups, seed);
                teller.registers = model.has_sessions;
                Self::Teller(Box::new(teller))
            }
            workload => Self::Clerk(Box::new(Clerk::new(
                workload,
                (client, cluster),
                groups,
                seed,
            ))),
        }
    }

    /// The next request.
    pub fn next_request(&mut self) -> Request {
        match self {
            Self::Teller(teller) => teller.next_request(),
            Self::Clerk(clerk) => clerk.next_request(),
        }
    }

    /// The next request, to this group.
    pub fn next_for(&mut self, group: u64) -> Request {
        match self {
            Self::Teller(teller) => teller.next_for(group),
            Self::Clerk(clerk) => clerk.next_for(group),
        }
    }

    /// A write to this group that is sure to be one.
    pub fn write_to(&mut self, group: u64) -> Request {
        match self {
            Self::Teller(teller) => teller.write_to(group),
            Self::Clerk(clerk) => clerk.write_to(group),
        }
    }

    /// Learns from an answer.
    pub fn learn(&mut self, done: &Done) {
        match self {
            Self::Teller(teller) => teller.learn(done),
            Self::Clerk(clerk) => clerk.learn(done),
        }
    }
}
