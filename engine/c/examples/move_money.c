/* Two accounts, a transfer, and what became of it: move_money CLUSTER ADDRESSES */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quorate.h"

#define TIMEOUT_MS 120000
#define CREATED 4294967295u

static void check(const char *what, QuorateStatus status) {
    if (status != QUORATE_STATUS_OK) {
        fprintf(stderr, "%s: status %d\n", what, (int)status);
        exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    QuorateTeller *teller = NULL;
    check("connect", quorate_connect(strtoull(argv[1], NULL, 10), argv[2], &teller));

    QuorateAccount accounts[2];
    QuorateResult results[2];
    memset(accounts, 0, sizeof accounts);
    for (int at = 0; at < 2; at++) {
        accounts[at].id.low = 1 + at;
        accounts[at].ledger = 1;
        accounts[at].code = 1;
    }
    check("accounts", quorate_create_accounts(teller, accounts, 2, results, TIMEOUT_MS));
    if (results[0].status != CREATED || results[1].status != CREATED) return 3;

    QuorateTransfer transfer;
    memset(&transfer, 0, sizeof transfer);
    transfer.id.low = 1;
    transfer.debit_account_id.low = 1;
    transfer.credit_account_id.low = 2;
    transfer.amount.low = 42;
    transfer.ledger = 1;
    transfer.code = 1;
    check("transfer", quorate_create_transfers(teller, &transfer, 1, results, TIMEOUT_MS));
    if (results[0].status != CREATED) return 4;
    check("again", quorate_create_transfers(teller, &transfer, 1, results, TIMEOUT_MS));
    if (results[0].status != 46) return 5; /* exists */

    QuorateU128 ids[3] = {{2, 0}, {99, 0}, {1, 0}};
    QuorateAccount found[3];
    size_t count = 0;
    check("look up", quorate_lookup_accounts(teller, ids, 3, found, &count, TIMEOUT_MS));
    if (count != 2 || found[0].credits_posted.low != 42 || found[1].debits_posted.low != 42) return 6;

    QuorateQueryFilter filter;
    QuorateTransfer rows[10];
    memset(&filter, 0, sizeof filter);
    filter.limit = 10;
    check("query", quorate_query_transfers(teller, &filter, rows, 10, &count, TIMEOUT_MS));
    if (count != 1 || rows[0].amount.low != 42) return 7;

    if (quorate_create_accounts(NULL, accounts, 2, results, 1) != QUORATE_STATUS_INVALID) return 8;
    if (quorate_create_accounts(teller, NULL, 2, results, 1) != QUORATE_STATUS_INVALID) return 9;
    if (quorate_room(teller) == 0) return 10;
    quorate_close(teller);
    printf("moved %llu\n", (unsigned long long)rows[0].amount.low);
    return 0;
}
