#include "log/place.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "iouring/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { PLACE_TEXT_SIZE = 256 };

struct place {
    uint8_t log_uuid[UUID_SIZE];
    uint64_t inode;
    uint64_t born_ns; /* 0: not known */
    uint64_t filesystem;
};

int place_read_text(const char *dir, const char *name, char *text, size_t size)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return -ENAMETOOLONG;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    int64_t got = file_read_at(fd, text, size, 0);
    close(fd);
    if (got < 0)
        return (int)got;
    if ((size_t)got >= size)
        return 0;
    text[got] = '\0';
    return 1;
}

/* Where LOCK is now. 0 or a negative errno. */
static int look(const char *dir, struct place *place)
{
    char path[PATH_MAX];
    struct statx status;
    struct statfs filesystem;
    if (snprintf(path, sizeof path, "%s/%s", dir, LOG_LOCK_NAME) >= (int)sizeof path)
        return -ENAMETOOLONG;
    if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &status) < 0 ||
        statfs(path, &filesystem) < 0)
        return -errno;
    place->inode = status.stx_ino;
    place->born_ns =
        status.stx_mask & STATX_BTIME
            ? (uint64_t)status.stx_btime.tv_sec * 1000000000u + status.stx_btime.tv_nsec
            : 0;
    memcpy(&place->filesystem, &filesystem.f_fsid, sizeof place->filesystem);
    return 0;
}

int place_tag(const char *dir, uint64_t *tag)
{
    struct place place;
    uint8_t hash[SHA256_SIZE];
    uint64_t what[2];
    int code = look(dir, &place);
    if (code < 0)
        return code;
    what[0] = place.inode;
    what[1] = place.born_ns != 0 ? place.born_ns : place.filesystem;
    sha256_of(hash, what, sizeof what);
    *tag = bytes_get_u64(hash);
    return 0;
}

static size_t place_to_text(char text[PLACE_TEXT_SIZE], const struct place *place)
{
    char uuid[UUID_TEXT_SIZE];
    uuid_to_text(uuid, place->log_uuid);
    int size =
        snprintf(text, PLACE_TEXT_SIZE,
                 "log %s\ninode %" PRIu64 "\nborn_ns %" PRIu64 "\nfilesystem %016" PRIx64 "\n",
                 uuid, place->inode, place->born_ns, place->filesystem);
    size += snprintf(text + size, PLACE_TEXT_SIZE - (size_t)size, "crc %08x\n",
                     crc32c(text, (size_t)size));
    return (size_t)size;
}

/* False when it is not exactly what place_to_text() writes. */
static bool place_from_text(struct place *place, const char *text)
{
    char uuid[UUID_TEXT_SIZE], again[PLACE_TEXT_SIZE];
    if (sscanf(text, "log %36s inode %" SCNu64 " born_ns %" SCNu64 " filesystem %" SCNx64, uuid,
               &place->inode, &place->born_ns, &place->filesystem) != 4 ||
        !uuid_from_text(place->log_uuid, span_of_text(uuid)))
        return false;
    place_to_text(again, place);
    return strcmp(again, text) == 0;
}

static bool is_same_place(const struct place *written, const struct place *now)
{
    if (written->inode != now->inode)
        return false;
    return written->born_ns != 0 && now->born_ns != 0 ? written->born_ns == now->born_ns
                                                      : written->filesystem == now->filesystem;
}

bool place_is_moved(const char *dir, const struct segment_header *newest)
{
    char text[PLACE_TEXT_SIZE];
    struct place written, now;
    if (place_read_text(dir, LOG_PLACE_NAME, text, sizeof text) != 1 ||
        !place_from_text(&written, text))
        return false;
    /* A fork that was cut short has not named itself yet. */
    if (memcmp(written.log_uuid, newest->log_uuid, UUID_SIZE) != 0 &&
        memcmp(written.log_uuid, newest->parent_uuid, UUID_SIZE) != 0)
        return true;
    return look(dir, &now) < 0 || !is_same_place(&written, &now);
}

