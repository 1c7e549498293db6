#include "tools/agent/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int keeper_init(struct keeper *keeper, const struct config *config, const char *log_dir,
                struct error *error)
{
    *keeper = (struct keeper){
        .policy = {
            .max_bytes = config->retention.max_bytes,
            .max_age_ns = config->retention.max_age,
            .reader_ttl_ns = config->retention.reader_ttl,
            .required = (const char *const *)config->retention.required_readers.items,
            .required_count = config->retention.required_readers.count,
            .drops_readers = config->retention.on_full == CONFIG_ON_FULL_DROP_REPLICA,
        },
    };
    int length = snprintf(keeper->log_dir, sizeof keeper->log_dir, "%s", log_dir);
    if (length >= (int)sizeof keeper->log_dir)
        return error_set(error, -ENAMETOOLONG, "log directory %s: the path is too long", log_dir);
    return 0;
}

/* Those that no event has given up yet. */
struct collected {
    struct log_segment *items;
    size_t count, capacity;
    uint64_t removed_segment;
    bool failed; /* no memory */
};

static void collect(const struct log_segment *segment, void *context)
{
    struct collected *collected = context;
    if (segment->segment_no <= collected->removed_segment || collected->failed)
        return;
    if (collected->count == collected->capacity) {
        size_t more = collected->capacity == 0 ? 64 : collected->capacity * 2;
        struct log_segment *grown = realloc(collected->items, more * sizeof *grown);
        collected->failed = grown == NULL;
        if (grown == NULL)
            return;
        collected->items = grown;
        collected->capacity = more;
    }
    collected->items[collected->count++] = *segment;
}

static void fill(struct keeper_removal *removal, const struct log_segment *segments,
                 const struct retention_decision *decision)
{
    _Static_assert(sizeof removal->held == sizeof decision->held, "both hold the same sentence");
    memcpy(removal->held, decision->held, sizeof removal->held);
    if (decision->segments == 0)
        return;
    const struct log_segment *first = &segments[0], *last = &segments[decision->segments - 1];
    removal->first_segment = first->segment_no;
    removal->last_segment = last->segment_no;
    removal->first_seq = first->first_seq;
    removal->last_seq = last->last_seq;
    for (const struct log_segment *segment = first; segment <= last; segment++)
        removal->bytes += segment->disk_bytes;
    memcpy(removal->reason, decision->reason, sizeof removal->reason);
    _Static_assert(sizeof removal->dropped == sizeof decision->dropped, "so they do here");
    memcpy(removal->dropped, decision->dropped, sizeof removal->dropped);
}

static struct keeper_seen *find_seen(struct keeper *keeper, const char *name)
{
    for (size_t i = 0; i < keeper->seen_count; i++)
        if (strcmp(keeper->seen[i].name, name) == 0)
            return &keeper->seen[i];
    return NULL;
}

/* Elapsed since the reader's file was found changed; UINT64_MAX: it was not. */
static uint64_t look_at_reader(struct keeper *keeper, const struct log_reader_position *reader,
                               uint64_t elapsed_ns)
{
    struct keeper_seen *seen = find_seen(keeper, reader->name);
    bool is_new = seen == NULL;
    if (is_new && keeper->seen_count == KEEPER_SEEN_MAX)
        return UINT64_MAX;
    if (is_new) {
        seen = &keeper->seen[keeper->seen_count++];
        memcpy(seen->name, reader->name, sizeof seen->name);
        seen->changed_ns = UINT64_MAX;
    } else if (seen->seq != reader->seq || seen->flushed_seq != reader->flushed_seq ||
               seen->time_ns != reader->time_ns) {
        seen->changed_ns = elapsed_ns;
    }
    seen->seq = reader->seq;
    seen->flushed_seq = reader->flushed_seq;
    seen->time_ns = reader->time_ns;
    return seen->changed_ns == UINT64_MAX ? UINT64_MAX : elapsed_ns - seen->changed_ns;
}

static int decide(struct keeper *keeper, const struct keeper_bounds *bounds,
                  const struct collected *segments, struct keeper_removal *removal,
                  struct error *error)
{
    struct log_reader_position *readers;
    struct retention_decision decision;
    size_t reader_count;
    int code = log_reader_positions(keeper->log_dir, &readers, &reader_count, error);
    if (code < 0)
        return code;
    uint64_t *changed_ago_ns = calloc(reader_count + 1, sizeof *changed_ago_ns);
    for (size_t i = 0; changed_ago_ns != NULL && i < reader_count; i++)
        changed_ago_ns[i] = look_at_reader(keeper, &readers[i], bounds->elapsed_ns);
    if (changed_ago_ns == NULL) {
        free(readers);
        return error_set(error, -ENOMEM, "log %s: no memory for the list of its readers",
                         keeper->log_dir);
    }
    const struct retention_bounds all = { .now_ns = bounds->now_ns,
                                          .wall_ns = bounds->wall_ns,
                                          .degraded = bounds->degraded,
                                          .no_room = bounds->no_room,
                                          .shift_ns = bounds->shift_ns,
                                          .shifted_at_ns = bounds->shifted_at_ns,
                                          .snapshot_seq = bounds->snapshot_seq,
                                          .readers = readers,
                                          .changed_ago_ns = changed_ago_ns,
                                          .reader_count = reader_count };
    retention_decide(segments->items, segments->count, &keeper->policy, &all, &decision);
    fill(removal, segments->items, &decision);
    free(changed_ago_ns);
    free(readers);
    return decision.segments > 0;
}

int keeper_plan(struct keeper *keeper, const struct keeper_bounds *bounds,
                struct keeper_removal *removal, struct error *error)
{
    struct collected segments = { .removed_segment = bounds->removed_segment };
    *removal = (struct keeper_removal){ .bytes = 0 };
    if (keeper->policy.max_bytes == 0 && keeper->policy.max_age_ns == 0)
        return 0;
    int code = log_segments(keeper->log_dir, collect, &segments, error);
    if (code == 0 && segments.failed)
        code = error_set(error, -ENOMEM, "log %s: no memory for the list of its segments",
                         keeper->log_dir);
    if (code == 0)
        code = decide(keeper, bounds, &segments, removal, error);
    free(segments.items);
    return code;
}

int keeper_remove(const struct keeper *keeper, uint64_t last_segment, struct log_removed *removed,
                  struct error *error)
{
    return log_remove_before(keeper->log_dir, last_segment + 1, removed, error);
}
