#include "tools/agent/notary.h"

#include "core/event/anchor.h"
#include "log/log.h"
#include "log/reader.h"
#include "tools/agent/errand.h"
#include "tools/agent/host.h"
#include "tools/agent/loop.h"
#include "tools/agent/roots_due.h"
#include "tools/anchor/export.h"
#include "tools/anchor/key.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_EVERY_NS 1000000000ull

struct notary {
    struct notary_options options;
    char file[PATH_MAX];
    pthread_t thread;
    bool started; /* whoever opened it */

    pthread_mutex_t lock; /* guards what is below */
    pthread_cond_t work, done;
    bool refuses, stop;
    bool last;             /* the wish is for what is due at a stop */
    bool over;             /* and was looked at, to the end of the export */
    uint64_t asked, ended; /* numbers of wishes */
    struct error result;   /* of the look that ended them */
    struct notary_status status;

    /* The thread's own. */
    uint8_t private_key[ED25519_KEY_SIZE];
    struct errand errand;
    struct log_reader *reader;
    struct arena arena;
    struct anchor anchor;       /* under construction, or read */
    struct agent_anchor newest; /* that is recorded */
    uint64_t due_ns;            /* monotonic; UINT64_MAX: not for its time */
    uint64_t seen_sealed;       /* segments, at the last look */
    struct roots_due due;
};

static bool is_stopped(struct notary *notary)
{
    pthread_mutex_lock(&notary->lock);
    bool stop = notary->stop;
    pthread_mutex_unlock(&notary->lock);
    return stop;
}

/*--- Reading -----------------------------------------------------------------------------------*/

enum { ANOTHER = 2 };

/* The log.anchored `event`, into notary->anchor. 1, 0 it is not there any more, negative; and
 * ANOTHER: it is none, or not whole. */
static int look_up(struct notary *notary, uint64_t event, struct error *error)
{
    struct record record;
    int code = log_reader_get(notary->reader, event, &record, NULL, error);
    if (code == ERROR_NOT_FOUND || code == 0)
        return 0;
    if (code < 0)
        return code;
    bool is_one =
        anchor_of_record(&notary->anchor, record.seq, record.kind, record.payload, &notary->arena);
    arena_reset(&notary->arena);
    return is_one ? 1 : ANOTHER;
}

/* The same of one that has to be there. */
static int read_anchor(struct notary *notary, uint64_t event, struct error *error)
{
    int code = look_up(notary, event, error);
    return code != ANOTHER ? code
                           : error_set(error, ERROR_DAMAGED,
                                       "event %" PRIu64 " should be a log.anchored", event);
}

/*--- Signing -----------------------------------------------------------------------------------*/

/* What is durable now, and the chain there. */
static int take_head(struct notary *notary, uint64_t seq, struct error *error)
{
    struct anchor *anchor = &notary->anchor;
    struct record record;
    struct log_place place;
    int code = log_reader_get(notary->reader, seq, &record, &place, error);
    if (code != 1)
        return code < 0
                   ? code
                   : error_set(error, ERROR_UNAVAILABLE, "event %" PRIu64 " is not shown yet", seq);
    memcpy(anchor->log_uuid, place.log_uuid, UUID_SIZE);
    anchor->seq = place.frame_last_seq;
    memcpy(anchor->chain, place.frame_chain, SHA256_SIZE);
    anchor->segment_no = place.segment_no;
    return 0;
}

/* The agent records it. */
static int record_anchor(struct notary *notary, struct error *error)
{
    struct anchor *anchor = &notary->anchor;
    struct command command = { .kind = COMMAND_ANCHOR };
    command.anchor.signed_head = anchor;
    anchor_sign(anchor, notary->private_key);
    if (is_stopped(notary))
        return error_set(error, -ECANCELED, "the agent stops");
    if (!errand_run(&notary->errand, &command) || notary->errand.request.seq == 0)
        return error_set(error, ERROR_UNAVAILABLE,
                         "the agent does not record an anchor of event %" PRIu64
                         ": it is tried again",
                         anchor->seq);
    notary->newest.event = notary->errand.request.seq;
    notary->newest.seq = anchor->seq;
    roots_due_signed(&notary->due, anchor);
    notary->newest.segment_no = notary->due.newest_no;
    return 0;
}

/* With `head` if anything has happened since the newest one, else only for the roots of what was
 * sealed. 1 made one, 0 there was nothing to sign, negative. */
