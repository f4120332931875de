//! Reserving money, then posting, voiding or losing the reservation to time.

use crate::script::check;

const TWO: &str = "account 1\naccount 2\naccount 3 ledger=2\naccount 4 ledger=2\n\n";

#[track_caller]
fn check_two(script: &str) {
    check(&format!("{TWO}{script}"));
}

#[test]
fn a_reservation_is_posted_in_full_or_in_part_or_voided() {
    check_two(
        "transfer 1 1->2 10 pending
         transfer 2 1->2 20 pending
         transfer 3 1->2 40 pending
         transfer 4 1->2 80 pending
         transfer 5 1->2 0 pending
         balances 1: 150 0 / 0 0

         transfer 11 1->2 10 post pending_id=1
         transfer 12 0->0 max post pending_id=2 ledger=0 code=0
         transfer 13 0->0 15 post pending_id=3
         transfer 14 0->0 0 void pending_id=4
         transfer 15 0->0 0 post pending_id=5
         balances 1: 0 45 / 0 0
         balances 2: 0 0 / 0 45",
    );
}

#[test]
fn a_reservation_resolves_once() {
    check_two(
        "transfer 1 1->2 10 pending
         transfer 2 1->2 10 pending
         transfer 3 1->2 10
         transfer 4 0->0 max post pending_id=1
         transfer 5 0->0 max post pending_id=1 => pending_transfer_already_posted
         transfer 6 0->0 0 void pending_id=1   => pending_transfer_already_posted
         transfer 7 0->0 0 void pending_id=2
         transfer 8 0->0 max post pending_id=2 => pending_transfer_already_voided
         transfer 9 0->0 max post pending_id=3 => pending_transfer_not_pending
         transfer 10 0->0 max post pending_id=4 => pending_transfer_not_pending
         transfer 11 0->0 max post pending_id=9 => pending_transfer_not_found",
    );
}

#[test]
fn a_resolution_fits_its_reservation() {
    check_two(
        "transfer 1 1->2 10 pending code=5

         transfer 2 2->2 10 post pending_id=1 => pending_transfer_has_different_debit_account_id
         transfer 2 1->1 10 post pending_id=1 => pending_transfer_has_different_credit_account_id
         transfer 2 1->2 10 post pending_id=1 ledger=2 => pending_transfer_has_different_ledger
         transfer 2 1->2 10 post pending_id=1 code=6 => pending_transfer_has_different_code
         transfer 2 1->2 11 post pending_id=1 code=5 => exceeds_pending_transfer_amount
         transfer 2 1->2 11 void pending_id=1 code=5 => exceeds_pending_transfer_amount
         transfer 2 1->2 9 void pending_id=1 code=5 => pending_transfer_has_different_amount
         transfer 2 1->2 max void pending_id=1 code=5 => exceeds_pending_transfer_amount
         transfer 2 0->0 0 void post pending_id=1 => flags_are_mutually_exclusive
         transfer 2 0->0 0 void pending pending_id=1 => flags_are_mutually_exclusive
         transfer 2 0->0 0 post balancing_debit pending_id=1 => flags_are_mutually_exclusive
         transfer 2 0->0 0 post balancing_credit pending_id=1 => flags_are_mutually_exclusive
         transfer 2 0->0 0 void closing_debit pending_id=1 => flags_are_mutually_exclusive
         transfer 2 0->0 0 void closing_credit pending_id=1 => flags_are_mutually_exclusive
         transfer 2 0->0 0 void pending_id=0 => pending_id_must_not_be_zero
         transfer 2 0->0 0 void pending_id=max => pending_id_must_not_be_int_max
         transfer 2 0->0 0 void pending_id=2 => pending_id_must_be_different
         transfer 2 0->0 0 void pending_id=1 timeout=1 => timeout_reserved_for_pending_transfer

         transfer 2 1->2 10 post pending_id=1 code=5",
    );
}

