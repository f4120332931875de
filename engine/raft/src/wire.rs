//! How messages and configurations travel as bytes.
//!
//! - Little-endian, without padding; every value has exactly one encoding, and decoding checks that.
//! - Decoding is total: any bytes give a message or an error; nothing is allocated beyond what the input
//!   can describe.
//! - The input must be used up exactly.
//!
//! ```text
//! message        tag u8 | term u64 | body
//! 1 PreVote      last id                                    2 PreVoteReply  asked u64 | bits u8 | leader u32 if bit 1
//! 3 Vote         last id | bits u8                          4 VoteReply     bits u8
//! 5 Append       prev id | entries u32 | bits u8 | commit u64 | round u64 | runs u8 | (index u64, term u64)*
//!                | configurations u16 | (index u64, membership)*
//! 6 AppendReply  bits u8 | index u64 | hint id if rejected | commit u64 | round u64
//! 7 Snapshot     last id | membership                       8 SnapshotRefused last id
//! 9 TimeoutNow   10 Resign                                  11 Read         id u64
//! 12 ReadReply   id u64 | bits u8 | index u64 if bit 0      13 Successors   count u8 | node u32 *
//! id             term u64 | index u64
//! membership     generation u64 | bits u8 | sizes 3 u8 | outgoing sizes 3 u8 if joint
//!                | members u8 | (node u32, site u16, region u16, kinds u8)*
//!                | classes u8 | (count u8, sites u8, regions u8, witnesses u8)* | retired u16 | node u32 *
//! ```

use crate::durability::Class;
use crate::ids::{EntryId, Index, NodeId, ReadId, Term};
use crate::membership::{Kind, Member, Membership, MembershipError, Place};
use crate::message::{
    Append, AppendOutcome, AppendReply, Body, Message, RUNS_MAX, Runs, SUCCESSORS_MAX, Successors,
};
use crate::quorum::Quorum;

/// The most configurations one `Append` may carry.
pub const CONFIGURATIONS_MAX: usize = 64;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end too early.
    #[error("the message is cut short")]
    Truncated,
    /// Bytes remain after the message.
    #[error("bytes remain after the message")]
    TrailingBytes,
    /// An unknown kind of message.
    #[error("unknown message kind {0}")]
    UnknownKind(u8),
    /// A value outside its range, or not the one encoding that it has.
    #[error("a field has an impossible value")]
    Field,
    /// A configuration that is none.
    #[error("a configuration is malformed")]
    Membership(#[from] MembershipError),
}

/// Appends the message's encoding to `to`.
pub fn encode(message: &Message, to: &mut Vec<u8>) {
    let mut to = Writer(to);
    to.u8(kind(&message.body));
    to.u64(message.term.0);
    match &message.body {
        Body::PreVote { last } | Body::SnapshotRefused { last } => to.id(*last),
        Body::PreVoteReply {
            asked,
            granted,
            leader,
        } => {
            to.u64(asked.0);
            to.bits(&[*granted, leader.is_some()]);
            if let Some(leader) = leader {
                to.u32(leader.0);
            }
        }
        Body::Vote { last, transfer } => {
            to.id(*last);
            to.bits(&[*transfer]);
        }
        Body::VoteReply { granted } => to.bits(&[*granted]),
        Body::Append(append) => to.append(append),
        Body::AppendReply(reply) => to.append_reply(reply),
        Body::Snapshot { last, membership } => {
            to.id(*last);
            membership.encode(to.0);
        }
        Body::TimeoutNow | Body::Resign => {}
        Body::Read { id } => to.u64(id.0),
        Body::ReadReply { id, index } => {
            to.u64(id.0);
            to.bits(&[index.is_some()]);
            if let Some(index) = index {
                to.u64(index.0);
            }
        }
        Body::Successors { ranked } => {
            to.u8(ranked.as_slice().len() as u8);
            for node in ranked.as_slice() {
                to.u32(node.0);
            }
        }
    }
}

fn kind(body: &Body) -> u8 {
    match body {
        Body::PreVote { .. } => 1,
        Body::PreVoteReply { .. } => 2,
        Body::Vote { .. } => 3,
        Body::VoteReply { .. } => 4,
        Body::Append(_) => 5,
        Body::AppendReply(_) => 6,
        Body::Snapshot { .. } => 7,
        Body::SnapshotRefused { .. } => 8,
        Body::TimeoutNow => 9,
        Body::Resign => 10,
        Body::Read { .. } => 11,
        Body::ReadReply { .. } => 12,
        Body::Successors { .. } => 13,
    }
}

