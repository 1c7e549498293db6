/* ANALYZE behind a bulk load: what the planner knows of tables that were empty a minute ago is
 * wrong, and autovacuum, which takes its time, never looks at the whole of a partitioned one. */
#include "pgsync/copier_inside.h"

#include <time.h>

#define BULK_ROWS UINT64_C(100000)
#define PAUSE_NS UINT64_C(3600000000000) /* who is never far behind for long is no bulk load */
#define GOAL_NS UINT64_C(20000000000)    /* of all tables: new events wait meanwhile */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* In vain when somebody holds a table, or when it takes too long: then autovacuum will do. Whoever
 * makes a partition meanwhile waits, for less than its lock_timeout. */
static void analyze_tables(struct pg *pg, uint64_t begun_ns)
{
    /* The largest comes last. */
    static const char *const statements[] = {
        "ANALYZE (SKIP_LOCKED) daa.replica",   "ANALYZE (SKIP_LOCKED) daa.agents",
        "ANALYZE (SKIP_LOCKED) daa.workflows", "ANALYZE (SKIP_LOCKED) daa.steps",
        "ANALYZE (SKIP_LOCKED) daa.events",
    };
    if (pg_run(pg, "SET statement_timeout = '20s'", NULL) < 0)
        return;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        if (pg_alive(pg) && now_ns() - begun_ns < GOAL_NS)
            (void)pg_run(pg, statements[i], NULL);
    if (pg_alive(pg))
        (void)pg_run(pg, "RESET statement_timeout", NULL);
}

void copier_caught_up(struct copier *copier)
{
    uint64_t now = now_ns();
    bool bulk = copier->rows_in_a_row >= BULK_ROWS;
    copier->rows_in_a_row = 0;
    if (!bulk || (copier->analyzed_ns != 0 && now - copier->analyzed_ns < PAUSE_NS))
        return;
    copier->analyzed_ns = now;
    analyze_tables(copier->pg, now);
}
