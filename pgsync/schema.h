/* The tables in PostgreSQL: schema `daa`, made when missing, carried over from an older
 * version, never changed when a newer one's.
 *
 *   meta       one row: the version of this schema, and how many numbers a partition of events has
 *   replica    one row a log: how far it is copied, and the chain there; the copier's only memory.
 *              Of a log that forked also its parent and the last event that both have; `number`
 *              counts in the order in which logs became known here, a parent before its children
 *   events     every record, partitioned by range of seq, exact bytes in `record`
 *   workflows  one row a workflow, as its newest event left it, under the log that created it;
 *              `last_log` is the log of that event when it is another, behind a fork
 *   anchors    one row a log.anchored: a signed head of a log. Rows are only ever inserted
 *
 * `log` is the log's uuid and part of every key, so any number of agents share one database.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_SCHEMA_H
#define PGSYNC_SCHEMA_H

#include "pgsync/pg.h"

#include <stdint.h>

#define SCHEMA_VERSION 3
#define SCHEMA_VERSION_OLDEST 1 /* that is carried over */
#define SCHEMA_PARTITION_ROWS UINT64_C(10000000)

struct schema {
    uint64_t partition_rows; /* as the schema was made */
    uint64_t partitions_end; /* partitions are there for every seq below this */
};

/* Makes the schema when it is missing (under an advisory lock, so that several may try at once),
 * else carries an older version over, or checks it. `partition_rows` is for a new one; 0:
 * SCHEMA_PARTITION_ROWS. ERROR_NEWER or ERROR_MISMATCH with a sentence for another version's or
 * somebody else's; pg's. */
int schema_open(struct schema *schema, struct pg *pg, uint64_t partition_rows, struct error *error);

/* Makes the partition that `seq` falls into and the next one, if they are missing: ahead of use,
 * in a transaction of its own. */
int schema_extend(struct schema *schema, struct pg *pg, uint64_t seq, struct error *error);

/* 1 the schema is there and this version's, 0 there is none, negative as schema_open(). Changes
 * nothing. */
int schema_check(struct pg *pg, struct error *error);

/* Fills the rows of `anchors` from those of `events` with `after` < seq <= `last`, within the
 * transaction that inserts these. */
int schema_add_anchors(struct pg *pg, const char *log, uint64_t after, uint64_t last,
                       struct error *error);

#endif
