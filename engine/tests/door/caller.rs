//! A client of TigerBeetle, as plain as can be: one connection, one message at a time, every byte in the test's hands.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use engine::clock::SystemClock;
use ledger::account::Account;
use ledger::status::CreateResult;
use ledger::transfer::Transfer;
use net::tigerbeetle::message::{Announced, Envelope, Message, Ping, Reply, Request};
use net::tigerbeetle::operation::{CREATE_ACCOUNTS, CREATE_TRANSFERS, LOOKUP_ACCOUNTS, REGISTER};
use net::tigerbeetle::reader::{Frame, Reader};
use net::tigerbeetle::{Release, batches};
use raft::ids::Time;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

pub(crate) const CLUSTER: u64 = 77;
/// Longer than anything takes that happens at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// A request that is not answered in this time is sent again, as every client of theirs does.
const REPEAT: Duration = Duration::from_secs(2);

pub(crate) struct Caller {
    pub(crate) stream: TcpStream,
    reader: Reader,
    pub(crate) envelope: Envelope,
    pub(crate) client: u128,
    pub(crate) session: u64,
    pub(crate) number: u32,
    parent: u128,
}

impl Caller {
    pub(crate) fn connect(address: SocketAddr, client: u128) -> Self {
        let stream = TcpStream::connect(address).expect("the door is open");
        stream.set_nodelay(true).expect("a socket");
        Self {
            stream,
            reader: Reader::default(),
            envelope: Envelope {
                cluster: CLUSTER.into(),
                view: 0,
                release: Release::MAX,
                replica: 0,
            },
            client,
            session: 0,
            number: 0,
            parent: 0,
        }
    }

    /// The same session over a new connection.
    pub(crate) fn reconnect(&self, address: SocketAddr) -> Self {
        let mut other = Self::connect(address, self.client);
        other.envelope.view = self.envelope.view;
        (other.session, other.number, other.parent) = (self.session, self.number, self.parent);
        other
    }

    /// The bytes of a request with this number.
    pub(crate) fn bytes_of(&self, number: u32, operation: u8, body: &[u8]) -> Vec<u8> {
        let request = Message::Request(Request {
            parent: if operation == REGISTER {
                0
            } else {
                self.parent
            },
            client: self.client,
            session: if operation == REGISTER {
                0
            } else {
                self.session
            },
            timestamp: 0,
            number,
            operation,
            latency: 0,
            checksum: 0,
        });
        let mut bytes = request.encode(&self.envelope, body).to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the door takes it");
    }

