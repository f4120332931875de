//! Imported events: history that brings its own timestamps.

use crate::script::check;

#[test]
fn a_command_imports_as_a_whole() {
    check(
        "account 1 imported timestamp=10
         account 2 => imported_event_expected

         account 2
         account 3 imported timestamp=11 => imported_event_not_expected

         transfer 1 1->2 1 imported timestamp=2000000001 => imported_event_timestamp_must_not_advance
         transfer 2 1->2 1 => imported_event_expected

         transfer 2 1->2 1
         transfer 3 1->2 1 imported timestamp=20 => imported_event_not_expected",
    );
}

#[test]
fn imported_timestamps_are_of_the_past_and_rise() {
    check(
        "at 100
         account 1 imported timestamp=0   => imported_event_timestamp_out_of_range
         account 1 imported timestamp=9223372036854775808 => imported_event_timestamp_out_of_range
         account 1 imported timestamp=9223372036854775807 => imported_event_timestamp_must_not_advance
         account 1 imported timestamp=100000001000 => imported_event_timestamp_must_not_advance
         account 1 imported timestamp=10
         account 2 imported timestamp=10 => imported_event_timestamp_must_not_regress
         account 2 imported timestamp=9  => imported_event_timestamp_must_not_regress
         account 2 imported timestamp=20
         account 1 imported timestamp=5  => exists
         account 3 imported timestamp=30

         transfer 1 1->2 1 imported timestamp=20 => imported_event_timestamp_must_not_regress
         transfer 1 1->2 1 imported timestamp=10 => imported_event_timestamp_must_not_regress
         transfer 1 1->3 1 imported timestamp=25 => imported_event_timestamp_must_postdate_credit_account
         transfer 1 3->1 1 imported timestamp=25 => imported_event_timestamp_must_postdate_debit_account
         transfer 1 1->2 1 imported timestamp=25 pending timeout=1 => imported_event_timeout_must_be_zero
         transfer 1 1->2 1 imported timestamp=25 pending
         transfer 2 1->2 1 imported timestamp=25 => imported_event_timestamp_must_not_regress
         transfer 3 0->0 max post pending_id=1 imported timestamp=25 => imported_event_timestamp_must_not_regress
         transfer 3 0->0 max post pending_id=1 imported timestamp=26
         transfer 3 0->0 max post pending_id=1 imported timestamp=7 => exists
         transfer 4 1->2 1 imported timestamp=40

         account 4 imported timestamp=40 => imported_event_timestamp_must_not_regress
         account 4 imported timestamp=41
         balances 1: 0 2 / 0 0",
    );
}

#[test]
fn the_clock_of_the_command_is_the_present() {
    // Two events at 100 s: the present is that of the last one.
    check(
        "at 100
         account 1 imported timestamp=100000000001 => imported_event_timestamp_must_not_advance
         account 2 imported timestamp=100000000000",
    );
}

#[test]
fn a_broken_chain_gives_timestamps_back() {
    check(
        "at 100
         account 1 imported timestamp=10
         account 2 imported timestamp=11

         transfer 1 1->2 1 imported timestamp=20 linked => linked_event_failed
         transfer 2 1->2 1 imported timestamp=20        => imported_event_timestamp_must_not_regress

         transfer 1 1->2 1 imported timestamp=20 linked
         transfer 2 1->2 1 imported timestamp=21

         account 3 imported timestamp=30 linked => linked_event_failed
         account 4 imported timestamp=30        => imported_event_timestamp_must_not_regress

         account 3 imported timestamp=30",
    );
}
