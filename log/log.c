#include "log/log.h"

#include "core/base/check.h"
#include "log/writer.h"

#include <stdio.h>
#include <string.h>

int log_reserve(struct log *log, uint32_t record_count, uint64_t payload_size, uint64_t *first_seq)
{
    CHECK(record_count > 0);
    CHECK(log->command.left == 0);
    if (log->health == LOG_FAILED)
        return ERROR_UNAVAILABLE;
    if (payload_size > (uint64_t)record_count * log->payload_size_max)
        return ERROR_TOO_LARGE;
    /* Each record may need 7 bytes of padding; of one record it is known. */
    uint64_t bytes = record_count == 1 ? record_size(payload_size)
                                       : payload_size + record_count * (RECORD_HEADER_SIZE + 7ull);
    bool run = bytes > log->frame_size_max - FRAME_HEADER_SIZE;
    if (run && builder_run_size(log, bytes) > log->usable_end - LOG_BLOCK_SIZE)
        return ERROR_TOO_LARGE;
    int result = builder_make_room(log, bytes, run);
    if (result < 0)
        return result;
    log->command = (struct command){ .left = record_count, .room = bytes, .run = run };
    *first_seq = log->next_seq;
    return 0;
}

void log_append(struct log *log, const struct record *record)
{
    struct command *command = &log->command;
    size_t size = record_size(record->payload.size);
    CHECK(command->left > 0);
    CHECK(size <= command->room);
    CHECK(record->payload.size <= log->payload_size_max);
    CHECK(record->seq == log->next_seq);
    CHECK(record->time_ns >= log->last_time_ns);
    command->left--;
    command->room -= size;
    builder_append(log, record);
    counter_add(&log->counters.records, 1);
    counter_add(&log->counters.payload_bytes, record->payload.size);
    counter_set(&log->counters.next_seq, log->next_seq);
    if (command->left == 0 && log->open.body_size >= log->options.frame_target_size &&
        log->queue.count + log->queue.reserve < log->queue.capacity) {
        builder_close_frame(log, 0);
        pipeline_submit(log);
    }
}

int log_flush(struct log *log)
{
    CHECK(log->command.left == 0);
    if (log->health == LOG_FAILED)
        return ERROR_UNAVAILABLE;
    pipeline_submit(log);
    if (log->open.record_count > 0 && pipeline_has_slot(log)) {
        builder_close_frame(log, 0);
        pipeline_submit(log);
    }
    return 0;
}

/* Waits; when nothing happens for as long as it takes, writes a CHECKPOINT and waits on. */
static int wait_and_witness(struct log *log, int wake_fd, uint64_t timeout_ns)
{
    pipeline_take_checkpoint(log);
    uint64_t due_ns = pipeline_checkpoint_due_ns(log);
    if (due_ns >= timeout_ns)
        return pipeline_wait(log, wake_fd, timeout_ns);
    int ran = due_ns > 0 ? pipeline_wait(log, wake_fd, due_ns) : 0;
    if (ran != 0 || pipeline_checkpoint_due_ns(log) > 0)
        return ran;
    pipeline_write_checkpoint(log);
    return pipeline_wait(log, wake_fd, timeout_ns == UINT64_MAX ? timeout_ns : timeout_ns - due_ns);
}

int log_wait(struct log *log, int wake_fd, uint64_t timeout_ns)
{
    (void)log_flush(log);
    uint64_t due_ns = failover_due_ns(log);
    int ran = wait_and_witness(log, wake_fd, due_ns < timeout_ns ? due_ns : timeout_ns);
    if (ran < 0)
        pipeline_lost(log, ran);
    pipeline_advance(log);
    return log->health == LOG_FAILED ? ERROR_UNAVAILABLE : 0;
}

uint64_t log_durable_seq(const struct log *log)
{
    return atomic_load_explicit(&log->counters.durable_seq, memory_order_acquire);
}

void log_durable_mark(const struct log *log, uint64_t *seq, uint8_t chain[SHA256_SIZE])
{
    *seq = log->durable_seq;
    memcpy(chain, log->durable_chain, SHA256_SIZE);
}

uint64_t log_next_seq(const struct log *log)
{
    return log->next_seq;
}

const uint8_t *log_uuid(const struct log *log)
{
    return log->log_uuid;
}

uint32_t log_payload_size_max(const struct log *log)
{
    return log->payload_size_max;
}

enum log_health log_health(const struct log *log)
{
    return log->health;
}

