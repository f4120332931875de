//! Opens accounts: the rules of `create_accounts`, in their order of precedence.

use crate::account::{Account, AccountFlags};
use crate::account_table::AccountState;
use crate::batch::{Creation, Head, Outcome};
use crate::books::Books;
use crate::digest::Digest;
use crate::status::CreateAccountStatus;

/// Creates the accounts of one command.
pub(crate) struct AccountCreation<'a> {
    pub(crate) books: &'a mut Books,
    pub(crate) digest: &'a mut Digest,
    /// Accounts that the open chain has created.
    pub(crate) chain: Option<usize>,
}

impl Creation for AccountCreation<'_> {
    type Event = Account;
    type Status = CreateAccountStatus;

    fn head(event: &Account) -> Head {
        let flags = event.flags();
        Head {
            linked: flags.has(AccountFlags::LINKED),
            imported: flags.has(AccountFlags::IMPORTED),
            timestamp: event.timestamp.get(),
        }
    }

    fn look_ahead(&mut self, _place: usize) {}

    fn create(&mut self, _place: usize, event: &Account, at: u64) -> Outcome<CreateAccountStatus> {
        let timestamp = match judge(self.books, event, at) {
            Ok(timestamp) => timestamp,
            Err((status, timestamp)) => return Outcome { status, timestamp },
        };
        let account = AccountState::open(event, timestamp);
        self.digest.touched(&account);
        self.books.accounts.push(account);
        if let Some(created) = &mut self.chain {
            *created += 1;
        }
        Outcome {
            status: CreateAccountStatus::Created,
            timestamp,
        }
    }

    fn chain_begins(&mut self) {
        self.chain = Some(0);
    }

    fn chain_ends(&mut self, broken: bool) {
        let created = self.chain.take().expect("a chain that ends has begun");
        if broken {
            for _ in 0..created {
                self.books.accounts.pop();
            }
        }
    }

    fn refused(&mut self, _event: &Account, _status: CreateAccountStatus) {}
}

/// The timestamp of the account to open, or the first broken rule and the timestamp to report with it.
fn judge(books: &Books, event: &Account, at: u64) -> Result<u64, (CreateAccountStatus, u64)> {
    use CreateAccountStatus as S;
    let flags = event.flags();
    let refuse = |status| Err((status, at));
    if event.reserved.get() != 0 {
        return refuse(S::ReservedField);
    }
    if flags.has(AccountFlags::RESERVED) {
        return refuse(S::ReservedFlag);
    }
    let id = event.id.get();
    if id == 0 {
        return refuse(S::IdMustNotBeZero);
    }
    if id == u128::MAX {
        return refuse(S::IdMustNotBeIntMax);
    }
    if let Some(row) = books.accounts.find(id) {
        let existing = books.accounts.row(row);
        let status = compare(event, existing);
        return Err((
            status,
            if status == S::Exists {
                existing.timestamp
            } else {
                at
            },
        ));
    }
    if books.accounts.full() {
        return refuse(S::AccountsFull);
    }
    if let Some(status) = malformed(event) {
        return refuse(status);
    }
    if !flags.has(AccountFlags::IMPORTED) {
        return Ok(at);
    }
    let timestamp = event.timestamp.get();
    let regresses = timestamp <= books.accounts.last_timestamp();
    if regresses || books.transfers.has_timestamp(timestamp) {
        return refuse(S::ImportedEventTimestampMustNotRegress);
    }
    Ok(timestamp)
}

/// The first rule that the event breaks by itself.
fn malformed(event: &Account) -> Option<CreateAccountStatus> {
    use CreateAccountStatus as S;
    let flags = event.flags();
    let both_limits = flags.has(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS)
        && flags.has(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS);
    [
        (both_limits, S::FlagsAreMutuallyExclusive),
        (event.debits_pending.get() != 0, S::DebitsPendingMustBeZero),
        (event.debits_posted.get() != 0, S::DebitsPostedMustBeZero),
        (
            event.credits_pending.get() != 0,
            S::CreditsPendingMustBeZero,
        ),
        (event.credits_posted.get() != 0, S::CreditsPostedMustBeZero),
        (event.ledger.get() == 0, S::LedgerMustNotBeZero),
        (event.code.get() == 0, S::CodeMustNotBeZero),
    ]
    .into_iter()
    .find_map(|(broken, status)| broken.then_some(status))
}

/// How an event differs from the account that has its id already. The flags are compared as they are
/// stored: an account that a transfer has closed differs from the event that opened it.
fn compare(event: &Account, existing: &AccountState) -> CreateAccountStatus {
    use CreateAccountStatus as S;
    if event.flags() != existing.flags {
        S::ExistsWithDifferentFlags
    } else if event.user_data_128.get() != existing.user_data_128 {
        S::ExistsWithDifferentUserData128
    } else if event.user_data_64.get() != existing.user_data_64 {
        S::ExistsWithDifferentUserData64
    } else if event.user_data_32.get() != existing.user_data_32 {
        S::ExistsWithDifferentUserData32
    } else if event.ledger.get() != existing.ledger {
        S::ExistsWithDifferentLedger
    } else if event.code.get() != existing.code {
        S::ExistsWithDifferentCode
    } else {
        S::Exists
    }
}
