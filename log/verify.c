#include "core/base/bytes.h"
#include "log/place.h"
#include "log/sealed.h"
#include "log/storage.h"
#include "log/verify_inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PROGRESS_BYTES (4u << 20)
/* How often it begins anew when segments are removed faster than they are read. */
#define ATTEMPTS_MAX 4

static unsigned long long big(uint64_t number)
{
    return number;
}

static int severity(enum log_verdict verdict)
{
    static const int order[] = {
        [LOG_SOUND] = 0, [LOG_TORN] = 1, [LOG_UNPROVEN] = 2, [LOG_DAMAGED] = 3
    };
    return order[verdict];
}

void verify_report(struct verifying *v, struct log_finding *finding, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->text, sizeof finding->text, format, arguments);
    va_end(arguments);
    if (finding->file[0] == '\0')
        snprintf(finding->file, sizeof finding->file, "%s", v->name);
    v->result->findings++;
    if (severity(finding->verdict) > severity(v->result->verdict))
        v->result->verdict = finding->verdict;
    if (v->options->finding != NULL)
        v->options->finding(finding, v->options->context);
}

void verify_add_diagnosis(struct log_finding *finding, const struct diagnosis *diagnosis)
{
    finding->flipped = diagnosis->kind == DIAGNOSIS_FLIPPED;
    if (!finding->flipped)
        return;
    finding->flipped_offset = finding->offset + diagnosis->offset;
    finding->flipped_bit = diagnosis->bit;
    diagnosis_describe_flip(diagnosis, finding->offset, finding->diagnosis);
}

/* The frame that should stand where the finding is. */
static void diagnose(struct verifying *v, struct log_finding *finding)
{
    struct diagnosis diagnosis = diagnose_place(
        &v->directory, &v->source, &v->probe, &v->scan.header, finding->offset, finding->diagnosis);
    verify_add_diagnosis(finding, &diagnosis);
}

void verify_find_bad_blocks(struct verifying *v, struct log_finding *finding, uint64_t end)
{
    struct bad_blocks *found = &finding->unreadable;
    if (end <= finding->offset ||
        source_bad_blocks(&v->source, finding->offset, end - finding->offset, found) < 0 ||
        found->count == 0)
        return;
    bad_blocks_describe(found, finding->diagnosis, sizeof finding->diagnosis);
}

static void set_witness(struct log_finding *finding, const char *name, uint64_t seq)
{
    snprintf(finding->witness, sizeof finding->witness, "%s", name);
    finding->witness_seq = seq;
}

void verify_tell_progress(struct verifying *v, uint64_t bytes)
{
    v->done_bytes += bytes;
    if (v->options->progress == NULL || v->done_bytes - v->told_bytes < PROGRESS_BYTES)
        return;
    v->told_bytes = v->done_bytes;
    v->options->progress(v->done_bytes < v->all_bytes ? v->done_bytes : v->all_bytes, v->all_bytes,
                         v->options->context);
}

static bool is_stopped(const struct verifying *v)
{
    return v->options->stop != NULL && atomic_load_explicit(v->options->stop, memory_order_relaxed);
}

/* Joints between segments. */

static void check_gap(struct verifying *v, const struct segment_header *header)
{
    struct log_finding finding = { .verdict = LOG_DAMAGED,
                                   .first_seq = v->resume_seq + 1,
                                   .last_seq = header->prev_last_seq };
    if (header->prev_last_seq <= v->resume_seq)
        finding.first_seq = finding.last_seq = 0;
    if (header->prev_segment_no == 0)
        verify_report(
            v, &finding,
            "it says that the log begins with it, though segments before it are there: put it "
            "back from a copy");
    else if (directory_find(&v->directory, header->prev_segment_no) < 0)
        verify_report(v, &finding,
                      "segment %llu, behind which it goes on, is missing: put it back from a copy",
                      big(header->prev_segment_no));
}