static int sign_once(struct notary *notary, bool head, struct error *error)
{
    struct anchor *anchor = &notary->anchor;
    struct loop_counts counts;
    struct log_stats log;
    log_stats_get(notary->options.log, &log);
    loop_counts_get(notary->options.loop, &counts);
    memset(anchor, 0, sizeof *anchor);
    anchor->previous = notary->newest.event;
    anchor->signed_ns = counts.now_ns;
    int code = roots_due_take(&notary->due, anchor, error);
    if (code == 0 && anchor->segment_count == 0 &&
        (!head || log.durable_seq <= notary->newest.event))
        return 0;
    if (code == 0)
        code = take_head(notary, log.durable_seq, error);
    if (code == 0)
        code = record_anchor(notary, error);
    if (code < 0)
        return code;
    pthread_mutex_lock(&notary->lock);
    notary->status.made++;
    pthread_mutex_unlock(&notary->lock);
    return 1;
}

/* Until all roots are signed. 1 made some, 0 none, negative. */
static int sign_all(struct notary *notary, bool head, struct error *error)
{
    int code, made = 0;
    do {
        code = sign_once(notary, head, error);
        made |= code == 1;
    } while (code == 1 && notary->anchor.segment_count == ANCHOR_SEGMENTS_MAX);
    pthread_mutex_lock(&notary->lock);
    notary->status.newest = notary->newest;
    pthread_mutex_unlock(&notary->lock);
    return code < 0 ? code : made;
}

/*--- Exporting ---------------------------------------------------------------------------------*/

static bool has_name_of_ours(const struct notary *notary, const struct anchor *anchor)
{
    const struct lineage *lineage = notary->options.lineage;
    for (uint32_t i = 0; i < lineage->count; i++)
        if (memcmp(lineage->logs[i].uuid, anchor->log_uuid, UUID_SIZE) == 0)
            return true;
    return false;
}

/* That the log has as many events says nothing: one that was put back gets there too. 1 it recorded
 * what the file's last line says, or may have, where it is removed or damaged; 0 not; negative. */
static int is_ours(struct notary *notary, const struct anchor *line, struct error *error)
{
    if (line->event > notary->newest.event)
        return 0;
    int code = look_up(notary, line->event, error);
    if (code == 1)
        return anchor_equal(&notary->anchor, line);
    if (code == 0 || code == ERROR_DAMAGED)
        return has_name_of_ours(notary, line);
    return code == ANOTHER ? 0 : code;
}

/* The events behind `from` up to the newest, newest first: the caller frees them. */
static int find_missing(struct notary *notary, uint64_t from, uint64_t **events, size_t *count,
                        struct error *error)
{
    size_t room = 0;
    *events = NULL;
    *count = 0;
    for (uint64_t event = notary->newest.event; event > from; event = notary->anchor.previous) {
        if (is_stopped(notary)) /* all of a log, perhaps: the next start does it */
            return error_set(error, -ECANCELED, "the agent stops");
        int code = read_anchor(notary, event, error);
        if (code <= 0)
            return code; /* older ones were removed from the log */
        if (*count == room) {
            room = room == 0 ? 16 : 2 * room;
            uint64_t *more = realloc(*events, room * sizeof *more);
            if (more == NULL)
                return error_set(error, -ENOMEM, "no memory to export %zu anchors", *count);
            *events = more;
        }
        (*events)[(*count)++] = event;
    }
    return 0;
}

static int export_missing(struct notary *notary, struct anchor_export *export, struct error *error)
{
    uint64_t *events;
    size_t count;
    int code = export->any ? is_ours(notary, &export->last, error) : 1;
    if (code < 0)
        return code;
    if (code == 0)
        return error_set(error, ERROR_MISMATCH,
                         "%s ends with an anchor of event %" PRIu64
                         " that this log does not have: it is of another log, or this one was put "
                         "back to an earlier state; move it away, and keep it as evidence",
                         export->path, export->last.event);
    code = find_missing(notary, export->any ? export->last.event : 0, &events, &count, error);
    while (code >= 0 && count > 0 && !is_stopped(notary)) {
        code = read_anchor(notary, events[--count], error);
        if (code == 1)
            code = anchor_export_add(export, &notary->anchor, error);
    }
    free(events);
    return code < 0 ? code : 0;
}

