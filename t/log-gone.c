/* A reader of a live log whose writer, and then whose directory, goes away under it. */
#include "log/log.h"
#include "log/reader.h"

#include <stdio.h>
#include <string.h>

#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

static struct budget budget;
static struct error error;

static struct log *open_log(const char *dir, struct io *io)
{
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = LOG_SEGMENT_SIZE_MIN,
                                   .sync = LOG_SYNC_DSYNC,
                                   .allow_tmpfs = true,
                                   .maintain_inline = true };
    struct log *log;
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    return log;
}

static uint64_t read_all(struct log_reader *reader, int *code)
{
    struct record record;
    uint64_t count = 0;
    while ((*code = log_reader_next(reader, &record, NULL, &error)) == 1)
        count++;
    return count;
}

int main(void)
{
    char dir[256], away[256];
    struct log_commands commands = { .count = 0 };
    struct log_reader *reader;
    struct io *io;
    int code;
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s/log", scratch_memory_dir());
    snprintf(away, sizeof away, "%s/away", scratch_memory_dir());
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log *log = open_log(dir, io);
    struct log_reader_options options = { .dir = dir };
    if (log_reader_open(&reader, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    commands.time_ns = 1;
    log_commands_append(&commands, log, 3, 100);
    log_commands_settle(log);
    is_int(read_all(reader, &code), 4, "a reader sees the opening and three events");
    ok(log_reader_live(reader), "in the writer's image");
    is_int(log_reader_durable_seq(reader), 4, "and knows the newest");

    log_abandon(&log);
    if (rename(dir, away) < 0)
        tap_bail_out("cannot rename %s", dir);
    while (code >= 0) {
        log_reader_wait(reader, 1000000000);
        (void)read_all(reader, &code);
    }
    ok(strstr(error.text, dir) != NULL, "without its directory it says so: %s", error.text);
    is_int(log_reader_durable_seq(reader), 4, "and still knows what it saw");
    ok(log_reader_wait(reader, 0) >= 0, "waiting is no danger");
    log_reader_seek(reader, 2, &error);
    is_int(read_all(reader, &code), 0, "nor is seeking");

    if (rename(away, dir) < 0)
        tap_bail_out("cannot rename %s", away);
    log_reader_seek(reader, 2, &error);
    is_int(read_all(reader, &code), 3, "when it is there again, reading goes on");
    is_int(code, 0, "to the end that recovery finds");
    log_reader_close(reader);
    log_commands_free(&commands);
    io_close(io);
    return tap_done();
}
