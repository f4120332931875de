//! Opening accounts: every status of `create_accounts`, and which of two broken rules is told.

use crate::script::check;

#[test]
fn an_account_is_created_once_and_then_exists() {
    check(
        "account 1 user_data_128=1 user_data_64=2 user_data_32=3 ledger=4 code=5 history

         account 1 user_data_128=1 user_data_64=2 user_data_32=3 ledger=4 code=5 history => exists
         account 1 user_data_128=1 user_data_64=2 user_data_32=3 ledger=4 code=5         => exists_with_different_flags
         account 1 user_data_128=9 user_data_64=2 user_data_32=3 ledger=4 code=5 history => exists_with_different_user_data_128
         account 1 user_data_128=1 user_data_64=9 user_data_32=3 ledger=4 code=5 history => exists_with_different_user_data_64
         account 1 user_data_128=1 user_data_64=2 user_data_32=9 ledger=4 code=5 history => exists_with_different_user_data_32
         account 1 user_data_128=1 user_data_64=2 user_data_32=3 ledger=9 code=5 history => exists_with_different_ledger
         account 1 user_data_128=1 user_data_64=2 user_data_32=3 ledger=4 code=9 history => exists_with_different_code

         balances 1: 0 0 / 0 0",
    );
}

#[test]
fn an_account_may_exist_from_earlier_in_the_command() {
    check("account 1\naccount 1 => exists\naccount 1 code=2 => exists_with_different_code");
}

#[test]
fn fields_have_their_bounds() {
    check(
        "account 1 timestamp=1       => timestamp_must_be_zero
         account 1 reserved=1        => reserved_field
         account 1 flags=64          => reserved_flag
         account 0                   => id_must_not_be_zero
         account max                 => id_must_not_be_int_max
         account 1 debits_limited credits_limited => flags_are_mutually_exclusive
         account 1 debits_pending=1  => debits_pending_must_be_zero
         account 1 debits_posted=1   => debits_posted_must_be_zero
         account 1 credits_pending=1 => credits_pending_must_be_zero
         account 1 credits_posted=1  => credits_posted_must_be_zero
         account 1 ledger=0          => ledger_must_not_be_zero
         account 1 code=0            => code_must_not_be_zero
         account max-1",
    );
}

#[test]
fn of_two_broken_rules_the_first_is_told() {
    check(
        "account 0 timestamp=1 reserved=1 => timestamp_must_be_zero
         account 0 reserved=1 flags=64    => reserved_field
         account 0 flags=64               => reserved_flag
         account 0 ledger=0               => id_must_not_be_zero
         account 1 debits_limited credits_limited debits_pending=1 => flags_are_mutually_exclusive
         account 1 debits_pending=1 credits_posted=1 => debits_pending_must_be_zero
         account 1 credits_posted=1 code=0 => credits_posted_must_be_zero
         account 1 ledger=0 code=0 => ledger_must_not_be_zero
         account 1
         account 1 ledger=0 debits_posted=1 => exists_with_different_ledger",
    );
}
