/* daa-pgsync: copies an agent's event log into PostgreSQL. docs/daa-pgsync.1 says how to use it. */
#include "core/base/bytes.h"
#include "core/base/id.h"
#include "core/base/text.h"
#include "log/format.h"
#include "log/reader.h"
#include "log/readers.h"
#include "pgsync/copier.h"
#include "pgsync/recopy.h"
#include "tools/command/command.h"
#include "tools/command/progress.h"
#include "tools/pgsync/failed.h"
#include "tools/pgsync/metrics_file.h"
#include "tools/pgsync/repair.h"
#include "tools/pgsync/restore.h"
#include "tools/pgsync/status.h"
#include "tools/pgsync/verify.h"
#include "tools/replication/follow.h"
#include "tools/replication/keys.h"
#include "tools/replication/lag.h"
#include "tools/replication/news.h"
#include "tools/replication/replication.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MEMORY_MAX (UINT64_C(512) << 20)
#define COPYING_OPTIONS "--batch-rows, --partition-rows, --detach-after and --metrics-file"
#define METRICS_EVERY_NS UINT64_C(10000000000)

static const char *data_dir, *keys_dir, *url, *reader_name = "pgsync";
static bool once, follow, status_only, json, verify, content, rebuild, repair, dry_run;
static uint64_t batch_rows, partition_rows, rebuild_from, segment_size;
static uint64_t detach_after_ns = UINT64_MAX; /* never */
static const char *metrics_file, *log_name;

static const struct command_option options[] = {
    { "data-dir", 'D', "DIR", COMMAND_TEXT, &data_dir, "the agent's data directory, or a log's" },
    { "keys", 0, "DIR", COMMAND_TEXT, &keys_dir,
      "the keys of encrypted events (\"keys\" beside the log)" },
    { "url", 'u', "URL", COMMAND_TEXT, &url,
      "the database: postgresql://user@host/name, or $DAA_PG_URL;\n"
      "the password from PGPASSWORD or PGPASSFILE" },
    { "once", 0, NULL, COMMAND_FLAG, &once, "copy what is durable now, then end (the default)" },
    { "follow", 'f', NULL, COMMAND_FLAG, &follow,
      "go on with each new event; outlives the server" },
    { "status", 0, NULL, COMMAND_FLAG, &status_only,
      "print how far the copy is and who makes it, and change nothing" },
    { "json", 'j', NULL, COMMAND_FLAG, &json, "print the result as one JSON object" },
    { "batch-rows", 0, "N", COMMAND_NUMBER, &batch_rows,
      "at most N events in one transaction (20000)" },
    { "partition-rows", 0, "N", COMMAND_NUMBER, &partition_rows,
      "events in each partition of a schema that is made now (10000000)" },
    { "detach-after", 0, "AGE", COMMAND_DURATION, &detach_after_ns,
      "detach partitions whose events are all older, such as 400d; they\n"
      "stay as tables of their own (never)" },
    { "reader-name", 0, "NAME", COMMAND_TEXT, &reader_name,
      "say under this name in the log's directory how far the copy\n"
      "is (pgsync); \"\": do not" },
    { "metrics-file", 0, "FILE", COMMAND_TEXT, &metrics_file,
      "write metrics for Prometheus there, every ten seconds" },
    { "verify", 0, NULL, COMMAND_FLAG, &verify,
      "compare the copy with the log, and change nothing" },
    { "content", 0, NULL, COMMAND_FLAG, &content,
      "with --verify: each column of each row, and the derived tables" },
    { "rebuild", 0, NULL, COMMAND_FLAG, &rebuild,
      "make the derived tables anew, then copy as --once does" },
    { "from", 0, "SEQ", COMMAND_COUNT, &rebuild_from,
      "with --rebuild: the events from SEQ on too (1: all)" },
    { "repair", 0, NULL, COMMAND_FLAG, &repair,
      "verify each column, mend what differs, and verify again" },
    { "dry-run", 0, NULL, COMMAND_FLAG, &dry_run, "with --repair: only say what would be done" },
    { "log", 0, "UUID", COMMAND_TEXT, &log_name, "restore: the log, where Postgres has several" },
    { "segment-size", 0, "SIZE", COMMAND_SIZE, &segment_size,
      "restore: of the log that is made (64MiB)" },
    { .name = NULL },
};

