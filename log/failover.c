/* Going on in a spare after a write or a sync failed, or does not end.
 *
 * The segment that could not be written is never written again and no sync is repeated: what became
 * of its pages is unknown. Its acknowledged frames stay where they are. All that was not
 * acknowledged is still in the image; it moves to a segment whose header has a higher epoch and
 * says where the acknowledged frames end, which fences off whatever of the rest reached the disk.
 * Recovery begins a segment in the same way, so that a crash at any point of this leaves nothing
 * new.
 *
 *   failed          | moves to                          | of which image
 *   ----------------|-----------------------------------|------------------------------------------
 *   a frame or sync | a spare                           | `writing`, behind the acknowledged frames
 *   the same in a   | the file of `building`, and that  | the same, with a new SEAL; and all of
 *   roll            | to a spare: numbers must ascend   | `building`
 *   a header        | a spare; the file is removed      | all of the segment that it was for
 *   a stall of a    | a spare of the second directory   | a copy of `writing`, behind the
 *   frame or sync   |                                   | acknowledged frames
 *   the same in a   | two of them                       | the same, with a new SEAL; and all of
 *   roll            |                                   | `building`
 *   a stall of a    | a spare of the second directory   | all of the segment that it was for
 *   header          |                                   |
 *
 * Frames move to the front of the image that they are in, keep their records, and get new headers.
 * Records keep their sequence numbers, since the caller has acted on them; so storage.failover
 * comes behind them. A header that failed may be in its file or not, and may appear later. No frame
 * follows it, but to readers it would be a segment, behind which the next one must go on; so its
 * name is removed, durably, before the next header is written.
 *
 * A stall: the ops under way are set aside with the memory and the files that they need, and what
 * becomes of them is of no account: what they write lies behind the end that the next header names,
 * or is a header that it passes over. Nothing is done then that the device which does not answer
 * would have to do: the file in the second directory has its name already (log/second.h), and a
 * name that should go goes later (spares.c), which is why readers know a segment that was passed
 * over (log/directory.h). */
#include "core/base/check.h"
#include "iouring/file.h"
#include "log/frame.h"
#include "log/writer.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define SPARE_WAIT_NS 5000000000ull
#define SPARE_POLL_NS 5000000ull

/* The header of `moved` in a new file. */
static struct segment_header next_header(const struct log *log, const struct segment *moved,
                                         const struct spare *spare)
{
    struct segment_header header = moved->header;
    header.segment_no = spare->segment_no;
    header.salt = spare->salt;
    header.epoch = log->epoch;
    if (!moved->begun) /* it goes on behind the same place as the one that was not begun */
        return header;
    header.first_seq = log->durable_seq + 1;
    header.prev_segment_no = moved->header.segment_no;
    header.prev_last_seq = log->durable_seq;
    header.prev_end_offset = log->durable_end;
    memcpy(header.prev_chain, log->durable_chain, SHA256_SIZE);
    return header;
}

/* Readers must see that the image is not theirs before its bytes change. */
static void take_from_readers(struct segment *segment)
{
    static const uint8_t nobody[UUID_SIZE];
    image_assign(&segment->image, nobody, 0, 0, 0, 0);
#ifndef __SANITIZE_THREAD__ /* it does not know fences, and sees no other mapping either */
    atomic_thread_fence(memory_order_release);
#endif
}

/* Closed frames in an image. */
struct frames {
    const uint8_t *bytes; /* of the image */
    uint64_t at, end;
};

