//! A cluster in one process: three nodes keep a ledger, one of them stops, and no transfer is lost.

use std::error::Error;
use std::net::TcpListener;

use engine::{Client, FormatOptions, GroupId, Layout, Node, NodeAddress, Options};
use ledger::account::Account;
use ledger::instruction::operation::{CREATE_ACCOUNTS, CREATE_TRANSFERS, LOOKUP_ACCOUNTS};
use ledger::ledger::Ledger;
use ledger::transfer::Transfer;
use zerocopy::{FromBytes, IntoBytes};

const GROUP: GroupId = GroupId(0);

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut addresses = Vec::new();
    for (id, listener) in (1..).zip(listeners) {
        let address = listener?.local_addr()?;
        addresses.push(NodeAddress { id, address });
    }
    let layout = Layout::new(1, addresses, 1, 1);

    let mut nodes = Vec::new();
    for id in 1..=3 {
        let path = dir.path().join(format!("node-{id}"));
        engine::format(&path, &FormatOptions::new(layout.clone(), id))?;
        nodes.push(Node::start(&path, &Options::default(), |_, _| {
            Ledger::new(ledger::limits::Limits::default()).expect("the default limits fit")
        })?);
    }

    let mut client = Client::new(layout, 1);
    let accounts = [1_u128, 2].map(|id| Account {
        id: id.into(),
        ledger: 1.into(),
        code: 1.into(),
        ..Account::default()
    });
    client.request(GROUP, CREATE_ACCOUNTS, accounts.as_bytes().to_vec())?;
    let pay = |client: &mut Client, id: u128| {
        let transfer = Transfer {
            id: id.into(),
            debit_account_id: 1.into(),
            credit_account_id: 2.into(),
            amount: 10.into(),
            ledger: 1.into(),
            code: 1.into(),
            ..Transfer::default()
        };
        client.request(GROUP, CREATE_TRANSFERS, transfer.as_bytes().to_vec())
    };
    for id in 1..=10 {
        pay(&mut client, id)?;
    }
    // The preferred leader of group 0 is the first node: the others elect another one.
    nodes.remove(0).stop()?;
    for id in 11..=20 {
        pay(&mut client, id)?;
    }
    let found = client.request(GROUP, LOOKUP_ACCOUNTS, 2_u128.to_le_bytes().to_vec())?;
    let account = Account::read_from_bytes(&found).map_err(|_| "one account was expected")?;
    assert_eq!(account.credits_posted.get(), 200);
    nodes.into_iter().try_for_each(Node::stop)?;
    Ok(())
}