static void check_joint(struct verifying *v, const struct segment_header *header)
{
    const struct segment_header *before = &v->before;
    struct log_finding finding = { .verdict = LOG_DAMAGED, .size = LOG_BLOCK_SIZE };
    const char *what = NULL;
    bool gap = header->prev_segment_no != before->segment_no;
    /* None before it could be read, which was reported. */
    if (before->segment_no == 0) {
        if (gap)
            check_gap(v, header);
        return;
    }
    /* Where it forked may be in the gap. */
    if (!segment_is_of_line(before, header) && !(gap && segment_is_forked(header)))
        what = "it belongs to another log than the segment before it";
    else if (gap)
        check_gap(v, header);
    else if (!v->joined)
        return;
    else if (header->prev_last_seq != v->mark.last_seq)
        what = "it goes on behind another event than the segment before it ends with";
    else if (header->prev_end_offset != v->mark.end_offset)
        what = "it goes on behind another place than the segment before it ends at";
    else if (memcmp(header->prev_chain, v->mark.chain, SHA256_SIZE) != 0)
        what = "its chain does not go on from the segment before it";
    else if (header->epoch < before->epoch || (header->epoch == before->epoch && !v->ended))
        what = "its epoch does not follow that of the segment before it";
    if (what != NULL)
        verify_report(v, &finding, "%s (%llu and %llu)", what, big(v->mark.last_seq),
                      big(header->prev_last_seq));
}

/* storage.opened says what the recovery before it found; it must be what there is. */
static void check_opened(struct verifying *v, const struct frame_header *frame,
                         const uint8_t *bytes)
{
    const struct segment_header *header = &v->scan.header;
    struct log_finding finding = { .verdict = LOG_DAMAGED,
                                   .offset = frame->file_offset,
                                   .first_seq = frame->first_seq,
                                   .last_seq = frame->first_seq };
    struct storage_opened opened;
    struct record record;
    uint32_t at = 0;
    if (!frame_next_record(bytes, frame, &at, &record) ||
        storage_opened_decode(record.payload, &opened) < 0 || opened.epoch != header->epoch ||
        memcmp(opened.log_uuid, header->log_uuid, UUID_SIZE) != 0 ||
        memcmp(opened.parent_uuid, header->parent_uuid, UUID_SIZE) != 0 ||
        opened.parent_seq != header->parent_seq ||
        memcmp(opened.parent_chain, header->parent_chain, SHA256_SIZE) != 0 ||
        opened.prev_segment_no != header->prev_segment_no ||
        opened.prev_last_seq != header->prev_last_seq ||
        opened.prev_end_offset != header->prev_end_offset)
        verify_report(v, &finding, "its record of the opening contradicts its header");
    else if (v->joined && (opened.verdict == LOG_SOUND || opened.verdict == LOG_TORN) &&
             opened.tail_bytes != v->tail_bytes)
        verify_report(
            v, &finding,
            "when the log was opened, %llu bytes lay behind the end of the segment before it; "
            "now it is %llu",
            big(opened.tail_bytes), big(v->tail_bytes));
}

static void check_sealed(struct verifying *v, const struct frame_header *frame,
                         const uint8_t *bytes)
{
    struct log_finding finding = { .verdict = LOG_DAMAGED,
                                   .offset = frame->file_offset,
                                   .first_seq = frame->first_seq,
                                   .last_seq = frame->first_seq };
    struct storage_sealed sealed;
    struct record record;
    uint32_t at = 0;
    const char *what = NULL;
    if (!frame_next_record(bytes, frame, &at, &record) ||
        storage_sealed_decode(record.payload, &sealed) < 0)
        what = "its record of the end cannot be decoded";
    else if (sealed.block_count != frame->file_offset / LOG_BLOCK_SIZE ||
             sealed.last_seq != frame->first_seq - 1 ||
             sealed.first_seq != v->scan.header.first_seq)
        what = "its record of the end is of another segment";
    else if (!v->whole)
        return; /* what was damaged before it cannot be counted */
    else if (!block_index_matches(&v->index, &sealed))
        what = "its index does not say where its records are";
    else if (sealed.record_count != v->scan.records - 1 ||
             sealed.frame_count != v->scan.frames - 1 || sealed.payload_bytes != v->payload_bytes)
        what = "its record of the end counts other records";
    else if (sealed.record_count > 0 &&
             (sealed.min_time_ns != v->min_time_ns || sealed.max_time_ns != v->max_time_ns))
        what = "its record of the end names other times";
    if (what != NULL)
        verify_report(v, &finding, "%s", what);
}

