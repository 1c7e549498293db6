/* Points in time as people write them on a command line, down to the nanosecond:
 *
 *   now    today    yesterday    today 14:00    yesterday 9:30:05    14:00
 *   10 min ago    2 hours ago    1 hour 30 minutes ago    a day ago    -10m    -1d
 *   2026-11-26    2026-11-26 10:00    2026-11-26T10:00:00Z    2026-11-26T10:00:00.5+01:00
 *   @1795687200
 *
 * A day begins at midnight of the zone that the clock knows; times without "Z" or an offset are of
 * that zone. A time of day that a change of clocks leaves out is taken for the one an hour later.
 *
 * Pure but for moment_local(). Threads: any. */
#ifndef TOOLS_COMMAND_MOMENT_H
#define TOOLS_COMMAND_MOMENT_H

#include "core/base/error.h"

#include <stdint.h>

struct moment_clock {
    uint64_t now_ns; /* since 1970 */
    /* Seconds that local time is ahead of UTC at this time (seconds since 1970). */
    int64_t (*offset_s)(int64_t time_s, void *context);
    void *context;
};

/* The machine's clock and zone, as TZ and /etc/localtime say. */
struct moment_clock moment_local(void);

/* 0 with nanoseconds since 1970, at least 1; ERROR_SYNTAX with a sentence that says what is
 * understood. */
int moment_parse(const char *text, const struct moment_clock *clock, uint64_t *time_ns,
                 struct error *error);

#endif
