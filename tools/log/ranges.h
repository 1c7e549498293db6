/* The verdict on every byte of a segment's file, range by range: verify --ranges.
 *
 * Memory: RANGES_FINDINGS_MAX findings of one file; those beyond stay findings, and their bytes are
 * in the range before or behind them. Threads: the main thread. */
#ifndef TOOLS_LOG_RANGES_H
#define TOOLS_LOG_RANGES_H

#include "tools/log/log.h"

#define RANGES_FINDINGS_MAX 4096u

struct ranges {
    bool json;
    struct log_finding *findings; /* of the file under way, those with bytes */
    size_t count;
    struct text line;
};

bool ranges_begin(struct ranges *ranges, bool json); /* false: no memory */
void ranges_end(struct ranges *ranges);

void ranges_note(struct ranges *ranges, const struct log_finding *finding);
/* Prints the ranges of the file, and forgets its findings. */
void ranges_print(struct ranges *ranges, const struct log_verified_file *file);

#endif
