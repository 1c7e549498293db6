/* Makes a log of small workflows with a real agent, then measures what a rebuild from nothing, a
 * snapshot, reading it back and a rebuild from it take. One JSON object on standard output. */
#include "agent_log.h"
#include "log/reader.h"
#include "scratch.h"
#include "tools/agent/rebuild.h"
#include "tools/agent/snapshot.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct figure {
    double seconds, cpu_seconds;
};

static double seconds_now(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct figure begin(void)
{
    return (struct figure){ seconds_now(CLOCK_MONOTONIC), seconds_now(CLOCK_PROCESS_CPUTIME_ID) };
}

static struct figure end(struct figure begun)
{
    return (struct figure){ seconds_now(CLOCK_MONOTONIC) - begun.seconds,
                            seconds_now(CLOCK_PROCESS_CPUTIME_ID) - begun.cpu_seconds };
}

_Noreturn static void give_up(const struct error *error)
{
    fprintf(stderr, "tools-rebuild: %s\n", error->text);
    exit(1);
}

static const char *path_of(char path[PATH_MAX], const char *dir, const char *name)
{
    if (snprintf(path, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
        exit(2);
    return path;
}

static void make_log(const char *log_dir, const char *db_dir, uint64_t workflows)
{
    static const char source[] = "{\"name\":\"three\",\"steps\":[{\"id\":\"a\",\"sleep\":\"0s\"},"
                                 "{\"id\":\"b\",\"sleep\":\"0s\",\"needs\":[\"a\"]},"
                                 "{\"id\":\"c\",\"sleep\":\"0s\",\"needs\":[\"b\"]}]}";
    struct agent_log made = { .log_dir = log_dir, .db_dir = db_dir };
    agent_log_open(&made);
    struct flow *flow = agent_log_flow(&made, source);
    for (uint64_t i = 0; i < workflows; i++) {
        (void)agent_log_submit(&made, flow, "{\"order\":12345,\"note\":\"a small input\"}", NULL);
        if (i % 50 == 49)
            agent_log_wait(&made, 1000000);
        if (i % 500 == 499)
            (void)agent_log_commit(&made);
    }
    agent_log_wait(&made, 1000000000);
    flow_unref(flow);
    agent_log_close(&made);
}

struct rebuilt {
    struct rebuild_result result;
    struct figure figure;
    uint8_t digest[SHA256_SIZE];
};

static void say(const char *sentence, void *context)
{
    (void)context;
    fprintf(stderr, "%s\n", sentence);
}

/* A rebuild into an empty database; the state is left open when asked for. */
static struct rebuilt rebuild(const char *log_dir, const char *db_dir, const char *snapshots_dir,
                              struct state **kept)
{
    struct agent_log none = { 0 };
    static struct budget budget;
    struct error error;
    struct state_found found;
    struct state *state;
    struct rebuilt rebuilt;
    struct log_reader *reader;
    budget_init(&budget, 2ull << 30);
    struct state_options options = { .dir = db_dir, .budget = &budget };
    if (log_reader_open(&reader, &(struct log_reader_options){ .dir = log_dir }, &error) < 0)
        give_up(&error);
    memcpy(options.log_uuid, log_reader_uuid(reader), 16);
    log_reader_close(reader);
    if (state_open(&state, &options, &found, &error) < 0)
        give_up(&error);
    struct agent *agent = agent_log_agent(&none, options.log_uuid, &budget);
    struct rebuild_options how = { .log_dir = log_dir,
                                   .db_dir = db_dir,
                                   .snapshots_dir = snapshots_dir,
                                   .state = state,
                                   .found = &found,
                                   .agent = agent,
                                   .budget = &budget,
                                   .say = say };
    struct figure begun = begin();
    if (rebuild_run(&how, &rebuilt.result, &error) < 0 || state_commit_now(state, &error) < 0)
        give_up(&error);
    rebuilt.figure = end(begun);
    uint64_t seq;
    if (state_digest(state, rebuilt.digest, &seq, &error) < 0)
        give_up(&error);
    agent_close(agent);
    if (kept)
        *kept = state;
    else if (state_close(state, &error) < 0)
        give_up(&error);
    return rebuilt;
}

static void print_rebuilt(const char *name, const struct rebuilt *rebuilt)
{
    printf("\"%s\":{\"events\":%" PRIu64 ",\"seconds\":%.3f,\"cpu_seconds\":%.3f,"
           "\"events_per_second\":%.0f,\"events_per_cpu_second\":%.0f}",
           name, rebuilt->result.replayed, rebuilt->figure.seconds, rebuilt->figure.cpu_seconds,
           (double)rebuilt->result.replayed / rebuilt->figure.seconds,
           (double)rebuilt->result.replayed / rebuilt->figure.cpu_seconds);
}

static void print_bytes(const char *name, const struct snapshot_info *info, struct figure figure)
{
    printf(",\"%s\":{\"documents\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"file_bytes\":%" PRIu64
           ",\"seconds\":%.3f,\"cpu_seconds\":%.3f,\"bytes_per_second\":%.0f}",
           name, info->documents, info->bytes, info->file_bytes, figure.seconds, figure.cpu_seconds,
           (double)info->bytes / figure.seconds);
}

static void measure(const char *log_dir, const char *dir)
{
    char db[PATH_MAX], again[PATH_MAX], snapshots[PATH_MAX], file[PATH_MAX + SNAPSHOT_NAME_SIZE];
    char name[SNAPSHOT_NAME_SIZE];
    struct state *state;
    struct snapshot_info info;
    struct error error;
    struct rebuilt whole = rebuild(log_dir, path_of(db, dir, "db"), NULL, &state);
    (void)mkdir(path_of(snapshots, dir, "snapshots"), 0700);
    struct figure begun = begin();
    if (snapshot_write(snapshots, state, 0, NULL, &info, &error) < 0)
        give_up(&error);
    struct figure written = end(begun);
    snapshot_name(name, info.seq);
    snprintf(file, sizeof file, "%s/%s", snapshots, name);
    begun = begin();
    if (snapshot_read(file, &info, NULL, NULL, NULL, &error) < 0 || state_close(state, &error) < 0)
        give_up(&error);
    struct figure read = end(begun);
    struct rebuilt loaded = rebuild(log_dir, path_of(again, dir, "again"), snapshots, NULL);
    putchar('{');
    print_rebuilt("replay", &whole);
    print_bytes("snapshot", &info, written);
    print_bytes("read_back", &info, read);
    print_bytes("load", &info, loaded.figure);
    printf(",\"same_digest\":%s}\n",
           memcmp(whole.digest, loaded.digest, SHA256_SIZE) == 0 ? "true" : "false");
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
                                             { "workflows", required_argument, NULL, 'w' },
                                             { "log", required_argument, NULL, 'l' },
                                             { NULL, 0, NULL, 0 } };
    const char *dir = "/var/tmp", *log_dir = NULL;
    uint64_t workflows = 200000;
    char work[PATH_MAX], log_path[PATH_MAX], db_path[PATH_MAX];
    for (int letter; (letter = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (letter) {
        case 'd':
            dir = optarg;
            break;
        case 'w':
            workflows = strtoull(optarg, NULL, 10);
            break;
        case 'l':
            log_dir = optarg;
            break;
        default:
            fprintf(stderr, "usage: tools-rebuild [--dir DIR] [--workflows N | --log DIR]\n");
            return 2;
        }
    if (!mkdtemp((char *)(uintptr_t)path_of(work, dir, "daa-rebuild-XXXXXX")))
        return 1;
    if (!log_dir)
        make_log(log_dir = path_of(log_path, work, "log"), path_of(db_path, work, "live"),
                 workflows);
    measure(log_dir, work);
    scratch_remove(work);
    return 0;
}
