/* Writes a snapshot beside a running agent: past the page cache as far as a buffered file can be,
 * so that neither the log's writes nor the pages that others need suffer. */
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "iouring/file.h"
#include "tools/agent/snapshot_format.h"
#include "tools/agent/state_view.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>
#include <zstd_errors.h>

#define STAGE_SIZE (256u << 10)      /* documents on their way to zstd */
#define OUT_SIZE (1u << 20)          /* bytes on their way to the file */
#define WRITEBACK_BYTES (8ull << 20) /* dirty pages at most, twice that for an instant */
#define LEVEL 1                      /* faster than the disk, and most of what zstd can do */

struct writer {
    const char *path; /* of the temporary file */
    int fd;
    uint64_t offset;             /* of what write() was given */
    uint64_t started, forgotten; /* write-back begun up to; pages dropped up to */
    uint32_t crc;                /* of what write() was given */
    ZSTD_CCtx *zstd;
    uint8_t *stage, *out;
    size_t staged, pending; /* bytes in them */
    const _Atomic bool *stop;
};

static int failed(const struct writer *writer, int status, struct error *error)
{
    return error_set(error, status, "cannot write the snapshot %s: %s", writer->path,
                     status == -ENOSPC ? "the disk is full; make room, and it is tried again"
                                       : error_text(status));
}

/* Starts the write-back of what is new and drops what was written back before, so that at most two
 * pieces are dirty. What it says is advice: fdatasync() at the end is what counts. */
static void keep_cache_small(struct writer *writer)
{
    if (writer->offset - writer->started < WRITEBACK_BYTES)
        return;
    off64_t size = (off64_t)(writer->offset - writer->started);
    (void)sync_file_range(writer->fd, (off64_t)writer->started, size, SYNC_FILE_RANGE_WRITE);
    if (writer->started > writer->forgotten) {
        off64_t from = (off64_t)writer->forgotten, old = (off64_t)writer->started - from;
        (void)sync_file_range(writer->fd, from, old,
                              SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                  SYNC_FILE_RANGE_WAIT_AFTER);
        (void)posix_fadvise(writer->fd, from, old, POSIX_FADV_DONTNEED);
        writer->forgotten = writer->started;
    }
    writer->started = writer->offset;
}

static int put_bytes(struct writer *writer, const void *bytes, size_t size)
{
    int status = file_write_at(writer->fd, bytes, size, writer->offset);
    if (status < 0)
        return status;
    writer->offset += size;
    writer->crc = crc32c_more(writer->crc, bytes, size);
    keep_cache_small(writer);
    return 0;
}

/* Compresses `size` bytes; with ZSTD_e_end also what zstd holds. */
static int compress(struct writer *writer, const void *bytes, size_t size, ZSTD_EndDirective end)
{
    ZSTD_inBuffer in = { .src = bytes, .size = size };
    for (;;) {
        ZSTD_outBuffer out = { .dst = writer->out, .size = OUT_SIZE, .pos = writer->pending };
        size_t left = ZSTD_compressStream2(writer->zstd, &out, &in, end);
        if (ZSTD_isError(left))
            return ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? -ENOMEM : -EINVAL;
        writer->pending = out.pos;
        bool done = in.pos == in.size && (end == ZSTD_e_continue || left == 0);
        if (out.pos == OUT_SIZE || (done && end == ZSTD_e_end)) {
            int status = put_bytes(writer, writer->out, writer->pending);
            if (status < 0)
                return status;
            writer->pending = 0;
        }
        if (done)
            return 0;
    }
}

static int stage(struct writer *writer, const void *bytes, size_t size)
{
    if (writer->staged + size > STAGE_SIZE) {
        int status = compress(writer, writer->stage, writer->staged, ZSTD_e_continue);
        if (status < 0)
            return status;
        writer->staged = 0;
    }
    if (size > STAGE_SIZE)
        return compress(writer, bytes, size, ZSTD_e_continue);
    memcpy(writer->stage + writer->staged, bytes, size);
    writer->staged += size;
    return 0;
}

static int stage_part(struct writer *writer, struct span part)
{
    uint8_t size[4];
    if (part.size > SNAPSHOT_VALUE_SIZE_MAX)
        return ERROR_TOO_LARGE;
    bytes_put_u32(size, (uint32_t)part.size);
    int status = stage(writer, size, sizeof size);
    return status < 0 || part.size == 0 ? status : stage(writer, part.bytes, part.size);
}

static int write_documents(struct writer *writer, struct state_view *view, struct state_sum *sum,
                           struct error *error)
{
    struct span key, value;
    int status, found;
    while ((found = state_view_next(view, &key, &value, error)) == 1) {
        if (writer->stop && atomic_load_explicit(writer->stop, memory_order_relaxed))
            return error_set(error, -ECANCELED, "the snapshot was given up: the agent stops");
        state_sum_add(sum, key, value);
        status = stage_part(writer, key);
        if (status == 0)
            status = stage_part(writer, value);
        if (status < 0)
            return failed(writer, status, error);
    }
    if (found < 0)
        return found;
    status = compress(writer, writer->stage, writer->staged, ZSTD_e_end);
    return status < 0 ? failed(writer, status, error) : 0;
}

