//! Parts of orders on their way to groups: whom to ask, when to ask again, and who leads.
//!
//! - A part is asked of the node that leads its group, as far as is known; after a refusal, a lost connection or a long
//!   silence it is asked again, soon and then less soon.
//! - Who leads is learned from every answer, and by a question to this very node while clients are there.

use bytes::Bytes;
use net::checksum::crc;
use net::request::{Consistency, ReplyHead, RequestHead, Status};
use net::tigerbeetle::message::Reason;
use raft::ids::{GroupId, Time};
use shard::sessions;

use crate::door::desk::order::{Errand, State};
use crate::door::desk::{Desk, Effect};
use crate::door::limits;

impl Desk {
    /// A core has answered.
    pub fn answer(&mut self, head: &ReplyHead, body: Bytes, now: Time, out: &mut Vec<Effect>) {
        self.note_leader(head);
        let Some(errand) = self.errands.get_mut(&head.id) else {
            return;
        };
        if errand.order == 0 {
            self.errands.remove(&head.id);
            self.is_looking = false;
            return;
        }
        match head.status {
            Status::Ok => {
                let errand = self.errands.remove(&head.id).expect("it was there");
                if let State::Waits(due) = errand.state {
                    self.due.remove(&(due, head.id));
                }
                self.part_done(errand.order, errand.part, head, body, now, out);
            }
            Status::Malformed | Status::TooLarge | Status::UnknownOperation => {
                let order = errand.order;
                let reason = match head.status {
                    Status::Malformed => Reason::InvalidBody,
                    Status::TooLarge => Reason::InvalidBodySize,
                    _ => Reason::InvalidOperation,
                };
                self.end_with(order, reason, out);
            }
            Status::NotLeader
            | Status::Busy
            | Status::StorageFull
            | Status::StateFull
            | Status::Unavailable
            | Status::ShuttingDown
            | Status::WrongCore
            | Status::UnknownGroup => self.ask_later(head.id, now),
        }
    }

    /// The connection to a core is lost: what was asked there is asked again.
    pub fn line_lost(&mut self, place: usize, core: u16, now: Time) {
        self.leaders.retain(|_, leader| *leader != place);
        let layout = &self.layout;
        let lost: Vec<u64> = self
            .errands
            .iter()
            .filter(|(_, errand)| {
                matches!(errand.state, State::Asked(at, _) if at == place)
                    && layout.core_of(GroupId(errand.group)) == core
            })
            .map(|(id, _)| *id)
            .collect();
        self.again(&lost, now);
    }

    /// There is no way to the core that this was to be asked of.
    pub fn unreachable(&mut self, id: u64, now: Time) {
        if let Some(errand) = self.errands.get(&id)
            && let State::Asked(place, _) = errand.state
        {
            let group = errand.group;
            if self.leaders.get(&group) == Some(&place) {
                self.leaders.remove(&group);
            }
            self.again(&[id], now);
        }
    }

    fn note_leader(&mut self, head: &ReplyHead) {
        let place = self
            .layout
            .nodes
            .iter()
            .position(|node| node.id == head.leader);
        let Some(place) = place else {
            if head.status == Status::NotLeader {
                self.leaders.remove(&head.group);
            }
            return;
        };
        self.leaders.insert(head.group, place);
        if head.group == 0 {
            let nodes = self.layout.nodes.len() as u64;
            let view = head.term.saturating_mul(nodes).saturating_add(place as u64);
            self.view = self.view.max(u32::try_from(view).unwrap_or(u32::MAX));
        }
    }

    /// Time has passed. `guests`: is any client there?
    pub fn tick(&mut self, guests: bool, now: Time, out: &mut Vec<Effect>) {
        while let Some(&(due, id)) = self.due.first()
            && due <= now
        {
            self.due.pop_first();
            self.counters.parts_again.add(1);
            self.ask(id, now, out);
        }
        let long_ago = |at: Time| now.since(at) >= limits::LOOK_NS;
        if let Some(place) = self.place
            && guests
            && !self.is_looking
            && self.looked_at.is_none_or(long_ago)
        {
            self.look(place, now, out);
        }
    }

    /// Who leads group 0, in the eyes of this node?
    fn look(&mut self, place: usize, now: Time, out: &mut Vec<Effect>) {
        self.looked_at = Some(now);
        self.is_looking = true;
        self.next += 1;
        let errand = Errand {
            order: 0,
            part: 0,
            group: 0,
            operation: sessions::SESSION_OF,
            consistency: Consistency::Local,
            asker: (0, 0),
            body: Bytes::from_static(&[0; 16]),
            crc: crc(&[0; 16]),
            tries: 0,
            state: State::Asked(place, now),
        };
        out.push(self.effect(self.next, &errand, place, now));
        self.errands.insert(self.next, errand);
    }

    /// Asks the node that leads the errand's group, or the next that may.
    pub(super) fn ask(&mut self, id: u64, now: Time, out: &mut Vec<Effect>) {
        let Some(errand) = self.errands.get(&id) else {
            return;
        };
        let place = match self.leaders.get(&errand.group) {
            // One that did not answer in time is no leader to wait for.
            Some(&place) if errand.tries % 4 != 3 => place,
            _ => self.candidate(errand),
        };
        out.push(self.effect(id, errand, place, now));
        self.counters.parts.add(1);
        let errand = self.errands.get_mut(&id).expect("it was there");
        errand.state = State::Asked(place, now);
        errand.tries += 1;
    }

    fn candidate(&self, errand: &Errand) -> usize {
        let nodes = self.layout.nodes.len();
        (errand.group as usize + errand.tries as usize) % nodes
    }

    fn effect(&self, id: u64, errand: &Errand, place: usize, now: Time) -> Effect {
        let (client, number) = errand.asker;
        Effect::Ask {
            place,
            core: self.layout.core_of(GroupId(errand.group)),
            head: RequestHead {
                id,
                group: errand.group,
                operation: errand.operation,
                consistency: errand.consistency,
                sent_at: now.0,
                client,
                number,
            },
            body: errand.body.clone(),
            crc: errand.crc,
        }
    }

    fn ask_later(&mut self, id: u64, now: Time) {
        let Some(errand) = self.errands.get_mut(&id) else {
            return;
        };
        if let State::Waits(_) = errand.state {
            return;
        }
        let doubled = limits::PAUSE_NS_MIN << errand.tries.min(10);
        let due = now.plus(doubled.min(limits::PAUSE_NS_MAX));
        errand.state = State::Waits(due);
        self.due.insert((due, id));
    }

    /// What was asked long ago and not answered is asked again, elsewhere.
    pub fn sweep(&mut self, now: Time) {
        let is_late = |errand: &Errand| match errand.state {
            State::Asked(_, at) => now.since(at) >= limits::PATIENCE_NS,
            State::Waits(_) => false,
        };
        let late: Vec<u64> = self
            .errands
            .iter()
            .filter(|(_, errand)| is_late(errand))
            .map(|(id, _)| *id)
            .collect();
        for id in &late {
            self.leaders.remove(&self.errands[id].group);
        }
        self.again(&late, now);
    }

    fn again(&mut self, lost: &[u64], now: Time) {
        for &id in lost {
            if self.errands[&id].order == 0 {
                self.errands.remove(&id);
                self.is_looking = false;
            } else {
                self.ask_later(id, now);
            }
        }
    }
}