static const struct command command = {
    .name = "daa-pgsync",
    .purpose = "Copy an agent's event log into PostgreSQL, each event exactly once.",
    .arguments = "[restore DIR]",
    .arguments_max = 2,
    .options = options,
    .notes = "'daa-pgsync restore --url URL DIR' makes a log of the copy, in a new directory.\n\n"
             "Exit status: 0 done, or a signal ended the copying; 1 failed, or the copy "
             "differs; 2 usage.",
};

static struct interrupt stopping;
static struct key_source keys;

static void on_signal(int number)
{
    (void)number;
    interrupt_raise(&stopping);
}

static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write past a limit is an error like any other */
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What is kept for the messages, the metrics and the result. */
struct run {
    struct log_reader *reader;
    struct progress progress;
    struct replication replication;
    struct log_reader *metrics_reader; /* the copier's stands where it copies */
    bool metrics_failed;
    uint64_t begun_ns;
    uint64_t first_position; /* behind which the first batch began */
    uint64_t goal;           /* the end, as it was when we began */
};

static void write_metrics(struct run *run)
{
    struct lag lag;
    struct text text;
    struct error error = { 0 };
    struct timespec now;
    if (metrics_file == NULL)
        return;
    const struct log_reader_options log_options = { .dir = data_dir };
    int failed = 0;
    if (run->metrics_reader == NULL)
        failed = log_reader_open(&run->metrics_reader, &log_options, &error);
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t wall_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (failed == 0)
        failed = lag_measure(&lag, run->metrics_reader, run->replication.position, wall_ns, &error);
    text_init(&text);
    if (failed == 0) {
        replication_metrics(&text, &run->replication, &lag);
        failed = metrics_file_write(metrics_file, &text, &error);
    }
    text_free(&text);
    if (failed < 0 && !run->metrics_failed)
        fprintf(stderr, "daa-pgsync: %s\n", error.text);
    run->metrics_failed = failed < 0;
}

/* One line a change of state; the first connection of --once is no news. */
static void take_event(void *context, const struct follow_event *event)
{
    struct run *run = context;
    char text[NEWS_SIZE];
    uint64_t position = event->stats->position;
    bool first = event->news == FOLLOW_CONNECTED && event->first;
    replication_note(&run->replication, event);
    if (first)
        run->first_position = position;
    if (first && once && run->goal > position)
        progress_begin(&run->progress, "copying", PROGRESS_ITEMS, run->goal - position);
    bool quiet = first && once && event->stats->index_trouble[0] == '\0';
    if (!quiet && news_of(event, text)) {
        progress_clear(&run->progress);
        fprintf(stderr, "daa-pgsync: %s\n", text);
    }
    if (event->news == FOLLOW_PROGRESS && once)
        progress_update(&run->progress, position - run->first_position);
    if (event->news == FOLLOW_TICK)
        write_metrics(run);
}

static void print_json(const struct run *run, const struct copier_stats *stats, double seconds)
{
    char uuid[UUID_TEXT_SIZE];
    struct text text;
    uuid_to_text(uuid, log_reader_uuid(run->reader));
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "log", uuid);
    text_json_unsigned(&text, "from_seq", run->first_position + 1);
    text_json_unsigned(&text, "to_seq", stats->position);
    text_json_unsigned(&text, "rows", stats->rows);
    text_json_unsigned(&text, "batches", stats->batches);
    text_json_unsigned(&text, "lossy_rows", stats->lossy_rows);
    text_json_unsigned(&text, "withheld_rows", stats->withheld_rows);
    text_json_unsigned(&text, "remade_rows", stats->remade);
    text_json_unsigned(&text, "refused_rows", stats->refused_rows);
    text_json_unsigned(&text, "connections", stats->connections);
    text_json_unsigned(&text, "forks", stats->forks);
    text_json_unsigned(&text, "left_rows", stats->left);
    text_json_real(&text, "seconds", seconds);
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

static void print_result(const struct run *run, const struct copier_stats *stats)
{
    double seconds = (double)(now_ns() - run->begun_ns) / 1e9;
    if (json)
        print_json(run, stats, seconds);
    else if (stats->rows == 0)
        printf("nothing new: Postgres has the log up to seq %" PRIu64 "\n", stats->position);
    else
        printf("copied %" PRIu64 " events in %.1f s; Postgres has the log up to seq %" PRIu64 "\n",
               stats->rows, seconds, stats->position);
    if (!json && stats->remade > 0)
        printf("%" PRIu64 " rows of workflows, steps and agents were made anew\n", stats->remade);
    if (!json && stats->lossy_rows > 0)
        printf("%" PRIu64 " of them hold what jsonb cannot (lossy = true); their exact bytes are "
               "in the column record\n",
               stats->lossy_rows);
    if (!json && stats->withheld_rows > 0)
        printf("%" PRIu64
               " of them lack what is encrypted, for want of their keys (column error)\n",
               stats->withheld_rows);
}