static int export_all(struct notary *notary, struct error *error)
{
    struct anchor_export export;
    int code = anchor_export_open(&export, notary->file, error);
    if (code == 0)
        code = export_missing(notary, &export, error);
    anchor_export_close(&export);
    pthread_mutex_lock(&notary->lock);
    notary->status.exported = export.last.event;
    pthread_mutex_unlock(&notary->lock);
    return code;
}

/*--- The thread --------------------------------------------------------------------------------*/

static void note_trouble(struct notary *notary, const struct error *error)
{
    pthread_mutex_lock(&notary->lock);
    bool is_new = error->code < 0 && error->code != -ECANCELED &&
                  strcmp(notary->status.trouble.text, error->text) != 0;
    notary->status.trouble = *error;
    pthread_mutex_unlock(&notary->lock);
    if (is_new)
        host_say("%s", error->text);
}

/* Why there may be something to sign. */
enum reason { REASON_NONE, REASON_SEALED, REASON_HEAD };

/* Segments were sealed; or somebody asks, or the time has come. */
static enum reason look_around(struct notary *notary, uint64_t *asked)
{
    struct log_stats log;
    pthread_mutex_lock(&notary->lock);
    *asked = notary->asked;
    bool wished = notary->asked > notary->ended;
    pthread_mutex_unlock(&notary->lock);
    log_stats_get(notary->options.log, &log);
    bool sealed = log.sealed != notary->seen_sealed && notary->options.config->anchor.interval > 0;
    notary->seen_sealed = log.sealed;
    if (wished || host_monotonic_ns() >= notary->due_ns)
        return REASON_HEAD;
    return sealed ? REASON_SEALED : REASON_NONE;
}

static void end_wishes(struct notary *notary, uint64_t asked, const struct error *error)
{
    pthread_mutex_lock(&notary->lock);
    notary->ended = asked;
    notary->result = *error;
    pthread_cond_broadcast(&notary->done);
    pthread_mutex_unlock(&notary->lock);
}

/* Whoever asked waits for the record, not for the export, which may be out of reach. */
static void look(struct notary *notary)
{
    struct error error = { 0 }, export_error = { 0 };
    uint64_t asked, interval_ns = notary->options.config->anchor.interval;
    enum reason reason = look_around(notary, &asked);
    if (reason == REASON_NONE)
        return;
    int code = notary->options.config->log.chain
                   ? sign_all(notary, reason == REASON_HEAD, &error)
                   : error_set(&error, ERROR_INVALID, "log.chain is off: there is nothing to sign");
    error.code = code < 0 ? code : 0;
    end_wishes(notary, asked, &error);
    if (code < 0) {
        if (notary->options.config->log.chain)
            notary->seen_sealed = UINT64_MAX; /* again at the next look */
        note_trouble(notary, &error);
        return;
    }
    if (code == 1 || reason == REASON_HEAD)
        notary->due_ns = interval_ns > 0 ? host_monotonic_ns() + interval_ns : UINT64_MAX;
    export_error.code = export_all(notary, &export_error);
    log_reader_trim(notary->reader); /* of what retention removed */
    note_trouble(notary, &export_error);
}

static void wait_for_work(struct notary *notary)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(LOOK_EVERY_NS / 1000000000ull);
    pthread_mutex_lock(&notary->lock);
    int status = 0;
    while (!notary->stop && notary->asked == notary->ended && status == 0)
        status = pthread_cond_timedwait(&notary->work, &notary->lock, &until);
    pthread_mutex_unlock(&notary->lock);
}

static void say_over(struct notary *notary)
{
    pthread_mutex_lock(&notary->lock);
    notary->over = true;
    pthread_cond_broadcast(&notary->done);
    pthread_mutex_unlock(&notary->lock);
}

static void *run(void *argument)
{
    struct notary *notary = argument;
    pthread_setname_np(pthread_self(), "daa-notary");
    while (!is_stopped(notary)) {
        pthread_mutex_lock(&notary->lock);
        bool last = notary->last;
        pthread_mutex_unlock(&notary->lock);
        look(notary);
        if (last)
            say_over(notary);
        wait_for_work(notary);
    }
    return NULL;
}

/*--- Opening and asking ------------------------------------------------------------------------*/

static int open_parts(struct notary *notary, struct error *error)
{
    const struct config *config = notary->options.config;
    struct log_reader_options reader = { .dir = notary->options.log_dir,
                                         .budget = notary->options.budget };
    char key[PATH_MAX];
    if (!config_path(config, config->anchor.file, notary->file) ||
        !config_path(config, config->anchor.key, key))
        return error_set(error, -ENAMETOOLONG, "[anchor] file or key: the path is too long");
    int code = anchor_key_open(key, config->agent.data_dir, notary->private_key, error);
    if (code == 0)
        code = log_reader_open(&notary->reader, &reader, error);
    return code;
}

