/* daa-log replay: the state as of an event, in a directory of its own, by the code with which the
 * agent starts. Nothing of DIR is changed, and an agent may run on it. */
#include "core/base/bytes.h"
#include "tools/command/progress.h"
#include "tools/log/listing.h"
#include "tools/rebuild/rebuild.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MEMORY_MAX (4ull << 30)

struct task {
    const struct command *command;
    const char *dir, *into;
    char db_dir[PATH_MAX], snapshots_dir[PATH_MAX];
    uint64_t until_seq;
    struct decryption keys;
    struct rebuild_progress progress;
    struct rebuild_copy copy;
    struct progress bar;
    pthread_mutex_t lock; /* of standard error */
    int status;
    struct error error;
};

/*--- Until when --------------------------------------------------------------------------------*/

/* The last event before `until_ns`. */
static int find_seq(struct log_reader *reader, uint64_t until_ns, uint64_t *seq,
                    struct error *error)
{
    int found = listing_find_time(reader, until_ns, seq, error);
    if (found < 0)
        return found;
    --*seq;
    return *seq >= log_reader_first_seq(reader)
               ? 0
               : error_set(error, ERROR_NOT_FOUND, "the log begins later than that");
}

static int parse_until(const char *until, struct log_reader *reader, uint64_t *seq,
                       struct error *error)
{
    uint64_t last = log_reader_durable_seq(reader);
    struct filter filter = { .until = until };
    if (until == NULL) {
        *seq = last;
        return 0;
    }
    if (until[strspn(until, "0123456789")] != 0) {
        int status = filter_begin(&filter, NULL, error);
        return status < 0 ? status : find_seq(reader, filter.until_ns, seq, error);
    }
    errno = 0;
    *seq = strtoull(until, NULL, 10);
    if (errno != 0 || *seq == 0 || *seq > last)
        return error_set(error, ERROR_NOT_FOUND,
                         "there is no event %s; the log holds %" PRIu64 " to %" PRIu64, until,
                         log_reader_first_seq(reader), last);
    return 0;
}

/*--- The work ----------------------------------------------------------------------------------*/

static int find_until(struct task *task, const char *until, struct error *error)
{
    struct log_reader *reader;
    struct log_reader_options options = { .dir = task->dir };
    int status = log_reader_open(&reader, &options, error);
    if (status < 0)
        return status;
    if (log_reader_first_seq(reader) == 0)
        status = error_set(error, ERROR_NOT_FOUND, "%s holds no segment of a log", task->dir);
    if (status == 0)
        status = parse_until(until, reader, &task->until_seq, error);
    log_reader_close(reader);
    return status;
}

static void say(const char *sentence, void *context)
{
    struct task *task = context;
    pthread_mutex_lock(&task->lock);
    progress_clear(&task->bar);
    fprintf(stderr, "%s: %s\n", task->command->name, sentence);
    pthread_mutex_unlock(&task->lock);
}

static void *run(void *argument)
{
    struct task *task = argument;
    struct rebuild_copy_options options = { .log_dir = task->dir,
                                            .snapshots_dir = task->snapshots_dir,
                                            .db_dir = task->db_dir,
                                            .keyring = task->keys.keyring,
                                            .until_seq = task->until_seq,
                                            .memory = MEMORY_MAX,
                                            .progress = &task->progress,
                                            .say = say,
                                            .context = task };
    task->status = rebuild_copy(&options, &task->copy, &task->error);
    return NULL;
}

static int run_with_bar(struct task *task, struct error *error)
{
    pthread_t thread;
    progress_begin(&task->bar, "replaying", PROGRESS_ITEMS, task->until_seq);
    int status = -pthread_create(&thread, NULL, run, task);
    if (status < 0)
        return error_set(error, status, "no thread: %s", error_text(status));
    for (;;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (pthread_timedjoin_np(thread, NULL, &until) == 0)
            break;
        pthread_mutex_lock(&task->lock);
        if (atomic_load(&task->progress.stage) == REBUILD_REPLAY)
            progress_update(&task->bar, atomic_load(&task->progress.at));
        pthread_mutex_unlock(&task->lock);
    }
    progress_end(&task->bar);
    *error = task->error;
    return task->status;
}

