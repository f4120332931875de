//! Closing and reopening accounts.

use crate::script::check;

#[test]
fn a_closed_account_refuses_all_but_a_void() {
    check(
        "account 1
         account 2
         account 3

         transfer 1 1->2 10 pending
         transfer 2 1->2 20 pending
         transfer 3 1->2 0 pending closing_debit
         transfer 4 1->2 1 => debit_account_already_closed
         transfer 5 2->1 1 => credit_account_already_closed
         transfer 6 0->0 max post pending_id=1 => debit_account_already_closed
         transfer 7 0->0 0 void pending_id=1
         transfer 8 0->0 max post pending_id=3 => debit_account_already_closed
         transfer 9 2->3 1
         transfer 10 0->0 0 void pending_id=3
         transfer 11 1->2 1
         transfer 12 0->0 max post pending_id=2
         transfer 4 1->2 1 => id_already_failed
         balances 1: 0 21 / 0 0",
    );
}

#[test]
fn both_accounts_may_close_at_once() {
    check(
        "account 1
         account 2
         account 3

         transfer 1 1->2 5 pending closing_debit closing_credit
         transfer 2 3->1 1 => credit_account_already_closed
         transfer 3 2->3 1 => debit_account_already_closed
         transfer 4 0->0 0 void pending_id=1
         transfer 5 3->1 1
         transfer 6 2->3 1
         balances 2: 0 1 / 0 0",
    );
}

#[test]
fn an_account_may_be_born_closed() {
    check(
        "account 1 closed
         account 2

         transfer 1 1->2 1 => debit_account_already_closed
         transfer 2 2->1 1 => credit_account_already_closed

         account 1 closed => exists",
    );
}

#[test]
fn an_expiry_reopens() {
    check(
        "account 1
         account 2

         transfer 1 1->2 0 pending closing_credit timeout=2
         transfer 2 1->2 1 => credit_account_already_closed

         account 2 => exists_with_different_flags
         account 2 closed => exists
         at 50
         transfer 3 1->2 1
         balances 2: 0 0 / 0 1",
    );
}
