//! An own state machine on one durable node: a counter that survives, in under sixty lines.
//!
//! `cargo run --release -p quorate-engine --example embed`

use engine::{Admission, Client, Command, FormatOptions, Layout, Node, NodeAddress, Options};
use engine::{GroupId, Refusal, StateMachine, format};

const ADD: u8 = 1;
const READ: u8 = 2;

#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    fn admit(&self, operation: u8, payload: &[u8]) -> Result<Admission, Refusal> {
        match (operation, payload.len()) {
            (ADD, 8) => Ok(Admission::Write),
            (READ, 0) => Ok(Admission::Read),
            (ADD | READ, _) => Err(Refusal::MalformedBody),
            _ => Err(Refusal::UnknownOperation),
        }
    }

    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>) {
        let bytes = command
            .payload
            .try_into()
            .expect("admitted with eight bytes");
        self.0 = self.0.wrapping_add(u64::from_le_bytes(bytes));
        reply.extend_from_slice(&self.0.to_le_bytes());
    }

    fn query(&self, _operation: u8, _payload: &[u8], reply: &mut Vec<u8>) {
        reply.extend_from_slice(&self.0.to_le_bytes());
    }

    fn digest(&self) -> u128 {
        self.0.into()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("node");
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let layout = Layout::new(
        1,
        vec![NodeAddress {
            id: 1,
            address: free,
        }],
        1,
        1,
    );
    format(
        &dir,
        &FormatOptions {
            layout: layout.clone(),
            node: 1,
            prewrite_bytes: 0,
        },
    )?;
    let mut sum = 0;
    for life in 1..=2 {
        let node = Node::start(&dir, &Options::default(), |_, _| Counter::default())?;
        let mut client = Client::new(layout.clone(), life);
        for number in 1..=1000_u64 {
            client.request(GroupId(0), ADD, number.to_le_bytes().to_vec())?;
        }
        let reply = client.request(GroupId(0), READ, Vec::new())?;
        sum = u64::from_le_bytes(reply.as_ref().try_into()?);
        node.stop()?;
    }
    assert_eq!(
        sum, 1_001_000,
        "what the first life wrote is there in the second"
    );
    println!("counted to {sum} over a restart");
    Ok(())
}