/* Log time of the last event; 0 when it is not in the log any more. */
static uint64_t time_of(const char *dir, uint64_t seq)
{
    struct log_reader *reader;
    struct record record;
    uint64_t time_ns = 0;
    if (log_reader_open(&reader, &(struct log_reader_options){ .dir = dir }, NULL) < 0)
        return 0;
    if (log_reader_get(reader, seq, &record, NULL, NULL) == 1)
        time_ns = record.time_ns;
    log_reader_close(reader);
    return time_ns;
}

/*--- The answer --------------------------------------------------------------------------------*/

static void print_json(const struct rebuild_copy *copy, uint64_t time_ns)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_unsigned(&text, "seq", copy->result.seq);
    text_json_time(&text, "time", time_ns);
    text_json_unsigned(&text, "documents", copy->documents);
    text_json_unsigned(&text, "bytes", copy->bytes);
    text_json_hex(&text, "digest", span_of(copy->digest, SHA256_SIZE));
    text_json_unsigned(&text, "events_replayed", copy->result.replayed);
    text_json_unsigned(&text, "snapshot", copy->result.snapshot_seq);
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

static void print(const struct task *task, uint64_t time_ns)
{
    const struct rebuild_copy *copy = &task->copy;
    struct text text;
    char hex[2 * SHA256_SIZE + 1];
    text_init(&text);
    text_json_time(&text, NULL, time_ns);
    bytes_to_hex(hex, copy->digest, SHA256_SIZE);
    /* Without its quotes. */
    printf("%s holds the state as of event %" PRIu64 ", %.*s\n", task->db_dir, copy->result.seq,
           text.size > 2 ? (int)text.size - 2 : 0, text_string(&text) + 1);
    printf("documents  %" PRIu64 "\ndigest     %s\n", copy->documents, hex);
    printf("made from  %" PRIu64 " events", copy->result.replayed);
    if (copy->result.snapshot_seq > 0)
        printf(", behind the snapshot of event %" PRIu64, copy->result.snapshot_seq);
    putchar('\n');
    text_free(&text);
}

static int replay(struct task *task, const char *until, bool json)
{
    struct error error = { 0 };
    if (snprintf(task->db_dir, PATH_MAX, "%s/db", task->into) >= PATH_MAX ||
        snprintf(task->snapshots_dir, PATH_MAX, "%s/snapshots", task->dir) >= PATH_MAX)
        return command_failed(task->command, "the path is too long");
    int status = find_until(task, until, &error);
    if (status < 0)
        return command_failed_error(task->command, &error);
    bool made = mkdir(task->into, 0700) == 0;
    if (!made && errno != EEXIST)
        return command_failed(task->command, "cannot make %s: %s", task->into, error_text(-errno));
    bool keys = decryption_keyring(&task->keys) != NULL;
    status = run_with_bar(task, &error);
    if (status < 0 && made)
        rmdir(task->into);
    if (status == ERROR_UNAVAILABLE && !keys)
        return command_failed(task->command, "%s (--keys)", error.text);
    if (status < 0)
        return command_failed_error(task->command, &error);
    uint64_t time_ns = time_of(task->dir, task->copy.result.seq);
    if (json)
        print_json(&task->copy, time_ns);
    else
        print(task, time_ns);
    return COMMAND_GOOD;
}

int log_state_replay(int argc, char **argv)
{
    const char *until = NULL, *into = NULL;
    bool json = false;
    struct decryption keys = { .keys_dir = NULL };
    const struct command_option options[] = {
        { "until", 'u', "SEQ|TIME", COMMAND_TEXT, &until,
          "up to this event, or to the last one before this time:\n"
          "2026-11-23T21:42:04Z, '10 min ago', today... (default: to the end)" },
        { "into", 'o', "DIR2", COMMAND_TEXT, &into, "where to make DIR2/db" },
        KEYS_OPTION(keys),
        { "json", 'j', NULL, COMMAND_FLAG, &json, "print a JSON object" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log replay",
        .purpose = "Make the state as it was at an event: from the log in DIR and, if there are\n"
                   "any, its snapshots. Nothing in DIR is changed, and an agent may run on it.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
        .notes = "The digest is that of `daa-cli state digest` at the same event.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (into == NULL)
        return command_misused(&command, "--into is missing: where to make the state");
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL)
        return command_failed(&command, "no memory");
    task->command = &command;
    task->dir = argv[first];
    task->into = into;
    task->keys = keys;
    pthread_mutex_init(&task->lock, NULL);
    status = decryption_begin(&task->keys, &command, task->dir);
    if (status == COMMAND_GO_ON)
        status = replay(task, until, json);
    decryption_end(&task->keys);
    free(task);
    return status;
}
