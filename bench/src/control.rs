//! A connection for one question at a time: accounts, status, histograms, look-ups.
//!
//! - It blocks, but never for longer than its limit.

use crate::error::{BenchError, ProtocolFault};
use crate::stages::Stages;
use crate::status;
use crate::target::Target;
use bytes::Bytes;
use net::checksum::crc;
use net::client::{ClientConnection, ClientError};
use net::frame::Kind;
use net::inspect::{InspectHead, ReportHead, Topic};
use net::request::{Consistency, ReplyHead, RequestHead, Status};
use net::transport::Frame;
use std::net::SocketAddr;
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
    connection: ClientConnection,
    requests: u64,
    records: Bytes,
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
        let node = target.nodes[node].id;
        let connection = ClientConnection::connect(address, target.cluster, CONNECT_LIMIT)
            .map_err(|source| BenchError::Connection {
                node,
                address,
                source,
            })?;
        Ok(Self {
            node,
            address,
            connection,
            requests: 0,
            records: Bytes::new(),
        })
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
        let mut records = vec![0; bulk];
        fill(&mut records);
        let sum = crc(&records);
        let sent = self.connection.send(&head, &[records.into()], sum);
        sent.map_err(|source| self.failed(source))?;
        let frame = self.receive(Kind::REPLY)?;
        let reply = ReplyHead::decode(&frame.head).map_err(|_| self.fault(ProtocolFault::Head))?;
        if reply.id != self.requests {
            return Err(self.fault(ProtocolFault::UnknownReply(reply.id)));
        }
        self.records = frame.bulk;
        Ok(reply)
    }

    /// The records of the last reply.
    pub(crate) fn records(&self) -> &[u8] {
        &self.records
    }

    /// What the core says about itself.
    pub(crate) fn status(&mut self) -> Result<status::Status, BenchError> {
        let report = self.inspect(Topic::Status, "its status")?;
        status::Status::parse(&report).map_err(|fault| self.fault(fault))
    }

    /// What the core's stages have taken since it started.
    pub(crate) fn stages(&mut self) -> Result<Stages, BenchError> {
        let report = self.inspect(Topic::Histograms, "its histograms")?;
        Stages::parse(&report).map_err(|fault| self.fault(fault))
    }

    fn inspect(&mut self, topic: Topic, what: &'static str) -> Result<Bytes, BenchError> {
        self.requests += 1;
        let head = InspectHead {
            id: self.requests,
            topic,
            argument: 0,
        };
        self.connection
            .ask(&head)
            .map_err(|source| self.failed(source))?;
        let frame = self.receive(Kind::REPORT)?;
        let report =
            ReportHead::decode(&frame.head).map_err(|_| self.fault(ProtocolFault::Head))?;
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
        Ok(frame.bulk)
    }

    fn receive(&mut self, kind: u8) -> Result<Frame, BenchError> {
        // The last answer's buffer may be needed for this one.
        self.records = Bytes::new();
        let frame = self
            .connection
            .receive(ANSWER_LIMIT)
            .map_err(|source| self.failed(source))?;
        if frame.kind == kind {
            Ok(frame)
        } else {
            Err(self.fault(ProtocolFault::Kind(frame.kind)))
        }
    }

    fn failed(&self, source: ClientError) -> BenchError {
        BenchError::Connection {
            node: self.node,
            address: self.address,
            source,
        }
    }

    pub(crate) fn fault(&self, fault: ProtocolFault) -> BenchError {
        BenchError::Protocol {
            node: self.node,
            fault,
        }
    }
}