static void count_records(struct verifying *v, const struct frame_header *frame,
                          const uint8_t *bytes)
{
    struct record record;
    for (uint32_t at = 0; frame_next_record(bytes, frame, &at, &record);) {
        v->payload_bytes += record.payload.size;
        v->result->payload_bytes += record.payload.size;
        if (record.time_ns < v->min_time_ns)
            v->min_time_ns = record.time_ns;
        if (record.time_ns > v->max_time_ns)
            v->max_time_ns = record.time_ns;
        v->result->failovers += record.kind == LOG_KIND_FAILOVER;
        if (v->options->record != NULL)
            v->options->record(&record, v->options->context);
    }
    v->result->frames++;
    v->result->records += frame->record_count;
}

/* Frames. */

static void take_frame(struct verifying *v, const struct frame_header *frame, const uint8_t *bytes)
{
    if (frame->flags & FRAME_OPEN)
        check_opened(v, frame, bytes);
    if (frame->flags & (FRAME_SEAL | FRAME_CLOSE))
        check_sealed(v, frame, bytes);
    else
        block_index_add(&v->index, bytes, frame);
    count_records(v, frame, bytes);
    if (v->takes_root)
        merkle_add_frame(&v->tree, bytes, frame);
    if (v->options->frame != NULL)
        v->options->frame(&(struct log_verified_frame){ v->scan.here.last_seq, v->scan.here.chain,
                                                        v->scan.header.log_uuid },
                          v->options->context);
    verify_check_checkpoint(v);
    verify_tell_progress(v, (uint64_t)frame->block_count * LOG_BLOCK_SIZE);
}

/* True if what should stand at the scan's place was never copied here, as far as its bytes show. */
static bool is_missing(struct verifying *v, int result)
{
    const uint8_t *sector;
    return v->result->moved &&
           (result == ERROR_TRUNCATED ||
            (source_bytes(&v->source, v->scan.here.end_offset, LOG_SECTOR_SIZE, &sector) == 0 &&
             bytes_are_zero(sector, LOG_SECTOR_SIZE)));
}

static void report_missing(struct verifying *v, struct log_finding *finding, const char *who)
{
    finding->verdict = LOG_UNPROVEN;
    verify_report(v, finding,
                  "this is a copy of a live log that misses events %llu to %llu (%s knows of "
                  "them): " PLACE_ADVICE,
                  big(finding->first_seq), big(finding->last_seq), who);
}

/* Damage in frames that count, since a later segment or the writer says so: reports it and goes on
 * behind it. 0, or negative when there is no memory to see where. */
static int pass_damage(struct verifying *v, int result, uint64_t last_seq, struct error *error)
{
    struct scan *scan = &v->scan;
    struct frame_header frame;
    struct log_finding finding = { .verdict = LOG_DAMAGED,
                                   .offset = scan->here.end_offset,
                                   .first_seq = scan->here.last_seq + 1 };
    const char *what = result == SCAN_BAD          ? scan->what
                       : result == ERROR_TRUNCATED ? "the file ends before"
                       : result == -EIO            ? "the disk cannot read it"
                                                   : error_text(result);
    char why[128];
    snprintf(why, sizeof why, "%s", what);
    bool missing = is_missing(v, result);
    diagnose(v, &finding);
    uint64_t offset;
    int code = scan_find_resume(scan, &frame, &offset);
    if (code < 0)
        return error_set(error, code, "%s: %s", v->name, error_text(code));
    finding.size = offset - finding.offset;
    verify_find_bad_blocks(v, &finding, offset);
    finding.last_seq = offset < scan->limit ? frame.first_seq - 1 : last_seq;
    if (finding.last_seq < finding.first_seq)
        finding.last_seq = finding.first_seq;
    set_witness(&finding, v->result->live ? "the writer" : "a later segment", last_seq);
    if (missing)
        report_missing(v, &finding, "a later segment");
    else
        verify_report(
            v, &finding,
            "the frame where event %llu should stand is damaged (%s), events up to %llu with "
            "it: restore the file from a copy",
            big(finding.first_seq), why, big(finding.last_seq));
    scan->in_run = false;
    scan->here.end_offset = offset;
    scan->here.last_seq = finding.last_seq;
    scan->here.link_known = scan->here.chain_known = false;
    if (offset < scan->limit) {
        scan->here.blocks = frame.prev_blocks;
        /* In the middle of a run. */
        scan->in_run = (frame.flags & FRAME_TXN) && !(frame.flags & FRAME_TXN_BEGIN);
    }
    scan->counted = scan->here;
    v->whole = false;
    return 0;
}

