/* The names that a log has had: which uuid its events were written under, and where each left the
 * one before it. From the headers of segments alone, so cheap beside any writer; what retention
 * took is not there, but the oldest segment still names its parent.
 *
 * Threads: any, one call at a time per lineage. */
#ifndef LOG_LINEAGE_H
#define LOG_LINEAGE_H

#include "core/base/error.h"
#include "core/base/id.h"
#include "core/base/lineage.h"
#include "core/base/sha256.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Events from first_seq on, up to the next name's, were written under this uuid. */
struct log_name {
    uint8_t log_uuid[UUID_SIZE];
    uint64_t first_seq; /* as far as segments are there */
    bool forked;        /* it has a parent, which has been left behind parent_seq */
    uint8_t parent_uuid[UUID_SIZE];
    uint64_t parent_seq;
    uint8_t parent_chain[SHA256_SIZE];
};

struct log_lineage {
    struct log_name *names; /* oldest first; those under which nothing was written left out */
    size_t count;           /* 0: no segment has been begun */
    uint16_t minor_min, minor_max; /* of the format of its segments */
    uint16_t event_schema;         /* the highest that the newest segment's writer may write */
};

/* `dir` is a log directory, or a data directory that holds it as "log". Segments whose header is
 * damaged are passed over: log_verify() tells of them. 0, or negative: ERROR_NEWER, -errno. */
int log_lineage_read(struct log_lineage *lineage, const char *dir, struct error *error);
void log_lineage_free(struct log_lineage *lineage);

/* The names for ids: *ids becomes these and the parent of the oldest. */
void log_lineage_ids(const struct log_lineage *lineage, struct lineage *ids);

#endif
