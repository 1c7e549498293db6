/* Watches how much room the log's filesystem has (log/space.h), and gives up or makes the ballast.
 *
 *   about once a second: measure -> space_next() -> ballast -> tell the agent thread of a change,
 *   which records it (storage.space) and refuses new work (507) while it is critical
 *
 * Threads: a thread of its own; functions by any, open and close by one. */
#ifndef TOOLS_AGENT_DISK_H
#define TOOLS_AGENT_DISK_H

#include "core/base/error.h"
#include "log/space.h"

#include <stddef.h>
#include <stdint.h>

struct disk;
struct log;

struct disk_options {
    const char *dir; /* of the log */
    const struct log *log;
    struct space_limits wish; /* cut down to the filesystem's size */
    /* The filesystem's bytes, free for us and in all: 0 or a negative errno. NULL: statvfs(). On
     * its thread. */
    int (*measure)(const char *dir, uint64_t *free_bytes, uint64_t *total_bytes);
    uint64_t look_every_ns;         /* 0: a second */
    void (*changed)(void *context); /* the state has; on its thread, or inside disk_open() */
    void *context;
};

/* Looks at once. */
int disk_open(struct disk **disk, const struct disk_options *options, struct error *error);
void disk_close(struct disk *disk); /* NULL is fine; calls no hook any more */

enum space_state disk_state(const struct disk *disk); /* NULL: SPACE_OK */

struct disk_status {
    enum space_state state;
    struct space_limits limits;
    uint64_t free_bytes, total_bytes, ballast_bytes, spares;
    uint64_t bytes_to_leave; /* that have to be free for a better state; 0 when it is OK */
    uint64_t changes;        /* of the state, by this process */
    struct error trouble;    /* of the last look; code 0: none */
};
void disk_status_get(struct disk *disk, struct disk_status *status);

/* What the state means and what to do, as a sentence. */
void disk_explain(struct disk *disk, char *text, size_t size);

#endif
