//! A connection for one question at a time: accounts, status, histograms, look-ups.
//!
//! - It blocks, but never for longer than its limit.

use crate::error::{BenchError, ProtocolFault};
use crate::stages::Stages;
use crate::status;
use crate::target::Target;
use crate::wire::{FRAME_BYTES_MAX, Found, Next, Outbox, next};
use net::frame::Kind;
use net::handshake::{Refusal, Welcome};
use net::inspect::{ReportHead, Topic};
use net::request::{Consistency, ReplyHead, RequestHead, Status};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// A connection to one core of one node.
#[derive(Debug)]
pub(crate) struct Control {
    node: u32,
    address: SocketAddr,
    cluster: u64,
    stream: TcpStream,
    outbox: Outbox,
    inbox: Vec<u8>,
    bulk: Range<usize>,
    requests: u64,
}

/// What to ask of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) group: u32,
    pub(crate) operation: u8,
    pub(crate) consistency: Consistency,
}

impl Control {
    /// Connects to a core of the node at this position.
    pub(crate) fn connect(target: &Target, node: usize, core: u32) -> Result<Self, BenchError> {
        let address = target.address(node, core);
        let id = target.nodes[node].id;
        let failed = |source| BenchError::Connect {
            node: id,
            address,
            source,
        };
        let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream
            .set_read_timeout(Some(ANSWER_LIMIT))
            .map_err(failed)?;
        stream
            .set_write_timeout(Some(ANSWER_LIMIT))
            .map_err(failed)?;
        let mut control = Self {
            node: id,
            address,
            cluster: target.cluster,
            stream,
            outbox: Outbox::default(),
            inbox: Vec::new(),
            bulk: 0..0,
            requests: 0,
        };
        control.outbox.push_hello(target.cluster);
        let welcome = control.exchange(Kind::WELCOME)?;
        Welcome::decode(&control.inbox[welcome.head])
            .map_err(|_| control.fault(ProtocolFault::Head))?;
        Ok(control)
    }

    /// The node's id.
    pub(crate) fn node(&self) -> u32 {
        self.node
    }

    /// Sends a request of `bulk` bytes that `fill` writes: the reply's head. Its records are in `records`.
    pub(crate) fn ask(
        &mut self,
        question: Question,
        bulk: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<ReplyHead, BenchError> {
        self.requests += 1;
        let head = RequestHead {
            id: self.requests,
            group: question.group.into(),
            operation: question.operation,
            consistency: question.consistency,
            ..RequestHead::default()
        };
        self.outbox.push_request(self.cluster, &head, bulk, fill);
        let found = self.exchange(Kind::REPLY)?;
        let reply = ReplyHead::decode(&self.inbox[found.head])
            .map_err(|_| self.fault(ProtocolFault::Head))?;
        if reply.id != self.requests {
            return Err(self.fault(ProtocolFault::UnknownReply(reply.id)));
        }
        self.bulk = found.bulk;
        Ok(reply)
    }

    /// The records of the last reply.
    pub(crate) fn records(&self) -> &[u8] {
        &self.inbox[self.bulk.clone()]
    }

    /// What the core says about itself.
    pub(crate) fn status(&mut self) -> Result<status::Status, BenchError> {
        let report = self.inspect(Topic::Status, "its status")?;
        status::Status::parse(&self.inbox[report.bulk]).map_err(|fault| self.fault(fault))
    }

    /// What the core's stages have taken since it started.
    pub(crate) fn stages(&mut self) -> Result<Stages, BenchError> {
        let report = self.inspect(Topic::Histograms, "its histograms")?;
        Stages::parse(&self.inbox[report.bulk]).map_err(|fault| self.fault(fault))
    }

    fn inspect(&mut self, topic: Topic, what: &'static str) -> Result<Found, BenchError> {
        self.requests += 1;
        self.outbox.push_inspect(self.cluster, self.requests, topic);
        let found = self.exchange(Kind::REPORT)?;
        let report = ReportHead::decode(&self.inbox[found.head.clone()])
            .map_err(|_| self.fault(ProtocolFault::Head))?;
        if report.id != self.requests {
            return Err(self.fault(ProtocolFault::UnknownReply(report.id)));
        }
        if report.status != Status::Ok {
            return Err(BenchError::Refused {
                node: self.node,
                what,
                status: report.status,
            });
        }
        Ok(found)
    }

    /// Sends what is in the outbox and waits for one frame of this kind, which then lies in the inbox.
    fn exchange(&mut self, kind: u8) -> Result<Found, BenchError> {
        let (node, address) = (self.node, self.address);
        let failed = |source| BenchError::Connect {
            node,
            address,
            source,
        };
        self.stream
            .write_all(self.outbox.as_bytes())
            .map_err(failed)?;
        self.outbox.clear();
        let mut len = 0;
        loop {
            let wanting = match next(&self.inbox[..len], 0, self.cluster)
                .map_err(|fault| self.fault(fault))?
            {
                Next::Frame(found) if found.kind == kind && found.end == len => return Ok(found),
                Next::Frame(found) => return Err(self.unexpected(&found)),
                Next::Wanting(end) => end,
            };
            debug_assert!(
                wanting <= FRAME_BYTES_MAX,
                "the header was checked against the same limits"
            );
            if self.inbox.len() < wanting {
                self.inbox.resize(wanting, 0);
            }
            match self
                .stream
                .read(&mut self.inbox[len..wanting])
                .map_err(failed)?
            {
                0 => return Err(self.fault(ProtocolFault::Closed)),
                read => len += read,
            }
        }
    }

    fn unexpected(&self, found: &Found) -> BenchError {
        match Refusal::decode(&self.inbox[found.head.clone()]) {
            Ok(refusal) if found.kind == Kind::GOODBYE => {
                self.fault(ProtocolFault::Goodbye(refusal))
            }
            _ => self.fault(ProtocolFault::Kind(found.kind)),
        }
    }

    pub(crate) fn fault(&self, fault: ProtocolFault) -> BenchError {
        BenchError::Protocol {
            node: self.node,
            fault,
        }
    }
}
