#include "log_backups.h"

#include "log/reader.h"
#include "log/verify.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scratch.h"
#include "tap.h"

struct error log_backups_error;

static struct budget budget;

struct log *log_backups_open(const char *dir, struct io **io, uint64_t *last_time_ns)
{
    struct log *log;
    struct log_recovery recovery;
    if (io_open_plain(io) < 0)
        tap_bail_out("no engine");
    struct log_options options = { .dir = dir,
                                   .io = *io,
                                   .budget = &budget,
                                   .segment_size = LOG_SEGMENT_SIZE_MIN,
                                   .sync = LOG_SYNC_DSYNC,
                                   .allow_tmpfs = true,
                                   .start_time_ns = BACKUP_START_NS };
    budget_init(&budget, UINT64_MAX);
    if (log_open(&log, &options, &recovery, &log_backups_error) < 0)
        tap_bail_out("%s", log_backups_error.text);
    *last_time_ns = recovery.exists ? recovery.last_time_ns : BACKUP_START_NS;
    return log;
}

void log_backups_close(struct log **log, struct io **io)
{
    if (log_close(log, &log_backups_error) < 0)
        tap_bail_out("%s", log_backups_error.text);
    io_close(*io);
}

void log_backups_abandon(struct log **log, struct io **io)
{
    log_abandon(log);
    io_close(*io);
}

bool log_backups_fill(struct log *log, struct log_commands *commands, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bool large = i % 9 == 5;
        if (!log_commands_append(commands, log, large ? 40 : 1 + i % 4,
                                 large ? 2500 : 200 + i % 700))
            return false;
        if (i % 3 == 0 && !log_commands_settle(log))
            return false;
    }
    return log_commands_settle(log);
}

static void note_finding(const struct log_finding *finding, void *context)
{
    (void)context;
    tap_note("%s at %llu: %s", finding->file, (unsigned long long)finding->offset, finding->text);
}

uint64_t log_backups_go_on(const char *dir, uint32_t count)
{
    struct io *io;
    struct log_commands commands = { .count = 0 };
    struct log *log = log_backups_open(dir, &io, &commands.time_ns);
    if (!log_backups_fill(log, &commands, count))
        tap_bail_out("the log fails");
    uint64_t last_seq = log_durable_seq(log) + 1;
    log_backups_close(&log, &io);
    log_commands_free(&commands);
    return last_seq;
}

bool log_backups_sound(const char *dir, uint64_t last_seq)
{
    struct log_verify_options options = { .dir = dir, .finding = note_finding };
    struct log_verify_result result;
    struct error error;
    if (log_verify(&options, &result, &error) < 0) {
        tap_note("%s", error.text);
        return false;
    }
    if (result.last_seq != last_seq)
        tap_note("%s ends with event %llu instead of %llu", dir,
                 (unsigned long long)result.last_seq, (unsigned long long)last_seq);
    return result.verdict == LOG_SOUND && result.findings == 0 && result.last_seq == last_seq;
}

static struct log_reader *open_reader(const char *dir)
{
    struct log_reader *reader;
    struct log_reader_options options = { .dir = dir, .verify_chain = true };
    if (log_reader_open(&reader, &options, &log_backups_error) < 0)
        tap_bail_out("%s", log_backups_error.text);
    return reader;
}

static bool same_record(const struct record *a, const struct record *b)
{
    return a->seq == b->seq && a->stream == b->stream && a->time_ns == b->time_ns &&
           a->kind == b->kind && a->cause == b->cause && a->stream_prev_seq == b->stream_prev_seq &&
           span_equal(a->payload, b->payload);
}

bool log_backups_same(const char *dir, const char *copy, uint64_t last_seq)
{
    struct log_reader *one = open_reader(dir), *two = open_reader(copy);
    struct record here, there;
    struct error error = { 0 };
    uint64_t seq = log_reader_first_seq(two);
    bool same = log_reader_seek(one, seq, &error) == 0;
    for (; same && seq <= last_seq; seq++)
        same = log_reader_next(one, &here, NULL, &error) == 1 &&
               log_reader_next(two, &there, NULL, &error) == 1 && here.seq == seq &&
               same_record(&here, &there);
    if (!same)
        tap_note("event %llu is not the same: %s", (unsigned long long)seq - 1, error.text);
    else if (log_reader_next(two, &there, NULL, &error) != 0) {
        tap_note("behind event %llu the copy goes on", (unsigned long long)last_seq);
        same = false;
    }
    log_reader_close(one);
    log_reader_close(two);
    return same;
}

int log_backups_make(const char *dir, const char *target, uint64_t since_seq,
                     struct log_backup_result *result)
{
    struct log_backup_options options = {
        .dir = dir, .target = target, .since_seq = since_seq, .time_ns = BACKUP_START_NS
    };
    log_backups_error = (struct error){ .code = 0 };
    return log_backup(&options, result, &log_backups_error);
}

int log_backups_restore(const char *const *backups, size_t count, const char *dir,
                        struct log_restore_result *result)
{
    struct log_restore_options options = {
        .backups = backups, .backup_count = count, .dir = dir, .time_ns = BACKUP_START_NS
    };
    log_backups_error = (struct error){ .code = 0 };
    return log_restore(&options, result, &log_backups_error);
}

bool log_backups_says(const char *part)
{
    bool found = strstr(log_backups_error.text, part) != NULL;
    if (!found)
        tap_note("%s", log_backups_error.text);
    return found;
}

static void path_of(char path[4200], const char *dir, const char *name)
{
    snprintf(path, 4200, "%.4000s/%s", dir, name);
}

bool log_backups_has(const char *dir, const char *name)
{
    char path[4200];
    struct stat status;
    path_of(path, dir, name);
    return lstat(path, &status) == 0;
}

unsigned char *log_backups_keep(const char *dir, const char *name, unsigned long *size)
{
    char path[4200];
    path_of(path, dir, name);
    return scratch_read(path, size);
}

void log_backups_put(const char *dir, const char *name, const unsigned char *bytes,
                     unsigned long size)
{
    char path[4200];
    path_of(path, dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        tap_bail_out("%s", path);
    close(fd);
}
