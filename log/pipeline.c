/* Frames on their way to disk: written from the image, acknowledged in order. */
#include "core/base/check.h"
#include "log/frame.h"
#include "log/writer.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define CHECKPOINT_IDLE_NS (20ull * 1000 * 1000)
#define CLOSE_POLL_NS (5ull * 1000 * 1000)

enum {
    DEPTH_WINDOW = 64,     /* frames */
    DEPTH_HOLD = 32,       /* windows after a try that gained nothing */
    DEPTH_GAIN_PERCENT = 5 /* what one more must bring */
};

uint64_t pipeline_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct slot *slot_at(struct log *log, uint32_t index)
{
    return &log->lane->slots[(log->queue.first + index) % log->queue.capacity];
}

struct slot *pipeline_add(struct log *log)
{
    CHECK(log->queue.count < log->queue.capacity);
    struct slot *slot = slot_at(log, log->queue.count++);
    slot->lane = log->lane;
    slot->state = SLOT_QUEUED;
    return slot;
}

bool pipeline_is_steady(const struct log *log)
{
    return log->building == log->writing && log->writing->begun && !log->failover.wanted;
}

bool pipeline_has_slot(const struct log *log)
{
    return log->queue.submitted < log->depth.now && log->queue.submitted == log->queue.count &&
           pipeline_is_steady(log);
}

void pipeline_fail(struct log *log, const char *reason)
{
    if (log->health == LOG_FAILED)
        return;
    snprintf(log->failure, sizeof log->failure,
             "%.380s; the log takes no more writes until it is opened again: check the disk",
             reason);
    log->health = LOG_FAILED;
}

void pipeline_lost(struct log *log, int result)
{
    char name[LOG_SEGMENT_NAME_SIZE], reason[200];
    segment_name(name, log->writing->header.segment_no);
    snprintf(reason, sizeof reason, "%.32s: its writes cannot be waited for: %.120s", name,
             error_text(result));
    pipeline_fail(log, reason);
}

/* A write or a sync of `segment` failed. What is under way goes on to its end, nothing new
 * begins. */
static void op_failed(struct log *log, const char *what, const struct segment *segment, int result,
                      const struct io_op *op)
{
    struct failover *failover = &log->failover;
    if (log->health == LOG_FAILED || failover->wanted)
        return;
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, segment->header.segment_no);
    char why[128];
    if (result >= 0)
        snprintf(why, sizeof why, "only %d bytes were written", result);
    else
        snprintf(why, sizeof why, "%s", error_text(result));
    snprintf(failover->reason, sizeof failover->reason,
             "%.32s: %.32s of %u bytes at offset %llu: %.120s", name, what, op->size,
             (unsigned long long)op->offset, why);
    failover->failed_no = segment->header.segment_no;
    failover->header = op == &log->lane->header.op;
    failover->since_ns = pipeline_now_ns();
    failover->wanted = failover->possible;
    if (!failover->possible)
        pipeline_fail(log, failover->reason);
}

static void submit_op(struct lane *lane, struct io_op *op)
{
    lane->underway++;
    io_submit(lane->log->io, op);
}

/* An op came back. False when it was set aside, and what it brings counts for nothing. */
static bool take_op(struct lane *lane)
{
    lane->underway--;
    if (!lane->aside) {
        lane->last_ns = pipeline_now_ns();
        return true;
    }
    if (lane->underway == 0)
        failover_settle(lane);
    return false;
}

int pipeline_wait(struct log *log, int wake_fd, uint64_t timeout_ns)
{
    log->looked_ns = pipeline_now_ns();
    return io_wait(log->io, wake_fd, timeout_ns);
}

uint32_t pipeline_underway(const struct log *log)
{
    uint32_t count = log->checkpoint.side.underway;
    for (unsigned i = 0; i < LANES_MAX; i++)
        count += log->lanes[i].underway;
    return count;
}

/* All at once: a sync covers every write that was done before it was submitted. */
static void sync_written(struct log *log);

static void sync_done(struct io_op *op, int result)
{
    struct side_op *side = (struct side_op *)op;
    struct log *log = side->log;
    side->underway = false;
    if (!take_op(side->lane))
        return;
    if (result < 0) {
        op_failed(log, "sync", log->writing, result, op);
        return;
    }
    for (uint32_t i = 0; i < log->queue.submitted; i++) {
        struct slot *slot = slot_at(log, i);
        if (slot->state == SLOT_SYNCING)
            slot->state = SLOT_DURABLE;
    }
    sync_written(log);
}

