/* The ledger's client for programs in C. Written by cbindgen from engine/c/src; do not edit. */

#ifndef QUORATE_H
#define QUORATE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// What became of a call.
typedef enum {
  // Answered; what became of each record stands in its result.
  QUORATE_STATUS_OK = 0,
  // A pointer is null, or an address is none.
  QUORATE_STATUS_INVALID = 1,
  // Too much waits to be sent: wait, then try again. Nothing was sent.
  QUORATE_STATUS_BUSY = 2,
  // More than fits into one request (8,189 records). Nothing was sent.
  QUORATE_STATUS_TOO_MUCH = 3,
  // What became of the call is not known: repeat it with the same ids.
  QUORATE_STATUS_UNKNOWN = 4,
  // The cluster refuses; asking again would not help.
  QUORATE_STATUS_REFUSED = 5,
  // No answer in time. It may still come about: repeat it with the same ids.
  QUORATE_STATUS_TIMED_OUT = 6,
  // The teller cannot go on.
  QUORATE_STATUS_CLOSED = 7,
  // No node answers at these addresses.
  QUORATE_STATUS_NO_NODE = 8,
} QuorateStatus;

// A client of one cluster. Made by `quorate_connect`, ended by `quorate_close`.
typedef struct QuorateTeller QuorateTeller;

// A number of 128 bits.
typedef struct {
  // Its lower half.
  uint64_t low;
  // Its upper half.
  uint64_t high;
} QuorateU128;

// An account.
typedef struct {
  QuorateU128 id;
  QuorateU128 debits_pending;
  QuorateU128 debits_posted;
  QuorateU128 credits_pending;
  QuorateU128 credits_posted;
  QuorateU128 user_data_128;
  uint64_t user_data_64;
  uint32_t user_data_32;
  uint32_t reserved;
  uint32_t ledger;
  uint16_t code;
  uint16_t flags;
  uint64_t timestamp;
} QuorateAccount;

// What became of an account or a transfer: 4294967295 is created.
typedef struct {
  // The moment of its creation, or of the judgement.
  uint64_t timestamp;
  // The status, by number.
  uint32_t status;
  // Zero.
  uint32_t reserved;
} QuorateResult;

// A transfer.
typedef struct {
  QuorateU128 id;
  QuorateU128 debit_account_id;
  QuorateU128 credit_account_id;
  QuorateU128 amount;
  QuorateU128 pending_id;
  QuorateU128 user_data_128;
  uint64_t user_data_64;
  uint32_t user_data_32;
  uint32_t timeout;
  uint32_t ledger;
  uint16_t code;
  uint16_t flags;
  uint64_t timestamp;
} QuorateTransfer;

// Which transfers or balances of an account.
typedef struct {
  QuorateU128 account_id;
  QuorateU128 user_data_128;
  uint64_t user_data_64;
  uint32_t user_data_32;
  uint16_t code;
  uint8_t reserved[58];
  uint64_t timestamp_min;
  uint64_t timestamp_max;
  uint32_t limit;
  uint32_t flags;
} QuorateAccountFilter;

// An account's balance after one of its transfers.
typedef struct {
  QuorateU128 debits_pending;
  QuorateU128 debits_posted;
  QuorateU128 credits_pending;
  QuorateU128 credits_posted;
  uint64_t timestamp;
  uint8_t reserved[56];
} QuorateBalance;

// Which accounts or transfers.
typedef struct {
  QuorateU128 user_data_128;
  uint64_t user_data_64;
  uint32_t user_data_32;
  uint32_t ledger;
  uint16_t code;
  uint8_t reserved[6];
  uint64_t timestamp_min;
  uint64_t timestamp_max;
  uint32_t limit;
  uint32_t flags;
} QuorateQueryFilter;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Connects to the cluster of this number. `addresses`: where core 0 of each node listens, `IP:PORT`, with commas
// between them. Writes the teller to `*teller`.
//
// # Safety
// `addresses` is null or a string that ends with a zero; `teller` is null or points to where a pointer may be written.
QuorateStatus quorate_connect(uint64_t cluster,
                              const char *addresses,
                              QuorateTeller **teller);

// Ends a teller. Null is allowed.
//
// # Safety
// `teller` is null or came from `quorate_connect` and was not closed yet; no other call with it is under way.
void quorate_close(QuorateTeller *teller);

