//! Balancing transfers: at most as much as the other side allows.

use crate::script::check;

#[test]
fn a_balancing_debit_moves_what_is_left() {
    check(
        "account 1
         account 2

         transfer 1 2->1 10
         transfer 2 1->2 4 balancing_debit
         transfer 3 1->2 100 balancing_debit
         transfer 4 1->2 100 balancing_debit
         balances 1: 0 10 / 0 10

         transfer 2 1->2 4 balancing_debit => exists
         transfer 2 1->2 9 balancing_debit => exists
         transfer 2 1->2 3 balancing_debit => exists_with_different_amount
         transfer 3 1->2 6 balancing_debit => exists
         transfer 3 1->2 5 balancing_debit => exists_with_different_amount
         transfer 4 1->2 0 balancing_debit => exists",
    );
}

#[test]
fn a_balancing_credit_moves_what_is_left() {
    check(
        "account 1
         account 2

         transfer 1 1->2 10
         transfer 2 2->1 3 balancing_credit
         transfer 3 2->1 max balancing_credit
         balances 1: 0 10 / 0 10",
    );
}

#[test]
fn reservations_balance_too_and_count() {
    check(
        "account 1
         account 2
         account 3

         transfer 1 2->1 10
         transfer 2 1->3 4 pending
         transfer 3 1->2 max balancing_debit pending
         balances 1: 10 0 / 0 10
         transfer 4 1->2 5 balancing_debit
         balances 1: 10 0 / 0 10

         transfer 5 0->0 max post pending_id=3
         balances 1: 4 6 / 0 10",
    );
}

#[test]
fn both_sides_balance_to_the_smaller() {
    check(
        "account 1
         account 2
         account 3

         transfer 1 3->1 10
         transfer 2 2->3 7
         transfer 3 1->2 max balancing_debit balancing_credit
         balances 1: 0 7 / 0 10
         balances 2: 0 7 / 0 7",
    );
}

#[test]
fn limits_hold_for_what_is_moved() {
    check(
        "account 1 debits_limited
         account 2

         transfer 1 1->2 100 balancing_debit
         transfer 2 2->1 5
         transfer 3 1->2 100 balancing_debit
         balances 1: 0 5 / 0 5",
    );
}