static void sync_written(struct log *log)
{
    struct side_op *side = &log->lane->sync_op;
    bool any = false;
    if (side->underway || log->failover.wanted || log->health == LOG_FAILED)
        return;
    for (uint32_t i = 0; i < log->queue.submitted; i++) {
        struct slot *slot = slot_at(log, i);
        if (slot->state != SLOT_WRITTEN)
            continue;
        slot->state = SLOT_SYNCING;
        any = true;
    }
    if (!any)
        return;
    side->underway = true;
    side->op = (struct io_op){ .kind = IO_SYNC, .fd = log->writing->fd, .done = sync_done };
    counter_add(&log->counters.syncs, 1);
    submit_op(log->lane, &side->op);
}

static void frame_done(struct io_op *op, int result)
{
    struct slot *slot = (struct slot *)op;
    struct log *log = slot->lane->log;
    if (!take_op(slot->lane))
        return;
    if (result < 0 || (uint32_t)result != op->size) {
        op_failed(log, "write", slot->segment, result, op);
        return;
    }
    slot->state = op->dsync ? SLOT_DURABLE : SLOT_WRITTEN;
    sync_written(log);
}

static void submit_slot(struct log *log, struct slot *slot)
{
    struct segment *segment = slot->segment;
    CHECK(slot->state == SLOT_QUEUED);
    CHECK(slot->op.offset == segment->submitted); /* no block is ever written twice */
    segment->submitted = slot->end_offset;
    slot->op.kind = IO_WRITE;
    slot->op.fd = segment->fd;
    slot->op.dsync = log->sync == LOG_SYNC_DSYNC;
    slot->op.done = frame_done;
    slot->state = SLOT_WRITING;
    slot->submit_ns = pipeline_now_ns();
    log->queue.submitted++;
    log->depth.limited += log->queue.submitted == log->depth.now;
    if (log->queue.submitted == 1)
        stall_watch(log, slot->submit_ns);
    if (slot->op.dsync)
        counter_add(&log->counters.syncs, 1);
    counter_add(&log->counters.disk_bytes, slot->op.size);
    submit_op(log->lane, &slot->op);
}

void pipeline_submit(struct log *log)
{
    struct queue *queue = &log->queue;
    if (log->health == LOG_FAILED || log->failover.wanted || !log->writing->begun)
        return;
    while (queue->submitted < queue->count && queue->submitted < log->depth.now) {
        struct slot *slot = slot_at(log, queue->submitted);
        if (slot->segment != log->writing)
            break; /* its header is not durable yet */
        submit_slot(log, slot);
    }
    counter_set(&log->counters.frames_in_flight, queue->submitted);
    if (queue->submitted > counter_get(&log->counters.frames_in_flight_max))
        counter_set(&log->counters.frames_in_flight_max, queue->submitted);
}

/* Side ops: a header or a CHECKPOINT slot, durable when done. Without DSYNC a sync follows. */

static void submit_side(struct side_op *side)
{
    if (side->lane != NULL)
        submit_op(side->lane, &side->op);
    else
        io_submit(side->log->io, &side->op);
}

static void side_write(struct log *log, struct side_op *side, int fd, uint64_t offset,
                       io_done *done)
{
    CHECK(!side->underway);
    side->underway = true;
    side->op = (struct io_op){ .kind = IO_WRITE,
                               .fd = fd,
                               .buffer = side->block,
                               .size = LOG_BLOCK_SIZE,
                               .offset = offset,
                               .dsync = log->sync == LOG_SYNC_DSYNC,
                               .done = done };
    counter_add(&log->counters.syncs, 1);
    counter_add(&log->counters.disk_bytes, LOG_BLOCK_SIZE);
    submit_side(side);
}

/* Returns true when the op is durable; false when it failed or its sync is still under way. */
static bool side_is_durable(struct side_op *side, int result)
{
    struct io_op *op = &side->op;
    bool whole = op->kind == IO_SYNC ? result == 0 : result == LOG_BLOCK_SIZE;
    if (whole && op->kind == IO_WRITE && !op->dsync) {
        op->kind = IO_SYNC;
        submit_side(side);
        return false;
    }
    side->underway = false;
    return whole;
}

static void file_sync_done(struct io_op *op, int result)
{
    struct side_op *side = (struct side_op *)op;
    side->lane->underway--;
    side->underway = false;
    side->result = result;
}

int pipeline_sync_file(struct log *log, int fd)
{
    struct side_op *side = &log->lane->sync_op;
    side->op = (struct io_op){ .kind = IO_SYNC, .fd = fd, .done = file_sync_done };
    side->underway = true;
    submit_side(side);
    while (side->underway) {
        int ran = io_run(log->io);
        if (ran < 0)
            return ran;
    }
    return side->result;
}

/* What was set aside has a segment behind it now: whoever reads it goes on there. */
static void end_aside(struct log *log)
{
    for (unsigned i = 0; i < LANES_MAX; i++)
        if (log->lanes[i].aside && log->lanes[i].segment != NULL)
            image_end(&log->lanes[i].segment->image);
}

