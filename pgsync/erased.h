/* Which workflows were erased, as daa.erased has it. One is named by the log that it was submitted
 * to and by its number there: where that log was forked, it is the same workflow in each log that
 * has it, and what one of them erases is erased for all in this database.
 *
 * Nothing is ever taken out of the set: what was erased once is not opened again, whatever becomes
 * of the transaction in which the erasure was seen.
 *
 * Memory: about 64 bytes an erasure, of all logs in the database, on the budget. Threads: an erased
 * belongs to one thread; those of the pg. */
#ifndef PGSYNC_ERASED_H
#define PGSYNC_ERASED_H

#include "core/base/arena.h"
#include "core/base/id.h"
#include "core/base/table.h"
#include "pgsync/pg.h"

#include <stdbool.h>
#include <stdint.h>

struct erased {
    struct arena arena;
    struct table workflows; /* by a mix of both names */
    uint64_t number;        /* the newest row of daa.erased that was read */
};

void erased_init(struct erased *erased, struct budget *budget);
void erased_free(struct erased *erased);

bool erased_has(const struct erased *erased, const uint8_t owner[UUID_SIZE], uint64_t stream);
/* 0 or ERROR_BUDGET. */
int erased_add(struct erased *erased, const uint8_t owner[UUID_SIZE], uint64_t stream);

/* Adds what came to daa.erased since. 0, ERROR_BUDGET or the pg's. */
int erased_read(struct erased *erased, struct pg *pg, struct error *error);

#endif
