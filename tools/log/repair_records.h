/* The records of a log in PostgreSQL, as daa-log repair asks for them.
 *
 * Threads: the main thread. */
#ifndef TOOLS_LOG_REPAIR_RECORDS_H
#define TOOLS_LOG_REPAIR_RECORDS_H

#include "log/repair.h"
#include "pgsync/records.h"

struct repair_records {
    struct pg *pg;
    struct records *records;
    struct log_repair_records face; /* for struct log_repair_options */
};

/* Connects to `url`; "-" is $DAA_PG_URL. 0; ERROR_SYNTAX: of no use, or with a password in it;
 * ERROR_NOT_FOUND: that variable is not set; ERROR_MISMATCH: the database has no log;
 * ERROR_UNAVAILABLE; the pg's. */
int repair_records_open(struct repair_records *records, const char *url, struct error *error);
void repair_records_close(struct repair_records *records);

#endif