int place_note(const char *dir, const uint8_t log_uuid[UUID_SIZE], struct error *error)
{
    char text[PLACE_TEXT_SIZE], before[PLACE_TEXT_SIZE];
    struct place place;
    memcpy(place.log_uuid, log_uuid, UUID_SIZE);
    int result = look(dir, &place);
    if (result < 0)
        return error_set(error, result, "cannot look at %s/%s: %s", dir, LOG_LOCK_NAME,
                         error_text(result));
    size_t size = place_to_text(text, &place);
    if (place_read_text(dir, LOG_PLACE_NAME, before, sizeof before) == 1 &&
        strcmp(before, text) == 0)
        return 0;
    return file_replace(dir, LOG_PLACE_NAME, text, size, error);
}

/* Events that the older segments do not hold though later ones go on behind them. */
struct hole {
    uint64_t first_seq, last_seq;
    uint64_t segment_no, offset; /* where the first of them should stand */
    bool missing;                /* nothing stands there; else it is damaged */
    char what[128];
};

/* Where the scan stopped before its limit. 0 or negative. */
static int take_hole(struct hole *hole, struct scan *scan, int result, uint64_t last_seq)
{
    struct frame_header frame;
    const uint8_t *sector;
    const char *what = result == SCAN_BAD ? scan->what : "the next segment goes on elsewhere";
    *hole = (struct hole){ .segment_no = scan->header.segment_no,
                           .offset = scan->here.end_offset,
                           .first_seq = scan->here.last_seq + 1 };
    snprintf(hole->what, sizeof hole->what, "%s", what);
    hole->missing = result == ERROR_TRUNCATED ||
                    (source_bytes(scan->source, hole->offset, LOG_SECTOR_SIZE, &sector) == 0 &&
                     bytes_are_zero(sector, LOG_SECTOR_SIZE));
    uint64_t offset;
    int code = scan_find_resume(scan, &frame, &offset);
    if (code < 0)
        return code;
    hole->last_seq = offset < scan->limit ? frame.first_seq - 1 : last_seq;
    if (hole->last_seq < hole->first_seq)
        hole->last_seq = hole->first_seq;
    return 0;
}

static int set_unreadable(const struct scan *scan, int code, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, scan->header.segment_no);
    return error_set(error, code, "%s, frame at offset %llu with event %llu: %s", name,
                     (unsigned long long)scan->here.end_offset,
                     (unsigned long long)scan->here.last_seq + 1,
                     code == ERROR_NEWER ? scan->what : error_text(code));
}

/* Looks for a hole in the segment that `source` has open and `later` goes on behind: at its last
 * frame, or at all. 1 there is one, 0, negative. */
static int look_into(struct source *source, const struct segment_header *header,
                     const struct segment_header *later, bool all, struct hole *hole,
                     struct error *error)
{
    struct frame_header frame;
    struct scan scan;
    const uint8_t *bytes;
    int result;
    if (!all && (later->prev_end_offset == LOG_BLOCK_SIZE ||
                 scan_last_frame(source, header, later->prev_end_offset, later->prev_last_seq,
                                 &frame, &bytes) == 1))
        return 0;
    scan_begin(&scan, source, header);
    if (later->prev_end_offset < scan.limit)
        scan.limit = later->prev_end_offset;
    do {
        result = scan_next(&scan, &frame, &bytes);
    } while (result == SCAN_FRAME);
    if (result == SCAN_BAD && scan.fault == SCAN_NEWER)
        return set_unreadable(&scan, ERROR_NEWER, error);
    if (result < 0 && result != ERROR_TRUNCATED)
        return set_unreadable(&scan, result, error);
    if (result == SCAN_END && scan.counted.end_offset == later->prev_end_offset &&
        scan.counted.last_seq == later->prev_last_seq)
        return 0;
    int code = take_hole(hole, &scan, result, later->prev_last_seq);
    return code < 0 ? set_unreadable(&scan, code, error) : 1;
}

