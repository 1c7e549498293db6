#include "tools/agent/retention.h"

#include "core/base/duration.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

/* The policy. */

/* So many of the oldest that what is left takes at most max_bytes; the newest stays. */
static size_t too_many_bytes(const struct log_segment *segments, size_t count, uint64_t max_bytes,
                             uint64_t *all_bytes)
{
    size_t wanted = 0;
    *all_bytes = 0;
    for (size_t i = 0; i < count; i++)
        *all_bytes += segments[i].disk_bytes;
    for (uint64_t left = *all_bytes; max_bytes > 0 && left > max_bytes && wanted + 1 < count;)
        left -= segments[wanted++].disk_bytes;
    return wanted;
}

/* A segment's newest event is no younger than the beginning of the next one. */
static size_t too_old(const struct log_segment *segments, size_t count, uint64_t max_age_ns,
                      const struct retention_bounds *bounds)
{
    size_t wanted = 0;
    for (; max_age_ns > 0 && wanted + 1 < count; wanted++) {
        uint64_t created_ns = segments[wanted + 1].created_ns, now_ns = bounds->now_ns;
        /* What lies between two moves is taken for a little younger than it is. */
        if (created_ns <= bounds->shifted_at_ns)
            now_ns -= now_ns < bounds->shift_ns ? now_ns : bounds->shift_ns;
        if (now_ns < max_age_ns || created_ns > now_ns - max_age_ns)
            break;
    }
    return wanted;
}

static void apply_policy(const struct log_segment *segments, size_t count,
                         const struct retention_policy *policy,
                         const struct retention_bounds *bounds, struct retention_decision *decision)
{
    char limit[DURATION_TEXT_SIZE];
    uint64_t all_bytes;
    size_t by_bytes = too_many_bytes(segments, count, policy->max_bytes, &all_bytes);
    size_t by_age = too_old(segments, count, policy->max_age_ns, bounds);
    decision->wanted = by_bytes > by_age ? by_bytes : by_age;
    if (decision->wanted == 0)
        return;
    if (by_bytes >= by_age) {
        size_to_text(limit, policy->max_bytes);
        (void)snprintf(decision->reason, sizeof decision->reason,
                       "the log takes %" PRIu64 " bytes, more than retention.max_bytes = %s",
                       all_bytes, limit);
    } else {
        duration_to_text(limit, policy->max_age_ns);
        (void)snprintf(decision->reason, sizeof decision->reason,
                       "its events are older than retention.max_age = %s", limit);
    }
}

/* The bounds. */

/* The lowest of them so far. */
struct bound {
    uint64_t seq; /* everything up to here may go */
    char *text;   /* of the one that says so */
    size_t size;
};

static void lower(struct bound *bound, uint64_t seq, const char *format, ...) ERROR_PRINTF(3, 4);

static void lower(struct bound *bound, uint64_t seq, const char *format, ...)
{
    va_list arguments;
    if (seq >= bound->seq)
        return;
    bound->seq = seq;
    va_start(arguments, format);
    (void)vsnprintf(bound->text, bound->size, format, arguments);
    va_end(arguments);
}

static const char *ago_text(char text[32], uint64_t ago_ns)
{
    uint64_t seconds = ago_ns / SECOND;
    if (seconds < 120)
        (void)snprintf(text, 32, "%" PRIu64 " s", seconds);
    else if (seconds < UINT64_C(2) * 3600)
        (void)snprintf(text, 32, "%" PRIu64 " min", seconds / 60);
    else if (seconds < UINT64_C(2) * 86400)
        (void)snprintf(text, 32, "%" PRIu64 " h", seconds / 3600);
    else
        (void)snprintf(text, 32, "%" PRIu64 " d", seconds / 86400);
    return text;
}

static bool is_named(const struct retention_policy *policy, const char *name)
{
    for (size_t i = 0; i < policy->required_count; i++)
        if (strcmp(policy->required[i], name) == 0)
            return true;
    return false;
}

static bool is_known(const struct retention_bounds *bounds, const char *name)
{
    for (size_t i = 0; i < bounds->reader_count; i++)
        if (strcmp(bounds->readers[i].name, name) == 0)
            return true;
    return false;
}

/* By the wall clock, since that is what readers write down. It may have been set: so by what
 * elapsed, when that is less. A reader that lives must never pass for one that is gone. */