/// Reads a message that fills `bytes` exactly.
pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    let mut from = Reader(bytes);
    let kind = from.u8()?;
    let term = Term(from.u64()?);
    let body = match kind {
        1 => Body::PreVote { last: from.id()? },
        2 => {
            let asked = Term(from.u64()?);
            let [granted, known] = from.bits()?;
            let leader = if known {
                Some(NodeId(from.u32()?))
            } else {
                None
            };
            Body::PreVoteReply {
                asked,
                granted,
                leader,
            }
        }
        3 => {
            let last = from.id()?;
            let [transfer] = from.bits()?;
            Body::Vote { last, transfer }
        }
        4 => {
            let [granted] = from.bits()?;
            Body::VoteReply { granted }
        }
        5 => Body::Append(from.append()?),
        6 => Body::AppendReply(from.append_reply()?),
        7 => {
            let last = from.id()?;
            Body::Snapshot {
                last,
                membership: Box::new(from.membership()?),
            }
        }
        8 => Body::SnapshotRefused { last: from.id()? },
        9 => Body::TimeoutNow,
        10 => Body::Resign,
        11 => Body::Read {
            id: ReadId(from.u64()?),
        },
        12 => {
            let id = ReadId(from.u64()?);
            let [known] = from.bits()?;
            let index = if known {
                Some(Index(from.u64()?))
            } else {
                None
            };
            Body::ReadReply { id, index }
        }
        13 => {
            let count = usize::from(from.u8()?);
            if count > SUCCESSORS_MAX {
                return Err(WireError::Field);
            }
            let mut nodes = [NodeId(0); SUCCESSORS_MAX];
            for node in &mut nodes[..count] {
                *node = NodeId(from.u32()?);
            }
            Body::Successors {
                ranked: Successors::new(&nodes[..count]),
            }
        }
        unknown => return Err(WireError::UnknownKind(unknown)),
    };
    from.end()?;
    Ok(Message { term, body })
}

impl Membership {
    /// Appends the configuration's encoding to `to`. Also the payload of a configuration entry.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let mut to = Writer(to);
        to.u64(self.generation);
        to.bits(&[self.outgoing.is_some(), self.auto_leave]);
        to.sizes(self.quorum);
        if let Some(outgoing) = self.outgoing {
            to.sizes(outgoing);
        }
        to.u8(self.members.len() as u8);
        for member in &self.members {
            to.u32(member.node.0);
            to.u16(member.place.site);
            to.u16(member.place.region);
            to.u8(kind_code(member.incoming) | kind_code(member.outgoing) << 2);
        }
        to.u8(self.classes.len() as u8);
        for class in &self.classes {
            for part in [class.count, class.sites, class.regions, class.witnesses] {
                to.u8(part);
            }
        }
        to.u16(self.retired.len() as u16);
        for node in &self.retired {
            to.u32(node.0);
        }
    }

    /// Reads a configuration that fills `bytes` exactly.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut from = Reader(bytes);
        let membership = from.membership()?;
        from.end()?;
        Ok(membership)
    }
}

fn kind_code(kind: Option<Kind>) -> u8 {
    match kind {
        None => 0,
        Some(Kind::Voter) => 1,
        Some(Kind::Witness) => 2,
        Some(Kind::Learner) => 3,
    }
}

