/* What verify looks at beside frames: CHECKPOINT, what lies behind a segment's last frame, spares.
 */
#include "log/verify_inside.h"

#include "core/base/bytes.h"
#include "log/place.h"
#include "log/sealed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

/* CHECKPOINT. */

/* True if a segment here is of this uuid: a fork that has not written CHECKPOINT yet leaves that of
 * a name before it. */
static bool is_of_our_line(struct verifying *v, const uint8_t uuid[UUID_SIZE])
{
    struct segment_header header;
    struct error ignored;
    for (ptrdiff_t i = v->last; i >= 0; i--)
        if (directory_segment(&v->directory, (size_t)i, &v->probe, &header, &ignored) ==
                SEGMENT_BEGUN &&
            memcmp(header.log_uuid, uuid, UUID_SIZE) == 0)
            return true;
    return false;
}

/* The first slot that one flipped bit made wrong, if there is one. */
static void diagnose_slots(struct verifying *v, struct log_finding *finding)
{
    struct checkpoint checkpoint;
    const uint8_t *block;
    for (unsigned slot = 0; slot < 2 && !finding->flipped; slot++) {
        uint64_t offset = (uint64_t)slot * LOG_BLOCK_SIZE;
        if (source_bytes(&v->probe, offset, LOG_BLOCK_SIZE, &block) < 0 ||
            checkpoint_decode(block, &checkpoint) != ERROR_DAMAGED)
            continue;
        struct diagnosis diagnosis = diagnose_checkpoint(block);
        finding->offset = offset;
        verify_add_diagnosis(finding, &diagnosis);
    }
}

int verify_checkpoint(struct verifying *v, struct error *error)
{
    struct log_finding finding = { .verdict = LOG_DAMAGED, .size = LOG_BLOCK_SIZE };
    struct checkpoint *checkpoint = &v->checkpoint;
    unsigned damaged;
    v->name = LOG_CHECKPOINT_NAME;
    int found = directory_checkpoint(&v->directory, &v->probe, checkpoint, &damaged);
    if (found == ERROR_BUDGET || found == -ENOMEM)
        return error_set(error, found, "%s: %s", v->name, error_text(found));
    if (found < 0)
        verify_report(v, &finding, "it cannot be read: %s", error_text(found));
    if (found >= 0 && damaged > 0) {
        diagnose_slots(v, &finding);
        verify_report(
            v, &finding,
            "%u of its two blocks are damaged: it only speeds up what the segments say too, and "
            "the next writer makes a new one",
            damaged);
    }
    if (v->probe.size != 0 && v->probe.size != 2ull * LOG_BLOCK_SIZE)
        verify_report(v, &finding, "it is %llu bytes long instead of %u", big(v->probe.size),
                      2 * LOG_BLOCK_SIZE);
    bool newest = v->last < 0 || memcmp(checkpoint->log_uuid, v->before.log_uuid, UUID_SIZE) == 0;
    if (found == 1 && !newest && !is_of_our_line(v, checkpoint->log_uuid))
        verify_report(v, &finding, "it belongs to another log: remove it");
    else
        v->checkpoint_valid = found == 1;
    if (v->checkpoint_valid && newest)
        v->witness = (struct tail_witness){ .seq = checkpoint->durable_seq, .name = v->name };
    for (unsigned i = 0; i < v->options->witness_count; i++)
        if (v->options->witnesses[i].seq > v->witness.seq)
            v->witness = (struct tail_witness){ .seq = v->options->witnesses[i].seq,
                                                .name = v->options->witnesses[i].name };
    return 0;
}

void verify_check_checkpoint(struct verifying *v)
{
    const struct scan_mark *here = &v->scan.here;
    struct checkpoint *checkpoint = &v->checkpoint;
    if (!v->checkpoint_valid || checkpoint->segment_no != v->scan.header.segment_no ||
        checkpoint->end_offset != here->end_offset)
        return;
    if (checkpoint->durable_seq == here->last_seq &&
        memcmp(checkpoint->chain, here->chain, SHA256_SIZE) == 0)
        return;
    struct log_finding finding = { .verdict = LOG_DAMAGED,
                                   .file = LOG_CHECKPOINT_NAME,
                                   .first_seq = checkpoint->durable_seq,
                                   .last_seq = checkpoint->durable_seq };
    verify_report(v, &finding, "it was written for another history than %s holds", v->name);
}

/* Bytes behind the end. */

/* How many bytes behind `offset` there are up to the last that is not zero. *unreadable is the
 * offset of the first block that cannot be read, or 0. */
