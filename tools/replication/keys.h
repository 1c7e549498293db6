/* The keys of a data directory for whoever copies its log: opened at their first use, for they may
 * come when the agent does, and again as long as they cannot be.
 *
 * Threads: key_source_find() by one; open and close by one. */
#ifndef TOOLS_REPLICATION_KEYS_H
#define TOOLS_REPLICATION_KEYS_H

#include "core/base/error.h"
#include "core/event/private.h"
#include "log/keyring.h"

#include <limits.h>

struct key_source {
    char dir[PATH_MAX];
    struct keyring *keyring; /* NULL: not opened yet */
    struct event_keys keys;  /* for whoever opens events */
};

/* Those in `keys_dir`; NULL: those beside the log in `dir`, which is a data directory or a log's.
 * 0; ERROR_NOT_FOUND there are none yet; any other error: they cannot be opened now. All of these
 * leave a source that can be used, but for -ENAMETOOLONG. */
int key_source_open(struct key_source *source, const char *dir, const char *keys_dir,
                    struct error *error);
void key_source_close(struct key_source *source);

#endif
