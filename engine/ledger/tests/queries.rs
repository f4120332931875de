//! Reads: lookups, transfers and balances of an account, accounts and transfers by their fields.