/* The end of a log that nobody writes. */
static int verify_tail(struct verifying *v, int result, struct error *error)
{
    struct scan *scan = &v->scan;
    struct tail tail = { .witness = v->witness };
    if (tail.witness.name == NULL)
        tail.witness.name = "nothing";
    if (scan->witness_seq > tail.witness.seq)
        tail.witness = (struct tail_witness){ .seq = scan->witness_seq, .name = "a frame" };
    int code = tail_judge(&tail, scan, result);
    if (code < 0)
        return error_set(error, code, "%s, frame at offset %llu: %s", v->name,
                         big(scan->here.end_offset), error_text(code));
    v->result->last_seq = scan->counted.last_seq;
    memcpy(v->result->chain, scan->counted.chain, SHA256_SIZE);
    v->tail_bytes = tail.bytes;
    if (tail.verdict == LOG_SOUND) {
        if (tail.unreadable != 0)
            verify_rest(v);
        return 0;
    }
    struct log_finding finding = {
        .verdict = tail.verdict,
        .offset = scan->counted.end_offset,
        .size = tail.bytes,
        .tail = true,
    };
    if (!scan->in_run)
        diagnose(v, &finding);
    verify_find_bad_blocks(v, &finding, v->source.size);
    if (tail.witness.seq > scan->counted.last_seq)
        set_witness(&finding, tail.witness.name, tail.witness.seq);
    if (tail.events_max > 0) {
        finding.first_seq = scan->counted.last_seq + 1;
        finding.last_seq = scan->counted.last_seq + tail.events_max;
    }
    if (v->result->moved && tail.shape != LOG_DAMAGED &&
        tail.witness.seq > scan->counted.last_seq) {
        finding.last_seq = tail.witness.seq;
        report_missing(v, &finding, tail.witness.name);
        return 0;
    }
    verify_report(v, &finding, "%s: %llu bytes that held at most %llu events: %s",
                  log_verdict_name((uint16_t)tail.verdict), big(tail.bytes), big(tail.events_max),
                  tail.reason);
    return 0;
}

/* Up to where the segment is to be checked, and the last event before that; 0: not known. */
static uint64_t set_limit(struct verifying *v, const struct segment_header *next)
{
    struct scan *scan = &v->scan;
    if (next != NULL && next->prev_segment_no == scan->header.segment_no) {
        scan->limit = next->prev_end_offset < scan->limit ? next->prev_end_offset : scan->limit;
        return next->prev_last_seq;
    }
    if (next != NULL)
        return next->prev_last_seq;
    if (v->result->live)
        scan->limit = v->end.end_offset;
    return v->result->live ? v->end.last_seq : 0;
}

static void begin_segment(struct verifying *v, const struct segment_header *header)
{
    bool follows = v->joined && header->prev_segment_no == v->before.segment_no;
    scan_begin(&v->scan, &v->source, header);
    v->scan.check_chain = !v->options->no_chain;
    v->takes_root = !v->options->no_chain && (v->options->roots || v->source.sealed != NULL);
    merkle_init(&v->tree, NULL);
    if (follows) {
        v->scan.here.link = v->mark.link;
        v->scan.here.link_known = v->mark.link_known;
    }
    v->whole = true;
    v->payload_bytes = v->max_time_ns = 0;
    v->min_time_ns = UINT64_MAX;
    v->result->segments++;
}

static bool root_matches(struct verifying *v, const uint8_t named[SHA256_SIZE])
{
    uint8_t root[SHA256_SIZE];
    merkle_root(&v->tree, root);
    return memcmp(root, named, SHA256_SIZE) == 0;
}

