#include "log/recovery.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "log/directory.h"
#include "log/frame.h"
#include "log/place.h"
#include "log/scan.h"
#include "log/second.h"
#include "log/storage.h"
#include "log/tail.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* Headers looked at behind the last; log_verify() looks at all. It bounds the time to open a log of
 * many segments. */
#define HEADERS_CHECKED_MAX 64
/* Openings that died in a row whose verdicts are made up for. */
#define LEFT_OUT_MAX 8
/* The write of a process that was killed may still be under way for this long. */
#define LOCK_WAIT_MS 30000
#define LOCK_POLL_MS 10
/* How often the names are read anew when old segments are being removed. */
#define ATTEMPTS_MAX 4

enum purpose {
    READ,   /* does not wait */
    WRITE,  /* waits for the last write of a process that was killed; looks at all of a copy */
    GLANCE, /* waits, and judges nothing */
};

struct recovering {
    enum purpose purpose;
    struct directory directory;
    struct source source;
    struct log_recovery *result;
    struct tail_witness witness;  /* the best from outside the last segment */
    ptrdiff_t last;               /* index of the newest segment with a valid header; -1 none */
    struct segment_header header; /* of that one */
    struct segment_header oldest; /* that was looked at, going back from it */
    /* What is behind it, or is not any more, is neither a segment nor a spare. */
    bool beyond_damaged;
    char beyond_text[300];
    uint64_t beyond_bytes;
};

static unsigned long long big(uint64_t number)
{
    return number;
}

static void note_beyond(struct recovering *r, uint64_t segment_no, const char *text)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, segment_no);
    snprintf(r->beyond_text, sizeof r->beyond_text, "%s: %.250s", name, text);
    r->beyond_damaged = true;
}

/* LOCK_SH on the open segment: the description of a writer that was killed holds it exclusively
 * until its last write has ended. */
static int lock_segment(const struct recovering *r, const struct source *source,
                        struct error *error)
{
    for (int waited_ms = 0; flock(source->fd, LOCK_SH | LOCK_NB) < 0; waited_ms += LOCK_POLL_MS) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return 0; /* a filesystem without locks */
        if (r->purpose == READ || waited_ms >= LOCK_WAIT_MS)
            return error_set(error, ERROR_LOCKED, "its newest segment is still being written");
        poll(NULL, 0, LOCK_POLL_MS);
    }
    return 0;
}

/* In a copy of a directory the links lead to spares of the original, whose writer holds them. */
static bool is_of_others(const struct directory *directory, size_t index)
{
    char name[LOG_SEGMENT_NAME_SIZE], target[PATH_MAX];
    segment_name(name, directory->segments[index]);
    return directory_is_linked(directory, index) &&
           second_target(directory->path, name, target) == 1 &&
           !second_is_own(directory->path, target);
}

/* The state of segment `index`. A spare may be about to be begun by the last write of a process
 * that was killed, before which nothing is known of the end: a header that fences off what a
 * segment before it holds must not come later than the look at that. */
static int settled_state(struct recovering *r, size_t index, struct source *source,
                         struct segment_header *header, struct error *what)
{
    int state = directory_segment(&r->directory, index, source, header, what);
    if (state < 0 || state == SEGMENT_BEGUN || is_of_others(&r->directory, index))
        return state;
    int code = lock_segment(r, source, what);
    return code < 0 ? code : directory_segment(&r->directory, index, source, header, what);
}

/* Finds the newest segment with a valid header, from the highest number down. */
static int find_last(struct recovering *r, struct error *error)
{
    struct error what = { 0 };
    for (r->last = (ptrdiff_t)r->directory.count - 1; r->last >= 0; r->last--) {
        uint64_t segment_no = r->directory.segments[r->last];
        int state = settled_state(r, (size_t)r->last, &r->source, &r->header, &what);
        if (state == -EIO)
            return error_set(error, state,
                             "%.300s; without it nobody knows where the log ends: daa-log verify "
                             "says which blocks the disk cannot read, and daa-log repair --from "
                             "COPY takes them from a copy",
                             what.text);
        if (state < 0) {
            if (error != NULL)
                *error = what;
            return state;
        }
        if (state == SEGMENT_BEGUN)
            break;
        if (state == SEGMENT_SPARE)
            continue;
        note_beyond(r, segment_no, what.text);
        r->beyond_bytes += r->source.size;
    }
    uint64_t missing;
    int gap = directory_gap(&r->directory, r->last >= 0 ? r->header.segment_no : 0, &missing);
    if (gap == 1)
        note_beyond(r, missing,
                    "it is missing, and later ones, which were not begun, are there: put it back "
                    "from a copy; if it was not begun either, remove those too");
    return gap < 0 ? error_set(error, gap, "its files changed") : 0;
}

