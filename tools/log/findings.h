/* What a check-up finds: one line each, from what is fine to what must be mended, and what to do.
 * Threads: the main thread. */
#ifndef TOOLS_LOG_FINDINGS_H
#define TOOLS_LOG_FINDINGS_H

#include "core/base/error.h"
#include "core/base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum finding_level { FINDING_OK, FINDING_NOTE, FINDING_WARNING, FINDING_PROBLEM, FINDING_LEVELS };

struct findings {
    bool json;
    unsigned counts[FINDING_LEVELS];
    struct text values; /* of the next one, as members of a JSON object */
};

void findings_begin(struct findings *findings, bool json);
/* Prints how many there were. True: there was a problem. */
bool findings_end(struct findings *findings);

/* Numbers and texts of the next finding, for --json alone. */
void findings_number(struct findings *findings, const char *key, uint64_t value);
void findings_text(struct findings *findings, const char *key, const char *value);

/* `check` is its name for programs; `advice` one sentence on what to do, NULL when there is nothing
 * to do. */
void findings_add(struct findings *findings, enum finding_level level, const char *check,
                  const char *advice, const char *format, ...) ERROR_PRINTF(5, 6);

#endif