static uint64_t bytes_behind(struct verifying *v, uint64_t offset, uint64_t *unreadable)
{
    uint64_t last = 0;
    *unreadable = 0;
    for (uint64_t at = offset; at < v->source.size; at += LOG_BLOCK_SIZE) {
        const uint8_t *bytes;
        uint64_t size = v->source.size - at < LOG_BLOCK_SIZE ? v->source.size - at : LOG_BLOCK_SIZE;
        if (source_bytes(&v->source, at, size, &bytes) < 0) {
            if (*unreadable == 0)
                *unreadable = at;
            continue;
        }
        verify_tell_progress(v, size);
        for (uint64_t i = size; i > 0 && !bytes_are_zero(bytes, size); i--)
            if (bytes[i - 1] != 0) {
                last = at + i - offset;
                break;
            }
    }
    return last;
}

void verify_rest(struct verifying *v)
{
    uint64_t end = v->scan.counted.end_offset, unreadable;
    struct log_finding finding = { .verdict = LOG_DAMAGED, .offset = end };
    v->tail_bytes = bytes_behind(v, end, &unreadable);
    /* Without its index nothing of a sealed one can be read, which was said. */
    bool told = v->source.sealed != NULL && !v->source.sealed->loaded;
    if (unreadable != 0 && !told) {
        finding.offset = unreadable;
        verify_find_bad_blocks(v, &finding, v->source.size);
        finding.size = bad_blocks_end(&finding.unreadable) - unreadable;
        verify_report(
            v, &finding,
            "the disk cannot read what lies at offset %llu, behind the segment's last frame: no "
            "event is lost, but copy the log to another disk",
            big(unreadable));
        finding = (struct log_finding){ .verdict = LOG_DAMAGED, .offset = end };
    }
    if (v->tail_bytes == 0 || !v->scan.ended)
        return;
    finding.size = v->tail_bytes;
    verify_report(
        v, &finding,
        "%llu bytes behind the segment's last frame are not all zero: nothing was ever written "
        "there",
        big(v->tail_bytes));
}

/* Its first blocks are zero, and yet it was begun: its events are there. */
static bool report_frames(struct verifying *v)
{
    struct frame_header frame;
    struct log_finding finding = { .verdict = LOG_DAMAGED, .tail = true, .size = v->source.size };
    if (!scan_find_any(&v->source, &frame))
        return false;
    finding.offset = frame.file_offset;
    finding.first_seq = frame.first_seq;
    verify_report(v, &finding,
                  "its header is zero, but it holds frames, the first with event %llu: restore the "
                  "file from a copy",
                  big(frame.first_seq));
    return true;
}

int verify_numbers(struct verifying *v, uint64_t newest_no, struct error *error)
{
    struct log_finding finding = { .verdict = LOG_DAMAGED, .tail = true };
    char name[LOG_SEGMENT_NAME_SIZE];
    uint64_t missing;
    int gap = directory_gap(&v->directory, newest_no, &missing);
    if (gap < 0)
        return error_set(error, gap, "the files of %s changed", v->directory.path);
    if (gap == 0)
        return 0;
    segment_name(name, missing);
    v->name = name;
    if (v->result->moved)
        finding.verdict = LOG_UNPROVEN;
    verify_report(v, &finding, "it is missing, and later ones, which were not begun, are there: %s",
                  v->result->moved ? "it may be of a copy of a live log: " PLACE_ADVICE
                                   : "put it back from a copy; if it was not begun either, remove "
                                     "those too");
    return 0;
}

void verify_spare(struct verifying *v, uint64_t capacity)
{
    uint64_t unreadable, bytes = bytes_behind(v, 0, &unreadable);
    struct log_finding finding = { .verdict = LOG_UNPROVEN, .tail = true, .size = v->source.size };
    v->result->spares++;
    if (bytes != 0 && report_frames(v))
        return;
    if (capacity != 0 && v->source.size != capacity)
        verify_report(
            v, &finding,
            "a segment that was not begun is %llu bytes long instead of %llu: remove it and "
            "those behind it, they hold no event",
            big(v->source.size), big(capacity));
    if (bytes == 0 && unreadable == 0)
        return;
    finding.verdict = LOG_DAMAGED;
    finding.offset = unreadable != 0 ? unreadable : bytes - 1;
    finding.size = 0;
    if (unreadable != 0)
        verify_find_bad_blocks(v, &finding, v->source.size);
    verify_report(v, &finding,
                  unreadable != 0
                      ? "a segment that was not begun cannot be read: remove it and those "
                        "behind it, they hold no event"
                      : "a segment that was not begun is not all zero: remove it and those "
                        "behind it, they hold no event");
}
