#include "log/live_end.h"

#include "log/scan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ATTEMPTS_MAX 3
#define POLL_NS 50000000u
/* How long a writer may be gone before a reader of its image notices. */
#define LOOK_NS 500000000u

void live_end_init(struct live_end *end)
{
    *end = (struct live_end){ .mode = LIVE_NOTHING, .images = { { .fd = -1 }, { .fd = -1 } } };
}

static void close_images(struct live_end *end)
{
    for (int i = 0; i < 2; i++)
        image_close(&end->images[i]);
}

void live_end_close(struct live_end *end)
{
    close_images(end);
    live_end_init(end);
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* True if nothing was begun behind the end that recovery found. What cannot be read may have been:
 * then it is looked for anew, and that says why not. */
static bool is_still_last(const struct live_end *end, const struct directory *directory,
                          struct source *probe)
{
    struct segment_header header;
    struct error what;
    for (size_t i = directory->count; i-- > 0 && directory->segments[i] > end->segment_no;) {
        int state = directory_segment(directory, i, probe, &header, &what);
        if (state == SEGMENT_BEGUN || (state < 0 && !(end->tolerant && state == -EIO)))
            return false;
    }
    return true;
}

/* Takes what image `index` says; false when it is not that of the active segment. */
static bool load_image(struct live_end *end, int index)
{
    const struct image *image = &end->images[index];
    const struct image_control *control = image->control;
    if (control == NULL)
        return false;
    uint64_t generation = atomic_load(&control->generation);
    /* wake first: what is published after this load changes it. */
    uint32_t wake = atomic_load(&control->wake);
    uint64_t last_seq = atomic_load(&control->durable_seq);
    uint64_t end_offset = atomic_load(&control->durable_end);
    uint64_t segment_no = control->segment_no;
    uint8_t log_uuid[UUID_SIZE];
    memcpy(log_uuid, control->log_uuid, UUID_SIZE);
    if (generation % 2 != 0 || !source_image_held(image, generation) ||
        end_offset < LOG_BLOCK_SIZE || end_offset > image->size || segment_no < end->segment_no)
        return false;
    end->current = index;
    end->generation = generation;
    end->wake = wake;
    end->last_seq = last_seq;
    end->end_offset = end_offset;
    end->segment_no = segment_no;
    memcpy(end->log_uuid, log_uuid, UUID_SIZE);
    end->mode = LIVE_IMAGE;
    return true;
}

/* Maps the announced image in the place of the one that is not the newer. */
static bool attach_image(struct live_end *end, const struct directory *directory)
{
    struct image image;
    if (image_attach(&image, directory->path, NULL) < 0)
        return false;
    int index = !end->current;
    image_close(&end->images[index]);
    end->images[index] = image;
    return load_image(end, index);
}

/* The newest segment that was begun; 1 found, 0 none. Whoever is tolerant goes on over a bad sector
 * in a header behind it, perhaps of a spare. */
static int newest_begun(const struct live_end *end, const struct directory *directory,
                        struct source *probe, struct segment_header *header, struct error *error)
{
    for (size_t i = directory->count; i-- > 0;) {
        struct error what = { 0 };
        int state = directory_segment(directory, i, probe, header, &what);
        if (state < 0 && !(end->tolerant && state == -EIO))
            return error_set(error, state, "%s", what.text);
        if (state == SEGMENT_BEGUN)
            return 1;
    }
    return 0;
}

/* Walks the newest segment to its last valid frame. */
static void walk_to_end(struct live_end *end, struct source *probe,
                        const struct segment_header *header)
{
    struct frame_header frame;
    struct scan scan;
    const uint8_t *bytes;
    scan_begin(&scan, probe, header);
    end->segment_no = header->segment_no;
    memcpy(end->log_uuid, header->log_uuid, UUID_SIZE);
    do {
        end->end_offset = scan.counted.end_offset;
        end->last_seq = scan.counted.last_seq;
    } while (scan_next(&scan, &frame, &bytes) == SCAN_FRAME);
}

/* Goes on with the two walks over the segment that `probe` has open, or begins them. */
static void take_up_walks(struct live_end *end, struct source *probe,
                          const struct segment_header *header)
{
    bool same = end->proving && end->seen.header.segment_no == header->segment_no &&
                end->seen.header.salt == header->salt;
    end->seen.source = end->shown.source = probe;
    if (same)
        return;
    scan_begin(&end->seen, probe, header);
    scan_begin(&end->shown, probe, header);
    end->proving = true;
}

/* Moves `shown` on over the frames that are durable. */
static void walk_on(struct live_end *end, uint64_t durable_seq)
{
    struct frame_header frame;
    struct scan next = end->shown;
    const uint8_t *bytes;
    while (scan_next(&next, &frame, &bytes) == SCAN_FRAME && frame_last_seq(&frame) <= durable_seq)
        end->shown = next;
    end->segment_no = next.header.segment_no;
    memcpy(end->log_uuid, next.header.log_uuid, UUID_SIZE);
    end->end_offset = end->shown.counted.end_offset;
    end->last_seq = end->shown.counted.last_seq;
}

/* What CHECKPOINT and the frames of the active segment prove to be durable. */
static int prove_end(struct live_end *end, const struct directory *directory, struct source *probe,
                     struct error *error)
{
    struct segment_header header;
    struct checkpoint checkpoint = { .durable_seq = 0 };
    struct frame_header frame;
    const uint8_t *bytes;
    unsigned damaged;
    end->mode = LIVE_NOTHING;
    (void)directory_checkpoint(directory, probe, &checkpoint, &damaged);
    int found = newest_begun(end, directory, probe, &header, error);
    if (found <= 0)
        return found;
    take_up_walks(end, probe, &header);
    while (scan_next(&end->seen, &frame, &bytes) == SCAN_FRAME)
        continue;
    uint64_t durable_seq = end->seen.witness_seq;
    /* Of a later segment it says nothing of this one, whose end may be fenced off. */
    if (checkpoint.durable_seq > durable_seq && checkpoint.segment_no <= header.segment_no &&
        memcmp(checkpoint.log_uuid, header.log_uuid, UUID_SIZE) == 0)
        durable_seq = checkpoint.durable_seq;
    walk_on(end, durable_seq);
    end->mode = LIVE_PROVEN;
    return 0;
}

/* The log is damaged so that it cannot be recovered, as `why` says; shows what there is. */
static int salvage_end(struct live_end *end, const struct directory *directory,
                       struct source *probe, const struct error *why, struct error *error)
{
    struct segment_header header;
    int found = newest_begun(end, directory, probe, &header, error);
    if (found <= 0)
        return found;
    walk_to_end(end, probe, &header);
    end->recovery.last_segment_no = header.segment_no;
    end->recovery.verdict = LOG_DAMAGED;
    snprintf(end->recovery.reason, sizeof end->recovery.reason, "%.500s", why->text);
    end->mode = LIVE_STOPPED;
    return 0;
}

static int recover_end(struct live_end *end, const struct directory *directory,
                       struct source *probe, struct error *error)
{
    if (end->mode == LIVE_STOPPED && is_still_last(end, directory, probe))
        return 0;
    struct error why = { 0 };
    end->mode = LIVE_NOTHING;
    int code = end->glance ? log_glance(directory->path, &end->recovery, &why)
                           : log_recover(directory->path, NULL, 0, &end->recovery, &why);
    if (code < 0 && end->tolerant && code != ERROR_LOCKED)
        return salvage_end(end, directory, probe, &why, error);
    if (code < 0)
        return error_set(error, code, "%s", why.text);
    if (!end->recovery.exists)
        return 0;
    end->segment_no = end->recovery.last_segment_no;
    end->end_offset = end->recovery.end_offset;
    end->last_seq = end->recovery.last_seq;
    memcpy(end->log_uuid, end->recovery.log_uuid, UUID_SIZE);
    end->mode = LIVE_STOPPED;
    return 0;
}

/* True while the writer of the image writes on: it has the lock, and nobody began a segment behind
 * the image's. */
static bool image_lives(struct live_end *end, struct directory *directory, struct source *probe)
{
    end->looked_ns = clock_ns();
    return directory_writer(directory) == end->writer && directory_refresh(directory, NULL) == 0 &&
           is_still_last(end, directory, probe);
}

/* The image says all there is to know, as long as its writer lives. */
static bool refresh_from_image(struct live_end *end, struct directory *directory,
                               struct source *probe)
{
    uint64_t before = end->last_seq, now = clock_ns();
    if (!load_image(end, end->current) && !load_image(end, !end->current))
        return false;
    if (end->last_seq != before || now - end->looked_ns < LOOK_NS)
        return true;
    if (image_lives(end, directory, probe))
        return true;
    close_images(end);
    return false;
}

int live_end_refresh(struct live_end *end, struct directory *directory, struct source *probe,
                     struct error *error)
{
    int code = 0;
    if (end->mode == LIVE_IMAGE && refresh_from_image(end, directory, probe))
        return 0;
    if (end->mode == LIVE_IMAGE)
        end->mode = LIVE_NOTHING; /* whatever fails below: the image may be unmapped */
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        code = directory_refresh(directory, error);
        if (code < 0)
            return code;
        end->looked_ns = clock_ns();
        end->writer = directory_writer(directory);
        if (end->writer != 0 && attach_image(end, directory))
            return 0;
        if (end->writer != 0) {
            code = prove_end(end, directory, probe, error);
        } else {
            close_images(end);
            code = recover_end(end, directory, probe, error);
        }
        /* A writer has just come, or its last write is still under way; or what the names promised
         * was removed since they were read. */
        if (code != ERROR_LOCKED && code != -ENOENT)
            return code;
    }
    return prove_end(end, directory, probe, error);
}