/* A block of a file whose header is zero. True when it is proof that the disk lost something. */
static bool weigh_block(struct recovering *r, uint64_t segment_no, uint64_t offset,
                        const uint8_t block[LOG_BLOCK_SIZE])
{
    struct frame_header frame;
    char text[160];
    if (memcmp(block, FRAME_MAGIC, 4) != 0 || frame_header_decode(block, &frame) < 0)
        return false;
    if (frame.file_offset == offset)
        snprintf(text, sizeof text,
                 "its header is zero, but a frame with event %llu stands at offset %llu",
                 big(frame.first_seq), big(offset));
    else if (r->last >= 0 && frame.salt == r->header.salt &&
             frame_last_seq(&frame) > r->result->last_seq)
        snprintf(text, sizeof text,
                 "a frame of segment %llu with event %llu stands in it at offset %llu, a wrong "
                 "place",
                 big(r->header.segment_no), big(frame.first_seq), big(offset));
    else
        return false;
    note_beyond(r, segment_no, text);
    return true;
}

static int look_through(struct recovering *r, struct source *spare, uint64_t segment_no)
{
    spare->sequential = true;
    for (uint64_t at = 0; at + LOG_BLOCK_SIZE <= spare->size; at += LOG_BLOCK_SIZE) {
        const uint8_t *block;
        int code = source_bytes(spare, at, LOG_BLOCK_SIZE, &block);
        if (code == ERROR_BUDGET || code == -ENOMEM)
            return code;
        if (code < 0 || bytes_are_zero(block, LOG_BLOCK_SIZE))
            continue;
        r->result->unclean_no = segment_no;
        if (!weigh_block(r, segment_no, at, block))
            continue;
        r->beyond_bytes += spare->size - at;
        return 0;
    }
    return 0;
}

/* The file behind the last segment is the next to be written. Its header is zero; frames are only
 * written behind a durable header, so one in there is proof that the disk lost what stood before
 * it. Those behind that file are looked at when they are taken (log/spares.c). */
static int look_behind(struct recovering *r, struct error *error)
{
    struct source spare = { .fd = -1 };
    struct segment_header header;
    struct error what = { 0 };
    size_t index = (size_t)(r->last + 1);
    if (index >= r->directory.count || is_of_others(&r->directory, index))
        return 0;
    uint64_t segment_no = r->directory.segments[index];
    int code = settled_state(r, index, &spare, &header, &what);
    if (code == SEGMENT_SPARE)
        code = look_through(r, &spare, segment_no);
    else if (code == SEGMENT_BEGUN)
        code = -ENOENT; /* since the names were read: read them again */
    else if (code >= 0)
        code = 0; /* told already */
    source_close(&spare);
    return code < 0 ? error_set(error, code, "segment %llu, which was not begun: %s",
                                big(segment_no), what.text[0] ? what.text : error_text(code))
                    : 0;
}

static int mismatch(struct error *error, const char *name, const char *later_name)
{
    return error_set(error, ERROR_MISMATCH,
                     "%s belongs to another log than %s: put the files of one log into a directory "
                     "of their own",
                     name, later_name);
}

/* Checks one joint; `later` is the header of the segment that goes on. */
static int check_joint(const struct segment_header *header, const struct segment_header *later,
                       struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], later_name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, header->segment_no);
    segment_name(later_name, later->segment_no);
    if (!segment_is_of_line(header, later))
        return mismatch(error, name, later_name);
    if (later->first_seq < header->first_seq || later->epoch < header->epoch ||
        later->prev_end_offset < LOG_BLOCK_SIZE || later->prev_end_offset > header->capacity)
        return error_set(error, ERROR_DAMAGED, "%s does not go on where %s ends", later_name, name);
    return 0;
}

