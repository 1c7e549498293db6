/* How long a durable write takes, each of the ways to make one.
 *
 * Threads: any; memory: a block and the times. */
#ifndef IOURING_MEASURE_H
#define IOURING_MEASURE_H

#include "core/base/error.h"

#include <stdint.h>

enum measure_way {
    MEASURE_DSYNC,     /* one pwritev2 with RWF_DSYNC */
    MEASURE_FDATASYNC, /* a write, then fdatasync */
    MEASURE_LINKED,    /* a write and a sync linked behind it, one io_uring_enter */
    MEASURE_WAYS
};

struct measure {
    struct measure_times {
        int code; /* why it was not measured: a negative errno; 0: it was */
        uint64_t rounds, p50_ns, p99_ns, mean_ns;
    } of[MEASURE_WAYS];
};

/* Overwrites 4 KiB of a zero-filled file without a name in `dir`, each way in turns, up to 256
 * times and for about 3 s. 0, or negative when nothing could be measured; that a kernel forbids
 * io_uring stops only the last way. */
int measure_writes(const char *dir, struct measure *measure, struct error *error);

#endif