fn kind_of(code: u8) -> Option<Kind> {
    match code & 3 {
        0 => None,
        1 => Some(Kind::Voter),
        2 => Some(Kind::Witness),
        _ => Some(Kind::Learner),
    }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn id(&mut self, id: EntryId) {
        self.u64(id.term.0);
        self.u64(id.index.0);
    }

    /// Flags, the first in bit 0.
    fn bits(&mut self, flags: &[bool]) {
        let bits = flags
            .iter()
            .rev()
            .fold(0, |bits, &flag| bits << 1 | u8::from(flag));
        self.u8(bits);
    }

    fn sizes(&mut self, quorum: Quorum) {
        for size in [quorum.election(), quorum.commit(), quorum.read()] {
            self.u8(size as u8);
        }
    }

    fn append(&mut self, append: &Append) {
        self.id(append.prev);
        self.u32(append.count() as u32);
        self.bits(&[append.reply, append.repaired]);
        self.u64(append.commit.0);
        self.u64(append.round);
        self.u8(append.runs.as_slice().len() as u8);
        for run in append.runs.as_slice() {
            self.u64(run.index.0);
            self.u64(run.term.0);
        }
        self.u16(append.configurations.len() as u16);
        for (index, membership) in &append.configurations {
            self.u64(index.0);
            membership.encode(self.0);
        }
    }

    fn append_reply(&mut self, reply: &AppendReply) {
        match reply.outcome {
            AppendOutcome::Accepted { matched } => {
                self.bits(&[false, reply.damaged]);
                self.u64(matched.0);
            }
            AppendOutcome::Rejected { prev, hint } => {
                self.bits(&[true, reply.damaged]);
                self.u64(prev.0);
                self.id(hint);
            }
        }
        self.u64(reply.commit.0);
        self.u64(reply.round);
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(WireError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.take().map(u64::from_le_bytes)
    }

    fn id(&mut self) -> Result<EntryId, WireError> {
        Ok(EntryId {
            term: Term(self.u64()?),
            index: Index(self.u64()?),
        })
    }

    fn bits<const N: usize>(&mut self) -> Result<[bool; N], WireError> {
        let byte = self.u8()?;
        if u32::from(byte) >> N != 0 {
            return Err(WireError::Field);
        }
        Ok(core::array::from_fn(|at| byte >> at & 1 == 1))
    }

    fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(WireError::TrailingBytes)
        }
    }

    fn append(&mut self) -> Result<Append, WireError> {
        let prev = self.id()?;
        let count = u64::from(self.u32()?);
        let last = Index(prev.index.0.checked_add(count).ok_or(WireError::Field)?);
        let [reply, repaired] = self.bits()?;
        let commit = Index(self.u64()?);
        let round = self.u64()?;
        let runs = self.runs(prev, last)?;
        let configurations = usize::from(self.u16()?);
        if configurations > CONFIGURATIONS_MAX {
            return Err(WireError::Field);
        }
        let mut found = Vec::new();
        let mut before = prev.index;
        for _ in 0..configurations {
            let index = Index(self.u64()?);
            if index <= before || index > last {
                return Err(WireError::Field);
            }
            before = index;
            found.push((index, self.membership()?));
        }
        Ok(Append {
            prev,
            last,
            runs,
            commit,
            round,
            reply,
            repaired,
            configurations: found.into(),
        })
    }

    /// Runs begin right after `prev`, rise strictly, and there are some exactly when there are entries.
    fn runs(&mut self, prev: EntryId, last: Index) -> Result<Runs, WireError> {
        let count = usize::from(self.u8()?);
        if count > RUNS_MAX || (count == 0) != (last == prev.index) {
            return Err(WireError::Field);
        }
        let mut runs = Runs::default();
        let mut before = prev;
        for at in 0..count {
            let index = Index(self.u64()?);
            let term = Term(self.u64()?);
            let rises = if at == 0 {
                index == prev.index.next() && term >= prev.term && term > Term(0)
            } else {
                index > before.index && term > before.term
            };
            if !rises || index > last {
                return Err(WireError::Field);
            }
            before = EntryId { term, index };
            runs.push(before);
        }
        Ok(runs)
    }

    fn append_reply(&mut self) -> Result<AppendReply, WireError> {
        let [rejected, damaged] = self.bits()?;
        let index = Index(self.u64()?);
        let outcome = if rejected {
            AppendOutcome::Rejected {
                prev: index,
                hint: self.id()?,
            }
        } else {
            AppendOutcome::Accepted { matched: index }
        };
        Ok(AppendReply {
            outcome,
            damaged,
            commit: Index(self.u64()?),
            round: self.u64()?,
        })
    }

    fn membership(&mut self) -> Result<Membership, WireError> {
        let generation = self.u64()?;
        let [joint, auto_leave] = self.bits()?;
        if auto_leave && !joint {
            return Err(WireError::Field);
        }
        let sizes = self.take::<3>()?;
        let outgoing_sizes = if joint { Some(self.take::<3>()?) } else { None };
        let mut members = Vec::new();
        for _ in 0..self.u8()? {
            let node = NodeId(self.u32()?);
            let place = Place {
                site: self.u16()?,
                region: self.u16()?,
            };
            let kinds = self.u8()?;
            if kinds >> 4 != 0 {
                return Err(WireError::Field);
            }
            let (incoming, outgoing) = (kind_of(kinds), kind_of(kinds >> 2));
            members.push(Member {
                node,
                place,
                incoming,
                outgoing,
            });
        }
        let mut classes = Vec::new();
        for _ in 0..self.u8()? {
            let [count, sites, regions, witnesses] = self.take()?;
            classes.push(Class {
                count,
                sites,
                regions,
                witnesses,
            });
        }
        let mut retired = Vec::new();
        for _ in 0..self.u16()? {
            retired.push(NodeId(self.u32()?));
        }
        let quorum = |voters: usize, [election, commit, read]: [u8; 3]| {
            Quorum::new(voters, election.into(), commit.into(), read.into())
                .map_err(MembershipError::from)
        };
        let voting = |half: fn(&Member) -> bool| members.iter().filter(|m| half(m)).count();
        let incoming = quorum(voting(Member::votes_incoming), sizes)?;
        let outgoing = match outgoing_sizes {
            Some(sizes) => Some(quorum(voting(|member| member.outgoing.is_some()), sizes)?),
            None => None,
        };
        let membership = Membership {
            generation,
            members,
            quorum: incoming,
            outgoing,
            auto_leave,
            classes,
            retired,
        };
        membership.check()?;
        Ok(membership)
    }
}
