#include "log/history.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define IMAGE_LOOKS_MAX 20
#define IMAGE_PAUSE_NS 10000000

/* The end. */

void history_know(struct history *history, uint64_t seq)
{
    if (seq > history->known_seq)
        history->known_seq = seq;
}

static int take_end(struct history *history, struct error *error)
{
    const struct live_end *end = &history->end;
    const struct log_recovery *recovery = &end->recovery;
    if (end->mode == LIVE_NOTHING)
        return error_set(error, ERROR_NOT_FOUND, "%s holds no log yet", history->directory.path);
    history->last_segment_no = end->segment_no;
    history->end_offset = end->end_offset;
    history->last_seq = end->last_seq;
    history->live = end->mode != LIVE_STOPPED;
    history_know(history, end->last_seq);
    if (history->live || recovery->verdict == LOG_SOUND)
        return 0;
    history_know(history, recovery->witness_seq);
    snprintf(history->reason, sizeof history->reason, "%s", recovery->reason);
    if (recovery->verdict != LOG_DAMAGED || history->salvage)
        return 0;
    return error_set(error, ERROR_DAMAGED,
                     "%s: %s; daa-log verify shows all of it, daa-log restore %s NEW makes a log "
                     "of what is whole",
                     history->directory.path, recovery->reason, history->directory.path);
}

/* What CHECKPOINT and the newest header know, in a copy that is no log any more. */
static void ask_witnesses(struct history *history)
{
    struct segment_header header;
    struct checkpoint checkpoint;
    unsigned damaged;
    struct error what;
    ptrdiff_t index = directory_find(&history->directory, history->last_segment_no);
    if (index < 0 || directory_segment(&history->directory, (size_t)index, &history->probe, &header,
                                       &what) != SEGMENT_BEGUN)
        return;
    history_know(history, header.durable_seq);
    history_know(history, header.prev_last_seq);
    if (directory_checkpoint(&history->directory, &history->probe, &checkpoint, &damaged) == 1 &&
        memcmp(checkpoint.log_uuid, header.log_uuid, UUID_SIZE) == 0)
        history_know(history, checkpoint.durable_seq);
}

/* Just after a roll the writer's new image is not announced yet, and what the files prove may lack
 * events that were acknowledged: looks again for a moment before that counts. */
static int find_end(struct history *history, struct error *error)
{
    const struct timespec pause = { .tv_nsec = IMAGE_PAUSE_NS };
    for (int i = 0;; i++) {
        int code = live_end_refresh(&history->end, &history->directory, &history->probe, error);
        if (code < 0 || history->end.mode != LIVE_PROVEN || i == IMAGE_LOOKS_MAX)
            return code;
        nanosleep(&pause, NULL);
    }
}

int history_open(struct history *history, const char *path, bool salvage, struct error *error)
{
    char inner[PATH_MAX];
    *history =
        (struct history){ .salvage = salvage, .source = { .fd = -1 }, .probe = { .fd = -1 } };
    copying_init(&history->copying);
    live_end_init(&history->end);
    history->end.tolerant = salvage;
    int code = directory_open(&history->directory, path, error);
    if (code < 0)
        return code;
    history->data_dir = snprintf(inner, sizeof inner, "%s/log", path) < (int)sizeof inner &&
                        strcmp(inner, history->directory.path) == 0;
    code = find_end(history, error);
    if (code == 0)
        code = take_end(history, error);
    /* The image may be of a segment that came after the names were read. */
    if (code == 0)
        code = directory_refresh(&history->directory, error);
    if (code == 0 && salvage)
        ask_witnesses(history);
    return code;
}

void history_close(struct history *history)
{
    copying_free(&history->copying);
    source_close(&history->source);
    source_close(&history->probe);
    live_end_close(&history->end);
    directory_close(&history->directory);
}

/* Nothing behind what was copied counts. */
void history_cut(struct history *history, const char *format, ...)
{
    va_list arguments;
    history->cut = true;
    va_start(arguments, format);
    (void)vsnprintf(history->reason, sizeof history->reason, format, arguments);
    va_end(arguments);
}

/* Segments. */

/* What is wrong is in the file, and will be the next time too. */
static bool is_damage(int state)
{
    return state == SEGMENT_DAMAGED || state == SEGMENT_LOST || state == SEGMENT_SHORT ||
           state == -EIO;
}

int history_find(struct history *history, size_t *index, struct segment_header *header,
                 struct error *error)
{
    const struct directory *directory = &history->directory;
    for (; *index < directory->count && directory->segments[*index] <= history->last_segment_no;
         ++*index) {
        struct error what = { 0 };
        char name[LOG_SEGMENT_NAME_SIZE];
        int state = directory_segment(directory, *index, &history->probe, header, &what);
        if (state == SEGMENT_BEGUN)
            return 1;
        if (state == SEGMENT_SPARE)
            continue; /* it was never used: the next one says whether something is missing */
        segment_name(name, directory->segments[*index]);
        if (state == -ENOENT)
            return error_set(
                error, state,
                "%s/%s was removed in the meantime, by retention: run the same command "
                "again; if it misses events then, with a new directory",
                directory->path, name);
        if (history->salvage && is_damage(state)) {
            if (state < 0)
                history_cut(history, "%.1000s", what.text); /* it names the file */
            else
                history_cut(history, "%s: %.900s", name, what.text);
            return 0;
        }
        return error_set(error, state < 0 ? state : ERROR_DAMAGED, "%s/%s: %s", directory->path,
                         name, what.text);
    }
    return 0;
}

int history_find_seq(struct history *history, uint64_t seq, size_t *index, struct error *error)
{
    struct segment_header header;
    size_t next = 0;
    int found = history_find(history, &next, &header, error);
    *index = next;
    if (found <= 0 || seq > history->last_seq)
        return found < 0 ? found : 0;
    while (found == 1 && header.first_seq <= seq) {
        *index = next++;
        found = history_find(history, &next, &header, error);
    }
    return found < 0 ? found : 1;
}

bool history_follows(const struct segment_header *header, const struct backup_segment *before)
{
    return header->prev_segment_no == before->segment_no &&
           header->prev_last_seq == before->last_seq &&
           memcmp(header->prev_chain, before->chain, SHA256_SIZE) == 0;
}
