//! The judge of time in the books: whatever is created has a timestamp of its own, above all before it.
//!
//! - In the order of the log, strictly, in each ledger of a group and in the group as a whole.
//! - What was imported brings the time of another day, and is not asked.

use std::collections::BTreeMap;

use ledger::account::Account;
use ledger::instruction::operation;
use ledger::status::{CreateAccountStatus, CreateResult, CreateTransferStatus};
use ledger::transfer::Transfer;
use zerocopy::FromBytes;

use crate::chronicle::Applied;
use crate::verdict::{Broken, Scope};

/// The highest timestamps of a group so far, by ledger; 0 stands for all of them together.
#[derive(Debug, Default)]
pub(crate) struct Clocks(BTreeMap<u32, u64>);

impl Clocks {
    /// An entry was applied and answered like this.
    ///
    /// # Errors
    /// The first timestamp that is not above those before.
    pub(crate) fn rise(
        &mut self,
        scope: Scope,
        index: u64,
        applied: &Applied,
        reply: &[u8],
    ) -> Result<(), Broken> {
        let Ok(results) = <[CreateResult]>::ref_from_bytes(reply) else {
            return Ok(());
        };
        let ledgers: Vec<Option<u32>> = match applied.operation {
            operation::CREATE_ACCOUNTS => {
                let accounts = <[Account]>::ref_from_bytes(&applied.payload).unwrap_or_default();
                let pairs = accounts.iter().zip(results);
                let made = |result: &CreateResult| result.account_status();
                pairs
                    .map(|(account, result)| {
                        (made(result) == Some(CreateAccountStatus::Created))
                            .then(|| account.ledger.get())
                    })
                    .collect()
            }
            operation::CREATE_TRANSFERS => {
                let transfers = <[Transfer]>::ref_from_bytes(&applied.payload).unwrap_or_default();
                let pairs = transfers.iter().zip(results);
                let made = |result: &CreateResult| result.transfer_status();
                pairs
                    .map(|(transfer, result)| {
                        (made(result) == Some(CreateTransferStatus::Created))
                            .then(|| transfer.ledger.get())
                    })
                    .collect()
            }
            _ => return Ok(()),
        };
        for (own, result) in ledgers.into_iter().zip(results) {
            // Who posts or voids need not name the ledger: the group's clock stands for it.
            let [own, all] = [own.filter(|ledger| *ledger != 0), own.map(|_| 0)];
            for ledger in own.into_iter().chain(all) {
                let after = result.timestamp.get();
                let before = self.0.insert(ledger, after).unwrap_or(0);
                if after <= before {
                    return Err(Broken::TimeStoodStill {
                        scope,
                        index,
                        ledger,
                        before,
                        after,
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    #[test]
    fn a_timestamp_that_does_not_rise_is_seen_in_its_ledger() {
        let scope = Scope {
            cluster: 0,
            group: 0,
        };
        let mut clocks = Clocks::default();
        let mut create = |index: u64, ledger: u32, timestamp: u64, status: CreateTransferStatus| {
            let mut transfer = Transfer::new_zeroed();
            transfer.ledger.set(ledger);
            let result = CreateResult {
                timestamp: timestamp.into(),
                status: status.number().into(),
                reserved: 0.into(),
            };
            let applied = Applied {
                client: 1,
                time: 0,
                operation: operation::CREATE_TRANSFERS,
                payload: transfer.as_bytes().to_vec(),
                reply: 0,
                digest: 0,
            };
            clocks.rise(scope, index, &applied, result.as_bytes())
        };
        let created = CreateTransferStatus::Created;
        assert_eq!(create(1, 7, 10, created), Ok(()));
        assert_eq!(create(2, 8, 11, created), Ok(()));
        assert_eq!(create(3, 7, 5, CreateTransferStatus::Exists), Ok(()));
        let stood = |index, ledger, before, after| {
            Err(Broken::TimeStoodStill {
                scope,
                index,
                ledger,
                before,
                after,
            })
        };
        assert_eq!(create(4, 8, 11, created), stood(4, 8, 11, 11));
        assert_eq!(create(5, 9, 11, created), stood(5, 0, 11, 11));
    }
}
