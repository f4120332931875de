//! What the load generator itself can do: against a server that checks frames and does nothing else.
//!
//! Not asserted, printed: `cargo test --release -p quorate-bench ceiling -- --ignored --nocapture`.

use crate::clock::Clock;
use crate::load::Plan;
use crate::options::Options;
use crate::progress::Silent;
use crate::setup::Observers;
use crate::stages::Stages;
use crate::target::{Node, Target};
use crate::wire::{Next, Outbox, next};
use crate::workload::{RECORD_SIZE, Workload};
use ledger::status::{CreateResult, CreateTransferStatus};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use net::frame::{Codec, Kind};
use net::handshake::{Hello, Identity};
use net::inspect::{InspectHead, ReportHead};
use net::request::{RequestHead, Status};
use rustix::time::{ClockId, clock_gettime};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const CLUSTER: u64 = 1;
const ROOM: usize = 1 << 21;

struct Peer {
    stream: TcpStream,
    inbox: Vec<u8>,
    filled: usize,
    outbox: Outbox,
    sent: usize,
}

/// Serves for ever; tells its processor time.
fn serve(mut listener: TcpListener, cpu_ns: &AtomicU64) {
    let mut poll = Poll::new().expect("a poll");
    poll.registry()
        .register(&mut listener, Token(0), Interest::READABLE)
        .expect("a listener");
    let mut events = Events::with_capacity(1024);
    let mut peers: Vec<Peer> = Vec::new();
    loop {
        poll.poll(&mut events, None).expect("no signal");
        for event in &events {
            if event.token() == Token(0) {
                while let Ok((mut stream, _)) = listener.accept() {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    let token = Token(peers.len() + 1);
                    poll.registry()
                        .register(&mut stream, token, interest)
                        .expect("a stream");
                    stream.set_nodelay(true).expect("a stream");
                    let inbox = vec![0; ROOM];
                    peers.push(Peer {
                        stream,
                        inbox,
                        filled: 0,
                        outbox: Outbox::default(),
                        sent: 0,
                    });
                }
            } else {
                peers[event.token().0 - 1].serve();
            }
        }
        let time = clock_gettime(ClockId::ThreadCPUTime);
        cpu_ns.store(
            (time.tv_sec * 1_000_000_000 + time.tv_nsec) as u64,
            Ordering::Relaxed,
        );
    }
}

impl Peer {
    fn serve(&mut self) {
        loop {
            let wanted = ROOM - self.filled;
            let read = match self.stream.read(&mut self.inbox[self.filled..]) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return,
            };
            self.filled += read;
            let mut from = 0;
            while let Ok(Next::Frame(found)) = next(&self.inbox[..self.filled], from, CLUSTER) {
                self.answer(found.kind, found.head.clone(), found.bulk.len());
                from = found.end;
            }
            self.inbox.copy_within(from..self.filled, 0);
            self.filled -= from;
            while self.sent < self.outbox.as_bytes().len() {
                match self.stream.write(&self.outbox.as_bytes()[self.sent..]) {
                    Ok(written) => self.sent += written,
                    Err(_) => break,
                }
            }
            if self.sent == self.outbox.as_bytes().len() {
                self.outbox.clear();
                self.sent = 0;
            }
            if read < wanted {
                return;
            }
        }
    }

    fn answer(&mut self, kind: u8, head: std::ops::Range<usize>, bulk: usize) {
        let head = &self.inbox[head];
        match kind {
            Kind::HELLO => {
                let own = Identity {
                    cluster: CLUSTER,
                    node: 1,
                    core: 0,
                    cores: 1,
                    incarnation: 1,
                    layout_digest: 1,
                    codec: Codec::None,
                };
                let hello = Hello::decode(head).expect("a hello");
                let welcome = hello
                    .answer(&own, |_| true)
                    .expect("it belongs here")
                    .encode();
                self.outbox
                    .push(Kind::WELCOME, CLUSTER, &welcome.head, 0, |_| {});
            }
            Kind::REQUEST => {
                let reply = RequestHead::decode(head)
                    .expect("a request")
                    .reply(Status::Ok)
                    .encode();
                let results = bulk / RECORD_SIZE;
                self.outbox.push(
                    Kind::REPLY,
                    CLUSTER,
                    &reply,
                    results * size_of::<CreateResult>(),
                    |room| {
                        for result in room.as_chunks_mut::<{ size_of::<CreateResult>() }>().0 {
                            result[8..12].copy_from_slice(
                                &CreateTransferStatus::Created.number().to_le_bytes(),
                            );
                        }
                    },
                );
            }
            _ => {
                let inspect = InspectHead::decode(head).expect("a question");
                let report = ReportHead {
                    id: inspect.id,
                    status: Status::Ok,
                }
                .encode();
                let status: &[u8] = match inspect.topic {
                    net::inspect::Topic::Status => br#"{"groups":[]}"#,
                    _ => b"",
                };
                self.outbox
                    .push(Kind::REPORT, CLUSTER, &report, status.len(), |room| {
                        room.copy_from_slice(status);
                    });
            }
        }
    }
}

fn measure(name: &str, options: &Options) {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let base = listener.local_addr().expect("bound");
    let server_cpu = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&server_cpu);
    std::thread::spawn(move || serve(listener, &told));
    let node = Node {
        id: 1,
        base,
        pid: None,
    };
    let target = Target {
        cluster: CLUSTER,
        nodes: vec![node],
        cores: 1,
        groups: 1,
    };
    let clock = Clock::start();
    let workload = Workload::new(options, 1);
    let mut observers = Observers::new(&target);
    let plan = Plan {
        options,
        target: &target,
        workload: &workload,
        disk: None,
        clock,
        leaders: &[0],
    };
    let process = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        (time.tv_sec * 1_000_000_000 + time.tv_nsec) as u64
    };
    let before = process();
    let loaded = plan
        .run(&mut observers, &mut Silent, &mut |_| Ok(()))
        .expect("it can be run");
    let used = process() - before;
    let server = server_cpu.load(Ordering::Relaxed);
    let all: u64 = loaded
        .logs
        .iter()
        .map(|log| log.totals(options.batch).acknowledged)
        .sum();
    assert_eq!(
        loaded.closed.stages.ordered().count(),
        Stages::default().ordered().count()
    );
    let _ = writeln!(
        std::io::stdout(),
        "{name}: {:.0} transfers/s, client {} ns and server {} ns of processor time each, p50 {} us, p99 {} us",
        loaded.tally.accepted as f64 / options.duration.as_secs_f64(),
        (used - server) / all,
        server / all,
        loaded.tally.e2e.value_at_quantile(0.5) / 1000,
        loaded.tally.e2e.value_at_quantile(0.99) / 1000,
    );
}

#[test]
#[ignore = "measures"]
fn ceiling() {
    let base = Options {
        warmup: Duration::from_millis(300),
        duration: Duration::from_secs(2),
        ..Options::default()
    };
    measure("8 sessions of 8,189", &base);
    measure(
        "1 session, 2 of 8,189 in flight",
        &Options {
            clients: 1,
            window: 2,
            ..base.clone()
        },
    );
    measure(
        "64 sessions of 1",
        &Options {
            clients: 64,
            batch: 1,
            ..base.clone()
        },
    );
    measure(
        "64 sessions, 16 of 1 in flight",
        &Options {
            clients: 64,
            window: 16,
            batch: 1,
            ..base.clone()
        },
    );
    measure(
        "open loop, 50,000/s of 1",
        &Options {
            clients: 64,
            batch: 1,
            rate: Some(5e4),
            ..base
        },
    );
}