#[test]
fn a_resolution_is_idempotent() {
    check_two(
        "transfer 1 1->2 10 pending user_data_128=1 user_data_64=2 user_data_32=3 code=5
         transfer 2 1->2 10 pending user_data_128=1 user_data_64=2 user_data_32=3 code=5
         transfer 3 1->2 10 pending
         transfer 11 0->0 max post pending_id=1 code=0 ledger=0
         transfer 12 1->2 10 void pending_id=2 user_data_128=7 user_data_64=8 user_data_32=9 code=5
         transfer 13 0->0 4 post pending_id=3

         transfer 11 0->0 max post pending_id=1 code=0 ledger=0 => exists
         transfer 11 1->2 10 post pending_id=1 code=5 user_data_128=1 user_data_64=2 user_data_32=3 => exists
         transfer 11 0->0 9 post pending_id=1 code=0 => exists_with_different_amount
         transfer 11 0->0 10 post pending_id=1 code=6 => exists_with_different_code
         transfer 11 0->0 10 post pending_id=1 code=0 ledger=6 => exists_with_different_ledger
         transfer 11 6->0 10 post pending_id=1 code=0 => exists_with_different_debit_account_id
         transfer 11 0->6 10 post pending_id=1 code=0 => exists_with_different_credit_account_id
         transfer 11 0->0 10 post pending_id=2 code=0 => exists_with_different_pending_id
         transfer 11 0->0 10 void pending_id=1 code=0 => exists_with_different_flags
         transfer 11 0->0 10 post pending_id=1 code=0 timeout=1 => exists_with_different_timeout
         transfer 11 0->0 10 post pending_id=1 code=0 user_data_128=6 => exists_with_different_user_data_128
         transfer 11 0->0 10 post pending_id=1 code=0 user_data_64=6 => exists_with_different_user_data_64
         transfer 11 0->0 10 post pending_id=1 code=0 user_data_32=6 => exists_with_different_user_data_32
         transfer 12 0->0 0 void pending_id=2 user_data_128=7 user_data_64=8 user_data_32=9 code=0 => exists
         transfer 12 0->0 1 void pending_id=2 user_data_128=7 user_data_64=8 user_data_32=9 code=0 => exists_with_different_amount
         transfer 12 0->0 0 void pending_id=2 user_data_64=8 user_data_32=9 code=0 => exists_with_different_user_data_128
         transfer 12 0->0 0 void pending_id=2 user_data_128=7 user_data_32=9 code=0 => exists_with_different_user_data_64
         transfer 12 0->0 0 void pending_id=2 user_data_128=7 user_data_64=8 code=0 => exists_with_different_user_data_32
         transfer 13 0->0 4 post pending_id=3 => exists
         transfer 13 0->0 max post pending_id=3 => exists_with_different_amount",
    );
}

#[test]
fn a_reservation_expires_at_its_second() {
    check(
        "at 100
         account 1
         account 2

         transfer 1 1->2 10 pending timeout=5
         transfer 2 1->2 20 pending timeout=7
         transfer 3 1->2 40 pending
         at 104
         pulse
         balances 1: 70 0 / 0 0
         at 105
         pulse
         balances 1: 70 0 / 0 0
         at 106
         pulse
         balances 1: 60 0 / 0 0

         transfer 11 0->0 max post pending_id=1 => pending_transfer_expired
         transfer 12 0->0 0 void pending_id=1 => pending_transfer_expired
         transfer 13 0->0 max post pending_id=2
         transfer 14 0->0 max post pending_id=3
         at 10000
         pulse
         balances 1: 0 60 / 0 0",
    );
}

#[test]
fn every_command_lets_time_pass() {
    check(
        "account 1 debits_limited
         account 2

         transfer 1 2->1 10
         transfer 2 1->2 10 pending timeout=3
         transfer 3 1->2 10 => exceeds_credits
         at 10
         transfer 4 1->2 10
         balances 1: 0 10 / 0 10",
    );
}

#[test]
fn time_does_not_run_backwards() {
    check(
        "at 100
         account 1
         account 2

         transfer 1 1->2 10 pending timeout=5
         at 3
         transfer 2 1->2 10 pending timeout=5
         at 104
         pulse
         balances 1: 20 0 / 0 0
         at 106
         pulse
         balances 1: 0 0 / 0 0",
    );
}

#[test]
fn a_reservation_expires_at_its_very_nanosecond() {
    // Reserved at 100 s + 2 ns for one second; the second event of the last command comes at that moment.
    check(
        "at 100
         account 1
         account 2

         transfer 1 1->2 10 pending timeout=1
         transfer 2 1->2 20 pending timeout=1
         at 101 +1
         transfer 3 1->2 0
         transfer 4 0->0 max post pending_id=1 => pending_transfer_expired
         transfer 5 0->0 max post pending_id=2 => pending_transfer_expired
         balances 1: 30 0 / 0 0
         at 101 +9
         pulse
         balances 1: 0 0 / 0 0",
    );
}
