/* Makes a log of records that are kept elsewhere, in a database or an export: each with its own
 * bytes and number, under the name that it was written under.
 *
 *   log_import_open -> log_import_add x n -> log_import_finish -> log_import_close
 *
 * What is kept is the records. Where frames and segments began is not known any more, so frames,
 * segments, epochs and with them the chain are new. The log's own records (storage.opened,
 * storage.sealed, ...) are there as any others, in frames without OPEN, SEAL or CLOSE, since they
 * tell of the segments that were. Segments end as behind a failover: the next one says where.
 *
 * The result is a data directory, DIR/log, which holds FORK (log/fork.h): its first opening goes on
 * under a new name. It is made as DIR.importing, checked by log_verify(), and gets its name when it
 * is whole and durable; what a run that was killed has left of that is taken away by the next.
 *
 * Memory: one frame, at most 16 MiB. Threads: an import belongs to one thread. */
#ifndef LOG_IMPORT_H
#define LOG_IMPORT_H

#include "core/base/error.h"
#include "core/base/id.h"
#include "core/base/sha256.h"
#include "log/record.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct log_import;

struct log_import_options {
    const char *dir;       /* must not be there; its parent directory must */
    uint64_t segment_size; /* bytes; 0: LOG_SEGMENT_SIZE */
    uint16_t event_schema; /* the highest that the records may have, until it is raised */
    uint64_t time_ns;      /* wall clock, to be noted */
    bool check_only;       /* writes nothing: only says whether records and `dir` are taken */
    /* Of log_import_finish(), which reads all that was written. */
    const atomic_bool *stop; /* gives up soon after it is set: -ECANCELED; may be NULL */
    void (*progress)(uint64_t done_bytes, uint64_t all_bytes, void *context); /* may be NULL */
    void *context;
};

struct log_import_result {
    uint64_t last_seq, segments;
    uint8_t chain[SHA256_SIZE]; /* at last_seq: another one than it was */
};

/* ERROR_INVALID `dir` is there, or no segment has this size; ERROR_LOCKED another import is making
 * it; -errno. */
int log_import_open(struct log_import **import, const struct log_import_options *options,
                    struct error *error);

/* Records to come have an event schema up to this. 0 or -errno. */
int log_import_raise_schema(struct log_import *import, uint16_t event_schema, struct error *error);

/* Appends a record of the log of this name. The first one is number 1 and each one more than that
 * before it, else ERROR_INVALID; where the name changes, a log left the one before. No checksum is
 * over a name: it is held against storage.opened, with which each name begins, else ERROR_CONFLICT.
 * ERROR_TOO_LARGE the record does not fit a segment of this size; -errno with the file. */
int log_import_add(struct log_import *import, const uint8_t log_uuid[UUID_SIZE],
                   const struct record *record, struct error *error);

/* Ends it, checks it and gives it its name. With check_only there is nothing to end: the result has
 * no segments and no chain. ERROR_NOT_FOUND without a record; ERROR_DAMAGED what was written cannot
 * be read back; -errno. */
int log_import_finish(struct log_import *import, struct log_import_result *result,
                      struct error *error);

/* Removes what was not finished. NULL is fine. */
void log_import_close(struct log_import **import);

#endif
