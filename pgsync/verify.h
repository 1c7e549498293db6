/* Compares what PostgreSQL holds of a log with the log itself.
 *
 * Each side gives a count and a digest of up to 8192 events; where they differ, the digest of each
 * record tells which. Only what both can have is compared: of each log of the directory's family
 * (pgsync/family.h) the events that were written under its name, from the oldest that the log still
 * has up to the position in daa.replica. What retention took is not comparable, what is behind the
 * position is lag; both are told and neither is a difference.
 *
 * With `content` each column is compared as well, with rows made of the log's records by
 * pgsync/batch.h, and each row of the derived tables with one made of the events in PostgreSQL.
 *
 * An event whose private fields cannot be opened here, for want of its key or since that was
 * destroyed and the erasure is not copied yet, is compared but for these. That what an event erases
 * is in daa.erased, and nothing else, is compared as a column of that event.
 *
 * All is read in one snapshot, so a copier that goes on meanwhile changes nothing of it; nothing is
 * written but temporary tables. Memory: one range, and what differs.
 *
 * Threads: those of the reader. */
#ifndef PGSYNC_VERIFY_H
#define PGSYNC_VERIFY_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/lineage.h"
#include "core/event/private.h"
#include "log/reader.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VERIFY_RANGE_ROWS 8192u
#define VERIFY_DIFFERENCES_MAX 100000u /* that are listed; all are counted */
#define VERIFY_COLUMNS_SIZE 160u
#define VERIFY_LOGS_MAX (LINEAGE_MAX + 1)

enum verify_kind {
    VERIFY_MISSING, /* the log has it, PostgreSQL does not */
    VERIFY_EXTRA,   /* PostgreSQL has it, the log does not, or not yet */
    VERIFY_RECORD,  /* the bytes of the record differ */
    VERIFY_CONTENT, /* the bytes are the same, other columns are not */
    VERIFY_KINDS
};

/* Events, or a row of a derived table. */
struct verify_difference {
    enum verify_kind kind;
    const char *table; /* "events", "workflows", ... */
    uint8_t log[UUID_SIZE];
    uint64_t first, last; /* seq; of a derived table the stream, one */
    bool proven;          /* of extra events: the log shows that they do not belong there */
    char columns[VERIFY_COLUMNS_SIZE]; /* of VERIFY_CONTENT: "payload, time" */
};

enum verify_chain { VERIFY_CHAIN_UNKNOWN, VERIFY_CHAIN_SAME, VERIFY_CHAIN_OTHER };

/* One log of the family. */
struct verify_log {
    uint8_t log[UUID_SIZE];
    bool known; /* daa.replica has it */
    uint64_t position;
    uint64_t first_seq, last_seq; /* what was compared; nothing if last_seq < first_seq */
    uint64_t detached;            /* events in partitions that were detached */
    uint64_t gone;           /* events up to the position that the log does not have any more */
    uint64_t lag;            /* events behind the position */
    uint64_t left;           /* events behind the fork, which only its own directory has */
    enum verify_chain chain; /* at the position */
    uint8_t chain_here[SHA256_SIZE];
};

struct verify_result {
    struct verify_log logs[VERIFY_LOGS_MAX]; /* oldest first */
    size_t log_count;
    struct verify_difference *differences;
    size_t difference_count, difference_capacity;
    uint64_t events;              /* compared */
    uint64_t kinds[VERIFY_KINDS]; /* events that differ */
    uint64_t unproven;            /* of the extra ones */
    uint64_t refused;             /* events without a payload, since the server refused it */
    uint64_t unopened;            /* events whose private fields were not compared */
    bool content;
    bool rows_compared;         /* only where the events are the same: they are made of those */
    uint64_t rows, rows_differ; /* of derived tables */
    uint64_t rows_from;         /* those of streams before this one could not be compared */
};

struct verify_options {
    const char *url;
    const char *dir;
    struct log_reader *reader;     /* the caller's; its cursor is moved */
    const struct event_keys *keys; /* for `content`; NULL: none */
    struct budget *budget;
    const atomic_bool *stop;
    bool content;
    void (*progress)(uint64_t done, uint64_t all, void *context); /* may be NULL */
    void *context;
};

/* 0 whatever differs; ERROR_UNAVAILABLE the server cannot be had; ERROR_NOT_FOUND there is no copy
 * of this log; ERROR_MISMATCH another schema, or a copy that is further than the log; ERROR_DAMAGED
 * the log is; -ECANCELED stopped. To be freed also after an error. */
int verify_run(const struct verify_options *options, struct verify_result *result,
               struct error *error);
void verify_free(struct verify_result *result);

bool verify_is_clean(const struct verify_result *result);
/* True if the chain of the newest log that is there differs at its position. That of one that it
 * was forked from may: a log that was restored from PostgreSQL has new frames (log/import.h). */
bool verify_chain_differs(const struct verify_result *result);

#endif
