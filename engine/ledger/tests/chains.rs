//! Linked events: all of a chain, or nothing of it.

use crate::script::check;

#[test]
fn a_chain_of_accounts_is_all_or_nothing() {
    check(
        "account 1 linked
         account 2

         account 3 linked           => linked_event_failed
         account 4 linked code=0    => code_must_not_be_zero
         account 5                  => linked_event_failed
         account 6

         account 3
         account 4
         account 5",
    );
}

#[test]
fn an_open_chain_fails() {
    check(
        "account 1 linked => linked_event_chain_open

         account 1 linked => linked_event_failed
         account 2 linked => linked_event_chain_open

         account 1 linked code=0 => code_must_not_be_zero
         account 2 linked => linked_event_failed
         account 3 linked => linked_event_chain_open

         account 1
         account 2

         transfer 1 1->2 1
         transfer 2 1->2 1 linked => linked_event_failed
         transfer 3 1->2 1 linked => linked_event_chain_open

         balances 1: 0 1 / 0 0",
    );
}

#[test]
fn what_exists_breaks_a_chain() {
    check(
        "account 1
         account 2

         transfer 1 1->2 1
         transfer 2 1->2 1 linked => linked_event_failed
         transfer 1 1->2 1        => exists
         balances 1: 0 1 / 0 0",
    );
}

#[test]
fn events_of_a_chain_see_each_other() {
    check(
        "account 1 debits_limited
         account 2

         transfer 1 2->1 10 linked
         transfer 2 1->2 10

         transfer 3 2->1 10 linked => linked_event_failed
         transfer 4 1->2 10 linked => linked_event_failed
         transfer 5 1->2 1         => exceeds_credits

         transfer 3 2->1 1 linked
         transfer 4 1->2 1

         transfer 5 2->1 9 => id_already_failed
         balances 1: 0 11 / 0 11",
    );
}

#[test]
fn a_broken_chain_leaves_no_reservation_and_no_resolution() {
    check(
        "account 1
         account 2

         transfer 1 1->2 10 pending timeout=5
         transfer 2 1->2 20 pending

         transfer 3 1->2 1 pending timeout=9 linked           => linked_event_failed
         transfer 4 0->0 4 post pending_id=1 ledger=0 code=0 linked   => linked_event_failed
         transfer 5 0->0 0 void pending_id=2 ledger=0 code=0 linked   => linked_event_failed
         transfer 6 0->0 max post pending_id=3 linked         => linked_event_failed
         transfer 7 1->2 1 linked                             => linked_event_failed
         transfer 8 1->9 1                                    => credit_account_not_found
         balances 1: 30 0 / 0 0

         transfer 4 0->0 4 post pending_id=1 ledger=0 code=0
         transfer 6 0->0 max post pending_id=3 => pending_transfer_not_found
         transfer 3 1->2 1 pending timeout=9
         at 100
         pulse
         transfer 5 0->0 0 void pending_id=2 ledger=0 code=0
         balances 1: 0 4 / 0 0",
    );
}

#[test]
fn a_reservation_that_a_chain_gave_back_still_expires() {
    check(
        "account 1
         account 2

         transfer 1 1->2 10 pending timeout=5
         transfer 2 0->0 max post pending_id=1 linked => linked_event_failed
         transfer 3 1->2 0 code=0                     => code_must_not_be_zero
         at 50
         pulse
         balances 1: 0 0 / 0 0

         transfer 4 0->0 max post pending_id=1 => pending_transfer_expired",
    );
}

#[test]
fn a_broken_chain_reopens_what_it_closed_and_closes_what_it_reopened() {
    check(
        "account 1
         account 2

         transfer 1 1->2 0 pending closing_debit linked => linked_event_failed
         transfer 2 1->2 1                              => debit_account_already_closed

         transfer 3 1->2 0 pending closing_debit
         transfer 4 0->0 0 void pending_id=3 linked => linked_event_failed
         transfer 5 1->2 1 linked                   => linked_event_failed
         transfer 6 1->2 1 code=0                   => code_must_not_be_zero

         transfer 7 1->2 1 => debit_account_already_closed
         balances 1: 0 0 / 0 0",
    );
}

#[test]
fn only_the_culprit_of_a_chain_spends_its_id() {
    check(
        "account 1
         account 2

         transfer 1 1->2 1 linked => linked_event_failed
         transfer 2 1->9 1 linked => credit_account_not_found
         transfer 3 1->9 1        => linked_event_failed

         transfer 1 1->2 1
         transfer 2 1->2 1 => id_already_failed
         transfer 3 1->2 1",
    );
}