/* Follows prev_segment_no backwards; what lies between two segments was never begun. */
static int check_headers(struct recovering *r, struct error *error)
{
    struct segment_header later = r->header, header;
    char name[LOG_SEGMENT_NAME_SIZE];
    r->oldest = r->header;
    for (int i = 0; i < HEADERS_CHECKED_MAX && later.prev_segment_no != 0; i++) {
        ptrdiff_t index = directory_find(&r->directory, later.prev_segment_no);
        segment_name(name, later.prev_segment_no);
        if (index < 0 && r->directory.segments[0] > later.prev_segment_no)
            return 0;
        if (index < 0)
            return error_set(error, ERROR_DAMAGED,
                             "%s is missing, though segments before and behind it are there: put "
                             "it back",
                             name);
        struct error what = { 0 };
        int state = directory_segment(&r->directory, (size_t)index, &r->source, &header, &what);
        if (state < 0 || state != SEGMENT_BEGUN)
            return error_set(error, state < 0 ? state : ERROR_DAMAGED, "%s: %s", name,
                             state == SEGMENT_SPARE ? "it is all zero" : what.text);
        int code = check_joint(&header, &later, error);
        if (code < 0)
            return code;
        r->oldest = later = header;
    }
    return 0;
}

/* It may be of another name than the oldest that was looked at only if that one's log has a parent:
 * who it was, the segments between say. */
static int check_first(const struct recovering *r, const struct segment_header *first,
                       struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], later_name[LOG_SEGMENT_NAME_SIZE];
    if (segment_is_forked(&r->oldest) ||
        memcmp(first->log_uuid, r->oldest.log_uuid, UUID_SIZE) == 0)
        return 0;
    segment_name(name, first->segment_no);
    segment_name(later_name, r->oldest.segment_no);
    return mismatch(error, name, later_name);
}

/* The oldest segment: its number and first sequence number. */
static int find_first(struct recovering *r, struct error *error)
{
    struct segment_header header;
    struct error what = { 0 };
    for (size_t i = 0; i <= (size_t)r->last; i++) {
        int state = directory_segment(&r->directory, i, &r->source, &header, &what);
        if (state < 0)
            return error_set(error, state, "%s", what.text);
        if (state != SEGMENT_BEGUN)
            continue;
        r->result->first_segment_no = header.segment_no;
        r->result->first_seq = header.first_seq;
        return check_first(r, &header, error);
    }
    return 0;
}

static void witness_note(struct tail_witness *witness, uint64_t seq, const char *name)
{
    if (seq > witness->seq)
        *witness = (struct tail_witness){ .seq = seq, .name = name };
}

static int gather_witnesses(struct recovering *r, const struct log_witness *witnesses,
                            unsigned count, struct error *error)
{
    struct checkpoint checkpoint;
    unsigned damaged;
    int found = directory_checkpoint(&r->directory, &r->source, &checkpoint, &damaged);
    if (found < 0 && found != -EIO)
        return error_set(error, found, "%s/%s: %s", r->directory.path, LOG_CHECKPOINT_NAME,
                         error_text(found));
    witness_note(&r->witness, r->header.durable_seq, "a segment header");
    if (found == 1 && memcmp(checkpoint.log_uuid, r->header.log_uuid, UUID_SIZE) == 0)
        witness_note(&r->witness, checkpoint.durable_seq, "CHECKPOINT");
    for (unsigned i = 0; i < count; i++)
        witness_note(&r->witness, witnesses[i].seq, witnesses[i].name);
    return 0;
}

/* What was read may still be in the device's memory only: of a writer that was killed between a
 * write and its sync. A reader shows it from now on, so it has to stay. */
static int sync_segment(const struct recovering *r, struct error *error)
{
    if (fdatasync(r->source.fd) == 0 || errno == EROFS || errno == EINVAL)
        return 0;
    return error_set(error, -errno, "segment %llu cannot be synced: %s", big(r->header.segment_no),
                     error_text(-errno));
}

