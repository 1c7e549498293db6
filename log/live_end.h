/* Where a log ends just now for a reader: what the writer's image says, what is proven durable
 * while a writer runs whose image cannot be used, or the end that recovery finds when none runs.
 * For log/ only.
 *
 * Threads: belongs to one thread. */
#ifndef LOG_LIVE_END_H
#define LOG_LIVE_END_H

#include "log/directory.h"
#include "log/recovery.h"
#include "log/scan.h"
#include "mmapstore/image.h"

#include <stdbool.h>
#include <stdint.h>

enum live_mode {
    LIVE_NOTHING, /* no segment has been begun */
    LIVE_IMAGE,   /* a writer runs and its image is at hand */
    LIVE_PROVEN,  /* a writer runs; up to what witnesses prove */
    LIVE_STOPPED, /* no writer runs; what recovery would count */
};

struct live_end {
    bool tolerant; /* the caller's: an end also for a log that recovery refuses */
    bool glance;   /* the caller's: what lies behind the end of LIVE_STOPPED is not judged */
    enum live_mode mode;
    uint64_t segment_no; /* the newest that was begun */
    uint64_t end_offset; /* of the last frame that may be shown, in that segment */
    uint64_t last_seq;   /* everything up to here may be shown */
    uint8_t log_uuid[UUID_SIZE];

    /* The writer has two images in turns; both stay mapped, so that a roll is followed at once. */
    struct image images[2];
    int current; /* of LIVE_IMAGE */
    uint64_t generation;
    uint32_t wake;
    /* Of LIVE_PROVEN: the newest segment up to its last valid frame, and up to the last that may be
     * shown. The next look goes on from there. */
    bool proving;
    struct scan seen, shown;
    struct log_recovery recovery; /* of LIVE_STOPPED */
    pid_t writer;                 /* who held the lock then; 0: nobody */
    uint64_t looked_ns;           /* when it was last asked whether the writer still runs */
};

void live_end_init(struct live_end *end);
void live_end_close(struct live_end *end);

static inline const struct image *live_end_image(const struct live_end *end)
{
    return &end->images[end->current];
}

/* Looks again. Re-reads the directory's names when a segment may have been added. 0 or negative. */
int live_end_refresh(struct live_end *end, struct directory *directory, struct source *probe,
                     struct error *error);

/* Waits for a sign of something new, at most `timeout_ns`, and not when the interrupt (NULL: none)
 * is raised. True if there may be. */
bool live_end_wait(struct live_end *end, struct directory *directory, struct source *probe,
                   uint64_t timeout_ns, struct interrupt *interrupt);

#endif