/* What its front says, which nobody reads on the way. */
static void check_front(struct verifying *v)
{
    const struct scan_mark *end = &v->scan.counted;
    struct log_finding finding = { .verdict = LOG_DAMAGED };
    if (v->source.sealed == NULL || !v->whole)
        return;
    const struct sealed_front *front = &v->source.sealed->front;
    uint64_t min_ns = v->min_time_ns, max_ns = v->max_time_ns;
    if (front->end_offset != end->end_offset || front->last_seq != end->last_seq ||
        front->record_count != v->scan.records || front->min_time_ns != min_ns ||
        front->max_time_ns != max_ns || memcmp(front->chain, end->chain, SHA256_SIZE) != 0)
        verify_report(v, &finding, "its front names another end, other times or other counts");
    else if (v->takes_root && !root_matches(v, front->merkle_root))
        verify_report(v, &finding, "its front names another Merkle root than its records have");
    v->result->sealed++;
}

static void end_segment(struct verifying *v)
{
    v->joined = v->whole;
    v->before = v->scan.header;
    v->mark = v->scan.counted;
    v->ended = v->scan.ended;
    v->resume_seq = v->scan.counted.last_seq;
}

/* `next` is the header of the next segment that was begun, or NULL. */
static int verify_segment(struct verifying *v, const struct segment_header *header,
                          const struct segment_header *next, struct error *error)
{
    struct frame_header frame;
    const uint8_t *bytes;
    int result;
    begin_segment(v, header);
    uint64_t last_seq = set_limit(v, next);
    int code = block_index_reset(&v->index, header->capacity, header->first_seq);
    if (code < 0)
        return error_set(error, code, "%s: %s", v->name, error_text(code));
    while ((result = scan_next(&v->scan, &frame, &bytes)) != SCAN_END) {
        if (is_stopped(v))
            return error_set(error, -ECANCELED, "%s: stopped", v->name);
        if (result == SCAN_FRAME) {
            take_frame(v, &frame, bytes);
            continue;
        }
        if (result == ERROR_BUDGET || result == -ENOMEM)
            return error_set(error, result, "%s: %s", v->name, error_text(result));
        if (result == SCAN_BAD && v->scan.fault == SCAN_NEWER)
            return error_set(error, ERROR_NEWER,
                             "%s, frame at offset %llu: a newer version wrote it: use that one",
                             v->name, big(v->scan.here.end_offset));
        if (next == NULL && !v->result->live)
            break;
        code = pass_damage(v, result, last_seq, error);
        if (code < 0)
            return code;
    }
    if (next == NULL && !v->result->live)
        return verify_tail(v, result, error);
    if (v->source.size != header->capacity) {
        struct log_finding finding = { .verdict = LOG_DAMAGED };
        verify_report(v, &finding, "it is %llu bytes long instead of %llu", big(v->source.size),
                      big(header->capacity));
    }
    if (next != NULL)
        verify_rest(v);
    v->result->last_seq = v->scan.counted.last_seq;
    memcpy(v->result->chain, v->scan.counted.chain, SHA256_SIZE);
    return 0;
}

/* The whole log. */

/* The header of the next segment behind `index` that was begun; 1, 0 none, negative. */
static int next_header(struct verifying *v, ptrdiff_t index, struct segment_header *header,
                       struct error *error)
{
    for (ptrdiff_t i = index + 1; i <= v->last; i++) {
        struct error what = { 0 };
        int state = directory_segment(&v->directory, (size_t)i, &v->probe, header, &what);
        if (state == ERROR_NEWER || state == ERROR_BUDGET || state == -ENOMEM)
            return error_set(error, state, "%s", what.text);
        if (state == SEGMENT_BEGUN)
            return 1;
    }
    return 0;
}

/* A file that is neither a segment that was begun nor a good spare. */
static void report_file(struct verifying *v, ptrdiff_t index, int state, const char *what)
{
    struct log_finding finding = { .verdict = LOG_DAMAGED, .tail = index > v->last };
    if (state == SEGMENT_SPARE)
        what = "it is all zero, though later segments were begun";
    finding.size = v->source.size;
    if (state == SEGMENT_DAMAGED || state == SEGMENT_LOST)
        v->result->segments++;
    /* It was not begun, or hardly, when it was copied. */
    bool missing = v->result->moved && state != SEGMENT_DAMAGED;
    const uint8_t *block;
    if (state == SEGMENT_DAMAGED && source_bytes(&v->source, 0, LOG_BLOCK_SIZE, &block) == 0) {
        struct diagnosis diagnosis = diagnose_segment_header(block);
        verify_add_diagnosis(&finding, &diagnosis);
    }
    if (missing)
        finding.verdict = LOG_UNPROVEN;
    if (state == -EIO)
        verify_find_bad_blocks(v, &finding, 2ull * LOG_BLOCK_SIZE);
    verify_report(v, &finding, "%s: %s", what,
                  missing ? "it may be of a copy of a live log: " PLACE_ADVICE
                          : "restore the file from a copy");
    v->joined = false;
}

