/* What a PostgreSQL server says of itself and of schema `daa`: for people, and for programs that
 * tell people. Nothing here changes anything but statistics.
 *
 * Rows come as the server gives them; which columns they have stands at each function. Times are
 * text in UTC, as RFC 3339 has them, sizes are bytes, null is "never" or "not known". Works on
 * PostgreSQL 13 and later.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_SERVER_STATUS_H
#define PGSYNC_SERVER_STATUS_H

#include "pgsync/pg.h"

#include <stdbool.h>
#include <stdint.h>

struct server_facts {
    char version[64]; /* "15.6 (Debian ...)" */
    char database[64], role[64];
    char started[32], statistics_since[32]; /* "": not known */
    int64_t version_number;                 /* 150006 */
    int64_t size;                           /* bytes of the database */
    int64_t connections, connections_max, connections_reserved;
    bool standby;
    bool local;       /* connected by a Unix socket, or from the server's own address */
    bool sees_others; /* the role may see what others' connections do */
};
int server_facts_get(struct server_facts *facts, struct pg *pg, struct error *error);

/* 1 there is a schema `daa` that we may look into, 0 there is none, -EACCES there is one that this
 * role may not look into. */
int server_schema_check(struct pg *pg, struct error *error);

/* The version that daa.meta says; 0 when it says none. */
int server_schema_version(int64_t *version, struct pg *pg, struct error *error);

/* Has what is asked from now on fail with ERROR_UNAVAILABLE, SQLSTATE 55P03, when somebody holds a
 * table locked for longer than 3 s: sizes wait for such a one. */
int server_limit_locks(struct pg *pg, struct error *error);

/* One row a log: log, last_seq, updated_at, seconds since then, epoch, parent, parent_seq. */
int server_logs(struct pg *pg, struct pg_rows **rows, struct error *error);

/* One row a table, the sums of its partitions in it, each followed by its partitions: table,
 * partition (null: the table itself), partitions, rows (an estimate), dead rows, bytes, bytes of
 * its indexes, analyzed, vacuumed. */
int server_tables(struct pg *pg, struct pg_rows **rows, struct error *error);

/* One row an index, the sums of the partitions' ones in it: table, index, how many indexes it is
 * in all, scans, rows read, bytes, whether it keeps keys unique, whether it is whole, its state
 * ("invalid", "never used" or ""). The most used first. */
int server_indexes(struct pg *pg, struct pg_rows **rows, struct error *error);

/* One row an index that is not whole, partitions' too: index, table, whether it is ready for
 * inserts. */
int server_invalid_indexes(struct pg *pg, struct pg_rows **rows, struct error *error);

/* What ANALYZE takes one after the other, a partitioned table with all of its partitions: table,
 * partitions, bytes. */
int server_analyzable(struct pg *pg, struct pg_rows **rows, struct error *error);

/* ANALYZE of a table of schema `daa`, however long it takes. -EACCES when the server skipped it. */
int server_analyze(struct pg *pg, const char *table, struct error *error);

/* The columns whose statistics target daa sets, of the tables that are there: table, column,
 * target (-1: the server's default), what it should be, whether it is. */
int server_targets(struct pg *pg, struct pg_rows **rows, struct error *error);

/* All of pg_settings that have these names (count of them): name, setting, unit, context, source,
 * pending_restart, as far as this role may see them. */
int server_settings(struct pg *pg, const char *const *names, unsigned count, struct pg_rows **rows,
                    struct error *error);

#endif