/* The first hole in the segments before the newest: 1, 0 there is none, negative. */
static int find_hole(const struct directory *directory, struct source *source,
                     const struct segment_header *newest, bool all, struct hole *hole,
                     struct error *error)
{
    struct segment_header later = *newest, header;
    int found = 0;
    while (later.prev_segment_no != 0) {
        struct error what = { 0 };
        char name[LOG_SEGMENT_NAME_SIZE];
        ptrdiff_t index = directory_find(directory, later.prev_segment_no);
        if (index < 0 && directory->segments[0] > later.prev_segment_no)
            return found; /* retention took it */
        segment_name(name, later.prev_segment_no);
        if (index < 0)
            return error_set(error, ERROR_DAMAGED,
                             "%s is missing, though segments before and behind it are there", name);
        int state = directory_segment(directory, (size_t)index, source, &header, &what);
        if (state != SEGMENT_BEGUN)
            return error_set(error, state < 0 ? state : ERROR_DAMAGED, "%s: %s", name,
                             state == SEGMENT_SPARE ? "it is all zero" : what.text);
        int code = look_into(source, &header, &later, all, hole, error);
        if (code < 0)
            return code;
        found |= code;
        later = header;
    }
    return found;
}

static void add_reason(struct log_recovery *result, const char *text)
{
    size_t used = strlen(result->reason);
    snprintf(result->reason + used, sizeof result->reason - used, "%s", text);
}

/* A witness or a later segment knows of events that are not here. */
static void call_incomplete(struct log_recovery *result, uint64_t first_seq, uint64_t last_seq,
                            const char *who)
{
    result->verdict = LOG_DAMAGED;
    if (result->events_max < last_seq - first_seq + 1)
        result->events_max = last_seq - first_seq + 1;
    snprintf(result->reason, sizeof result->reason,
             "it is a copy of a live log that misses events %llu to %llu (%s knows of "
             "them): " PLACE_ADVICE,
             (unsigned long long)first_seq, (unsigned long long)last_seq, who);
}

static void call_damaged(struct log_recovery *result, const struct hole *hole)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, hole->segment_no);
    result->verdict = LOG_DAMAGED;
    snprintf(result->reason, sizeof result->reason,
             "it was moved or copied, and %s is damaged at offset %llu, where events %llu to %llu "
             "should stand (%s): copy that file again; to go on with what is whole before it: "
             "daa-log restore COPY NEW",
             name, (unsigned long long)hole->offset, (unsigned long long)hole->first_seq,
             (unsigned long long)hole->last_seq, hole->what);
}

int place_judge(struct log_recovery *result, const struct directory *directory,
                const struct segment_header *newest, const struct tail *tail, bool all,
                struct error *error)
{
    struct source source = { .fd = -1 };
    struct hole hole;
    if (!result->moved)
        return 0;
    if (tail->shape != LOG_DAMAGED && tail->witness.seq > result->last_seq) {
        call_incomplete(result, result->last_seq + 1, tail->witness.seq, tail->witness.name);
        return 1;
    }
    all = all && result->verdict != LOG_DAMAGED;
    int found = find_hole(directory, &source, newest, all, &hole, error);
    source_close(&source);
    if (found < 0)
        return place_explain(result, found, error);
    if (found == 1 && hole.missing)
        call_incomplete(result, hole.first_seq, hole.last_seq, "a later segment");
    else if (found == 1)
        call_damaged(result, &hole);
    else if (result->clean && result->verdict != LOG_DAMAGED)
        add_reason(result, "; the directory was moved or copied");
    else if (result->verdict == LOG_DAMAGED)
        add_reason(result, "; it may be a copy of a live log: " PLACE_ADVICE);
    else
        add_reason(result, "; the directory is not where the log was written, and was not closed: "
                           "it is taken for a copy");
    return found;
}

int place_explain(const struct log_recovery *result, int code, struct error *error)
{
    char text[sizeof error->text];
    if (!result->moved || code != ERROR_DAMAGED || error == NULL)
        return code;
    snprintf(text, sizeof text, "%s", error->text);
    return error_set(error, code, "%.700s; it may be a copy of a live log: " PLACE_ADVICE, text);
}
