//! An own state machine, replicated and durable: a counter that one node keeps in a temporary folder.

use std::error::Error;

use engine::{Admission, Client, Command, GroupId, Layout, Node, Options, Refusal, StateMachine};

const ADD: u8 = 1;
const READ: u8 = 2;

#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    fn admit(&self, operation: u8, body: &[u8]) -> Result<Admission, Refusal> {
        match (operation, body.len()) {
            (ADD, 8) => Ok(Admission::Write),
            (READ, 0) => Ok(Admission::Read),
            (ADD | READ, _) => Err(Refusal::MalformedBody),
            _ => Err(Refusal::UnknownOperation),
        }
    }

    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>) {
        self.0 += command.payload.try_into().map_or(0, u64::from_le_bytes);
        reply.extend(self.0.to_le_bytes());
    }

    fn query(&self, _operation: u8, _body: &[u8], reply: &mut Vec<u8>) {
        reply.extend(self.0.to_le_bytes());
    }

    fn digest(&self) -> u128 {
        self.0.into()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let layout = Layout::parse(
        "cluster = 1\ncores = 1\ngroups = 1\nnode = [{ id = 1, address = \"127.0.0.1:7700\" }]",
    )?;
    engine::format(dir.path(), &engine::FormatOptions::new(layout.clone(), 1))?;
    for start in 1..=2 {
        let node = Node::start(dir.path(), &Options::default(), |_, _| Counter::default())?;
        let mut client = Client::new(layout.clone(), start);
        for _ in 0..10 {
            client.request(GroupId(0), ADD, 5_u64.to_le_bytes().to_vec())?;
        }
        let count = client.request(GroupId(0), READ, Vec::new())?;
        assert_eq!(count[..], (50 * start as u64).to_le_bytes()); // The second start found 50.
        node.stop()?;
    }
    Ok(())
}