static void release(struct notary *notary)
{
    log_reader_close(notary->reader);
    arena_free(&notary->arena);
    roots_due_close(&notary->due);
    errand_free(&notary->errand);
    explicit_bzero(notary->private_key, sizeof notary->private_key);
    pthread_mutex_destroy(&notary->lock);
    free(notary);
}

int notary_open(struct notary **opened, const struct notary_options *options, struct error *error)
{
    pthread_condattr_t monotonic;
    struct notary *notary = calloc(1, sizeof *notary);
    if (notary == NULL)
        return error_set(error, -ENOMEM, "no memory for the notary");
    uint64_t interval_ns = options->config->anchor.interval;
    notary->options = *options;
    notary->newest = notary->status.newest = options->newest;
    notary->seen_sealed = UINT64_MAX; /* what was sealed before this start may not be signed yet */
    notary->due_ns = interval_ns > 0 && options->config->log.chain
                         ? host_monotonic_ns() + interval_ns
                         : UINT64_MAX;
    errand_init(&notary->errand, options->inbox);
    arena_init(&notary->arena, options->budget, BUDGET_READERS, 4096);
    roots_due_open(&notary->due, options->log_dir, options->config->agent.data_dir,
                   options->newest.segment_no);
    pthread_mutex_init(&notary->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&notary->work, &monotonic);
    pthread_cond_init(&notary->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int code = open_parts(notary, error);
    if (code < 0)
        release(notary);
    else
        *opened = notary;
    return code;
}

int notary_start(struct notary *notary, struct error *error)
{
    int code = -pthread_create(&notary->thread, NULL, run, notary);
    if (code < 0)
        return error_set(error, code, "cannot start the thread that signs: %s", error_text(code));
    notary->started = true;
    return 0;
}

void notary_refuse(struct notary *notary)
{
    if (notary == NULL)
        return;
    pthread_mutex_lock(&notary->lock);
    notary->refuses = true;
    pthread_cond_broadcast(&notary->done);
    pthread_mutex_unlock(&notary->lock);
}

void notary_finish(struct notary *notary, uint64_t wait_ns)
{
    if (notary == NULL)
        return;
    const struct config *config = notary->options.config;
    struct timespec until;
    int status = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    wait_ns += (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(wait_ns / 1000000000ull);
    until.tv_nsec = (long)(wait_ns % 1000000000ull);
    pthread_mutex_lock(&notary->lock);
    if (config->anchor.interval > 0 && config->log.chain && !notary->stop) {
        notary->last = true;
        notary->asked++;
        pthread_cond_broadcast(&notary->work);
        while (!notary->over && status == 0)
            status = pthread_cond_timedwait(&notary->done, &notary->lock, &until);
    }
    pthread_mutex_unlock(&notary->lock);
    notary_stop(notary);
}

void notary_stop(struct notary *notary)
{
    if (notary == NULL)
        return;
    pthread_mutex_lock(&notary->lock);
    notary->stop = true;
    pthread_cond_broadcast(&notary->work);
    pthread_cond_broadcast(&notary->done);
    pthread_mutex_unlock(&notary->lock);
}

void notary_close(struct notary *notary)
{
    if (notary == NULL)
        return;
    notary_stop(notary);
    if (notary->started)
        pthread_join(notary->thread, NULL);
    release(notary);
}

int notary_sign(struct notary *notary, uint64_t *event, struct error *error)
{
    pthread_mutex_lock(&notary->lock);
    uint64_t wish = ++notary->asked;
    pthread_cond_broadcast(&notary->work);
    while (!notary->refuses && !notary->stop && notary->ended < wish)
        pthread_cond_wait(&notary->done, &notary->lock);
    if (notary->ended < wish)
        error_set(error, -ECANCELED, "the agent stops");
    else
        *error = notary->result;
    *event = notary->status.newest.event;
    pthread_mutex_unlock(&notary->lock);
    return error->code;
}

void notary_status_get(struct notary *notary, struct notary_status *status)
{
    pthread_mutex_lock(&notary->lock);
    *status = notary->status;
    pthread_mutex_unlock(&notary->lock);
    snprintf(status->file, sizeof status->file, "%s", notary->file);
}
