/* A bounded pool of connections to PostgreSQL, for threads that ask now and then.
 *
 *   size       so many connections are kept, once they were needed
 *   overflow   so many more may be lent meanwhile; each is closed when it comes back
 *   timeout    how long pool_borrow() waits at most, then it is an error that says so
 *   recycle    a connection that is older is closed and opened again before it is lent
 *   pre_ping   a kept connection must answer before it is lent; one that does not is replaced
 *
 * Connections are opened when they are needed, by the thread that needs one, and never under the
 * lock: a server that does not answer costs each borrower its timeout and holds up nobody who
 * returns or gets another. Whoever waits is served in the order of coming.
 *
 * Names of hosts are looked up by libpq, which waits for the resolver as long as that likes.
 *
 * Threads: all functions but open and close by any. */
#ifndef PGSYNC_POOL_H
#define PGSYNC_POOL_H

#include "core/base/error.h"
#include "pgsync/pg.h"

#include <stdbool.h>
#include <stdint.h>

struct pool;

struct pool_options {
    const char *url;   /* as for pg_open(); the caller's, like the next two */
    const char *name;  /* application_name */
    const char *setup; /* run once on each new connection; NULL: nothing */
    uint32_t size;     /* at least 1 */
    uint32_t overflow;
    uint64_t timeout_ns;
    uint64_t recycle_ns; /* 0: never */
    bool pre_ping;
    int answer_ms; /* of a borrowed connection: the longest wait for one answer; 0: as pg.h */
    /* What ages are told by; NULL: the monotonic clock. */
    uint64_t (*now_ns)(void *context);
    void *context;
};

/* A connection that is lent. The borrower uses `pg` alone and gives the whole back. */
struct pool_loan {
    struct pg *pg;
    uint64_t opened_ns;
};

struct pool_stats {
    uint32_t size, overflow_max; /* as the options say */
    uint32_t idle, in_use;       /* connections; in_use counts those being opened */
    uint32_t overflow;           /* how many of them are over the size */
    uint32_t waiting;            /* borrowers, now */
    uint64_t borrowed, waits, wait_ns, timeouts;
    uint64_t opened, failed_opens, recycled, pings, pings_failed;
    struct error trouble; /* of the last try to open one; code 0: it went well */
};

/* Connects to nothing. 0 or -ENOMEM. */
int pool_open(struct pool **pool, const struct pool_options *options, struct error *error);

/* Lends a connection that is idle and in no transaction. 0; ERROR_FULL when none came free
 * in time; ERROR_UNAVAILABLE when the server cannot be had, or the pool stops; else the pg's.
 * `timeout_ns`: when that is less than the options'; 0: theirs. */
int pool_borrow(struct pool *pool, uint64_t timeout_ns, struct pool_loan *loan,
                struct error *error);

/* Takes it back, in any state: one that is dead or within a transaction is closed. */
void pool_return(struct pool *pool, struct pool_loan *loan);

/* Ends all waits, those of borrowed connections too; nothing more is lent. */
void pool_stop(struct pool *pool);

/* Everything must have come back. Sets it to NULL; NULL is fine. */
void pool_close(struct pool **pool);

void pool_stats_get(struct pool *pool, struct pool_stats *stats);

#endif