static uint64_t reader_age(const struct retention_bounds *bounds, size_t index)
{
    uint64_t time_ns = bounds->readers[index].time_ns;
    uint64_t ago_ns = bounds->wall_ns > time_ns ? bounds->wall_ns - time_ns : 0;
    if (time_ns <= bounds->shifted_at_ns)
        ago_ns -= ago_ns < bounds->shift_ns ? ago_ns : bounds->shift_ns;
    uint64_t changed_ago_ns = bounds->changed_ago_ns ? bounds->changed_ago_ns[index] : UINT64_MAX;
    return changed_ago_ns < ago_ns ? changed_ago_ns : ago_ns;
}

static bool is_required(const struct retention_policy *policy,
                        const struct log_reader_position *reader)
{
    return reader->required || is_named(policy, reader->name);
}

/* Whether anything is kept for it. */
static bool is_honoured(const struct retention_policy *policy,
                        const struct retention_bounds *bounds, size_t index)
{
    return is_required(policy, &bounds->readers[index]) || bounds->degraded ||
           reader_age(bounds, index) <= policy->reader_ttl_ns;
}

static void bound_by_reader(struct bound *bound, const struct retention_policy *policy,
                            const struct retention_bounds *bounds, size_t index)
{
    char ago[32];
    const struct log_reader_position *reader = &bounds->readers[index];
    const char *word = is_required(policy, reader) ? "required " : "";
    if (!is_honoured(policy, bounds, index))
        return;
    (void)ago_text(ago, reader_age(bounds, index));
    if (reader->problem[0] != '\0')
        lower(bound, 0,
              "where the %sreader %s stands is not known: %s (last changed %s ago); repair its "
              "file or remove it",
              word, reader->name, reader->problem, ago);
    else
        lower(bound, reader->flushed_seq,
              "the %sreader %s stands at event %" PRIu64 ", last seen %s ago", word, reader->name,
              reader->flushed_seq, ago);
}

static void bound_by_readers(struct bound *bound, const struct retention_policy *policy,
                             const struct retention_bounds *bounds)
{
    for (size_t i = 0; i < policy->required_count; i++)
        if (!is_known(bounds, policy->required[i]))
            lower(bound, 0, "the required reader %s was never seen", policy->required[i]);
    for (size_t i = 0; i < bounds->reader_count; i++)
        bound_by_reader(bound, policy, bounds, i);
}

static void bound_by_snapshots(struct bound *bound, const struct retention_bounds *bounds)
{
    if (bounds->snapshot_seq == 0)
        lower(bound, 0,
              "there are not two verified snapshots yet, from which the state could be "
              "rebuilt");
    lower(bound, bounds->snapshot_seq,
          "the older of the two newest snapshots stands at event %" PRIu64, bounds->snapshot_seq);
}

/* Readers that hold nothing for lack of room. */

static void drop(struct retention_decision *decision, const char *word, const char *name,
                 uint64_t after, uint64_t last_seq)
{
    size_t used = strlen(decision->dropped);
    if (after < last_seq)
        (void)snprintf(decision->dropped + used, sizeof decision->dropped - used,
                       "%sthe %sreader %s is dropped for lack of room and lacks the events %" PRIu64
                       " to %" PRIu64,
                       used > 0 ? "; " : "", word, name, after + 1, last_seq);
}

static void drop_readers(struct retention_decision *decision, const struct retention_policy *policy,
                         const struct retention_bounds *bounds, uint64_t last_seq)
{
    for (size_t i = 0; i < policy->required_count; i++)
        if (!is_known(bounds, policy->required[i]))
            drop(decision, "required ", policy->required[i], 0, last_seq);
    for (size_t i = 0; i < bounds->reader_count; i++) {
        const struct log_reader_position *reader = &bounds->readers[i];
        if (is_honoured(policy, bounds, i))
            drop(decision, is_required(policy, reader) ? "required " : "", reader->name,
                 reader->flushed_seq, last_seq);
    }
}

void retention_decide(const struct log_segment *segments, size_t count,
                      const struct retention_policy *policy, const struct retention_bounds *bounds,
                      struct retention_decision *decision)
{
    struct bound bound = { .seq = UINT64_MAX,
                           .text = decision->held,
                           .size = sizeof decision->held };
    *decision = (struct retention_decision){ .wanted = 0 };
    apply_policy(segments, count, policy, bounds, decision);
    if (decision->wanted == 0)
        return;
    bool drops = policy->drops_readers && bounds->no_room;
    bound_by_snapshots(&bound, bounds);
    if (!drops)
        bound_by_readers(&bound, policy, bounds);
    while (decision->segments < decision->wanted &&
           segments[decision->segments].last_seq <= bound.seq)
        decision->segments++;
    if (decision->segments == decision->wanted)
        decision->held[0] = '\0';
    if (drops && decision->segments > 0)
        drop_readers(decision, policy, bounds, segments[decision->segments - 1].last_seq);
}
