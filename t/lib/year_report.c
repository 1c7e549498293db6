#include "year_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define OF(name) offsetof(struct year_sample, name)
#define BUDGET_OF(owner) (OF(budget) + (owner) * sizeof(uint64_t))
#define MIB (UINT64_C(1) << 20)
#define START_SLACK_MS 15.0 /* of CPU time, of which a busy machine takes more */

/* Columns of whole numbers. `slack` only for what must be bounded: so much is noise. */
static const struct column {
    const char *name;
    size_t offset;
    bool bounded;
    uint64_t slack;
} columns[] = {
    { "events", OF(events), false, 0 },
    { "removed_events", OF(removed_events), false, 0 },
    { "submitted", OF(submitted), false, 0 },
    { "completed", OF(completed), false, 0 },
    { "failed", OF(failed), false, 0 },
    { "cancelled", OF(cancelled), false, 0 },
    { "unfinished", OF(unfinished), true, 200 },
    { "workflows_in_memory", OF(in_memory), true, 200 },
    { "timers", OF(timers), true, 200 },
    { "definitions", OF(definitions), true, 2 },
    { "expired_keys", OF(expired_keys), false, 0 },
    { "expired_workflows", OF(expired_workflows), false, 0 },
    { "budget_workflows", BUDGET_OF(BUDGET_WORKFLOWS), true, MIB },
    { "budget_definitions", BUDGET_OF(BUDGET_DEFINITIONS), true, MIB },
    { "budget_requests", BUDGET_OF(BUDGET_REQUESTS), true, MIB },
    { "budget_effects", BUDGET_OF(BUDGET_EFFECTS), true, MIB },
    { "budget_documents", BUDGET_OF(BUDGET_DOCUMENTS), true, MIB },
    { "budget_log", BUDGET_OF(BUDGET_LOG), true, MIB },
    { "budget_readers", BUDGET_OF(BUDGET_READERS), true, MIB },
    { "budget_used", OF(budget_used), true, 2 * MIB },
    { "budget_peak", OF(budget_peak), true, 4 * MIB },
    { "rss_anon", OF(rss_anon), true, 4 * MIB },
    { "open_files", OF(open_files), true, 4 },
    { "threads", OF(threads), true, 2 },
    { "segments", OF(segments), true, 8 },
    { "segment_bytes", OF(segment_bytes), true, 2 * MIB },
    { "first_segment", OF(first_segment), false, 0 },
    { "snapshots", OF(snapshots), true, 0 },
    { "snapshot_bytes", OF(snapshot_bytes), true, MIB },
    { "lmdb_bytes", OF(lmdb_bytes), true, MIB },
    { "lmdb_file_bytes", OF(lmdb_file_bytes), false, 0 }, /* see compare_database() */
    { "documents", OF(documents), true, 500 },
    { "document_bytes", OF(document_bytes), true, MIB },
    { "workflow_documents", OF(w), true, 200 },
    { "active_documents", OF(a), true, 200 },
    { "finished_documents", OF(f), true, 200 },
    { "definition_documents", OF(d), true, 2 },
    { "usage_documents", OF(u), true, 2 },
    { "key_documents", OF(k), true, 200 },
    { "key_expiry_documents", OF(x), true, 200 },
};

enum { COLUMNS = sizeof columns / sizeof columns[0] };

static uint64_t value_of(const struct year_sample *sample, const struct column *column)
{
    uint64_t value;
    memcpy(&value, (const uint8_t *)sample + column->offset, sizeof value);
    return value;
}

/*--- Bounded -----------------------------------------------------------------------------------*/

static bool is_in(double day, double from, double days)
{
    return day >= from && day < from + days + 0.5;
}

static uint64_t largest(const struct year_result *result, const struct column *column, double from,
                        double days)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < result->sample_count; i++) {
        uint64_t value = value_of(&result->samples[i], column);
        if (is_in(result->samples[i].day, from, days) && value > most)
            most = value;
    }
    return most;
}