/* True if this segment and all before it were removed since the names were read. */
static bool was_removed(const struct verifying *v, uint64_t segment_no)
{
    struct directory now;
    struct error ignored;
    if (directory_open(&now, v->directory.path, &ignored) < 0)
        return false;
    bool removed = now.count > 0 && now.segments[0] > segment_no;
    directory_close(&now);
    return removed;
}

/* The log begins behind it from now on. */
static void pass_removed(struct verifying *v)
{
    v->result->shortened = true;
    v->result->first_seq = 0;
    v->joined = false;
    v->before = (struct segment_header){ .segment_no = 0 };
}

/* What goes before the segment, or that nothing does. */
static void begin_file(struct verifying *v, const struct segment_header *header)
{
    if (v->result->segments > 0 && !(v->result->shortened && v->result->first_seq == 0))
        check_joint(v, header);
    else if (v->result->first_seq == 0)
        v->result->begins_late = header->prev_segment_no != 0;
    if (v->result->first_seq != 0)
        return;
    v->result->first_seq = header->first_seq;
    v->result->first_segment_no = header->segment_no;
}

static void describe_segment(struct verifying *v, struct log_verified_file *file)
{
    const struct scan *scan = &v->scan;
    file->end_offset = scan->counted.end_offset;
    file->tail_bytes = file->growing ? 0 : v->tail_bytes;
    file->segment_no = scan->header.segment_no;
    file->first_seq = scan->header.first_seq;
    file->last_seq = scan->counted.last_seq;
    file->whole = v->whole;
    file->chained = scan->header.hash != 0;
    file->has_root =
        v->takes_root && v->whole && v->tree.count == file->last_seq + 1 - file->first_seq;
    if (file->has_root)
        merkle_root(&v->tree, file->merkle_root);
}

static void tell_file(struct verifying *v, ptrdiff_t index, int state)
{
    struct log_verified_file file = { .size = v->source.size,
                                      .spare = state == SEGMENT_SPARE && index > v->last,
                                      .growing = v->result->live && index == v->last };
    if (v->options->file == NULL)
        return;
    snprintf(file.file, sizeof file.file, "%s", v->name);
    if (state == SEGMENT_BEGUN)
        describe_segment(v, &file);
    v->options->file(&file, v->options->context);
}

/* The file number `index`. */
static int verify_file(struct verifying *v, ptrdiff_t index, uint64_t capacity, struct error *error)
{
    struct segment_header header, next;
    struct error what = { 0 };
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, v->directory.segments[index]);
    v->name = name;
    int state = directory_segment(&v->directory, (size_t)index, &v->source, &header, &what);
    if (v->source.sealed != NULL)
        sealed_name(name, v->directory.segments[index]);
    if (state == ERROR_NEWER || state == ERROR_BUDGET || state == -ENOMEM || state == -EACCES)
        return error_set(error, state, "%s", what.text);
    v->source.sequential = true;
    if (index > v->last && v->result->live)
        return 0; /* the writer may be about to begin it */
    if (state == SEGMENT_SPARE && index > v->last) {
        verify_spare(v, capacity);
        tell_file(v, index, state);
        return 0;
    }
    if (state == -ENOENT && was_removed(v, v->directory.segments[index])) {
        pass_removed(v);
        return 0;
    }
    if (state == SEGMENT_SPARE && directory_is_passed_over(&v->directory, (size_t)index))
        return 0; /* a failover left it, and the writer removes it */
    if (state != SEGMENT_BEGUN) {
        report_file(v, index, state, what.text);
        tell_file(v, index, state);
        return 0;
    }
    int found = next_header(v, index, &next, error);
    if (found < 0)
        return found;
    /* What would say where it ends was removed too. */
    if (found && next.prev_segment_no != header.segment_no && was_removed(v, header.segment_no)) {
        pass_removed(v);
        return 0;
    }
    begin_file(v, &header);
    int code = verify_segment(v, &header, found ? &next : NULL, error);
    if (code < 0)
        return code;
    check_front(v);
    end_segment(v);
    tell_file(v, index, state);
    return 0;
}

