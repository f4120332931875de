//! The tables of docs/ledger.md name every operation, flag and status, each once, and say how ours is beside theirs.

use ledger::account::AccountFlags;
use ledger::instruction::{Instruction, InstructionError, operation};
use ledger::status::{CreateAccountStatus, CreateTransferStatus};
use ledger::transfer::TransferFlags;

const PAGE: &str = include_str!("../../../docs/ledger.md");

/// The rows of the tables under a heading, cell by cell, without their heads.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("there is a section {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'))
        .map(|line| {
            line.split(" | ")
                .map(|cell| cell.trim().trim_matches('`'))
                .collect()
        })
        .skip(1)
        .collect()
}

/// A number as the page writes it.
fn number(cell: &str) -> u32 {
    match cell {
        "2^32 - 1" => u32::MAX,
        cell => cell
            .parse()
            .unwrap_or_else(|_| panic!("{cell} is a number")),
    }
}

fn check_statuses(heading: &str, expected: Vec<(u32, &str)>) {
    let rows = table(heading);
    let told: Vec<(u32, &str)> = rows.iter().map(|row| (number(row[0]), row[1])).collect();
    assert_eq!(
        told, expected,
        "{heading}: numbers and names, in order of precedence"
    );
    for row in rows {
        let ours = (1001..u32::MAX).contains(&number(row[0]));
        let verdict = row.last().copied().unwrap_or_default();
        assert_eq!(
            verdict,
            if ours { "ours" } else { "as theirs" },
            "{}",
            row[1]
        );
    }
}

#[test]
fn every_status_stands_in_its_table_in_order_of_precedence() {
    let accounts = CreateAccountStatus::ALL.iter();
    let accounts = accounts.map(|status| (status.number(), status.name()));
    check_statuses("Statuses of create_accounts", accounts.collect());
    let transfers = CreateTransferStatus::ALL.iter();
    let transfers = transfers.map(|status| (status.number(), status.name()));
    check_statuses("Statuses of create_transfers", transfers.collect());
}

#[test]
fn every_flag_stands_in_its_table() {
    for (heading, reserved) in [
        ("Account flags", AccountFlags::RESERVED.0),
        ("Transfer flags", TransferFlags::RESERVED.0),
    ] {
        let rows = table(heading);
        let named = rows
            .iter()
            .fold(0_u16, |bits, row| bits | 1 << number(row[0]));
        assert_eq!(named, !reserved, "{heading}");
        assert_eq!(
            rows.len() as u32,
            named.count_ones(),
            "{heading}: each once"
        );
        assert!(
            rows.iter().all(|row| row[2].starts_with("as theirs")),
            "{heading}"
        );
    }
}

#[test]
fn every_operation_stands_in_its_table() {
    let rows = table("Operations");
    let told: Vec<u8> = rows.iter().filter_map(|row| row[0].parse().ok()).collect();
    for number in 0..=u8::MAX {
        let unknown = Instruction::parse(number, &[]).err()
            == Some(InstructionError::UnknownOperation(number));
        assert_eq!(!unknown, told.contains(&number), "operation {number}");
    }
    let name = |number: u8| {
        let row = rows.iter().find(|row| row[0].parse() == Ok(number));
        row.map(|row| row[1]).unwrap_or_default()
    };
    for (number, expected) in [
        (operation::PULSE, "pulse"),
        (operation::GET_CHANGE_EVENTS, "get_change_events"),
        (operation::LOOKUP_ACCOUNTS, "lookup_accounts"),
        (operation::LOOKUP_TRANSFERS, "lookup_transfers"),
        (operation::GET_ACCOUNT_TRANSFERS, "get_account_transfers"),
        (operation::GET_ACCOUNT_BALANCES, "get_account_balances"),
        (operation::QUERY_ACCOUNTS, "query_accounts"),
        (operation::QUERY_TRANSFERS, "query_transfers"),
        (operation::CREATE_ACCOUNTS, "create_accounts"),
        (operation::CREATE_TRANSFERS, "create_transfers"),
        (operation::AUDIT, "audit"),
        (operation::GET_CHANGES, "get_changes"),
        (operation::GET_BALANCES_AT, "get_balances_at"),
        (operation::GET_ACCOUNT_SUMS, "get_account_sums"),
    ] {
        assert_eq!(name(number), expected);
    }
}