/* Builds these frames anew in `segment`, for the file of this header. They may be its own. */
static void rebuild(struct log *log, struct segment *segment, const struct segment_header *header,
                    const struct spare *file, struct frames frames)
{
    uint8_t *bytes = segment->image.bytes;
    struct frame_header frame;
    bool sealed = false;
    take_from_readers(segment);
    memset(segment->index, 0xff, log->capacity / LOG_BLOCK_SIZE * SEALED_ENTRY_SIZE);
    builder_place(log, segment, header, file);
    for (uint64_t at = frames.at, size; at < frames.end && !sealed; at += size) {
        CHECK(frame_header_decode(frames.bytes + at, &frame) == 0);
        size = (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
        CHECK(size <= frames.end - at);
        sealed = frame.flags & FRAME_SEAL;
        if (sealed)
            break;
        memmove(bytes + segment->end, frames.bytes + at, size);
        builder_take_frame(log, &frame);
    }
    if (bytes == frames.bytes)
        memset(bytes + segment->end, 0, frames.end - segment->end);
    if (sealed) { /* it tells of the segment that it ends */
        log->last_time_ns = frame.base_time_ns;
        builder_end_segment(log, LOG_KIND_SEALED, FRAME_SEAL);
    }
}

/* The builder stands behind the last acknowledged frame again. */
static void rewind_to_durable(struct log *log)
{
    log->next_seq = log->durable_seq + 1;
    log->prev_link = log->durable_link;
    memcpy(log->chain, log->durable_chain, SHA256_SIZE);
    log->queue.first = log->queue.count = log->queue.submitted = 0;
}

/* `building` of a roll goes on behind where `before` ends now. */
static void rebuild_next(struct log *log, const struct segment *before, struct segment *next,
                         const struct spare *spare)
{
    struct segment_header header = next->header;
    header.segment_no = spare->segment_no;
    header.salt = spare->salt;
    header.epoch = log->epoch;
    CHECK(header.first_seq == log->next_seq);
    header.prev_segment_no = before->header.segment_no;
    header.prev_end_offset = before->end;
    memcpy(header.prev_chain, log->chain, SHA256_SIZE);
    rebuild(log, next, &header, spare,
            (struct frames){ next->image.bytes, LOG_BLOCK_SIZE, next->end });
}

/* The segment that is built behind the one that moves. */
static struct segment *next_of(const struct log *log, const struct segment *moved)
{
    return moved == log->writing && log->building != moved ? log->building : NULL;
}

/* What is not acknowledged of `moved` goes to `target`, which may be the same, and to files[0];
 * what is built behind it to files[1]. */
static void move(struct log *log, struct segment *moved, struct segment *target,
                 const struct spare files[2])
{
    struct segment *next = next_of(log, moved);
    uint64_t next_seq = log->next_seq;
    struct segment_header header = next_header(log, moved, &files[0]);
    struct frames frames = { moved->image.bytes, moved->begun ? log->durable_end : LOG_BLOCK_SIZE,
                             moved->end };
    rewind_to_durable(log);
    stall_watch(log, 0);
    rebuild(log, target, &header, &files[0], frames);
    if (moved == log->writing)
        log->writing = target;
    if (next != NULL)
        rebuild_next(log, target, next, &files[1]);
    CHECK(log->next_seq == next_seq); /* what the caller has acted on keeps its numbers */
}

/* For the record, and for people. */
static void tell(struct log *log, const struct segment *moved)
{
    struct failover *failover = &log->failover;
    struct storage_failover *untold = &failover->untold;
    uint16_t before = untold->count;
    *untold = (struct storage_failover){
        .count = (uint16_t)(before + 1),
        .epoch = log->epoch,
        .failed_no = failover->failed_no,
        .segment_no = moved->header.segment_no,
        .prev_segment_no = moved->header.prev_segment_no,
        .prev_last_seq = moved->header.prev_last_seq,
        .prev_end_offset = moved->header.prev_end_offset,
        .frames = log->queue.count,
        .records = log->next_seq - 1 - log->durable_seq,
    };
    snprintf(
        failover->text, sizeof failover->text,
        "%.255s; the log goes on in segment %llu behind event %llu, where %llu events that were "
        "not durable yet are written again",
        failover->reason, (unsigned long long)untold->segment_no,
        (unsigned long long)untold->prev_last_seq, (unsigned long long)untold->records);
}

void failover_record(struct log *log)
{
    struct failover *failover = &log->failover;
    struct storage_failover *untold = &failover->untold;
    CHECK(log->open.record_count == 0);
    if (untold->count == 0 || log->building->end + LOG_BLOCK_SIZE > log->usable_end)
        return;
    untold->reason = span_of_text(failover->reason);
    storage_failover_encode(log->own_payload, untold);
    builder_own_frame(log, LOG_KIND_FAILOVER, 0, storage_failover_size(untold));
    untold->count = 0;
}

/* The maintenance thread may be about to have one. */
static bool may_wait(const struct log *log)
{
    char ignored[1];
    return log->maintenance.threaded &&
           trouble_get(log->maintenance.trouble, ignored, sizeof ignored) == 0 &&
           pipeline_now_ns() - log->failover.since_ns < SPARE_WAIT_NS;
}

static struct lane *other_lane(struct log *log)
{
    return log->lane == &log->lanes[0] ? &log->lanes[1] : &log->lanes[0];
}

/* True if a stall of what is under way now would be one to leave. */
static bool may_turn(struct log *log)
{
    const struct segment *waits = log->lane->header.underway ? log->header_of : log->writing;
    return log->second_dir[0] != '\0' && log->failover.possible && log->lane->underway > 0 &&
           !waits->second && !other_lane(log)->aside;
}

/* How long nothing had come back of what is under way, at `now_ns`. What matters is when the engine
 * was asked last: after a pause of the whole machine all is old, but the device answers. */
static uint64_t waited_ns(const struct log *log, uint64_t now_ns)
{
    uint64_t since_ns = counter_get(&log->counters.waiting_since_ns);
    if (since_ns > 0 && log->lane->last_ns > since_ns)
        since_ns = log->lane->last_ns;
    return since_ns > 0 && now_ns > since_ns ? now_ns - since_ns : 0;
}

uint64_t failover_due_ns(const struct log *log)
{
    struct log *any = (struct log *)(uintptr_t)log;
    if (log->failover.wanted && log->lane->underway == 0)
        return SPARE_POLL_NS;
    if (!may_turn(any) || counter_get(&log->counters.waiting_since_ns) == 0)
        return UINT64_MAX;
    uint64_t waited = waited_ns(log, pipeline_now_ns()), after = stall_after_ns(log);
    if (waited < after)
        return after - waited;
    return waited_ns(log, log->looked_ns) < after ? 0 : SPARE_POLL_NS;
}

static void give_up(struct log *log, const char *why)
{
    char reason[400];
    snprintf(reason, sizeof reason, "%.255s, and %.120s", log->failover.reason, why);
    pipeline_fail(log, reason);
}

/* The log is in `moved` now, under a higher epoch: tells of it, and begins to write. */
static void go_on(struct log *log, struct segment *moved)
{
    struct failover *failover = &log->failover;
    tell(log, moved);
    failover_record(log);
    failover->in_a_row++;
    failover->wanted = failover->header = failover->removed = false;
    counter_add(&log->counters.failovers, 1);
    counter_set(&log->counters.next_seq, log->next_seq);
    pipeline_write_header(log, moved);
    atomic_store(&log->maintenance.sweep, true);
    spares_wake(log);
}

static void begin_epoch(struct log *log)
{
    builder_close_frame(log, 0);
    log->epoch++;
    counter_set(&log->counters.epoch, log->epoch);
}

void failover_run(struct log *log)
{
    struct failover *failover = &log->failover;
    struct segment *moved = failover->header ? log->header_of : log->writing;
    struct segment *next = next_of(log, moved);
    struct spare files[2];
    CHECK(failover->wanted);
    CHECK(log->lane->underway == 0);
    /* Before anything else: the next opening would stumble over it. In the second directory it may
     * not be possible now, and is done later (spares.c). */
    if (failover->header && !failover->removed && !moved->second &&
        spares_give_up(log, moved->header.segment_no) < 0)
        return give_up(log, "the file cannot be removed to go on in another");
    failover->removed = failover->header;
    if (failover->in_a_row == FAILOVERS_IN_A_ROW_MAX)
        return give_up(log, "so did the segments tried after it");
    struct spare *spare = &files[next != NULL];
    if (!spares_take(log, false, spare) && !spares_take(log, true, spare)) {
        if (!may_wait(log))
            give_up(log, "no spare segment is ready to go on in");
        return;
    }
    if (next != NULL)
        files[0] =
            (struct spare){ next->fd, next->header.segment_no, next->header.salt, next->second };
    begin_epoch(log);
    close(moved->fd); /* and with it goes the lock: no write to it is under way */
    move(log, moved, moved, files);
    go_on(log, moved);
}

/*--- A stall -----------------------------------------------------------------------------------*/

static void name_stall(struct log *log, const struct segment *segment)
{
    struct failover *failover = &log->failover;
    char name[LOG_SEGMENT_NAME_SIZE];
    uint64_t waited = waited_ns(log, log->looked_ns);
    segment_name(name, segment->header.segment_no);
    snprintf(failover->reason, sizeof failover->reason,
             "%.32s: stall: a write that has been under way for %llu ms does not end", name,
             (unsigned long long)(waited / 1000000));
    failover->failed_no = segment->header.segment_no;
    failover->since_ns = pipeline_now_ns();
}

/* All that is under way stays as it is until it comes back. */
static void set_aside(struct log *log, struct segment *stuck, struct segment *next, bool header)
{
    struct lane *lane = log->lane;
    lane->aside = true;
    lane->since_ns = counter_get(&log->counters.waiting_since_ns);
    lane->segment = header ? NULL : stuck;
    lane->fds[0] = header ? stuck->fd : -1;
    lane->fds[1] = next != NULL ? next->fd : -1;
    log->lane = other_lane(log);
    CHECK(log->lane->underway == 0);
    atomic_store(&log->maintenance.stuck, true);
}

void failover_look(struct log *log)
{
    if (!may_turn(log) || waited_ns(log, log->looked_ns) < stall_after_ns(log))
        return;
    bool header = log->lane->header.underway;
    struct segment *stuck = header ? log->header_of : log->writing;
    struct segment *next = next_of(log, stuck);
    /* Of a header nothing is under way but a block that is the lane's. */
    struct segment *target = header ? stuck : writer_free_segment(log);
    struct spare files[2];
    if (target == NULL || !spares_take_second(log, files, next != NULL ? 2 : 1))
        return;
    if (!log->failover.wanted)
        name_stall(log, stuck);
    begin_epoch(log);
    set_aside(log, stuck, next, header);
    if (!header)
        atomic_store(&target->image_state, IMAGE_USED);
    move(log, stuck, target, files);
    go_on(log, target);
}

void failover_settle(struct lane *lane)
{
    struct log *log = lane->log;
    CHECK(lane->underway == 0);
    lane->aside = lane->header.underway = lane->sync_op.underway = false;
    if (log->left) {
        writer_came_back(log);
        return;
    }
    stall_note(log, lane->since_ns, pipeline_now_ns());
    for (int i = 0; i < 2; i++)
        if (lane->fds[i] >= 0)
            close(lane->fds[i]);
    lane->fds[0] = lane->fds[1] = -1;
    if (lane->segment != NULL) {
        image_end(&lane->segment->image);
        atomic_store_explicit(&lane->segment->image_state, IMAGE_DIRTY, memory_order_release);
    }
    lane->segment = NULL;
    atomic_store(&log->maintenance.sweep, true);
    atomic_store(&log->maintenance.stuck, false);
    spares_wake(log);
    sealer_wake(log);
}
