/* Segments that were passed over: a later one was sealed and its root signed, and they were not
 * sealed yet, or damaged. Kept in `<data_dir>/anchor.passed`, so that the root of each is signed
 * once it has one, also by an agent that is started later: the newest signed segment, which is all
 * that the log's state knows, lies behind them.
 *
 *   daa passed 1
 *   17                     segment numbers, ascending
 *
 * Threads: belongs to one thread. */
#ifndef TOOLS_ANCHOR_PASSED_H
#define TOOLS_ANCHOR_PASSED_H

#include "core/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ANCHOR_PASSED_NAME "anchor.passed" /* in a data directory */

struct passed {
    uint64_t *numbers; /* ascending */
    size_t count, room;
};

/* A file that is missing or cannot be understood counts as an empty one. */
void passed_read(struct passed *passed, const char *data_dir);
int passed_write(const struct passed *passed, const char *data_dir, struct error *error);
void passed_free(struct passed *passed);

bool passed_has(const struct passed *passed, uint64_t segment_no);
/* Numbers that are there already stay once. 0 or -ENOMEM. */
int passed_add(struct passed *passed, uint64_t segment_no, struct error *error);
void passed_remove(struct passed *passed, uint64_t segment_no);

#endif
