/* What a repair changes: a new file beside the old one, compared, and the old one kept. */
#include "iouring/file.h"
#include "log/fork.h"
#include "log/repair_inside.h"
#include "log/sealed.h"

#include "core/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

static int join(char path[PATH_MAX], const char *dir, const char *name, struct error *error)
{
    if (snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
        return 0;
    return error_set(error, -ENAMETOOLONG, "%s/%s: the path is too long", dir, name);
}

int repair_lock(struct repair *repair, struct error *error)
{
    char path[PATH_MAX], pid[16];
    int code = join(path, repair->directory.path, LOG_LOCK_NAME, error);
    if (code < 0)
        return code;
    repair->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (repair->lock_fd < 0)
        return error_set(error, -errno, "cannot open %s: %s", path, error_text(-errno));
    if (flock(repair->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        code = errno == EWOULDBLOCK ? ERROR_LOCKED : -errno;
        return error_set(error, code, "%s is in use: stop its agent first", repair->directory.path);
    }
    /* For whoever is turned away by us. */
    int size = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(repair->lock_fd, 0) < 0 || pwrite(repair->lock_fd, pid, (size_t)size, 0) != size)
        return error_set(error, -errno, "cannot write %s: %s", path, error_text(-errno));
    return 0;
}

/*--- The quarantine ----------------------------------------------------------------------------*/

/* "quarantine/20261126T035712Z" in the log's directory, made when it is first needed. */
static int make_quarantine(struct repair *repair, struct error *error)
{
    char *path = repair->result->quarantine, parent[PATH_MAX], stamp[32];
    time_t seconds = (time_t)(repair->options->time_ns / 1000000000u);
    struct tm parts;
    if (path[0] != '\0')
        return 0;
    int code = join(parent, repair->directory.path, LOG_QUARANTINE_NAME, error);
    if (code == 0)
        code = file_make_dir(parent, error);
    if (code < 0)
        return code;
    gmtime_r(&seconds, &parts);
    (void)strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &parts);
    code = join(path, parent, stamp, error);
    if (code == 0)
        code = file_make_dir(path, error);
    if (code < 0)
        path[0] = '\0';
    return code;
}

/* The file gets a second name there. Where a filesystem has none of those it is copied. */
int repair_keep(struct repair *repair, const char *name, struct error *error)
{
    char from[PATH_MAX], to[PATH_MAX];
    uint8_t sha256[SHA256_SIZE];
    uint64_t size;
    int code = make_quarantine(repair, error);
    const char *quarantine = repair->result->quarantine;
    if (code == 0)
        code = join(from, repair->directory.path, name, error);
    if (code == 0)
        code = join(to, quarantine, name, error);
    if (code < 0)
        return code;
    /* Not the link to a file in the second directory, which will go with it. */
    if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST) {
        code = errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK || errno == EXDEV
                   ? copying_file(repair->directory.path, quarantine, name, &size, sha256, error)
                   : error_set(error, -errno, "cannot keep %s as %s: %s", from, to,
                               error_text(-errno));
        if (code < 0)
            return code;
    }
    return file_sync_dir(quarantine, error);
}

static int remove_name(const struct repair *repair, const char *name, struct error *error)
{
    char path[PATH_MAX];
    int code = join(path, repair->directory.path, name, error);
    if (code == 0 && unlink(path) < 0 && errno != ENOENT)
        code = error_set(error, -errno, "cannot remove %s: %s", path, error_text(-errno));
    return code;
}

int repair_move_aside(struct repair *repair, const char *name, struct error *error)
{
    char path[PATH_MAX];
    int code = join(path, repair->directory.path, name, error);
    if (code < 0 || access(path, F_OK) < 0)
        return code;
    code = repair_keep(repair, name, error);
    if (code == 0)
        code = remove_name(repair, name, error);
    return code == 0 ? file_sync_dir(repair->directory.path, error) : code;
}

/*--- A segment ---------------------------------------------------------------------------------*/

static uint64_t piece_at(const struct repair_segment *segment, uint64_t at)
{
    uint64_t left = segment->size - at;
    return left < SOURCE_WINDOW_SIZE ? left : SOURCE_WINDOW_SIZE;
}

