#include "core/agent/document.h"
#include "log/log.h"
#include "tools/agent/housekeeper.h"
#include "tools/agent/loop.h"
#include "tools/agent/snapshots.h"
#include "tools/agent/state_view.h"
#include "year_inside.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS 300000
#define SNAPSHOTS_KEPT 2u
#define PATIENCE_LOOKS 200000u /* a minute and more; then it does not come any more */

_Static_assert(BUDGET_OWNERS <= YEAR_OWNERS, "a column for each owner");

/*--- Housekeeping ------------------------------------------------------------------------------*/

struct first {
    bool found;
    uint64_t at_ns;
};

static bool take_first(struct span key, struct span bytes, void *context)
{
    struct first *first = context;
    uint8_t digest[SHA256_SIZE];
    uint64_t stream;
    (void)bytes;
    first->found = document_expiry_of_key(key, &first->at_ns, digest) ||
                   document_finished_of_key(key, &first->at_ns, &stream);
    return false;
}

static bool is_over(struct year_agent *agent, const char *prefix, uint64_t before_ns)
{
    struct first first = { .found = false };
    if (state_walk(agent->boot.state, span_of_text(prefix), span_of(NULL, 0), false, take_first,
                   &first) < 0)
        return true;
    return first.found && first.at_ns < before_ns;
}

/* Files of a directory whose names begin so: how many, and the bytes that they take on the disk.
 * What is removed meanwhile may make a filesystem list the others twice. */
static uint64_t count_files(const char *dir, const char *prefix, uint64_t *bytes)
{
    uint64_t count = 0;
    struct dirent **names;
    struct stat stat_of;
    char path[PATH_MAX];
    int found = scandir(dir, &names, NULL, alphasort);
    *bytes = 0;
    for (int i = 0; i < found; i++) {
        const char *name = names[i]->d_name;
        bool counts = name[0] != '.' && strncmp(name, prefix, strlen(prefix)) == 0 &&
                      (i == 0 || strcmp(name, names[i - 1]->d_name) != 0);
        if (!counts || snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path ||
            lstat(path, &stat_of) < 0)
            continue;
        count++;
        *bytes += (uint64_t)stat_of.st_blocks * 512;
    }
    for (int i = 0; i < found; i++)
        free(names[i]);
    if (found >= 0)
        free(names);
    return count;
}

/* The snapshot is recorded, those that it replaces are removed, and nothing is left that should
 * have expired. */
static bool is_kept(struct year_agent *agent, uint64_t snapshot_seq)
{
    struct loop_counts counts;
    uint64_t bytes;
    const struct year_options *options = &agent->world->options;
    loop_counts_get(agent->boot.loop, &counts);
    if (counts.agent.snapshots[1].seq < snapshot_seq ||
        count_files(agent->boot.snapshots_dir, "snap-", &bytes) > SNAPSHOTS_KEPT)
        return false;
    uint64_t now_ns = counts.now_ns - counts.agent.shift_ns; /* agent time */
    return !is_over(agent, "f", now_ns - options->finished_ttl_ns) && !is_over(agent, "x", now_ns);
}

void year_housekeep(struct year_agent *agent)
{
    struct timespec look = { .tv_nsec = LOOK_NS };
    struct snapshot_info info;
    struct error error;
    /* A virtual day may be shorter than the time between two commits. */
    if (state_commit_now(agent->boot.state, &error) < 0 ||
        snapshots_make(agent->boot.snapshots, &info, &error) < 0) {
        year_fail(agent->world, "no snapshot: %s", error.text);
        return;
    }
    for (unsigned looks = 0; !is_kept(agent, info.seq); looks++) {
        if (looks == PATIENCE_LOOKS) {
            agent->world->given_up = true;
            year_fail(agent->world, "day %.2f: what is over does not go",
                      (double)agent->world->true_ns / (double)YEAR_DAY_NS);
            return;
        }
        nanosleep(&look, NULL);
    }
    year_agent_settle(agent);
}

/*--- What is measured --------------------------------------------------------------------------*/

static uint64_t status_line(const char *name)
{
    char line[256];
    uint64_t value = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            (void)sscanf(line + strlen(name), ": %" SCNu64, &value);
    if (file)
        fclose(file);
    return value;
}