static bool is_raised(const struct interrupt *interrupt)
{
    return interrupt != NULL && atomic_load(&interrupt->is_raised);
}

static bool wait_for_image(struct live_end *end, struct directory *directory, struct source *probe,
                           uint64_t timeout_ns, struct interrupt *interrupt)
{
    const struct image *image = live_end_image(end);
    for (;;) {
        uint64_t slice_ns = timeout_ns < LOOK_NS ? timeout_ns : LOOK_NS;
        if (image_wait(image, end->wake, slice_ns, interrupt) ||
            atomic_load(&image->control->ended) != 0 ||
            atomic_load(&image->control->generation) != end->generation)
            return true;
        timeout_ns -= slice_ns;
        if (is_raised(interrupt))
            return false;
        if (slice_ns == LOOK_NS && !image_lives(end, directory, probe)) {
            end->looked_ns = 0; /* the next refresh looks too */
            return true;
        }
        if (timeout_ns == 0)
            return false;
    }
}

static bool pause_for(uint64_t pause_ns, struct interrupt *interrupt)
{
    struct timespec pause = { .tv_nsec = (long)pause_ns };
    if (interrupt != NULL)
        return !interrupt_wait(interrupt, pause_ns);
    nanosleep(&pause, NULL);
    return true;
}

bool live_end_wait(struct live_end *end, struct directory *directory, struct source *probe,
                   uint64_t timeout_ns, struct interrupt *interrupt)
{
    if (end->mode == LIVE_IMAGE)
        return wait_for_image(end, directory, probe, timeout_ns, interrupt);
    enum live_mode mode = end->mode;
    uint64_t last_seq = end->last_seq;
    for (;;) {
        uint64_t slice_ns = timeout_ns < POLL_NS ? timeout_ns : POLL_NS;
        if (!pause_for(slice_ns, interrupt))
            return false;
        timeout_ns -= slice_ns;
        if (live_end_refresh(end, directory, probe, NULL) < 0 || end->mode != mode ||
            end->last_seq != last_seq)
            return true;
        if (timeout_ns == 0)
            return false;
    }
}
