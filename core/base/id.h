/* Names of things: log uuids (RFC 9562) and workflow ids.
 *
 * A workflow's id is "wf-<16 hex digits>-<seq>": the first 8 bytes of the uuid of the log that
 * created it and, in decimal without leading zeros, the sequence number of the event that did
 * (never 0). It is unique over all logs; within one, the numbers are in the order of time
 * (the texts are not: "-9" is older than "-10").
 *
 * Threads: any. */
#ifndef CORE_BASE_ID_H
#define CORE_BASE_ID_H

#include "core/base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define UUID_SIZE 16
#define UUID_TEXT_SIZE 37   /* with the terminating NUL */
#define WORKFLOW_ID_SIZE 41 /* "wf-" 16 "-" 20 NUL, the longest */

/* Makes 16 random bytes a version 4 uuid. */
void uuid_from_random(uint8_t uuid[UUID_SIZE]);
void uuid_to_text(char text[UUID_TEXT_SIZE], const uint8_t uuid[UUID_SIZE]);
/* False unless it is exactly what uuid_to_text() writes. */
bool uuid_from_text(uint8_t uuid[UUID_SIZE], struct span text);

void workflow_id_to_text(char text[WORKFLOW_ID_SIZE], const uint8_t log_uuid[UUID_SIZE],
                         uint64_t seq);

/* False unless `text` is a workflow id of this log in its one canonical form. */
bool workflow_id_from_text(struct span text, const uint8_t log_uuid[UUID_SIZE], uint64_t *seq);

#endif