static int copy_bytes(struct repair *repair, const char *name, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    struct copying *copying = &repair->copying;
    uint8_t sha256[SHA256_SIZE];
    const uint8_t *bytes;
    int code = copying_begin(copying, repair->directory.path, name, segment->size, 0, error);
    for (uint64_t at = 0; code == 0 && at < segment->size; at += piece_at(segment, at)) {
        uint64_t size = piece_at(segment, at);
        code = source_bytes(&segment->healed, at, size, &bytes);
        if (code < 0)
            code = error_set(error, code, "%s, offset %llu: %s", segment->name, big(at),
                             error_text(code));
        for (uint64_t done = 0; code == 0 && done < size; done += LOG_BLOCK_SIZE)
            code = copying_add_sparse(copying, bytes + done, error);
    }
    if (code == 0)
        code = copying_end(copying, sha256, error);
    if (code < 0)
        copying_abandon(copying);
    copying_advise(error, code);
    return code;
}

/* What came back from the disk is what the scan found good. */
static int compare(struct repair *repair, const char *name, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    struct source written;
    const uint8_t *left, *right;
    bool same = true;
    int code = source_open(&written, repair->directory.path, name, NULL, error);
    written.sequential = true;
    for (uint64_t at = 0; code == 0 && same && at < segment->size;) {
        uint64_t size = piece_at(segment, at);
        code = source_bytes(&written, at, size, &left);
        if (code == 0)
            code = source_bytes(&segment->healed, at, size, &right);
        same = code == 0 && memcmp(left, right, size) == 0;
        at += size;
    }
    source_close(&written);
    if (code == 0 && same)
        return 0;
    return error_set(error, code < 0 ? code : ERROR_DAMAGED,
                     "%s/%s: what came back from the disk is not what was written: nothing was "
                     "changed; look at the disk",
                     repair->directory.path, name);
}

int repair_write(struct repair *repair, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    char temporary[LOG_SEGMENT_NAME_SIZE + 8], from[PATH_MAX], to[PATH_MAX];
    bool sealed = strcmp(segment->name, segment->raw_name) != 0;
    snprintf(temporary, sizeof temporary, "%s.tmp", segment->raw_name);
    if (segment->lost)
        segment->zero_unreadable_from = 0;
    source_forget(&segment->healed);
    int code = segment->entry->there ? repair_keep(repair, segment->name, error) : 0;
    if (code == 0)
        code = copy_bytes(repair, temporary, error);
    if (code == 0)
        code = compare(repair, temporary, error);
    if (code == 0)
        code = join(from, repair->directory.path, temporary, error);
    if (code == 0)
        code = join(to, repair->directory.path, segment->raw_name, error);
    if (code == 0 && rename(from, to) < 0)
        code = error_set(error, -errno, "cannot name %s %s: %s", from, to, error_text(-errno));
    /* Readers take the raw form where both are there. */
    if (code == 0)
        code = file_sync_dir(repair->directory.path, error);
    if (code == 0 && sealed)
        code = remove_name(repair, segment->name, error);
    if (code == 0 && sealed)
        code = file_sync_dir(repair->directory.path, error);
    return code;
}

/*--- The end -----------------------------------------------------------------------------------*/

/* Newest first: a crash leaves fewer of them, never a hole. Spares go too, unless they follow
 * directly. */
static int move_later_aside(struct repair *repair, uint64_t segment_no, struct error *error)
{
    int code = 0;
    if (repair->last_no == segment_no && !repair->gap)
        return 0;
    for (size_t i = repair->directory.count; code == 0 && i-- > 0;) {
        char name[LOG_SEGMENT_NAME_SIZE];
        uint64_t no = repair->directory.segments[i];
        if (no <= segment_no)
            break;
        segment_name(name, no);
        code = repair_move_aside(repair, name, error);
        sealed_name(name, no);
        if (code == 0)
            code = repair_move_aside(repair, name, error);
    }
    return code;
}

int repair_cut(struct repair *repair, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    uint64_t end = segment->scan.counted.end_offset;
    int code = segment->entry->there ? repair_keep(repair, segment->name, error) : 0;
    /* The wish first: whatever comes of the rest, no number names two events. */
    if (code == 0)
        code = log_fork_request(repair->directory.path, error);
    if (code == 0)
        code = repair_move_aside(repair, LOG_CHECKPOINT_NAME, error);
    if (code == 0)
        code = move_later_aside(repair, segment->segment_no, error);
    if (code < 0)
        return code;
    segment->zero_from = end;
    segment->size = segment->header.capacity;
    segment->lost = segment->refused = false;
    return repair_write(repair, error);
}
