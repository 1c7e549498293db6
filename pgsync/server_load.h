/* What a PostgreSQL server is busy with: its connections and its slowest statements, and the end of
 * connections that are daa's own and idle.
 *
 * Rows and their columns as in server_status.h; durations are seconds, of statements milliseconds.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_SERVER_LOAD_H
#define PGSYNC_SERVER_LOAD_H

#include "pgsync/pg.h"

#include <stdbool.h>
#include <stdint.h>

/* One row an application, role, database and state, of all databases: application, role, database,
 * state (null: hidden from this role), count, longest in this state, longest transaction, how many
 * of them wait for a lock. */
int server_activity(struct pg *pg, struct pg_rows **rows, struct error *error);

/* The transactions that are open longest, at most ten: pid, application, role, state, seconds
 * open, seconds in this state, pids it waits for (""), query (at most 200 bytes; null: none). */
int server_transactions(struct pg *pg, struct pg_rows **rows, struct error *error);

/* The idle connections to this database of daa-agent, daa-pgsync and daa-cli, but for our own and
 * those that have not been idle for `idle_s`: pid, application, role, client, seconds idle, when
 * it was begun (as the server gives it). */
int server_idle(struct pg *pg, uint64_t idle_s, struct pg_rows **rows, struct error *error);

/* Ends row `row` of server_idle() if that is still idle: 1 it was told to end, 0 it is busy or gone
 * by now, negative otherwise. */
int server_end_idle(struct pg *pg, const struct pg_rows *idle, int row, struct error *error);

/* Whether pg_stat_statements can be asked. */
enum server_statements {
    SERVER_STATEMENTS_READY,
    SERVER_STATEMENTS_MISSING,     /* its files are not on the server */
    SERVER_STATEMENTS_NOT_LOADED,  /* not in shared_preload_libraries */
    SERVER_STATEMENTS_NOT_CREATED, /* not in this database */
};
struct server_statements_state {
    enum server_statements state;
    char schema[64];     /* where it lives, quoted as SQL wants it */
    char libraries[256]; /* shared_preload_libraries; "" when empty or hidden from this role */
    bool libraries_seen;
};
int server_statements_check(struct server_statements_state *state, struct pg *pg,
                            struct error *error);
int server_statements_create(struct pg *pg, struct error *error);

/* Statements of this database with a mean above `mean_ms`, the largest total (or mean) first: id,
 * calls, total, mean, longest, rows, blocks hit, blocks read, query (null: hidden). */
int server_slow(struct pg *pg, const struct server_statements_state *state, uint64_t mean_ms,
                uint64_t limit, bool by_mean, struct pg_rows **rows, struct error *error);

#endif
