#include "pgsync/rederive.h"

#include "pgsync/changes.h"
#include "pgsync/derive.h"
#include "pgsync/projection.h"
#include "pgsync/scope.h"

#include <inttypes.h>
#include <stdio.h>

struct rederive {
    struct pg *pg;
    const uint8_t *log;
    char text[UUID_TEXT_SIZE];
    uint64_t epoch; /* of the log, before */
    struct derive_remake remake;
    struct scope scope;
};

/* 1: they are older. */
static int is_due(struct rederive *r, struct error *error)
{
    char sql[200];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql, "SELECT derived < %d, epoch FROM daa.replica WHERE log = '%s'",
                   PROJECTIONS_VERSION, r->text);
    int failed = pg_query(r->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    failed = pg_rows_count(rows) == 1 && *pg_rows_text(rows, 0, 0) == 't';
    r->epoch = failed == 1 ? (uint64_t)pg_rows_integer(rows, 0, 1) : 0;
    pg_rows_free(rows);
    return failed;
}

/* A row whose events are not all there can only stay as it is. */
static int read_scope(struct rederive *r, struct error *error)
{
    int failed = scope_read(&r->scope, r->pg, r->log, error);
    return failed < 0 ? failed : scope_find_gaps(&r->scope, r->pg, r->scope.last_seq, error);
}

/* What copiers added since the window before is in the scope of this one. */
static int make_window(struct rederive *r, uint64_t first, uint64_t last, bool is_last,
                       struct error *error)
{
    char sql[200];
    uint64_t first_stream = r->scope.first_stream;
    int failed = pg_run(r->pg, "BEGIN; LOCK TABLE daa.replica IN EXCLUSIVE MODE", error);
    if (failed == 0)
        failed = erased_read(r->remake.batch->erased, r->pg, error);
    if (failed == 0)
        failed = scope_read(&r->scope, r->pg, r->log, error);
    if (r->scope.first_stream < first_stream)
        r->scope.first_stream = first_stream;
    if (failed == 0)
        failed = derive_remake(&r->remake, first, last, error);
    if (failed == 0 && is_last)
        failed = derive_remake_agent(r->pg, r->log, r->remake.batch, r->remake.buffer, error);
    /* Whoever took the log over meanwhile, and may have taken events away, makes them again. */
    (void)snprintf(sql, sizeof sql,
                   "UPDATE daa.replica SET derived = %d WHERE log = '%s' AND epoch = %" PRIu64,
                   PROJECTIONS_VERSION, r->text, r->epoch);
    if (failed == 0 && is_last)
        failed = pg_run(r->pg, sql, error);
    if (failed == 0)
        return pg_run(r->pg, "COMMIT", error);
    if (pg_alive(r->pg))
        (void)pg_run(r->pg, "ROLLBACK", NULL);
    return failed;
}

/* The last window goes on to the end: what is there behind all things is wrong. */
static int make_all(struct rederive *r, const atomic_bool *stop, struct error *error)
{
    int failed = read_scope(r, error);
    uint64_t first = r->scope.first_stream, end = r->scope.last_seq;
    for (bool last = false; failed == 0 && !last; first += DERIVE_WINDOW) {
        if (atomic_load(stop))
            return error_set(error, ERROR_UNAVAILABLE, "stopped");
        last = first + DERIVE_WINDOW > end;
        failed = make_window(r, first, last ? INT64_MAX : first + DERIVE_WINDOW - 1, last, error);
    }
    return failed;
}

int rederive_log(struct pg *pg, const uint8_t log[UUID_SIZE], struct batch *batch,
                 struct binary *buffer, const atomic_bool *stop, uint64_t *rows,
                 struct error *error)
{
    struct rederive r = { .pg = pg, .log = log };
    r.remake = (struct derive_remake){
        .pg = pg, .scope = &r.scope, .batch = batch, .buffer = buffer, .lenient = true
    };
    uuid_to_text(r.text, log);
    int due = is_due(&r, error);
    if (due <= 0)
        return due;
    int failed = make_all(&r, stop, error);
    *rows += r.remake.made;
    return failed;
}
