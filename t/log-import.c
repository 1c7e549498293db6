/* A log of records that were kept elsewhere (log/import.h): what is refused, and that nothing is
 * left of what was not finished. */
#include "log/import.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/format.h"
#include "log/storage.h"
#include "scratch.h"
#include "tap.h"

static const uint8_t name[UUID_SIZE] = { 1 }, other[UUID_SIZE] = { 2 };
static uint8_t payload[200000];
static char dir[256], stage[300];
static struct error error;
static struct log_import *import;
static atomic_bool stop;
static uint64_t shown_bytes, all_bytes;

static void show(uint64_t done, uint64_t all, void *context)
{
    (void)context;
    shown_bytes = done;
    all_bytes = all;
}

static bool exists(const char *path)
{
    struct stat stat;
    return lstat(path, &stat) == 0;
}

static int begin(bool check_only)
{
    const struct log_import_options options = { .dir = dir,
                                                .segment_size = LOG_SEGMENT_SIZE_MIN,
                                                .event_schema = 1,
                                                .check_only = check_only,
                                                .stop = &stop,
                                                .progress = show };
    error = (struct error){ 0 };
    return log_import_open(&import, &options, &error);
}

/* storage.opened under `says`, as a record of the log `of`. */
static int add_opened(uint64_t seq, const uint8_t *of, const uint8_t *says)
{
    struct storage_opened opened = { .epoch = 1 };
    uint8_t bytes[256];
    memcpy(opened.log_uuid, says, UUID_SIZE);
    storage_opened_encode(bytes, &opened);
    const struct record record = { .seq = seq,
                                   .kind = LOG_KIND_OPENED,
                                   .payload = span_of(bytes, storage_opened_size(&opened)) };
    return log_import_add(import, of, &record, &error);
}

static int add(uint64_t seq, const uint8_t *of, size_t size)
{
    const struct record record = { .seq = seq, .kind = 100, .payload = span_of(payload, size) };
    return log_import_add(import, of, &record, &error);
}

static void begin_log(bool check_only)
{
    if (begin(check_only) < 0 || add_opened(1, name, name) < 0 || add(2, name, 10) < 0)
        tap_bail_out("%s", error.text);
}

/* The same is refused, and the same taken, whether it writes or not. */
static void what_is_refused(bool check_only)
{
    const char *how = check_only ? "only checked" : "written";
    if (begin(check_only) < 0)
        tap_bail_out("%s", error.text);
    is_int(add_opened(2, name, name), ERROR_INVALID, "%s: a log that begins with event 2: %s", how,
           error.text);
    is_int(add(1, name, 10), ERROR_CONFLICT, "%s: one that begins without storage.opened: %s", how,
           error.text);
    is_int(add_opened(1, other, name), ERROR_CONFLICT, "%s: an opening under another name", how);
    is_int(add_opened(1, name, name), 0, "%s: an opening under its own is taken", how);
    is_int(add(2, other, 10), ERROR_CONFLICT, "%s: an event of a log that was not opened: %s", how,
           error.text);
    is_int(add(3, name, 10), ERROR_INVALID, "%s: a gap", how);
    is_int(add(2, name, sizeof payload), ERROR_TOO_LARGE, "%s: what fits no segment: %s", how,
           error.text);
    is_int(add(2, name, 10), 0, "%s: all that changed nothing, event 2 is taken", how);
    is_int(add_opened(3, other, other), 0, "%s: an opening under another name is taken", how);
    is_int(add(4, name, 10), ERROR_CONFLICT, "%s: nothing of the first log follows it", how);
    is_int(add(4, other, 10), 0, "%s: what is of the second does", how);
    ok(exists(stage) == !check_only, "%s: it is made beside its place, or not at all", how);
    log_import_close(&import);
    ok(!exists(stage) && !exists(dir), "%s: nothing is left of it", how);
}

static void one_that_is_only_checked(void)
{
    struct log_import_result result;
    if (begin(true) < 0)
        tap_bail_out("%s", error.text);
    is_int(log_import_finish(import, &result, &error), ERROR_NOT_FOUND, "no event is no log");
    log_import_close(&import);
    begin_log(true);
    is_int(log_import_finish(import, &result, &error), 0, "what was only checked ends well");
    ok(result.last_seq == 2 && result.segments == 0, "with what a log would have");
    log_import_close(&import);
    ok(!exists(stage) && !exists(dir), "and there is none");
}

static void one_that_is_stopped(void)
{
    struct log_import_result result;
    begin_log(false);
    atomic_store(&stop, true);
    is_int(log_import_finish(import, &result, &error), -ECANCELED, "the last check can be stopped");
    atomic_store(&stop, false);
    log_import_close(&import);
    ok(!exists(stage) && !exists(dir), "and nothing is left");
}

static void one_that_is_finished(void)
{
    struct log_import_result result;
    begin_log(false);
    for (uint64_t seq = 3; seq <= 250; seq++)
        if (add(seq, name, 20000) < 0)
            tap_bail_out("%s", error.text);
    is_int(log_import_finish(import, &result, &error), 0, "a log is made: %s", error.text);
    ok(result.last_seq == 250 && result.segments > 1, "of several segments");
    ok(shown_bytes > 0 && shown_bytes <= all_bytes, "and how far its check is was shown");
    log_import_close(&import);
    ok(exists(dir) && !exists(stage), "it has its name");
    is_int(begin(false), ERROR_INVALID, "no other takes its place: %s", error.text);
    is_int(begin(true), ERROR_INVALID, "which a check says too");
}

int main(void)
{
    (void)snprintf(dir, sizeof dir, "%s", scratch_path("made"));
    (void)snprintf(stage, sizeof stage, "%s.importing", dir);
    what_is_refused(false);
    what_is_refused(true);
    one_that_is_only_checked();
    one_that_is_stopped();
    one_that_is_finished();
    return tap_done();
}
