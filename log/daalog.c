/* The public face of the log (log/daalog.h): writing. Reading is in daalog_read.c. Arguments are
 * checked here, since what is a broken invariant inside the project is a caller's mistake, and an
 * error. */
#include "log/daalog.h"

#include "core/base/check.h"
#include "core/base/version.h"
#include "log/face.h"
#include "log/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FRAMES_IN_FLIGHT_DEFAULT 8u
#define FULL_WAIT_DEFAULT_MS 10000u
#define FULL_STEP_NS 1000000u /* a spare that is ready wakes nobody */
#define NS_PER_MS 1000000u
#define IN_BATCH DAALOG_IN_BATCH(0)

/* Codes go through as they are. */
_Static_assert((int)DAALOG_DAMAGED == ERROR_DAMAGED && (int)DAALOG_TORN == ERROR_TORN &&
                   (int)DAALOG_UNPROVEN == ERROR_UNPROVEN && (int)DAALOG_NEWER == ERROR_NEWER &&
                   (int)DAALOG_LOCKED == ERROR_LOCKED && (int)DAALOG_TOO_LARGE == ERROR_TOO_LARGE &&
                   (int)DAALOG_MEMORY == ERROR_BUDGET && (int)DAALOG_FULL == ERROR_FULL &&
                   (int)DAALOG_UNAVAILABLE == ERROR_UNAVAILABLE &&
                   (int)DAALOG_NOT_FOUND == ERROR_NOT_FOUND && (int)DAALOG_SYNTAX == ERROR_SYNTAX &&
                   (int)DAALOG_INVALID == ERROR_INVALID && (int)DAALOG_MISMATCH == ERROR_MISMATCH &&
                   (int)DAALOG_CONFLICT == ERROR_CONFLICT &&
                   (int)DAALOG_TRUNCATED == ERROR_TRUNCATED,
               "the codes of daalog.h are those of error.h");
_Static_assert(DAALOG_KIND_OWN_MAX == LOG_KIND_OWN_MAX &&
                   DAALOG_WHY_SIZE == sizeof((struct error *)0)->text,
               "the constants of daalog.h are those of the log");

struct daalog {
    struct log *log;
    struct io *io;
    struct budget budget;
    pthread_t owner;
    uint64_t full_wait_ns;
    uint64_t last_seq, last_time_ns; /* of what was appended */
    char found[sizeof((struct log_recovery *)0)->reason];
    struct error error;
};

#define TEXT_OF(number) #number
#define VERSION_OF(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *daalog_version(void)
{
    _Static_assert(
        __builtin_strcmp(DAA_VERSION, VERSION_OF(DAALOG_VERSION_MAJOR, DAALOG_VERSION_MINOR,
                                                 DAALOG_VERSION_PATCH)) == 0,
        "the version in daalog.h is the project's");
    return DAA_VERSION;
}

