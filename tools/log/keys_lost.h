/* daa-log keys --give-up: what is lost of the keys of a log's events counts as destroyed from then
 * on, so that the log can be gone on with. Nothing that can be read is given up.
 *
 * Threads: the main thread. */
#ifndef TOOLS_LOG_KEYS_LOST_H
#define TOOLS_LOG_KEYS_LOST_H

#include "tools/command/command.h"

#include <stdbool.h>
#include <stdint.h>

struct keys_lost {
    const char *dir;      /* of the log */
    const char *keys_dir; /* of its keys */
    bool is_named;        /* by whoever asks: it is made when it is missing */
    const char *keyring;  /* its uuid, or NULL: the log says it */
    uint64_t up_to;       /* the last key that was used, if that is more than the log says */
    bool json;
};

/* An exit status; what is wrong was said. */
int keys_give_up(const struct command *command, const struct keys_lost *lost);

#endif