static void take_mark(struct recovering *r, const struct scan *scan)
{
    struct log_recovery *result = r->result;
    result->last_seq = scan->counted.last_seq;
    result->end_offset = scan->counted.end_offset;
    result->prev_link = scan->counted.link;
    memcpy(result->chain, scan->counted.chain, SHA256_SIZE);
    result->clean = scan->last_flags & FRAME_CLOSE && !scan->in_run;
}

static int take_last_time(struct recovering *r, const uint8_t *bytes,
                          const struct frame_header *frame)
{
    struct record record;
    for (uint32_t at = 0; frame_next_record(bytes, frame, &at, &record);)
        r->result->last_time_ns = record.time_ns;
    return 0;
}

/* The last record that counts lies in an older segment when the last one holds no frame. */
static int find_last_record(struct recovering *r, const struct scan *scan, struct error *error)
{
    struct segment_header header = scan->header;
    uint64_t end_offset = scan->counted.end_offset, last_seq = scan->counted.last_seq;
    struct frame_header frame;
    const uint8_t *bytes;
    while (end_offset == LOG_BLOCK_SIZE) {
        ptrdiff_t index = directory_find(&r->directory, header.prev_segment_no);
        if (header.prev_segment_no == 0 || index < 0) {
            r->result->last_time_ns = header.created_ns;
            return 0;
        }
        end_offset = header.prev_end_offset;
        struct error what = { 0 };
        int state = directory_segment(&r->directory, (size_t)index, &r->source, &header, &what);
        if (state != SEGMENT_BEGUN)
            return error_set(error, state < 0 ? state : ERROR_DAMAGED, "segment %llu: %s",
                             big(header.prev_segment_no), what.text);
    }
    int found = scan_last_frame(&r->source, &header, end_offset, last_seq, &frame, &bytes);
    if (found < 0)
        return error_set(error, found, "segment %llu: its last frame: %s", big(header.segment_no),
                         error_text(found));
    if (found == 0)
        return error_set(
            error, ERROR_DAMAGED,
            "segment %llu has no frame that ends at offset %llu with event %llu, where "
            "the next one goes on: daa-log verify shows what became of it",
            big(header.segment_no), big(end_offset), big(last_seq));
    r->result->prev_link = frame_link(&frame);
    return take_last_time(r, bytes, &frame);
}

/* What was found behind the last segment outweighs a sound or torn end of it. */
static void weigh_beyond(struct recovering *r, struct tail *tail)
{
    if (!r->beyond_damaged || tail->verdict == LOG_DAMAGED)
        return;
    tail->verdict = LOG_DAMAGED;
    tail->bytes += r->beyond_bytes;
    if (r->beyond_bytes > 0)
        tail->events_max += r->beyond_bytes / RECORD_HEADER_SIZE;
    snprintf(tail->reason, sizeof tail->reason, "%s", r->beyond_text);
}

static void take_tail(struct recovering *r, const struct tail *tail)
{
    struct log_recovery *result = r->result;
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, r->header.segment_no);
    result->verdict = tail->verdict;
    result->witness_seq = tail->witness.seq;
    result->witness = tail->witness.name;
    result->tail_bytes = tail->bytes;
    result->events_max = tail->events_max;
    snprintf(result->reason, sizeof result->reason,
             "%s: %s at offset %llu, where event %llu %s: %.330s",
             log_verdict_name((uint16_t)tail->verdict), name, big(result->end_offset),
             big(result->last_seq + 1), tail->verdict == LOG_SOUND ? "will stand" : "should stand",
             tail->reason);
}

static void add_left_out(struct log_recovery *result, uint64_t segment_no, const struct tail *tail)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    size_t used = strlen(result->reason);
    segment_name(name, segment_no);
    /* It was no damage when that opening looked, and holds nothing that counts. */
    if (result->verdict == LOG_SOUND)
        result->verdict = tail->verdict == LOG_TORN ? LOG_TORN : LOG_UNPROVEN;
    result->events_max += tail->events_max;
    snprintf(result->reason + used, sizeof result->reason - used,
             "; what went on behind it and did not come to its end left out %llu bytes of %s that "
             "held at most %llu events (%s)",
             big(tail->bytes), name, big(tail->events_max),
             log_verdict_name((uint16_t)tail->verdict));
}