    /// The next message; `None` when the door closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Frame> {
        let deadline = SystemClock.now().plus(PATIENCE.as_nanos() as u64);
        self.receive_until(deadline).expect("an answer in time")
    }

    /// Does the door say nothing for so long?
    pub(crate) fn hears_nothing_for(&mut self, time: Duration) -> bool {
        let deadline = SystemClock.now().plus(time.as_nanos() as u64);
        self.receive_until(deadline).is_none()
    }

    fn receive_until(&mut self, deadline: Time) -> Option<Option<Frame>> {
        loop {
            if let Some(frame) = self.reader.next_frame().expect("the door speaks well") {
                self.envelope.view = self.envelope.view.max(frame.announced.envelope.view);
                return Some(Some(frame));
            }
            let left = Duration::from_nanos(deadline.since(SystemClock.now()));
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).expect("a time");
            match self.stream.read(self.reader.space()) {
                Ok(0) => return Some(None),
                Ok(count) => self.reader.filled(count),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return None,
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Some(None),
                    other => panic!("the connection failed: {other:?}"),
                },
            }
        }
    }

    /// Sends a request with this number until it is answered, and takes the reply's context: the first that hears it may
    /// leave it to a leader that is gone.
    pub(crate) fn ask(&mut self, bytes: &[u8], number: u32) -> (Reply, Bytes) {
        let deadline = SystemClock.now().plus(PATIENCE.as_nanos() as u64);
        while SystemClock.now() < deadline {
            self.send(bytes);
            let until = SystemClock.now().plus(REPEAT.as_nanos() as u64);
            while let Some(frame) = self.receive_until(until) {
                let frame = frame.expect("the door is open");
                match frame.announced.message {
                    // What was asked twice may be answered twice.
                    Message::Reply(reply) if reply.number < number => {}
                    Message::Reply(reply) => {
                        self.parent = reply.context;
                        return (reply, frame.body);
                    }
                    other => panic!("{other:?} where a reply was due"),
                }
            }
        }
        panic!("request {number} is not answered");
    }

    /// Waits for a reply and takes its context.
    pub(crate) fn reply(&mut self) -> (Reply, Bytes) {
        let frame = self.receive().expect("the door is open");
        match frame.announced.message {
            Message::Reply(reply) => {
                self.parent = reply.context;
                (reply, frame.body)
            }
            other => panic!("{other:?} where a reply was due"),
        }
    }

    pub(crate) fn reason(&mut self) -> net::tigerbeetle::message::Reason {
        let frame = self.receive().expect("the door is open");
        match frame.announced.message {
            Message::Eviction(eviction) => {
                assert_eq!(eviction.client, self.client);
                eviction.reason
            }
            other => panic!("{other:?} where an eviction was due"),
        }
    }

    pub(crate) fn register(&mut self) {
        let bytes = self.bytes_of(0, REGISTER, &[0; 256]);
        let (reply, body) = self.ask(&bytes, 0);
        assert_eq!(body.len(), 64);
        assert_eq!(body[..4], (1_048_320_u32).to_le_bytes());
        self.session = reply.commit;
    }

    pub(crate) fn registered(address: SocketAddr, client: u128) -> Self {
        let mut caller = Self::connect(address, client);
        caller.register();
        caller
    }

    pub(crate) fn request(&mut self, operation: u8, body: &[u8]) -> Bytes {
        self.number += 1;
        let bytes = self.bytes_of(self.number, operation, body);
        let (reply, body) = self.ask(&bytes, self.number);
        assert_eq!(reply.number, self.number);
        assert_eq!(reply.operation, operation);
        body
    }

    pub(crate) fn ping(&mut self) -> Announced {
        let ping = Message::Ping(Ping {
            client: self.client,
            sent_at: 5,
            session: self.session,
        });
        let envelope = Envelope {
            view: 0,
            ..self.envelope
        };
        let bytes = ping.encode(&envelope, &[]);
        self.send(&bytes);
        self.receive().expect("a pong").announced
    }

    pub(crate) fn create_accounts(&mut self, accounts: &[Account]) -> Vec<u32> {
        let body = self.request(CREATE_ACCOUNTS, &batch(accounts.as_bytes(), 128));
        statuses(&body)
    }

    pub(crate) fn create_transfers(&mut self, transfers: &[Transfer]) -> Vec<u32> {
        let body = self.request(CREATE_TRANSFERS, &batch(transfers.as_bytes(), 128));
        statuses(&body)
    }

    /// Debits and credits posted of an account.
    pub(crate) fn balance(&mut self, id: u128) -> (u128, u128) {
        let body = self.request(LOOKUP_ACCOUNTS, &batch(&id.to_le_bytes(), 16));
        let (elements, _) = body.split_at(128);
        let account = Account::ref_from_bytes(elements).expect("one account");
        (account.debits_posted.get(), account.credits_posted.get())
    }
}

/// One batch of these elements.
pub(crate) fn batch(elements: &[u8], element_bytes: usize) -> Vec<u8> {
    let mut body = elements.to_vec();
    let count = (elements.len() / element_bytes) as u16;
    batches::close(&mut body, 0, &[count], element_bytes);
    body
}

pub(crate) fn statuses(body: &[u8]) -> Vec<u32> {
    let batches = batches::Batches::parse(body, 16).expect("results");
    <[CreateResult]>::ref_from_bytes(batches.elements())
        .expect("results")
        .iter()
        .map(|result| result.status.get())
        .collect()
}

pub(crate) fn account(id: u128, ledger: u32) -> Account {
    let mut account = Account::new_zeroed();
    account.id = id.into();
    account.ledger = ledger.into();
    account.code = 1.into();
    account
}

pub(crate) fn transfer(id: u128, ledger: u32, debit: u128, credit: u128) -> Transfer {
    let mut transfer = Transfer::new_zeroed();
    transfer.id = id.into();
    transfer.debit_account_id = debit.into();
    transfer.credit_account_id = credit.into();
    transfer.amount = 1.into();
    transfer.ledger = ledger.into();
    transfer.code = 1.into();
    transfer
}
