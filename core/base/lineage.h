/* A log and the logs it was forked from (DESIGN 4, Identity). An event belongs to the log that was
 * written when it was appended, and so does the id of what it created: after a fork ids go on
 * meaning what they meant.
 *
 * Pure. Threads: any, on a lineage of its own. */
#ifndef CORE_BASE_LINEAGE_H
#define CORE_BASE_LINEAGE_H

#include "core/base/id.h"

#include <stdbool.h>
#include <stdint.h>

#define LINEAGE_MAX 32u /* logs remembered; of more, the oldest are forgotten */

struct lineage {
    uint32_t count;
    struct {
        uint8_t uuid[UUID_SIZE];
        uint64_t first_seq; /* of its first event that may have created something */
    } logs[LINEAGE_MAX];    /* oldest first */
};

/* From `first_seq` on the log is this one. False: it is already. */
bool lineage_add(struct lineage *lineage, const uint8_t uuid[UUID_SIZE], uint64_t first_seq);

/* The log that event `seq` belongs to; what is older than the oldest belongs to the oldest. With
 * an empty lineage all zero. */
const uint8_t *lineage_uuid(const struct lineage *lineage, uint64_t seq);

/* Ids (core/base/id.h) by the log that each belongs to. */
void lineage_id_to_text(char text[WORKFLOW_ID_SIZE], const struct lineage *lineage, uint64_t seq);
bool lineage_id_from_text(struct span text, const struct lineage *lineage, uint64_t *seq);

#endif