const char *log_failure(const struct log *log)
{
    return log->health == LOG_FAILED ? log->failure : NULL;
}

const char *log_failover(const struct log *log, uint64_t *count)
{
    *count = counter_get(&log->counters.failovers);
    return *count > 0 ? log->failover.text : NULL;
}

int log_maintain(struct log *log, struct error *error)
{
    CHECK(!log->maintenance.threaded);
    int done = spares_maintain(log, error);
    return done == 0 ? sealer_step(log, error) : done;
}

void log_stats_get(const struct log *log, struct log_stats *stats)
{
    const struct counters *c = &log->counters;
    *stats = (struct log_stats){
        .next_seq = counter_get(&c->next_seq),
        .durable_seq = counter_get(&c->durable_seq),
        .segment_no = counter_get(&c->segment_no),
        .segment_offset = counter_get(&c->segment_offset),
        .capacity = log->capacity,
        .frames = counter_get(&c->frames),
        .records = counter_get(&c->records),
        .payload_bytes = counter_get(&c->payload_bytes),
        .disk_bytes = counter_get(&c->disk_bytes),
        .rolls = counter_get(&c->rolls),
        .checkpoints = counter_get(&c->checkpoints),
        .syncs = counter_get(&c->syncs),
        .frames_in_flight = counter_get(&c->frames_in_flight),
        .frames_in_flight_max = counter_get(&c->frames_in_flight_max),
        .spares = spares_count(&log->maintenance.main),
        .second = log->second_dir[0] != '\0',
        .in_second = counter_get(&c->in_second),
        .stuck = atomic_load(&log->maintenance.stuck),
        .second_spares = spares_count(&log->maintenance.second),
        .spare_waits = counter_get(&c->spare_waits),
        .commit_ns_sum = counter_get(&c->commit_ns_sum),
        .depth = counter_get(&c->depth),
        .sealed = atomic_load(&log->sealer.sealed),
        .sealed_raw_bytes = atomic_load(&log->sealer.raw_bytes),
        .sealed_packed_bytes = atomic_load(&log->sealer.packed_bytes),
        .failovers = counter_get(&c->failovers),
        .stalls = counter_get(&c->stalls),
        .stall_longest_ns = counter_get(&c->stall_longest_ns),
        .epoch = (uint32_t)counter_get(&c->epoch),
        .sync = log->sync,
        .probe_dsync_ns = log->probe_dsync_ns,
        .probe_fdatasync_ns = log->probe_fdatasync_ns,
    };
    snprintf(stats->engine, sizeof stats->engine, "%s", io_name(log->io));
    stats->spare_code =
        trouble_get(log->maintenance.trouble, stats->spare_error, sizeof stats->spare_error);
    (void)trouble_get(log->maintenance.second_trouble, stats->second_error,
                      sizeof stats->second_error);
    uint64_t done_no = atomic_load(&log->sealer.done_no);
    if (log->options.seal && stats->segment_no > done_no + 1)
        stats->unsealed = stats->segment_no - done_no - 1;
    (void)trouble_get(log->sealer.trouble, stats->seal_error, sizeof stats->seal_error);
}

static void release(struct log *log)
{
    (void)spares_stop_thread(log); /* it might announce the image again, and wakes the sealer */
    (void)sealer_stop_thread(log);
    image_withdraw(log->dir);
    writer_release(log);
}

int log_close(struct log **log, struct error *error)
{
    struct log *closing = *log;
    CHECK(closing->command.left == 0);
    closing->close_by_ns = pipeline_now_ns() + GIVE_UP_STALLS * stall_after_ns(closing);
    builder_close_frame(closing, 0);
    pipeline_drain(closing);
    closing->failover.possible = false; /* all is durable; CLOSE alone is not worth a segment */
    if (closing->health == LOG_OPEN) {
        builder_end_segment(closing, LOG_KIND_CLOSED, FRAME_CLOSE);
        pipeline_drain(closing);
    }
    int result = closing->health == LOG_FAILED ? writer_failed(closing, error) : 0;
    pipeline_take_checkpoint(closing);
    if (result == 0 && !closing->checkpoint.broken && !closing->checkpoint.side.underway) {
        pipeline_write_checkpoint(closing);
        pipeline_drain(closing);
    }
    release(closing);
    *log = NULL;
    return result < 0 ? error_wrap(error, result, "close log") : 0;
}

void log_abandon(struct log **log)
{
    release(*log);
    *log = NULL;
}
