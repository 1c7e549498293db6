#include "tools/pgsync/status.h"

#include "core/base/id.h"
#include "core/base/text.h"
#include "log/readers.h"
#include "pgsync/copier.h"
#include "tools/replication/lag.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND_NS UINT64_C(1000000000)
/* Whoever follows tells its position at least once a minute (report.h). */
#define ALIVE_NS (150 * SECOND_NS)

struct status {
    struct copier_status copied;
    struct lag lag;
    uint64_t pid;     /* of whoever follows; 0: nobody is known to */
    uint64_t told_ns; /* how long ago it told its position */
    char log[UUID_TEXT_SIZE], copied_log[UUID_TEXT_SIZE];
};

static uint64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* Whether the process is there, and one of ours: a number is used again. */
static bool is_copier(uint64_t pid)
{
    char path[40], name[32] = "";
    (void)snprintf(path, sizeof path, "/proc/%" PRIu64 "/comm", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool is_read = fgets(name, sizeof name, file) != NULL;
    (void)fclose(file);
    return is_read && (strcmp(name, "daa-pgsync\n") == 0 || strcmp(name, "daa-agent\n") == 0);
}

static void find_follower(struct status *status, const struct status_options *options)
{
    struct log_reader_position position;
    struct error ignored;
    uint64_t now_ns = wall_ns();
    if (options->reader_name[0] == '\0' ||
        log_reader_position_read(options->dir, options->reader_name, &position, &ignored) != 1)
        return;
    status->told_ns = now_ns > position.time_ns ? now_ns - position.time_ns : 0;
    if (position.pid != 0 && status->told_ns < ALIVE_NS && is_copier(position.pid))
        status->pid = position.pid;
}

static void print_text(const struct status *status)
{
    const struct copier_status *copied = &status->copied;
    printf("log        %s\ndurable    %" PRIu64 "\ncopied     %" PRIu64 "\nbehind     %" PRIu64
           " events, %" PRIu64 " bytes, %.1f s\nupdated    %s\nepoch      %" PRIu64 "\n",
           status->log, status->lag.durable_seq, copied->last_seq, status->lag.events,
           status->lag.bytes, (double)status->lag.age_ns / 1e9,
           copied->known ? copied->updated_at : "never", copied->epoch);
    if (status->pid != 0)
        printf("followed   by process %" PRIu64 ", which told its position %.0f s ago\n",
               status->pid, (double)status->told_ns / 1e9);
    else
        printf("followed   by no process that is known here\n");
    if (copied->withheld > 0)
        printf("withheld   %" PRIu64 " events lack what is encrypted, for want of their keys\n",
               copied->withheld);
    if (copied->known && strcmp(status->log, status->copied_log) != 0)
        printf("as log     %s, from which this one was forked\n", status->copied_log);
}

static void print_json(const struct status *status)
{
    const struct copier_status *copied = &status->copied;
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "log", status->log);
    text_json_unsigned(&text, "durable_seq", status->lag.durable_seq);
    text_json_unsigned(&text, "copied_seq", copied->last_seq);
    text_json_cstring(&text, "copied_log", copied->known ? status->copied_log : NULL);
    text_json_unsigned(&text, "behind", status->lag.events);
    text_json_unsigned(&text, "behind_bytes", status->lag.bytes);
    text_json_real(&text, "behind_seconds", (double)status->lag.age_ns / 1e9);
    text_json_unsigned(&text, "epoch", copied->epoch);
    text_json_cstring(&text, "updated_at", copied->known ? copied->updated_at : NULL);
    text_json_unsigned(&text, "withheld", copied->withheld);
    text_json_bool(&text, "following", status->pid != 0);
    if (status->pid != 0)
        text_json_unsigned(&text, "pid", status->pid);
    else
        text_json_null(&text, "pid");
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

int status_print(const struct status_options *options, struct error *error)
{
    struct status status = { .pid = 0 };
    int failed = copier_status_get(options->url, options->dir, &options->stop->is_raised,
                                   &status.copied, error);
    if (failed == 0)
        failed =
            lag_measure(&status.lag, options->reader, status.copied.last_seq, wall_ns(), error);
    if (failed < 0)
        return failed;
    uuid_to_text(status.log, log_reader_uuid(options->reader));
    uuid_to_text(status.copied_log, status.copied.log);
    find_follower(&status, options);
    if (options->json)
        print_json(&status);
    else
        print_text(&status);
    return 0;
}
