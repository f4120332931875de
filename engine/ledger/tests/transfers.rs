//! Moving money at once: every status of a plain transfer, and which of two broken rules is told.

use crate::script::check;

const TWO: &str = "account 1\naccount 2\naccount 3 ledger=2\naccount 4 ledger=2\n\n";

#[track_caller]
fn check_two(script: &str) {
    check(&format!("{TWO}{script}"));
}

#[test]
fn money_moves_from_debit_to_credit() {
    check_two(
        "transfer 1 1->2 100
         transfer 2 2->1 30
         transfer 3 1->2 0

         balances 1: 0 100 / 0 30
         balances 2: 0 30 / 0 100",
    );
}

#[test]
fn a_transfer_is_created_once_and_then_exists() {
    check_two(
        "transfer 1 1->2 5 user_data_128=1 user_data_64=2 user_data_32=3 code=4

         transfer 1 1->2 5 user_data_128=1 user_data_64=2 user_data_32=3 code=4 => exists
         transfer 1 1->2 5 user_data_128=1 user_data_64=2 user_data_32=3 code=4 pending => exists_with_different_flags
         transfer 1 1->2 5 user_data_128=1 user_data_64=2 user_data_32=3 code=4 pending_id=7 => exists_with_different_pending_id
         transfer 1 1->2 5 user_data_128=1 user_data_64=2 user_data_32=3 code=4 timeout=7 => exists_with_different_timeout
         transfer 1 9->2 5 user_data_128=1 user_data_64=2 user_data_32=3 code=4 => exists_with_different_debit_account_id
         transfer 1 1->9 5 user_data_128=1 user_data_64=2 user_data_32=3 code=4 => exists_with_different_credit_account_id
         transfer 1 1->2 6 user_data_128=1 user_data_64=2 user_data_32=3 code=4 => exists_with_different_amount
         transfer 1 1->2 5 user_data_128=9 user_data_64=2 user_data_32=3 code=4 => exists_with_different_user_data_128
         transfer 1 1->2 5 user_data_128=1 user_data_64=9 user_data_32=3 code=4 => exists_with_different_user_data_64
         transfer 1 1->2 5 user_data_128=1 user_data_64=2 user_data_32=9 code=4 => exists_with_different_user_data_32
         transfer 1 1->2 5 user_data_128=1 user_data_64=2 user_data_32=3 code=4 ledger=9 => exists_with_different_ledger
         transfer 1 1->2 5 user_data_128=1 user_data_64=2 user_data_32=3 code=9 => exists_with_different_code

         balances 1: 0 5 / 0 0",
    );
}

#[test]
fn of_two_differences_the_first_is_told() {
    check_two(
        "transfer 1 1->2 5

         transfer 1 9->9 9 pending pending_id=9 => exists_with_different_flags
         transfer 1 9->9 9 pending_id=9 timeout=9 => exists_with_different_pending_id
         transfer 1 9->9 9 timeout=9 => exists_with_different_timeout
         transfer 1 9->9 9 ledger=9 => exists_with_different_debit_account_id
         transfer 1 1->9 9 => exists_with_different_credit_account_id
         transfer 1 1->2 9 user_data_128=9 => exists_with_different_amount
         transfer 1 1->2 5 user_data_64=9 user_data_32=9 => exists_with_different_user_data_64
         transfer 1 1->2 5 ledger=9 code=9 => exists_with_different_ledger",
    );
}

#[test]
fn fields_have_their_bounds() {
    check_two(
        "transfer 1 1->2 1 timestamp=1 => timestamp_must_be_zero
         transfer 1 1->2 1 flags=512   => reserved_flag
         transfer 0 1->2 1             => id_must_not_be_zero
         transfer max 1->2 1           => id_must_not_be_int_max
         transfer 1 0->2 1             => debit_account_id_must_not_be_zero
         transfer 1 max->2 1           => debit_account_id_must_not_be_int_max
         transfer 1 1->0 1             => credit_account_id_must_not_be_zero
         transfer 1 1->max 1           => credit_account_id_must_not_be_int_max
         transfer 1 1->1 1             => accounts_must_be_different
         transfer 1 1->2 1 pending_id=1 => pending_id_must_be_zero
         transfer 1 1->2 1 timeout=1   => timeout_reserved_for_pending_transfer
         transfer 1 1->2 1 closing_debit  => closing_transfer_must_be_pending
         transfer 1 1->2 1 closing_credit => closing_transfer_must_be_pending
         transfer 1 1->2 1 ledger=0    => ledger_must_not_be_zero
         transfer 1 1->2 1 code=0      => code_must_not_be_zero
         transfer 1 1->3 1             => accounts_must_have_the_same_ledger
         transfer 1 3->4 1             => transfer_must_have_the_same_ledger_as_accounts
         transfer 1 3->4 1 ledger=2
         transfer max-1 1->2 1",
    );
}

