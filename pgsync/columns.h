/* Columns made of what a record holds, in the form of COPY: what PostgreSQL cannot hold is
 * replaced, and the row flagged lossy. Pure but for memory.
 *
 * Threads: a scratch belongs to one thread at a time. */
#ifndef PGSYNC_COLUMNS_H
#define PGSYNC_COLUMNS_H

#include "core/base/arena.h"
#include "core/base/text.h"
#include "pgsync/binary.h"

#include <stdbool.h>
#include <stdint.h>

/* Memory that is used again for each column. */
struct columns_scratch {
    struct arena arena; /* for what is parsed; the caller empties it */
    struct text json, plain;
};

/* bigint has a bit less than what the log has for a number. */
void columns_number(struct binary *target, uint64_t value, bool *lossy);
void columns_optional_number(struct binary *target, uint64_t value, bool *lossy); /* 0: null */
void columns_optional_time(struct binary *target, bool given, uint64_t time_ns);
void columns_optional_bytes(struct binary *target, struct span bytes); /* empty: null */

/* text; null when empty. */
void columns_text(struct columns_scratch *scratch, struct binary *target, struct span text,
                  bool *lossy);

/* jsonb; null when it cannot be had, and *refusal says why. */
void columns_json(struct columns_scratch *scratch, struct binary *target, struct span json,
                  bool *lossy, const char **refusal);

/* jsonb of what users gave: null when empty, the JSON that the bytes are, or a string of them. */
void columns_user_json(struct columns_scratch *scratch, struct binary *target, struct span bytes,
                       bool *lossy);

/* Set *lossy when a value was lossy that another one has taken the place of; `after` may be the
 * same one. */
void columns_replaced_text(struct columns_scratch *scratch, struct span before, struct span after,
                           bool *lossy);
void columns_replaced_json(struct columns_scratch *scratch, struct span before, struct span after,
                           bool *lossy);

#endif
