/* Between log_open() and log_close() the writer's thread allocates nothing: not for an append, not
 * for a flush, not for a roll, not for an acknowledgement. Every allocation of the process goes
 * through here and is counted. */
#include "iouring/io.h"
#include "log/log.h"
#include "log/segment.h"
#include "scratch.h"
#include "tap.h"

#include <stdlib.h>

/* A sanitizer has an allocator of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { COUNTED = 0 };
static __thread uint64_t allocations;
#else
enum { COUNTED = 1 };
static __thread uint64_t allocations; /* of this thread */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    allocations++;
    return __libc_realloc(memory, size);
}
#endif

static struct budget budget;

static uint64_t append_all(struct log *log, uint64_t count)
{
    static const uint8_t payload[200];
    struct record record = { .kind = 100, .payload = span_of(payload, sizeof payload) };
    uint64_t done = 0;
    while (done < count) {
        int result = log_reserve(log, 1, sizeof payload, &record.seq);
        if (result == ERROR_FULL && log_wait(log, -1, 1000000) == 0)
            continue;
        if (result < 0)
            break;
        record.time_ns = 1700000000000000000u + done++;
        log_append(log, &record);
        if (done % 50 == 0 && (log_flush(log) < 0 || log_wait(log, -1, 0) < 0))
            break;
    }
    while (log_durable_seq(log) + 1 < log_next_seq(log) && log_wait(log, -1, UINT64_MAX) == 0)
        ;
    return log_durable_seq(log);
}

static void counts_nothing(struct io *io, bool maintained)
{
    struct log_options options = { .dir = scratch_path(maintained ? "thread" : "inline"),
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = LOG_SEGMENT_SIZE_MIN,
                                   .sync = LOG_SYNC_DSYNC,
                                   .maintain_inline = !maintained,
                                   .allow_tmpfs = true };
    struct error error = { 0 };
    struct log_stats stats;
    struct log *log;
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    while (!maintained && log_maintain(log, &error) == 1)
        ;
    uint64_t before = allocations;
    /* Two segments when spare and image must last, many when a thread makes more. */
    uint64_t count = maintained ? 8000 : 1500;
    uint64_t durable = append_all(log, count);
    uint64_t made = allocations - before;
    log_stats_get(log, &stats);
    ok(durable > count, "events become durable over the %s engine, spares made %s", io_name(io),
       maintained ? "by a thread" : "before");
    ok(stats.rolls > 0, "with rolls among them");
    if (COUNTED)
        is_int((intmax_t)made, 0, "and the writer's thread allocates nothing meanwhile");
    if (log_close(&log, &error) < 0)
        tap_bail_out("%s", error.text);
}

int main(void)
{
    struct io *io;
    budget_init(&budget, 1ull << 30);
    if (COUNTED) {
        uint64_t before = allocations;
        free(malloc(1));
        is_int((intmax_t)(allocations - before), 1, "an allocation is counted");
    }
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    counts_nothing(io, false);
    counts_nothing(io, true);
    io_close(io);
    scratch_remove(scratch_path("thread"));
    scratch_remove(scratch_path("inline"));
#ifndef __SANITIZE_THREAD__
    if (io_open_ring(&io, 16) == 0) {
        counts_nothing(io, false);
        counts_nothing(io, true);
        io_close(io);
    } else {
        tap_skip(1, "no io_uring here");
    }
#endif
    return tap_done();
}