/* A roll's end: the disk has the next segment, readers get its image, maintenance the old one. */
static void header_done(struct io_op *op, int result)
{
    struct side_op *side = (struct side_op *)op;
    struct log *log = side->log;
    struct segment *old = log->writing, *next = log->header_of;
    if (!take_op(side->lane))
        return;
    bool durable = side_is_durable(side, result);
    if (side->underway)
        return;
    stall_note(log, counter_get(&log->counters.waiting_since_ns), pipeline_now_ns());
    stall_watch(log, 0);
    if (!durable) {
        op_failed(log, "write of the header", next, result, op);
        return;
    }
    log->durable_end = LOG_BLOCK_SIZE;
    next->begun = true;
    image_assign(&next->image, log->log_uuid, next->header.segment_no, next->header.salt,
                 log->durable_seq, log->durable_end);
    log->writing = next;
    counter_set(&log->counters.in_second, next->second);
    counter_set(&log->counters.segment_no, next->header.segment_no);
    counter_set(&log->counters.segment_offset, log->durable_end);
    if (old != next) {
        image_end(&old->image);
        atomic_store_explicit(&old->image_state, IMAGE_DIRTY, memory_order_release);
    }
    end_aside(log);
    atomic_store(&log->maintenance.announced, (int)(next - log->segments));
    atomic_store(&log->maintenance.announce, true);
    spares_wake(log);
    sealer_wake(log);
}

void pipeline_write_header(struct log *log, struct segment *segment)
{
    log->header_of = segment;
    segment->header.durable_seq = log->durable_seq;
    segment_header_encode(log->lane->header.block, &segment->header);
    stall_watch(log, pipeline_now_ns());
    side_write(log, &log->lane->header, segment->fd, 0, header_done);
}

static void checkpoint_done(struct io_op *op, int result)
{
    struct side_op *side = (struct side_op *)op;
    struct log *log = side->log;
    bool durable = side_is_durable(side, result);
    if (side->underway)
        return;
    if (log->left) {
        writer_came_back(log);
        return;
    }
    counter_add(&log->counters.checkpoints, durable);
    struct checkpoints *checkpoint = &log->checkpoint;
    if (durable) {
        checkpoint->kept = checkpoint->last;
        return;
    }
    /* It is a witness only: without it the log is as good, and its end a little less proven. After
     * a sync that failed nobody knows what of this file is on the disk: it is written anew. */
    checkpoint->broken = true;
    checkpoint->last.durable_seq = checkpoint->kept.durable_seq;
    atomic_store(&checkpoint->wanted, true);
    spares_wake(log);
}

void pipeline_take_checkpoint(struct log *log)
{
    struct checkpoints *checkpoint = &log->checkpoint;
    int fd = checkpoint->broken ? atomic_exchange(&checkpoint->fresh_fd, -1) : -1;
    if (fd < 0)
        return;
    close(checkpoint->fd);
    checkpoint->fd = fd;
    checkpoint->broken = false;
}

static bool is_drained(const struct log *log)
{
    return log->queue.count == 0 && log->open.record_count == 0 && pipeline_is_steady(log);
}

uint64_t pipeline_checkpoint_due_ns(const struct log *log)
{
    const struct checkpoints *checkpoint = &log->checkpoint;
    if (!is_drained(log) || log->health == LOG_FAILED || checkpoint->broken ||
        checkpoint->side.underway || checkpoint->last.durable_seq == log->durable_seq)
        return UINT64_MAX;
    uint64_t idle_ns = pipeline_now_ns() - log->drained_ns;
    return idle_ns < CHECKPOINT_IDLE_NS ? CHECKPOINT_IDLE_NS - idle_ns : 0;
}

void pipeline_write_checkpoint(struct log *log)
{
    struct checkpoint *last = &log->checkpoint.last;
    last->durable_seq = log->durable_seq;
    last->segment_no = log->writing->header.segment_no;
    last->end_offset = log->durable_end;
    last->time_ns = log->last_time_ns;
    last->generation++;
    memcpy(last->log_uuid, log->log_uuid, UUID_SIZE);
    memcpy(last->chain, log->durable_chain, SHA256_SIZE);
    checkpoint_encode(log->checkpoint.side.block, last);
    side_write(log, &log->checkpoint.side, log->checkpoint.fd,
               last->generation % 2 * LOG_BLOCK_SIZE, checkpoint_done);
}

