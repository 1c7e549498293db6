/* Reads a whole log with nothing but the pure codecs, and checks what the writer promises about
 * its bytes: dense sequence numbers, links, chain, epochs, the index in SEAL, zeros behind the end.
 * Slow and simple on purpose: the writer's tests compare with it.
 *
 * What a crash left behind the end that the next segment names is passed over, as is a run of
 * frames without its end. */
#ifndef LOG_REPLAY_H
#define LOG_REPLAY_H

#include "log/frame.h"
#include "log/segment.h"

#include <stdbool.h>
#include <stdint.h>

/* `record` is valid during the call. */
typedef void log_replay_function(const struct record *record, void *context);

struct log_replay {
    uint64_t segments, spares, frames, records, runs;
    uint64_t first_seq, last_seq;
    uint32_t epoch;     /* of the newest segment */
    uint16_t end_flags; /* of the last frame */
    char fault[256];    /* "" when all is as promised */
};

/* False with `fault` when a promise is broken. */
bool log_replay(const char *dir, struct log_replay *replay, log_replay_function *record,
                void *context);

#endif
