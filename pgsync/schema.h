/* The tables in PostgreSQL: schema `daa`, made by numbered migrations (pgsync/migration.h), never
 * changed when a newer daa-pgsync made it.
 *
 *   meta        one row: the schema's version, which is the number of its newest migration, and how
 *               many numbers a partition of events has
 *   migrations  one row a migration: what was applied
 *   replica     one row a log: how far it is copied, and the chain there; the copier's only memory.
 *               Of a log that forked also its parent and the last event that both have; `number`
 *               counts in the order in which logs became known here, a parent before its children
 *   events      every record, partitioned by range of seq, exact bytes in `record`
 *   workflows   one row a workflow, as its newest event left it, under the log that created it;
 *               `last_log` is the log of that event when it is another, behind a fork
 *   steps       one row a step that an event told of, in the same way
 *   agents      one row a log: who wrote it, and when it was last heard of
 *   anchors     one row a log.anchored: a signed head of a log. Rows are only ever inserted
 *   rejected    one row a record that this server refused as it is
 *   erased      one row a workflow that an event says was erased
 *
 * `log` is the log's uuid and part of every key, so any number of agents share one database.
 *
 * Roles: where whoever made the schema could make roles, it belongs to daa_writer, whose members
 * copy, and daa_reader may read all of it.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_SCHEMA_H
#define PGSYNC_SCHEMA_H

#include "core/base/text.h"
#include "pgsync/pg.h"

#include <stdint.h>

#define SCHEMA_VERSION_OLDEST 1 /* that is carried over */
#define SCHEMA_PARTITION_ROWS UINT64_C(10000000)

/* Whoever changes tables holds this until the end of the transaction. Any number will do that no
 * other program uses: "daa" and 1. */
#define SCHEMA_LOCK_SQL "SELECT pg_advisory_xact_lock(x'64616101'::int::bigint)"

/* Whether a member may become the role: PostgreSQL 16 tells that from being one, and gives whoever
 * makes a role a membership without it. */
#define SCHEMA_MEMBER_SQL                                                                          \
    "CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END"

/* A member of the role that owns the schema makes what comes in this transaction as that role, so
 * that it belongs to all of them. Rows are copied as who one is: triggers of others rely on it. */
#define SCHEMA_OWNER_SQL                                                                           \
    "DO $$ BEGIN IF EXISTS (SELECT FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner"      \
    " WHERE n.nspname = 'daa' AND r.rolname = 'daa_writer'"                                        \
    " AND pg_has_role(current_user, r.oid, " SCHEMA_MEMBER_SQL "))"                                \
    " THEN SET LOCAL ROLE daa_writer; END IF; END $$"

struct schema {
    uint64_t partition_rows; /* as the schema was made */
    uint64_t partitions_end; /* partitions are there for every seq below this */
};

/* Makes the schema when it is missing (under an advisory lock, so that several may try at once),
 * else applies the migrations that it lacks. `partition_rows` is for a new one; 0:
 * SCHEMA_PARTITION_ROWS. ERROR_NEWER or ERROR_MISMATCH with a sentence for another version's or
 * somebody else's; pg's. */
int schema_open(struct schema *schema, struct pg *pg, uint64_t partition_rows, struct error *error);

/* Then makes the indexes that are missing or invalid, which takes its time on large tables; 0 at
 * once when somebody else makes them now. Without them all is right, only slower: rows can be
 * copied when this fails. 0 or the pg's. */
int schema_make_indexes(struct pg *pg, struct error *error);

/* Appends the SQL that these two would run here, and runs none of it; nothing when there is
 * nothing to do. Errors as of schema_open(). */
int schema_print(struct pg *pg, uint64_t partition_rows, struct text *sql, struct error *error);

/* The version that this program makes. */
uint64_t schema_newest_version(void);

/* Makes the partition that `seq` falls into and the next one, if they are missing: ahead of use,
 * in a transaction of its own. */
int schema_extend(struct schema *schema, struct pg *pg, uint64_t seq, struct error *error);

/* 1 the schema is there and this version's, 0 there is none, negative as schema_open(). Changes
 * nothing. */
int schema_check(struct pg *pg, struct error *error);

/* Fills the rows of `anchors` from those of `events` with `after` < seq <= `last`, within the
 * transaction that inserts these. Rows that are there already stay; ERROR_MISMATCH when one says
 * other than its event. */
int schema_add_anchors(struct pg *pg, const char *log, uint64_t after, uint64_t last,
                       struct error *error);

#endif
