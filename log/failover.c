/* Going on in a spare after a write or a sync failed.
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
 *
 * Frames move to the front of the image that they are in, keep their records, and get new headers.
 * Records keep their sequence numbers, since the caller has acted on them; so storage.failover
 * comes behind them. A header that failed may be in its file or not, and may appear later. No frame
 * follows it, but to readers it would be a segment, behind which the next one must go on; so its
 * name is removed, durably, before the next header is written. */
#include "core/base/check.h"
#include "iouring/file.h"
#include "log/frame.h"
#include "log/writer.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define SPARE_WAIT_NS 5000000000ull
#define SPARE_POLL_NS 5000000ull

/* A header may be in this file: away with it. */
static int remove_file(const struct log *log, uint64_t segment_no)
{
    char path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1], name[LOG_SEGMENT_NAME_SIZE];
    struct error ignored;
    segment_name(name, segment_no);
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    return unlink(path) < 0 ? -errno : file_sync_dir(log->dir, &ignored);
}

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

/* Builds the frames of `segment` from offset `at` on anew, for the file of this header. */
static void rebuild(struct log *log, struct segment *segment, struct segment_header *header, int fd,
                    uint64_t at)
{
    uint8_t *bytes = segment->image.bytes;
    uint64_t end = segment->end;
    struct frame_header frame;
    bool sealed = false;
    take_from_readers(segment);
    memset(segment->index, 0xff, log->capacity / LOG_BLOCK_SIZE * SEALED_ENTRY_SIZE);
    builder_place(log, segment, header, fd);
    for (uint64_t size; at < end && !sealed; at += size) {
        CHECK(frame_header_decode(bytes + at, &frame) == 0);
        size = (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
        CHECK(size <= end - at);
        sealed = frame.flags & FRAME_SEAL;
        if (sealed)
            break;
        memmove(bytes + segment->end, bytes + at, size);
        builder_take_frame(log, &frame);
    }
    memset(bytes + segment->end, 0, end - segment->end);
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

/* `building` of a roll goes on behind where `moved` ends now. */
static void rebuild_next(struct log *log, struct segment *moved, struct segment *next,
                         const struct spare *spare)
{
    struct segment_header header = next->header;
    header.segment_no = spare->segment_no;
    header.salt = spare->salt;
    header.epoch = log->epoch;
    CHECK(header.first_seq == log->next_seq);
    header.prev_segment_no = moved->header.segment_no;
    header.prev_end_offset = moved->end;
    memcpy(header.prev_chain, log->chain, SHA256_SIZE);
    rebuild(log, next, &header, spare->fd, LOG_BLOCK_SIZE);
}

static void move(struct log *log, struct segment *moved, const struct spare *spare)
{
    struct segment *next = moved == log->writing && log->building != moved ? log->building : NULL;
    uint64_t from = moved->begun ? log->durable_end : LOG_BLOCK_SIZE, next_seq = log->next_seq;
    struct spare target = *spare;
    if (next != NULL)
        target = (struct spare){ next->fd, next->header.segment_no, next->header.salt };
    struct segment_header header = next_header(log, moved, &target);
    close(moved->fd); /* and with it goes the lock: no write to it is under way */
    rewind_to_durable(log);
    stall_watch(log, 0);
    rebuild(log, moved, &header, target.fd, from);
    if (next != NULL)
        rebuild_next(log, moved, next, spare);
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

uint64_t failover_due_ns(const struct log *log)
{
    return log->failover.wanted && log->ops_underway == 0 ? SPARE_POLL_NS : UINT64_MAX;
}

static void give_up(struct log *log, const char *why)
{
    char reason[400];
    snprintf(reason, sizeof reason, "%.255s, and %.120s", log->failover.reason, why);
    pipeline_fail(log, reason);
}

void failover_run(struct log *log)
{
    struct failover *failover = &log->failover;
    struct segment *moved = failover->header ? log->header_of : log->writing;
    struct spare spare;
    CHECK(failover->wanted);
    CHECK(log->ops_underway == 0);
    /* Before anything else: the next opening would stumble over it. */
    if (failover->header && !failover->removed && remove_file(log, moved->header.segment_no) < 0)
        return give_up(log, "the file cannot be removed to go on in another");
    failover->removed = failover->header;
    if (failover->in_a_row == FAILOVERS_IN_A_ROW_MAX)
        return give_up(log, "so did the segments tried after it");
    if (spares_count(log) == 0 && may_wait(log))
        return;
    if (spares_count(log) == 0)
        return give_up(log, "no spare segment is ready to go on in");
    CHECK(spares_take(log, &spare));
    builder_close_frame(log, 0);
    log->epoch++;
    counter_set(&log->counters.epoch, log->epoch);
    move(log, moved, &spare);
    tell(log, moved);
    failover_record(log);
    failover->in_a_row++;
    failover->wanted = failover->header = failover->removed = false;
    counter_add(&log->counters.failovers, 1);
    counter_set(&log->counters.next_seq, log->next_seq);
    pipeline_write_header(log, moved);
    spares_wake(log);
}