#[test]
fn of_two_broken_rules_the_first_is_told() {
    check_two(
        "transfer 0 1->2 1 timestamp=1 flags=512 => timestamp_must_be_zero
         transfer 0 1->2 1 flags=512             => reserved_flag
         transfer 0 0->0 1                       => id_must_not_be_zero
         transfer 1 0->max 1                     => debit_account_id_must_not_be_zero
         transfer 1 max->max 1                   => debit_account_id_must_not_be_int_max
         transfer 1 1->1 1 pending_id=1          => accounts_must_be_different
         transfer 1 1->2 1 pending_id=1 timeout=1 => pending_id_must_be_zero
         transfer 1 1->2 1 timeout=1 closing_debit => timeout_reserved_for_pending_transfer
         transfer 1 1->2 1 closing_debit ledger=0 => closing_transfer_must_be_pending
         transfer 1 8->9 1 ledger=0 code=0       => ledger_must_not_be_zero
         transfer 1 8->9 1 code=0                => code_must_not_be_zero
         transfer 1 8->9 1                       => debit_account_not_found
         transfer 2 1->9 1 ledger=2              => credit_account_not_found
         transfer 3 1->3 1 ledger=9              => accounts_must_have_the_same_ledger
         transfer 4 1->2 max ledger=2            => transfer_must_have_the_same_ledger_as_accounts",
    );
}

#[test]
fn an_id_that_failed_for_a_passing_reason_is_spent() {
    check_two(
        "transfer 1 8->2 1 => debit_account_not_found
         transfer 2 1->8 1 => credit_account_not_found
         transfer 3 1->2 1 post pending_id=9 => pending_transfer_not_found

         account 8

         transfer 1 8->2 1 => id_already_failed
         transfer 2 1->8 1 => id_already_failed
         transfer 3 1->2 1 => id_already_failed
         transfer 1 0->0 0 => id_already_failed
         transfer 1 8->2 1 flags=512 => reserved_flag
         transfer 4 1->8 1
         transfer 5 1->2 1 post pending_id=1 => pending_transfer_not_found",
    );
}

#[test]
fn an_id_that_failed_for_good_may_be_used_again() {
    check_two(
        "transfer 1 1->2 1 code=0 => code_must_not_be_zero
         transfer 1 1->3 1 => accounts_must_have_the_same_ledger
         transfer 1 1->2 1",
    );
}

#[test]
fn sums_do_not_wrap() {
    check_two(
        "transfer 1 1->2 max-10
         transfer 2 1->2 11 => overflows_debits_posted
         transfer 3 4->3 max-10 ledger=2
         transfer 4 1->2 10

         transfer 5 1->2 1 => overflows_debits_posted
         transfer 6 1->2 0

         account 5
         account 6

         transfer 7 5->2 1 => overflows_credits_posted
         transfer 8 5->6 max-5 pending
         transfer 9 5->6 6 pending => overflows_debits_pending
         transfer 10 5->6 6 => overflows_debits
         transfer 11 1->6 6 => overflows_debits_posted
         account 7

         transfer 12 7->6 6 pending => overflows_credits_pending
         transfer 13 7->6 6 => overflows_credits
         transfer 14 7->6 5
         balances 6: 0 0 / max-5 5",
    );
}

#[test]
fn an_expiry_is_in_the_range_of_time() {
    // The latest moment that a clock may claim is 2^50 ns before the end of time.
    check(
        "at 9223372000
         account 1
         account 2

         transfer 1 1->2 1 pending timeout=1125899
         transfer 2 1->2 1 pending timeout=4294967295 => overflows_timeout
         transfer 3 1->2 1 pending timeout=1125900 => overflows_timeout
         transfer 4 1->2 1 pending",
    );
}

#[test]
fn limits_of_accounts_hold() {
    check(
        "account 1 debits_limited
         account 2 credits_limited
         account 3

         transfer 1 1->3 1  => exceeds_credits
         transfer 2 3->2 1  => exceeds_debits
         transfer 3 3->1 10
         transfer 4 1->3 10
         transfer 5 1->3 1  => exceeds_credits
         transfer 6 1->3 0
         transfer 7 2->3 10
         transfer 8 3->2 7
         transfer 9 3->2 4  => exceeds_debits
         transfer 10 3->2 3
         transfer 11 1->2 1 => exceeds_credits
         transfer 12 3->1 5
         transfer 13 1->2 1 => exceeds_debits

         transfer 1 3->2 0 => id_already_failed
         transfer 13 1->2 1 => id_already_failed

         balances 1: 0 10 / 0 15
         balances 2: 0 10 / 0 10",
    );
}

#[test]
fn what_is_pending_counts_against_a_limit() {
    check(
        "account 1 debits_limited
         account 2

         transfer 1 2->1 10
         transfer 2 1->2 6 pending
         transfer 3 1->2 5 => exceeds_credits
         transfer 4 1->2 4
         transfer 5 2->1 50 pending
         transfer 6 1->2 1 => exceeds_credits
         balances 1: 6 4 / 50 10",
    );
}