// Bytes of records that may be sent before a call answers `Busy`; 0 for a null teller.
//
// # Safety
// `teller` is null or came from `quorate_connect` and was not closed yet.
size_t quorate_room(const QuorateTeller *teller);

// Creates `count` accounts; writes a result for each to `results`.
//
// # Safety
// `teller` came from `quorate_connect` and was not closed yet; `accounts` and `results` have `count` elements each.
QuorateStatus quorate_create_accounts(const QuorateTeller *teller,
                                      const QuorateAccount *accounts,
                                      size_t count,
                                      QuorateResult *results,
                                      uint64_t timeout_ms);

// Creates `count` transfers; writes a result for each to `results`.
//
// # Safety
// `teller` came from `quorate_connect` and was not closed yet; `transfers` and `results` have `count` elements each.
QuorateStatus quorate_create_transfers(const QuorateTeller *teller,
                                       const QuorateTransfer *transfers,
                                       size_t count,
                                       QuorateResult *results,
                                       uint64_t timeout_ms);

// Writes the accounts of `count` ids to `accounts`, those left out that do not exist, and their number to `*found`.
//
// # Safety
// `teller` came from `quorate_connect` and was not closed yet; `ids` and `accounts` have `count` elements each, and
// `found` may be written.
QuorateStatus quorate_lookup_accounts(const QuorateTeller *teller,
                                      const QuorateU128 *ids,
                                      size_t count,
                                      QuorateAccount *accounts,
                                      size_t *found,
                                      uint64_t timeout_ms);

// Writes the transfers of `count` ids to `transfers`, those left out that do not exist, and their number to `*found`.
//
// # Safety
// `teller` came from `quorate_connect` and was not closed yet; `ids` and `transfers` have `count` elements each, and
// `found` may be written.
QuorateStatus quorate_lookup_transfers(const QuorateTeller *teller,
                                       const QuorateU128 *ids,
                                       size_t count,
                                       QuorateTransfer *transfers,
                                       size_t *found,
                                       uint64_t timeout_ms);

// Writes an account's transfers, in order of time, to `rows`: at most `capacity`, which should be the filter's limit, and their number to `*found`.
//
// # Safety
// `teller` came from `quorate_connect` and was not closed yet; `filter` can be read; `rows` has `capacity` elements,
// and `found` may be written.
QuorateStatus quorate_account_transfers(const QuorateTeller *teller,
                                        const QuorateAccountFilter *filter,
                                        QuorateTransfer *rows,
                                        size_t capacity,
                                        size_t *found,
                                        uint64_t timeout_ms);

// Writes an account's balances after its transfers, if it remembers them, to `rows`: at most `capacity`, which should be the filter's limit, and their number to `*found`.
//
// # Safety
// `teller` came from `quorate_connect` and was not closed yet; `filter` can be read; `rows` has `capacity` elements,
// and `found` may be written.
QuorateStatus quorate_account_balances(const QuorateTeller *teller,
                                       const QuorateAccountFilter *filter,
                                       QuorateBalance *rows,
                                       size_t capacity,
                                       size_t *found,
                                       uint64_t timeout_ms);

// Writes accounts by their fields, in order of time, to `rows`: at most `capacity`, which should be the filter's limit, and their number to `*found`.
//
// # Safety
// `teller` came from `quorate_connect` and was not closed yet; `filter` can be read; `rows` has `capacity` elements,
// and `found` may be written.
QuorateStatus quorate_query_accounts(const QuorateTeller *teller,
                                     const QuorateQueryFilter *filter,
                                     QuorateAccount *rows,
                                     size_t capacity,
                                     size_t *found,
                                     uint64_t timeout_ms);

// Writes transfers by their fields, in order of time, to `rows`: at most `capacity`, which should be the filter's limit, and their number to `*found`.
//
// # Safety
// `teller` came from `quorate_connect` and was not closed yet; `filter` can be read; `rows` has `capacity` elements,
// and `found` may be written.
QuorateStatus quorate_query_transfers(const QuorateTeller *teller,
                                      const QuorateQueryFilter *filter,
                                      QuorateTransfer *rows,
                                      size_t capacity,
                                      size_t *found,
                                      uint64_t timeout_ms);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* QUORATE_H */