static void count_documents(struct year_agent *agent, struct year_sample *sample)
{
    struct state_view *view;
    struct span key, value;
    struct error error = { 0 };
    if (state_commit_now(agent->boot.state, &error) < 0 ||
        state_view_open(agent->boot.state, &view, &error) < 0) {
        year_fail(agent->world, "the documents cannot be counted: %s", error.text);
        return;
    }
    while (state_view_next(view, &key, &value, &error) == 1) {
        char kind = (char)key.bytes[0];
        sample->documents++;
        sample->document_bytes += key.size + value.size;
        sample->w += kind == 'w';
        sample->a += kind == 'a';
        sample->f += kind == 'f';
        sample->d += kind == 'd';
        sample->u += kind == 'u';
        sample->k += kind == 'k';
        sample->x += kind == 'x';
    }
    state_view_close(view);
    sample->lmdb_bytes = kv_bytes_used(state_kv(agent->boot.state));
}

static void measure_memory(struct year_agent *agent, struct year_sample *sample)
{
    struct budget *budget = &agent->boot.budget;
    uint64_t bytes;
    for (unsigned i = 0; i < BUDGET_OWNERS; i++) {
        sample->budget[i] = atomic_load(&budget->owner_used[i]);
        sample->budget_peak += atomic_load(&budget->owner_peak[i]);
    }
    sample->budget_used = atomic_load(&budget->used);
    sample->rss_anon = status_line("RssAnon") * 1024;
    sample->threads = status_line("Threads");
    sample->open_files = count_files("/proc/self/fd", "", &bytes);
    if (atomic_load(&budget->refusals) > 0)
        year_fail(agent->world, "the budget refused %" PRIu64 " times",
                  (uint64_t)atomic_load(&budget->refusals));
}

static void measure_files(struct year_agent *agent, struct year_sample *sample)
{
    const struct boot *boot = &agent->boot;
    struct stat stat_of;
    char path[PATH_MAX + 16];
    sample->segments = count_files(boot->log_dir, "seg-", &sample->segment_bytes);
    sample->snapshots = count_files(boot->snapshots_dir, "snap-", &sample->snapshot_bytes);
    snprintf(path, sizeof path, "%s/data.mdb", boot->db_dir);
    if (stat(path, &stat_of) == 0)
        sample->lmdb_file_bytes = (uint64_t)stat_of.st_blocks * 512;
}

static void measure_agent(struct year_agent *agent, struct year_sample *sample)
{
    struct loop_counts counts;
    struct housekeeper_status status;
    struct year_world *world = agent->world;
    loop_counts_get(agent->boot.loop, &counts);
    housekeeper_status_get(atomic_load(&agent->boot.housekeeper), &status);
    sample->timers = counts.agent.timers;
    sample->unfinished = counts.agent.unfinished;
    sample->definitions = counts.agent.definitions_there;
    sample->in_memory = counts.agent.workflows;
    sample->submitted = counts.agent.submitted;
    sample->completed = counts.agent.completed;
    sample->failed = counts.agent.failed;
    sample->cancelled = counts.agent.cancelled;
    sample->first_segment = counts.agent.removed_segment + 1;
    sample->removed_events = counts.agent.removed_seq;
    sample->degraded = counts.agent.clock_stepped;
    sample->expired_keys = world->expired_keys + status.keys_expired;
    sample->expired_workflows = world->expired_workflows + status.workflows_expired;
    if (status.trouble.code < 0)
        year_fail(world, "housekeeping has trouble: %s", status.trouble.text);
}

/* Retention looks once a day and lets go of whole segments. */
static void check_retention(struct year_world *world, const struct year_sample *sample)
{
    const struct year_options *options = &world->options;
    uint32_t before = options->retention_days + 3;
    if (options->retention_bytes > 0 &&
        sample->segment_bytes > options->retention_bytes + options->retention_bytes / 8)
        year_fail(world, "day %.0f: the log takes %" PRIu64 " bytes", sample->day,
                  sample->segment_bytes);
    if (world->result.sample_count < before)
        return;
    const struct year_sample *old = &world->result.samples[world->result.sample_count - before];
    if (old->events > sample->removed_events)
        year_fail(world, "day %.0f: events of day %.0f are still in the log", sample->day,
                  old->day);
}

void year_sample(struct year_agent *agent)
{
    struct year_world *world = agent->world;
    struct log_stats log;
    if (world->result.sample_count == YEAR_DAYS_MAX)
        return;
    struct year_sample *sample = &world->result.samples[world->result.sample_count];
    *sample = (struct year_sample){ .day = (double)world->true_ns / (double)YEAR_DAY_NS };
    log_stats_get(agent->boot.log, &log);
    sample->events = world->result.events = log.durable_seq;
    measure_memory(agent, sample);
    count_documents(agent, sample);
    measure_files(agent, sample);
    measure_agent(agent, sample);
    check_retention(world, sample);
    world->result.sample_count++;
}