static int run_copier(struct log_reader *reader, struct budget *budget)
{
    struct run run = { .reader = reader, .begun_ns = now_ns() };
    struct copier_stats stats;
    struct error error = { 0 };
    const struct follow_options wanted = {
        .url = url,
        .dir = data_dir,
        .reader_name = reader_name,
        .reader = reader,
        .keys = &keys.keys,
        .budget = budget,
        .stop = &stopping,
        .batch_rows_max = batch_rows,
        .partition_rows = partition_rows,
        .detach = detach_after_ns != UINT64_MAX,
        .detach_age_s = detach_after_ns / 1000000000u,
        .once = once,
        .tick_ns = metrics_file != NULL ? METRICS_EVERY_NS : 0,
        .tell = take_event,
        .context = &run,
    };
    run.goal = log_reader_durable_seq(reader);
    replication_begin(&run.replication, data_dir, reader_name);
    int failed = follow_run(&wanted, &stats, &error);
    progress_end(&run.progress);
    replication_end(&run.replication, failed, &stats, &error);
    write_metrics(&run);
    log_reader_close(run.metrics_reader);
    if (failed < 0)
        return command_failed_error(&command, &error);
    print_result(&run, &stats);
    return COMMAND_GOOD;
}

static int run_status(struct log_reader *reader)
{
    struct error error = { 0 };
    const struct status_options wanted = { .url = url,
                                           .dir = data_dir,
                                           .reader_name = reader_name,
                                           .reader = reader,
                                           .stop = &stopping,
                                           .json = json };
    int failed = status_print(&wanted, &error);
    return failed < 0 ? pgsync_failed(&command, &error) : COMMAND_GOOD;
}

/* COMMAND_GO_ON, or the status to exit with. */
static int check_url(void)
{
    if (url == NULL)
        url = getenv("DAA_PG_URL");
    if (url == NULL || *url == '\0')
        return command_misused(&command,
                               "say which database: --url postgresql://..., or $DAA_PG_URL");
    return COMMAND_GO_ON;
}

static bool copying_is_wanted(void)
{
    return batch_rows != 0 || partition_rows != 0 || detach_after_ns != UINT64_MAX ||
           metrics_file != NULL;
}

/* COMMAND_GO_ON, or the status to exit with. */
static int check_usage(const char *argument)
{
    if (argument != NULL)
        return command_misused(&command, "unknown argument: %s", argument);
    if (log_name != NULL || segment_size != 0)
        return command_misused(&command, "--log and --segment-size are for restore");
    if (once + follow + status_only + verify + repair + rebuild > 1)
        return command_misused(&command, "only one of --once, --follow, --status, --verify, "
                                         "--repair and --rebuild can be meant");
    if (rebuild_from != 0 && !rebuild)
        return command_misused(&command, "--from is for --rebuild");
    if (content && !verify)
        return command_misused(&command, "--content is for --verify");
    if (dry_run && !repair)
        return command_misused(&command, "--dry-run is for --repair");
    if ((status_only || verify || repair) && copying_is_wanted())
        return command_misused(&command, COPYING_OPTIONS " are for copying, and --status, --verify "
                                                         "and --repair copy nothing new");
    if (keys_dir != NULL && (status_only || (verify && !content)))
        return command_misused(&command, "--keys is for copying, --content and --repair: nothing "
                                         "else decrypts anything");
    if (partition_rows > INT64_MAX / 1000000)
        return command_misused(&command, "--partition-rows is too large");
    if (*reader_name != '\0' && !log_reader_name_is_good(reader_name))
        return command_misused(&command, "\"%s\" is no name for a reader", reader_name);
    if (data_dir == NULL)
        return command_misused(&command, "say where the log is: --data-dir DIR");
    int status = check_url();
    if (status != COMMAND_GO_ON)
        return status;
    once = !(follow || status_only || verify || repair);
    return COMMAND_GO_ON;
}