/* The segment behind which an opening began another; 1 when its end is to be judged again, negative
 * when there is no memory to look. */
static int open_before(struct recovering *r, struct segment_header *header)
{
    struct error ignored;
    uint32_t epoch = header->epoch;
    ptrdiff_t index = directory_find(&r->directory, header->prev_segment_no);
    if (index < 0)
        return 0;
    int state = directory_segment(&r->directory, (size_t)index, &r->source, header, &ignored);
    if (state == ERROR_BUDGET || state == -ENOMEM)
        return state;
    return state == SEGMENT_BEGUN && header->epoch < epoch;
}

/* When the last segment holds no frame, the opening that began it died before it could record its
 * verdict on the end of the segment before it: this one must. */
static int judge_left_out(struct recovering *r, uint64_t end_offset)
{
    struct segment_header header = r->header;
    for (int i = 0; i < LEFT_OUT_MAX && end_offset == LOG_BLOCK_SIZE; i++) {
        struct frame_header frame;
        struct scan scan;
        struct tail tail = { .witness = r->witness };
        const uint8_t *bytes;
        uint64_t segment_no = header.prev_segment_no;
        int result;
        end_offset = header.prev_end_offset;
        int code = open_before(r, &header);
        if (code <= 0)
            return code;
        scan_begin(&scan, &r->source, &header);
        do {
            result = scan_next(&scan, &frame, &bytes);
        } while (result == SCAN_FRAME);
        code = tail_judge(&tail, &scan, result);
        if (code < 0)
            return code == ERROR_NEWER ? 0 : code;
        if (tail.verdict != LOG_SOUND && scan.counted.end_offset == end_offset)
            add_left_out(r->result, segment_no, &tail);
    }
    return 0;
}

/* Where the frames end that `scan` went through, whatever lies behind them. */
static int take_end(struct recovering *r, const struct scan *scan, struct error *error)
{
    int code = sync_segment(r, error);
    if (code == 0)
        take_mark(r, scan);
    return code;
}

static int scan_last(struct recovering *r, struct error *error)
{
    struct scan scan;
    struct frame_header frame;
    const uint8_t *bytes;
    struct error what = { 0 };
    int result = directory_segment(&r->directory, (size_t)r->last, &r->source, &r->header, &what);
    if (result != SEGMENT_BEGUN)
        return error_set(error, result < 0 ? result : ERROR_DAMAGED, "segment %llu changed: %s",
                         big(r->directory.segments[r->last]), what.text);
    int code = lock_segment(r, &r->source, error);
    if (code < 0)
        return code;
    scan_begin(&scan, &r->source, &r->header);
    do {
        result = scan_next(&scan, &frame, &bytes);
    } while (result == SCAN_FRAME);
    if (r->purpose == GLANCE && !r->result->moved) {
        code = take_end(r, &scan, error);
        return code == 0 ? find_last_record(r, &scan, error) : code;
    }
    witness_note(&r->witness, scan.witness_seq, "a frame");
    struct tail tail = { .witness = r->witness };
    code = tail_judge(&tail, &scan, result);
    if (code < 0)
        return error_set(error, code, "segment %llu, frame at offset %llu: %s",
                         big(r->header.segment_no), big(scan.here.end_offset), error_text(code));
    code = take_end(r, &scan, error);
    if (code == 0)
        code = look_behind(r, error);
    if (code < 0)
        return code;
    weigh_beyond(r, &tail);
    take_tail(r, &tail);
    code = place_judge(r->result, &r->directory, &r->header, &tail, r->purpose == WRITE, error);
    if (code != 0)
        return code < 0 ? code : 0;
    code = place_explain(r->result, find_last_record(r, &scan, error), error);
    if (code < 0)
        return code;
    code = judge_left_out(r, scan.counted.end_offset);
    return code < 0 ? error_set(error, code, "%s", error_text(code)) : 0;
}

