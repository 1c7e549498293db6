/* Mends what a comparison found (pgsync/verify.h), from the log.
 *
 * Events that are missing or differ are deleted and copied again, up to 8192 or 16 MiB of them in
 * one transaction, with the rows of derived tables that show them; rows that differ are made anew;
 * events that the log proves wrong are deleted. Each transaction holds daa.replica in EXCLUSIVE
 * MODE, as a fork does, so no copier of any log is within one, and sees that the position is still
 * behind what it mends. A copier that follows goes on afterwards. A kill leaves what was committed:
 * the next comparison finds the rest.
 *
 * Threads: those of the reader. */
#ifndef PGSYNC_REPAIR_H
#define PGSYNC_REPAIR_H

#include "pgsync/verify.h"

struct repair_result {
    uint64_t copied;  /* events, again */
    uint64_t refused; /* of them, whose payload the server refused */
    uint64_t removed; /* extra events */
    uint64_t rows;    /* of derived tables, made anew or removed as they differed */
    uint64_t anchors; /* added */
    uint64_t chains;  /* put right in daa.replica */
    uint64_t transactions;
};

/* `options` as for the comparison that gave `found`. 0; ERROR_MISMATCH another history is there,
 * and nothing was changed; as verify_run(). What was committed counts in `result` either way. */
int repair_run(const struct verify_options *options, const struct verify_result *found,
               struct repair_result *result, struct error *error);

/* Whether there is anything to be mended, and may be. */
bool repair_is_due(const struct verify_result *found);
/* True when what is there is another history: chain and records differ. */
bool repair_is_refused(const struct verify_result *found);

#endif