/* What is left of it is what any copier does: so it may be killed at any time. */
static int run_rebuild(struct log_reader *reader)
{
    struct error error = { 0 };
    struct recopy_result result;
    const struct recopy_options wanted = { .url = url,
                                           .dir = data_dir,
                                           .reader = reader,
                                           .stop = &stopping.is_raised,
                                           .from = rebuild_from };
    if (recopy_run(&wanted, &result, &error) < 0)
        return pgsync_failed(&command, &error);
    if (result.removed > 0)
        fprintf(stderr,
                "daa-pgsync: %" PRIu64 " events behind seq %" PRIu64
                " were taken away, and are copied again\n",
                result.removed, result.position);
    return COMMAND_GOOD;
}

static int run_mode(struct log_reader *reader, struct budget *budget)
{
    const struct verify_wish wish = { .url = url,
                                      .dir = data_dir,
                                      .reader = reader,
                                      .keys = &keys.keys,
                                      .budget = budget,
                                      .stop = &stopping.is_raised,
                                      .content = content,
                                      .json = json };
    if (verify)
        return run_verify(&command, &wish);
    if (rebuild) {
        int status = run_rebuild(reader);
        if (status != COMMAND_GOOD)
            return status;
    }
    if (repair)
        return run_repair(&command, &wish, dry_run);
    return status_only ? run_status(reader) : run_copier(reader, budget);
}

/* COMMAND_GO_ON, or the status to exit with. */
static int check_restore(const char *dir)
{
    uint8_t uuid[UUID_SIZE];
    if (dir == NULL || *dir == '\0')
        return command_misused(&command, "say which directory is to be made: restore DIR");
    if (data_dir != NULL || keys_dir != NULL || once || follow || status_only || verify ||
        content || repair || dry_run || rebuild || rebuild_from != 0 || copying_is_wanted())
        return command_misused(&command,
                               "restore takes --url, --log, --segment-size and --json only");
    if (log_name != NULL && !uuid_from_text(uuid, span_of_text(log_name)))
        return command_misused(&command, "--log: \"%s\" is no uuid of a log", log_name);
    if (segment_size != 0 &&
        (segment_size < LOG_SEGMENT_SIZE_MIN || segment_size > LOG_SEGMENT_SIZE_MAX ||
         segment_size % LOG_BLOCK_SIZE != 0))
        return command_misused(&command, "--segment-size: a segment has 256KiB to 1GiB, in whole "
                                         "blocks of 4KiB");
    return check_url();
}

static int restore(int argc, char **argv)
{
    struct timespec now;
    int status = check_restore(argc == 2 ? argv[1] : NULL);
    if (status != COMMAND_GO_ON)
        return status;
    clock_gettime(CLOCK_REALTIME, &now);
    const struct restore_options wanted = {
        .url = url,
        .dir = argv[1],
        .log = log_name,
        .stop = &stopping.is_raised,
        .segment_size = segment_size,
        .time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
    };
    catch_signals();
    return run_restore(&command, &wanted, json);
}

/* A directory that is missing is none before the first encrypted event, unless it was named. */
static int open_keys(void)
{
    struct error error = { 0 };
    int code = key_source_open(&keys, data_dir, keys_dir, &error);
    if (code == -ENAMETOOLONG)
        return command_failed_error(&command, &error);
    if (code == 0 || status_only || (verify && !content) ||
        (code == ERROR_NOT_FOUND && keys_dir == NULL))
        return COMMAND_GO_ON;
    fprintf(stderr,
            "daa-pgsync: %s: what is encrypted cannot be read, and is copied without what "
            "workflows were given and gave\n",
            error.text);
    return COMMAND_GO_ON;
}

static int run(int argc, char **argv)
{
    int first, status = command_parse(&command, argc, argv, &first);
    if (status == COMMAND_GO_ON && first < argc && strcmp(argv[first], "restore") == 0)
        return restore(argc - first, argv + first);
    if (status == COMMAND_GO_ON)
        status = check_usage(first < argc ? argv[first] : NULL);
    if (status == COMMAND_GO_ON)
        status = open_keys();
    if (status != COMMAND_GO_ON)
        return status;
    catch_signals();
    struct budget budget;
    struct log_reader *reader;
    struct error error = { 0 };
    budget_init(&budget, MEMORY_MAX);
    const struct log_reader_options log_options = { .dir = data_dir, .budget = &budget };
    if (log_reader_open(&reader, &log_options, &error) < 0)
        return command_failed_error(&command, &error);
    status = run_mode(reader, &budget);
    log_reader_close(reader);
    key_source_close(&keys);
    return status;
}

int main(int argc, char **argv)
{
    return command_end(&command, run(argc, argv));
}