/* No segment is there: a new log, unless one was here whose files went away. */
static int check_never_begun(struct recovering *r, const struct log_witness *witnesses,
                             unsigned count, struct error *error)
{
    struct checkpoint checkpoint = { .durable_seq = 0 };
    unsigned damaged;
    int found = directory_checkpoint(&r->directory, &r->source, &checkpoint, &damaged);
    if (found < 0)
        return error_set(error, found, "%s: %s", LOG_CHECKPOINT_NAME, error_text(found));
    if (found == 1)
        witness_note(&r->witness, checkpoint.durable_seq, LOG_CHECKPOINT_NAME);
    for (unsigned i = 0; i < count; i++)
        witness_note(&r->witness, witnesses[i].seq, witnesses[i].name);
    if (r->witness.seq == 0)
        return 0;
    return error_set(
        error, ERROR_DAMAGED,
        "no segment is there, but %s says that events up to %llu were durable: put the "
        "segments back; to begin a new log, move the directory away",
        r->witness.name, big(r->witness.seq));
}

static void take_header(struct recovering *r)
{
    struct log_recovery *result = r->result;
    const struct segment_header *header = &r->header;
    result->exists = true;
    memcpy(result->log_uuid, header->log_uuid, UUID_SIZE);
    result->forked = segment_is_forked(header);
    memcpy(result->parent_uuid, header->parent_uuid, UUID_SIZE);
    result->parent_seq = header->parent_seq;
    memcpy(result->parent_chain, header->parent_chain, SHA256_SIZE);
    result->format_minor = header->minor;
    result->event_schema = header->event_schema;
    result->capacity = header->capacity;
    result->last_segment_no = header->segment_no;
    result->epoch = header->epoch;
    result->hash = header->hash;
    result->moved = place_is_moved(r->directory.path, header);
}

static int recover(struct recovering *r, const struct log_witness *witnesses, unsigned count,
                   struct error *error)
{
    int code = find_last(r, error);
    if (code == 0 && r->last < 0)
        code = look_behind(r, error);
    if (code < 0)
        return code;
    if (r->last < 0)
        return !r->beyond_damaged
                   ? check_never_begun(r, witnesses, count, error)
                   : error_set(
                         error, ERROR_DAMAGED,
                         "no segment has a header that can be read, but %s: put a copy of the "
                         "log back",
                         r->beyond_text);
    take_header(r);
    code = place_explain(r->result, check_headers(r, error), error);
    if (code == 0)
        code = find_first(r, error);
    if (code == 0)
        code = gather_witnesses(r, witnesses, count, error);
    return code == 0 ? scan_last(r, error) : code;
}

static int recover_dir(const char *dir, const struct log_witness *witnesses, unsigned witness_count,
                       enum purpose purpose, struct log_recovery *recovery, struct error *error)
{
    CHECK(witnesses != NULL || witness_count == 0);
    int code = 0;
    bool again = true;
    for (int i = 0; again && i < ATTEMPTS_MAX; i++) {
        struct recovering r = { .purpose = purpose, .source = { .fd = -1 }, .last = -1 };
        *recovery = (struct log_recovery){ .exists = false };
        r.result = recovery;
        r.witness.name = "nothing";
        code = directory_open(&r.directory, dir, error);
        again = code == 0;
        if (code == 0)
            code = recover(&r, witnesses, witness_count, error);
        /* Removed between the reading of the names and the opening (log/removal.h). */
        again = again && code == -ENOENT;
        source_close(&r.source);
        directory_close(&r.directory);
    }
    return code < 0 ? error_wrap(error, code, "log %s", dir) : 0;
}

int log_recover_to_write(const char *dir, const struct log_witness *witnesses,
                         unsigned witness_count, struct log_recovery *recovery, struct error *error)
{
    return recover_dir(dir, witnesses, witness_count, WRITE, recovery, error);
}

int log_recover(const char *dir, const struct log_witness *witnesses, unsigned witness_count,
                struct log_recovery *recovery, struct error *error)
{
    return recover_dir(dir, witnesses, witness_count, READ, recovery, error);
}

int log_glance(const char *dir, struct log_recovery *recovery, struct error *error)
{
    return recover_dir(dir, NULL, 0, GLANCE, recovery, error);
}
