//! The workloads `register`, `append` and `set`: a clerk reads and changes the objects of a shelf.
//!
//! - Values are unique in the run and reads are many: what is written blindly and never read shows nothing.
//! - Now and then a clerk says again what was done long ago.

use std::collections::BTreeMap;

use bytes::Bytes;
use net::request::Consistency;

use crate::chance::Chance;
use crate::history::{Done, Request};
use crate::machine::Workload;
use crate::shelf::{self, Wish};
use crate::verdict::Scope;

/// Objects of each group.
const KEYS: u64 = 6;
/// Values of one object at most; beyond that the clerks take the next objects.
const VALUES_PER_KEY: u64 = 200;
/// Requests that a clerk remembers.
const REMEMBERED: usize = 64;

/// One per client.
#[derive(Debug)]
pub struct Clerk {
    chance: Chance,
    workload: Workload,
    client: usize,
    cluster: usize,
    groups: u64,
    requests: u64,
    /// What was last read of each object.
    seen: BTreeMap<(u64, u64), u64>,
    /// Writes that were answered.
    written: Vec<(u64, u8, Bytes)>,
}

impl Clerk {
    /// The clerk of a client of a cluster.
    #[must_use]
    pub fn new(
        workload: Workload,
        (client, cluster): (usize, usize),
        groups: u64,
        seed: u64,
    ) -> Self {
        Self {
            chance: Chance::named(seed.wrapping_add(client as u64), "clerk"),
            workload,
            client,
            cluster,
            groups,
            requests: 0,
            seen: BTreeMap::new(),
            written: Vec::new(),
        }
    }

    /// The next request.
    pub fn next_request(&mut self) -> Request {
        let group = self.chance.below(self.groups);
        self.next_for(group)
    }

    /// The next request, to this group unless it is one done before.
    pub fn next_for(&mut self, group: u64) -> Request {
        match self.chance.below(100) {
            0..=54 => self.read(group),
            55..=58 if !self.written.is_empty() => self.again(),
            _ => self.write(group),
        }
    }

    /// A write to this group.
    pub fn write_to(&mut self, group: u64) -> Request {
        let mut request = self.write(group);
        request.is_once = false;
        request
    }

    fn key(&mut self) -> u64 {
        let shift = self.requests / VALUES_PER_KEY;
        // One object is hot.
        let place = self.chance.below(2 * KEYS).saturating_sub(KEYS);
        shift * KEYS + place
    }

    fn read(&mut self, group: u64) -> Request {
        let key = self.key();
        let consistency = if self.chance.permille(100) {
            Consistency::Local
        } else {
            Consistency::Linearizable
        };
        let of = u64::from(self.workload == Workload::Register) * shelf::REGISTER;
        self.request(group, shelf::READ, (key, 0, of), consistency)
    }

    fn write(&mut self, group: u64) -> Request {
        let key = self.key();
        let value = (self.client as u64 + 1) << 32 | (self.requests + 1);
        let (operation, from) = match self.workload {
            Workload::Append => (shelf::APPEND, 0),
            Workload::Set => (shelf::ADD, 0),
            _ => match self.seen.get(&(group, key)) {
                Some(from) if self.chance.permille(400) => (shelf::CAS, *from),
                _ => (shelf::WRITE, 0),
            },
        };
        self.request(
            group,
            operation,
            (key, value, from),
            Consistency::Linearizable,
        )
    }

    /// Something that was done before, id and all.
    fn again(&mut self) -> Request {
        let place = self.chance.place(self.written.len());
        let (group, operation, payload) = self.written[place].clone();
        let mut request = self.request(group, operation, (0, 0, 0), Consistency::Linearizable);
        request.payload = payload;
        request.is_repeat = true;
        request
    }

    fn request(
        &mut self,
        group: u64,
        operation: u8,
        (key, value, from): (u64, u64, u64),
        consistency: Consistency,
    ) -> Request {
        self.requests += 1;
        let number = (self.client as u64 + 1) << 32 | self.requests;
        let wish = Wish {
            id: number,
            key,
            value,
            from,
        };
        Request {
            number,
            scope: Scope {
                cluster: self.cluster,
                group,
            },
            operation,
            payload: Bytes::copy_from_slice(&wish.encode()),
            consistency,
            is_once: self.chance.permille(100),
            is_repeat: false,
        }
    }

    /// Learns from an answer.
    pub fn learn(&mut self, done: &Done) {
        let request = &done.request;
        if shelf::is_write(request.operation) {
            let written = (
                request.scope.group,
                request.operation,
                request.payload.clone(),
            );
            if self.written.len() < REMEMBERED {
                self.written.push(written);
            } else {
                let place = self.chance.place(REMEMBERED);
                self.written[place] = written;
            }
            return;
        }
        let wish = Wish::decode(&request.payload).expect("a clerk's own");
        let found = shelf::numbers(&done.reply).unwrap_or_default();
        if let [value] = found[..] {
            self.seen.insert((request.scope.group, wish.key), value);
        }
    }
}