static double slowest(const struct year_result *result, int kind, double from, double days)
{
    double most = 0;
    for (uint32_t i = 0; i < result->start_count; i++) {
        const struct year_start *start = &result->starts[i];
        if (start->kind == kind && is_in(start->day, from, days) && start->cpu_ms > most)
            most = start->cpu_ms;
    }
    return most;
}

static struct year_world *world_of(struct year_result *result)
{
    return (struct year_world *)((uint8_t *)result - offsetof(struct year_world, result));
}

/* LMDB's file keeps the size of its busiest day until it is deleted: pages in use, as many more
 * that were free while a read or the last commit held them. */
static void compare_database(struct year_result *result)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < result->sample_count; i++) {
        const struct year_sample *sample = &result->samples[i];
        if (sample->lmdb_bytes > most)
            most = sample->lmdb_bytes;
        if (sample->lmdb_file_bytes <= 2 * most + 4 * MIB)
            continue;
        year_fail(world_of(result),
                  "day %.0f: the database takes %" PRIu64 " bytes, though never more than %" PRIu64
                  " were in use",
                  sample->day, sample->lmdb_file_bytes, most);
        return;
    }
}

void year_compare(struct year_result *result, double early, double late, double days, double factor)
{
    static const char *const kinds[] = { "first", "clean", "crash", "no-database" };
    for (unsigned i = 0; i < COLUMNS; i++) {
        const struct column *column = &columns[i];
        uint64_t before = largest(result, column, early, days);
        uint64_t after = largest(result, column, late, days);
        if (column->bounded && (double)after > (double)before * factor + (double)column->slack)
            year_fail(world_of(result),
                      "%s grows: at most %" PRIu64 " around day %.0f, %" PRIu64 " around day %.0f",
                      column->name, before, early, after, late);
    }
    compare_database(result);
    /* CPU time, since others use the machine; restarts are rarer than days. */
    for (int kind = YEAR_CLEAN; kind <= YEAR_NO_DATABASE; kind++) {
        double before = slowest(result, kind, early, 2 * days);
        double after = slowest(result, kind, late - days, 2 * days);
        if (before > 0 && after > before * 2 + START_SLACK_MS)
            year_fail(world_of(result),
                      "starts (%s) take longer: at most %.0f ms of CPU around day %.0f, %.0f ms "
                      "around day %.0f",
                      kinds[kind], before, early, after, late);
    }
}

/*--- CSV ---------------------------------------------------------------------------------------*/

static int finish(FILE *file)
{
    int status = ferror(file) ? -EIO : 0;
    return fclose(file) != 0 && status == 0 ? -errno : status;
}

int year_write_samples(const struct year_result *result, const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return -errno;
    fputs("day,degraded", file);
    for (unsigned i = 0; i < COLUMNS; i++)
        fprintf(file, ",%s", columns[i].name);
    for (uint32_t s = 0; s < result->sample_count; s++) {
        const struct year_sample *sample = &result->samples[s];
        fprintf(file, "\n%.3f,%d", sample->day, sample->degraded);
        for (unsigned i = 0; i < COLUMNS; i++)
            fprintf(file, ",%" PRIu64, value_of(sample, &columns[i]));
    }
    fputc('\n', file);
    return finish(file);
}

int year_write_starts(const struct year_result *result, const char *path)
{
    static const char *const kinds[] = { "first", "clean", "crash", "no-database" };
    FILE *file = fopen(path, "w");
    if (!file)
        return -errno;
    fputs("day,kind,after_crash,ready_ms,cpu_ms,replayed,snapshot_seq,loaded\n", file);
    for (uint32_t i = 0; i < result->start_count; i++) {
        const struct year_start *start = &result->starts[i];
        fprintf(file, "%.3f,%s,%d,%.1f,%.1f,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", start->day,
                kinds[start->kind], start->after_crash, start->ready_ms, start->cpu_ms,
                start->replayed, start->snapshot_seq, start->loaded);
    }
    return finish(file);
}
