/* Which segments' Merkle roots are to be signed next: those behind the newest that was signed, and
 * those that were passed over, since they were sealed later than one behind them
 * (tools/anchor/passed.h).
 *
 * Threads: belongs to one thread. */
#ifndef TOOLS_AGENT_ROOTS_DUE_H
#define TOOLS_AGENT_ROOTS_DUE_H

#include "core/base/error.h"
#include "core/event/anchor.h"
#include "tools/anchor/passed.h"

#include <stdbool.h>
#include <stdint.h>

struct roots_due {
    const char *log_dir, *data_dir; /* the caller's */
    uint64_t newest_no;             /* the newest segment that was signed */
    struct passed passed;
    bool looked_behind; /* the newest, for such as were passed over and nobody kept that */
};

void roots_due_open(struct roots_due *due, const char *log_dir, const char *data_dir,
                    uint64_t newest_no);
void roots_due_close(struct roots_due *due);

/* Puts the oldest that are sealed into the anchor, ANCHOR_SEGMENTS_MAX at most: their count is its
 * segment_count. 0, negative. */
int roots_due_take(struct roots_due *due, struct anchor *anchor, struct error *error);

/* The anchor is recorded. */
void roots_due_signed(struct roots_due *due, const struct anchor *anchor);

#endif