const char *daalog_code_text(int code)
{
    return code < 0 ? error_text(code) : "no error";
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec now;
    CHECK(clock_gettime(id, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*--- Writing -----------------------------------------------------------------------------------*/

static int check_options(const struct daalog_options *options, struct error *error)
{
    if (options->frames_in_flight < 1 || options->frames_in_flight > 32)
        return error_set(error, ERROR_INVALID, "frames_in_flight is 1 to 32");
    return face_check_flags(options->flags, DAALOG_NO_CHAIN | DAALOG_SEAL, options->reserved,
                            error);
}

/* What a device does not answer is left to the kernel, and the engine with it. */
static void close_engine(struct io *io)
{
    if (io_underway(io) == 0)
        io_close(io);
}

/* The log's threads inherit what is blocked: signals are for the program's own. */
static int open_log(struct daalog *log, const char *dir, const struct daalog_options *options,
                    struct error *error)
{
    struct log_recovery found = { .exists = false };
    sigset_t all, before;
    struct log_options of_log = { .dir = dir,
                                  .io = log->io,
                                  .budget = &log->budget,
                                  .segment_size = options->segment_size,
                                  .frames_in_flight_max = options->frames_in_flight,
                                  .no_chain = (options->flags & DAALOG_NO_CHAIN) != 0,
                                  .seal = (options->flags & DAALOG_SEAL) != 0,
                                  .start_time_ns = clock_ns(CLOCK_REALTIME) };
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int code = log_open(&log->log, &of_log, &found, error);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (code < 0)
        return code;
    log->last_time_ns =
        of_log.start_time_ns > found.last_time_ns ? of_log.start_time_ns : found.last_time_ns;
    if (found.exists && found.verdict != LOG_SOUND)
        memcpy(log->found, found.reason, sizeof log->found);
    return 0;
}

static int open_with(struct daalog **log, const char *dir, const struct daalog_options *options,
                     struct error *error)
{
    struct daalog *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return error_set(error, -ENOMEM, "no memory for the event log");
    budget_init(&opened->budget, options->memory_max > 0 ? options->memory_max : UINT64_MAX);
    opened->owner = pthread_self();
    opened->full_wait_ns = (uint64_t)options->full_wait_ms * NS_PER_MS;
    int code = io_open_best(&opened->io, options->frames_in_flight + 2);
    if (code < 0)
        (void)error_set(error, code, "cannot open the I/O engine: %s", error_text(code));
    else if ((code = open_log(opened, dir, options, error)) < 0)
        close_engine(opened->io);
    if (code < 0)
        free(opened);
    else
        *log = opened;
    return code;
}

int daalog_open(struct daalog **log, const char *dir, const struct daalog_options *options,
                char *why, size_t why_size)
{
    struct error error = { 0 };
    struct daalog_options ours = { .size = 0 };
    int code = face_take_options(&ours, sizeof ours, options, &error);
    if (ours.frames_in_flight == 0)
        ours.frames_in_flight = FRAMES_IN_FLIGHT_DEFAULT;
    if (ours.full_wait_ms == 0)
        ours.full_wait_ms = FULL_WAIT_DEFAULT_MS;
    if (code == 0)
        code = check_options(&ours, &error);
    if (code == 0)
        code = open_with(log, dir, &ours, &error);
    return face_tell(code, &error, why, why_size);
}

const char *daalog_found(const struct daalog *log)
{
    return log->found;
}

/* Another thread than the opener would break the ring, and so the log for good. */
static int check_owner(const struct daalog *log, struct error *error)
{
    if (pthread_equal(log->owner, pthread_self()))
        return 0;
    return error_set(error, ERROR_INVALID, "a log may only be used by the thread that opened it");
}

static int failed(struct daalog *log)
{
    return error_set(&log->error, ERROR_UNAVAILABLE, "%s", log_failure(log->log));
}

/* Events refer to older ones only: by number to what was appended, by index to the same batch. */
static bool refers_back(uint64_t number, uint64_t index_end, uint64_t next_seq)
{
    return (number & IN_BATCH) != 0 ? (number & ~IN_BATCH) < index_end : number < next_seq;
}

static int check_event(struct daalog *log, const struct daalog_event *event, size_t index)
{
    uint64_t next_seq = log_next_seq(log->log);
    uint32_t size_max = log_payload_size_max(log->log);
    const char *wrong = NULL;
    if (event->kind <= LOG_KIND_OWN_MAX)
        wrong = "kinds up to 15 are the log's own";
    else if (event->seq != 0 || event->time_ns != 0)
        wrong = "seq and time_ns must be 0: the log gives them";
    else if (event->reserved16 != 0)
        wrong = "a reserved field is not 0";
    else if (event->key_id != 0)
        wrong = "key_id must be 0: nothing is encrypted here";
    else if (event->payload == NULL && event->payload_size > 0)
        wrong = "its payload is NULL";
    else if (!refers_back(event->stream, index + 1, next_seq))
        wrong = "stream is no event up to this one";
    else if (!refers_back(event->cause, index, next_seq) ||
             !refers_back(event->stream_prev_seq, index, next_seq))
        wrong = "cause or stream_prev_seq is no event before this one";
    if (wrong != NULL)
        return error_set(&log->error, ERROR_INVALID, "event %zu of the batch: %s", index, wrong);
    if (event->payload_size > size_max)
        return error_set(&log->error, ERROR_TOO_LARGE,
                         "event %zu of the batch: a payload of %zu bytes is over the limit of %u",
                         index, event->payload_size, size_max);
    return 0;
}

static int no_room(struct daalog *log)
{
    struct log_stats stats;
    log_stats_get(log->log, &stats);
    bool told = stats.spare_error[0] != '\0';
    return error_set(&log->error, ERROR_FULL, "no room came up in %llu ms: %s",
                     (unsigned long long)(log->full_wait_ns / NS_PER_MS),
                     told ? stats.spare_error : "the disk is slow");
}

static int reserve(struct daalog *log, uint32_t count, uint64_t size, uint64_t *first_seq)
{
    int code = log_reserve(log->log, count, size, first_seq);
    if (code == ERROR_FULL) {
        uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + log->full_wait_ns;
        while (code == ERROR_FULL && clock_ns(CLOCK_MONOTONIC) < end_ns) {
            (void)log_wait(log->log, -1, FULL_STEP_NS);
            code = log_reserve(log->log, count, size, first_seq);
        }
    }
    if (code == ERROR_FULL)
        return no_room(log);
    if (code == ERROR_UNAVAILABLE)
        return failed(log);
    if (code < 0)
        return error_set(&log->error, code, "a batch of %u events with %llu bytes: %s", count,
                         (unsigned long long)size, error_text(code));
    return 0;
}

static uint64_t number_of(uint64_t number, uint64_t first_seq)
{
    return (number & IN_BATCH) != 0 ? first_seq + (number & ~IN_BATCH) : number;
}

int daalog_append(struct daalog *log, const struct daalog_event *events, size_t count,
                  uint64_t *first_seq)
{
    uint64_t size = 0, first = 0, now_ns = clock_ns(CLOCK_REALTIME);
    int code = check_owner(log, &log->error);
    if (code == 0 && (count == 0 || count > UINT32_MAX))
        code =
            error_set(&log->error, ERROR_INVALID, "a batch of %zu events is not possible", count);
    for (size_t i = 0; i < count && code == 0; i++) {
        code = check_event(log, &events[i], i);
        size += events[i].payload_size;
    }
    if (code == 0)
        code = reserve(log, (uint32_t)count, size, &first);
    if (code < 0)
        return code;
    if (now_ns > log->last_time_ns)
        log->last_time_ns = now_ns;
    for (size_t i = 0; i < count; i++) {
        const struct daalog_event *event = &events[i];
        struct record record = { .seq = first + i,
                                 .time_ns = log->last_time_ns,
                                 .stream = number_of(event->stream, first),
                                 .stream_prev_seq = number_of(event->stream_prev_seq, first),
                                 .cause = number_of(event->cause, first),
                                 .kind = event->kind,
                                 .payload = span_of(event->payload, event->payload_size) };
        log_append(log->log, &record);
    }
    log->last_seq = first + count - 1;
    if (first_seq != NULL)
        *first_seq = first;
    return 0;
}

int daalog_flush(struct daalog *log)
{
    int code = check_owner(log, &log->error);
    if (code == 0 && log_wait(log->log, -1, 0) < 0)
        code = failed(log);
    return code;
}

int daalog_sync(struct daalog *log)
{
    int code = check_owner(log, &log->error);
    while (code == 0 && log_durable_seq(log->log) < log->last_seq)
        if (log_wait(log->log, -1, UINT64_MAX) < 0)
            code = failed(log);
    return code;
}

uint64_t daalog_durable_seq(const struct daalog *log)
{
    return log_durable_seq(log->log);
}

uint32_t daalog_payload_size_max(const struct daalog *log)
{
    return log_payload_size_max(log->log);
}

const char *daalog_error(const struct daalog *log)
{
    return log->error.text;
}

int daalog_close(struct daalog *log, char *why, size_t why_size)
{
    struct error error = { 0 };
    if (log == NULL)
        return face_tell(0, &error, why, why_size);
    int code = check_owner(log, &error);
    if (code == 0) {
        if (log_health(log->log) == LOG_OPEN) {
            code = log_close(&log->log, &error);
        } else {
            code = error_set(&error, ERROR_UNAVAILABLE, "%s", log_failure(log->log));
            log_abandon(&log->log);
        }
        close_engine(log->io);
        free(log);
    }
    return face_tell(code, &error, why, why_size);
}