/* Finds the newest segment that was begun; its header goes to v->before for the moment. */
static int find_last(struct verifying *v, struct error *error)
{
    struct error what = { 0 };
    for (v->last = (ptrdiff_t)v->directory.count - 1; v->last >= 0; v->last--) {
        int state = directory_segment(&v->directory, (size_t)v->last, &v->probe, &v->before, &what);
        /* -ENOENT: spares stay, so all that the names promise was removed. */
        if (state == ERROR_NEWER || state == ERROR_BUDGET || state == -ENOMEM || state == -ENOENT)
            return error_set(error, state, "%s", what.text);
        bool beyond = v->result->live && v->before.segment_no > v->end.segment_no;
        if (state == SEGMENT_BEGUN && !beyond)
            break;
    }
    return 0;
}

static int verify_files(struct verifying *v, struct error *error)
{
    int code = find_last(v, error);
    v->result->moved = code == 0 && v->last >= 0 && !v->result->live &&
                       place_is_moved(v->directory.path, &v->before);
    if (code == 0 && !v->options->closed_only)
        code = verify_checkpoint(v, error);
    if (code < 0)
        return code;
    uint64_t capacity = v->last >= 0 ? v->before.capacity : 0;
    uint64_t newest_no = v->last >= 0 ? v->before.segment_no : 0;
    v->before = (struct segment_header){ .segment_no = 0 };
    v->all_bytes = capacity * v->directory.count;
    ptrdiff_t end = v->options->closed_only ? v->last : (ptrdiff_t)v->directory.count;
    for (ptrdiff_t i = 0; code == 0 && i < end; i++)
        if (v->directory.segments[i] >= v->options->first_segment_no)
            code = verify_file(v, i, capacity, error);
    if (code == 0 && !v->options->closed_only && !v->result->live)
        code = verify_numbers(v, newest_no, error);
    bool none_left = v->result->shortened && v->result->first_seq == 0;
    if (code == 0 && none_left && !v->options->closed_only)
        return error_set(error, -ENOENT,
                         "the segments of %s are removed faster than they can be read",
                         v->directory.path);
    bool left_out = v->options->closed_only || v->options->first_segment_no > 0;
    if (code == 0 && v->result->segments == 0 && v->result->findings == 0 && !left_out)
        return error_set(error, ERROR_NOT_FOUND, "%s holds no segment that was begun",
                         v->directory.path);
    return code;
}

/* -ENOENT: all that the names promised was removed. */
static int verify_once(const struct log_verify_options *options, struct log_verify_result *result,
                       struct error *error)
{
    struct verifying v = {
        .options = options,
        .result = result,
        .source = { .fd = -1, .budget = options->budget, .remembers = true },
        .probe = { .fd = -1, .budget = options->budget },
    };
    *result = (struct log_verify_result){ .verdict = LOG_SOUND };
    live_end_init(&v.end);
    int code = directory_open(&v.directory, options->dir, error);
    if (code == 0 && v.directory.count == 0)
        code = error_set(error, ERROR_NOT_FOUND, "%s holds no segment of a log", v.directory.path);
    result->live = code == 0 && directory_writer(&v.directory) != 0;
    if (result->live)
        code = live_end_refresh(&v.end, &v.directory, &v.probe, error);
    result->live = v.end.mode == LIVE_IMAGE || v.end.mode == LIVE_PROVEN;
    if (code == 0)
        code = verify_files(&v, error);
    result->bytes_read = v.source.bytes_read;
    source_close(&v.source);
    source_close(&v.probe);
    block_index_free(&v.index);
    live_end_close(&v.end);
    directory_close(&v.directory);
    return code;
}

int log_verify(const struct log_verify_options *options, struct log_verify_result *result,
               struct error *error)
{
    struct directory directory;
    struct error ignored;
    int code = verify_once(options, result, error);
    for (int i = 0; code == -ENOENT && i < ATTEMPTS_MAX; i++) {
        if (directory_open(&directory, options->dir, &ignored) < 0)
            break; /* it is the directory that is not there */
        directory_close(&directory);
        code = verify_once(options, result, error);
        result->shortened = true;
    }
    return code;
}