static int write_all(struct writer *writer, struct state_view *view, struct snapshot_info *info,
                     struct error *error)
{
    uint8_t header[SNAPSHOT_HEADER_SIZE], trailer[SNAPSHOT_TRAILER_SIZE];
    struct state_sum sum;
    snapshot_header_encode(header, info);
    int status = put_bytes(writer, header, sizeof header);
    if (status < 0)
        return failed(writer, status, error);
    state_sum_begin(&sum);
    status = write_documents(writer, view, &sum, error);
    if (status < 0)
        return status;
    if (sum.documents != info->documents)
        return error_set(error, ERROR_DAMAGED,
                         "no snapshot: the database of documents counts %" PRIu64
                         " of them and holds %" PRIu64
                         ", so it is damaged; stop the agent and move it away: the next start "
                         "makes it again from the log",
                         info->documents, sum.documents);
    info->bytes = sum.bytes;
    state_sum_end(&sum, info->digest);
    snapshot_trailer_encode(trailer, info, writer->crc);
    status = put_bytes(writer, trailer, sizeof trailer);
    if (status == 0 && fdatasync(writer->fd) < 0)
        status = -errno;
    if (status < 0)
        return failed(writer, status, error);
    /* Read back from the disk, not from the pages that were just written. */
    (void)posix_fadvise(writer->fd, 0, 0, POSIX_FADV_DONTNEED);
    info->file_bytes = writer->offset;
    return 0;
}

static int open_writer(struct writer *writer, struct error *error)
{
    writer->fd = open(writer->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (writer->fd < 0)
        return failed(writer, -errno, error);
    writer->zstd = ZSTD_createCCtx();
    writer->stage = malloc(STAGE_SIZE);
    writer->out = malloc(OUT_SIZE);
    if (!writer->zstd || !writer->stage || !writer->out)
        return failed(writer, -ENOMEM, error);
    ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_checksumFlag, 1);
    return 0;
}

static int close_writer(struct writer *writer, int status, struct error *error)
{
    ZSTD_freeCCtx(writer->zstd);
    free(writer->stage);
    free(writer->out);
    if (writer->fd >= 0 && close(writer->fd) < 0 && status == 0)
        status = failed(writer, -errno, error);
    return status;
}

static int write_temporary(const char *path, struct state *state, struct snapshot_info *info,
                           const _Atomic bool *stop, struct error *error)
{
    struct writer writer = { .path = path, .fd = -1, .stop = stop };
    struct state_view *view;
    int status = state_view_open(state, &view, error);
    if (status < 0)
        return status;
    const struct state_position *position = state_view_position(view);
    memcpy(info->log_uuid, position->log_uuid, sizeof info->log_uuid);
    info->document_version = position->version;
    info->seq = position->applied_seq;
    info->mark = position->mark;
    info->documents = state_view_documents(view);
    if (info->seq == 0)
        status = error_set(error, ERROR_INVALID,
                           "there is no snapshot of nothing: no event of the "
                           "log is in the state yet");
    if (status == 0)
        status = open_writer(&writer, error);
    if (status == 0)
        status = write_all(&writer, view, info, error);
    state_view_close(view);
    return close_writer(&writer, status, error);
}

/* True when what was read back is what was written. */
static bool is_same(const struct snapshot_info *a, const struct snapshot_info *b)
{
    return a->seq == b->seq && a->documents == b->documents && a->bytes == b->bytes &&
           memcmp(a->digest, b->digest, SHA256_SIZE) == 0;
}

static int publish(const char *dir, const char *path, const struct snapshot_info *info,
                   struct error *error)
{
    char name[SNAPSHOT_NAME_SIZE], target[PATH_MAX + SNAPSHOT_NAME_SIZE];
    snapshot_name(name, info->seq);
    snprintf(target, sizeof target, "%s/%s", dir, name);
    if (rename(path, target) < 0)
        return error_set(error, -errno, "cannot name the snapshot %s: %s", target,
                         error_text(-errno));
    return file_sync_dir(dir, error);
}

int snapshot_write(const char *dir, struct state *state, uint64_t time_ns, const _Atomic bool *stop,
                   struct snapshot_info *info, struct error *error)
{
    char path[PATH_MAX];
    struct snapshot_info read_back;
    *info = (struct snapshot_info){ .time_ns = time_ns };
    if (snprintf(path, sizeof path, "%s/" SNAPSHOT_TEMPORARY, dir) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "snapshots: the path is too long");
    int status = write_temporary(path, state, info, stop, error);
    if (status == 0)
        status = snapshot_read(path, &read_back, NULL, NULL, stop, error);
    if (status == 0 && !is_same(info, &read_back))
        status =
            error_set(error, ERROR_DAMAGED,
                      "the snapshot of event %" PRIu64 " reads back other than it was written: "
                      "check the disk",
                      info->seq);
    if (status == 0)
        status = publish(dir, path, info, error);
    if (status < 0)
        unlink(path);
    return status;
}