/* One window of frames is over: was it worth its depth, and is one more worth a try? */
static void depth_adapt(struct depth *depth, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns - depth->start_ns;
    uint64_t rate = passed_ns > 0 ? depth->bytes * 1000 / (passed_ns / 1000 + 1) : 0;
    bool limited = depth->limited * 2 > depth->frames;
    bool gained = rate * 100 >= depth->rate * (100 + DEPTH_GAIN_PERCENT);
    if (depth->tried && !gained) {
        depth->now--;
        depth->hold = DEPTH_HOLD;
    }
    depth->tried = false;
    if (depth->hold > 0) {
        depth->hold--;
    } else if (limited && depth->now < depth->max) {
        depth->rate = rate;
        depth->now++;
        depth->tried = true;
    }
    depth->frames = depth->limited = 0;
    depth->bytes = 0;
    depth->start_ns = now_ns;
}

static void acknowledge(struct log *log, const struct slot *slot, uint64_t now_ns)
{
    if (slot->ack_seq != 0) {
        log->durable_seq = slot->ack_seq;
        log->durable_end = slot->end_offset;
        log->durable_link = slot->link;
        memcpy(log->durable_chain, slot->chain, SHA256_SIZE);
    }
    log->failover.in_a_row = 0;
    counter_add(&log->counters.frames, 1);
    counter_add(&log->counters.commit_ns_sum, now_ns - slot->submit_ns);
    stall_note(log, slot->submit_ns, now_ns);
    log->depth.frames++;
    log->depth.bytes += slot->op.size;
}

/* The prefix of the queue that is durable. */
static void acknowledge_prefix(struct log *log)
{
    struct queue *queue = &log->queue;
    uint64_t before = log->durable_seq;
    uint64_t now_ns = pipeline_now_ns();
    struct segment *segment = log->writing;
    bool sealed = false;
    while (queue->submitted > 0 && slot_at(log, 0)->state == SLOT_DURABLE) {
        const struct slot *slot = slot_at(log, 0);
        acknowledge(log, slot, now_ns);
        sealed = slot->flags & FRAME_SEAL;
        queue->first = (queue->first + 1) % queue->capacity;
        queue->count--;
        queue->submitted--;
    }
    stall_watch(log, queue->submitted > 0 ? slot_at(log, 0)->submit_ns : 0);
    if (log->depth.frames >= DEPTH_WINDOW) {
        depth_adapt(&log->depth, now_ns);
        counter_set(&log->counters.depth, log->depth.now);
    }
    if (log->durable_seq != before) {
        log->drained_ns = now_ns;
        atomic_store_explicit(&log->counters.durable_seq, log->durable_seq, memory_order_release);
        counter_set(&log->counters.segment_offset, log->durable_end);
        image_publish(&segment->image, log->durable_seq, log->durable_end);
    }
    if (sealed)
        pipeline_write_header(log, log->building);
}

void pipeline_advance(struct log *log)
{
    struct queue *queue = &log->queue;
    if (log->health == LOG_FAILED)
        return;
    if (queue->submitted > 0 && slot_at(log, 0)->state == SLOT_DURABLE)
        acknowledge_prefix(log);
    if (log->failover.wanted && log->lane->underway == 0)
        failover_run(log);
    else
        failover_look(log);
    pipeline_submit(log);
}

/* Of the drain of log_close(): a write that does not end would keep it for ever. */
static bool is_too_late(const struct log *log)
{
    return log->close_by_ns > 0 && pipeline_now_ns() >= log->close_by_ns;
}

static uint64_t drain_due_ns(const struct log *log)
{
    uint64_t due_ns = failover_due_ns(log);
    return log->close_by_ns > 0 && due_ns > CLOSE_POLL_NS ? CLOSE_POLL_NS : due_ns;
}

void pipeline_drain(struct log *log)
{
    const bool *witness = &log->checkpoint.side.underway;
    while (log->health == LOG_OPEN &&
           (log->queue.count > 0 || log->lane->underway > 0 || *witness)) {
        pipeline_submit(log);
        CHECK(log->lane->underway > 0 || log->failover.wanted || *witness);
        int ran = pipeline_wait(log, -1, drain_due_ns(log));
        if (ran < 0)
            pipeline_lost(log, ran);
        pipeline_advance(log);
        if (!is_too_late(log))
            continue;
        if (log->queue.count == 0 && log->lane->underway == 0)
            return; /* the log can do without CHECKPOINT */
        pipeline_fail(log, "a write is still under way, and does not end");
    }
}

/* The ops live in memory that is about to be freed. */
bool pipeline_stop(struct log *log)
{
    uint64_t by_ns = pipeline_now_ns() + GIVE_UP_STALLS * stall_after_ns(log);
    while (pipeline_underway(log) > 0 && pipeline_now_ns() < by_ns)
        CHECK(io_wait(log->io, -1, CLOSE_POLL_NS) >= 0);
    return pipeline_underway(log) == 0;
}
