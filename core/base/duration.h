/* Durations and sizes as people write them: "0s", "250ms", "1.5h", "2d"; "64KiB", "2MB".
 * Units: ns us ms s m h d; B KB MB GB TB (powers of 1024, as the configuration always meant),
 * KiB MiB GiB TiB the same. A number may have a fraction; what is left of a ns or a byte is cut.
 * Upper and lower case differ, nothing stands between number and unit, and a bare number has no
 * unit and is refused.
 *
 * Threads: any. */
#ifndef CORE_BASE_DURATION_H
#define CORE_BASE_DURATION_H

#include "core/base/span.h"

#include <stdint.h>

/* 0 and nanoseconds; ERROR_SYNTAX; ERROR_TOO_LARGE beyond 100 years. */
int duration_parse(struct span text, uint64_t *ns);

/* 0 and bytes; ERROR_SYNTAX; ERROR_TOO_LARGE from 2^63 on. */
int size_parse(struct span text, uint64_t *bytes);

/* The other way, in the largest unit that needs no fraction ("90s", "2m", "1025B", "64KB"); parsed
 * again it is the same number. */
#define DURATION_TEXT_SIZE 24
void duration_to_text(char text[DURATION_TEXT_SIZE], uint64_t ns);
void size_to_text(char text[DURATION_TEXT_SIZE], uint64_t bytes);

#endif
