//! A cluster of three nodes in one process: the ledger moves money, one node stops, the others go on.
//!
//! `cargo run --release -p quorate-engine --example three_nodes`

use std::net::TcpListener;

use engine::{Client, FormatOptions, GroupId, Layout, Limits, Node, NodeAddress, Options, format};
use ledger::account::Account;
use ledger::ledger::Ledger;
use ledger::transfer::Transfer;
use zerocopy::IntoBytes;

const CREATE_ACCOUNTS: u8 = 146;
const CREATE_TRANSFERS: u8 = 147;

fn machine(_: GroupId, _: Limits) -> Ledger {
    Ledger::new(ledger::limits::Limits::default()).expect("the defaults are within bounds")
}

fn account(id: u128) -> Account {
    Account {
        id: id.into(),
        ledger: 1.into(),
        code: 1.into(),
        ..Account::default()
    }
}

fn transfer(id: u128, amount: u128) -> Transfer {
    Transfer {
        id: id.into(),
        debit_account_id: 1.into(),
        credit_account_id: 2.into(),
        amount: amount.into(),
        ledger: 1.into(),
        code: 1.into(),
        ..Transfer::default()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    // All ports are held until all are known, so that they differ.
    let held: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let mut nodes = Vec::new();
    for (id, listener) in (1..).zip(&held) {
        nodes.push(NodeAddress {
            id,
            address: listener.local_addr()?,
        });
    }
    drop(held);
    let layout = Layout::new(1, nodes, 1, 1);
    let mut running = Vec::new();
    for id in 1..=3 {
        let dir = folder.path().join(format!("node-{id}"));
        format(
            &dir,
            &FormatOptions {
                layout: layout.clone(),
                node: id,
                prewrite_bytes: 0,
            },
        )?;
        running.push(Node::start(&dir, &Options::default(), machine)?);
    }
    let mut client = Client::new(layout, 7);
    let accounts = [account(1), account(2)];
    client.request(GroupId(0), CREATE_ACCOUNTS, accounts.as_bytes().to_vec())?;
    client.request(
        GroupId(0),
        CREATE_TRANSFERS,
        transfer(10, 100).as_bytes().to_vec(),
    )?;
    println!("moved 100 with three nodes");
    running.remove(0).stop()?;
    client.request(
        GroupId(0),
        CREATE_TRANSFERS,
        transfer(11, 50).as_bytes().to_vec(),
    )?;
    println!("moved 50 with two nodes");
    for node in running {
        node.stop()?;
    }
    Ok(())
}
