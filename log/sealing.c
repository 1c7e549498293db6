#include "log/sealing.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "iouring/file.h"
#include "log/block_index.h"
#include "log/merkle.h"
#include "log/scan.h"
#include "log/sealed.h"
#include "log/second.h"
#include "log/view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define COMPARE_SIZE (1u << 20)

/* One segment on its way. */
struct job {
    struct sealing *sealing;
    const char *dir;
    struct view view; /* the raw file */
    struct segment_header next;
    char raw_name[LOG_SEGMENT_NAME_SIZE], name[LOG_SEGMENT_NAME_SIZE];
    char temporary[LOG_SEGMENT_NAME_SIZE + 4];
    struct sealed_front front;
    int fd; /* of the sealed file */
    ZSTD_CCtx *zstd;
    uint8_t *packed;
    size_t packed_capacity;
    uint32_t *sizes, *checksums;
    struct block_index index;
};

static unsigned long long big(uint64_t number)
{
    return number;
}

static bool is_stopped(const struct job *job)
{
    return job->sealing->stop != NULL && atomic_load(job->sealing->stop);
}

static int set_damaged(const struct job *job, uint64_t offset, const char *what,
                       struct error *error)
{
    return error_set(error, ERROR_DAMAGED,
                     "%s is not sealed: at offset %llu: %s: run daa-log verify", job->raw_name,
                     big(offset), what);
}

static int failed(const struct job *job, int code, const char *what, struct error *error)
{
    return error_set(error, code, "%s is not sealed: %s: %s", job->raw_name, what,
                     error_text(code));
}

static void path_of(const struct job *job, const char *name, char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s/%s", job->dir, name) >= PATH_MAX)
        path[0] = '\0'; /* the directory itself was opened by a path as long: cannot be */
}

/*--- What there is -----------------------------------------------------------------------------*/

/* The header that goes on behind the segment. 1, 0 none, negative. */
static int find_next(struct job *job, size_t index, struct error *error)
{
    const struct directory *directory = job->sealing->directory;
    struct source source = { .fd = -1 };
    int code = 0;
    for (size_t i = index + 1; code == 0 && i < directory->count; i++) {
        int state = directory_segment(directory, i, &source, &job->next, error);
        if (state < 0)
            code = state;
        else if (state == SEGMENT_BEGUN)
            code = job->next.prev_segment_no == directory->segments[index] ? 1 : 0;
        if (state == SEGMENT_BEGUN)
            break;
    }
    source_close(&source);
    return code;
}

static void note_times(struct sealed_front *front, const uint8_t *bytes,
                       const struct frame_header *frame)
{
    struct record record;
    for (uint32_t at = 0; frame_next_record(bytes, frame, &at, &record);) {
        if (record.time_ns < front->min_time_ns)
            front->min_time_ns = record.time_ns;
        if (record.time_ns > front->max_time_ns)
            front->max_time_ns = record.time_ns;
    }
}

/* Points are found by what SEAL and CLOSE say, and nobody looks at the frames for that any more. */
static bool index_agrees(const struct job *job, const uint8_t *bytes,
                         const struct frame_header *frame)
{
    struct storage_sealed sealed;
    struct record record;
    uint32_t at = 0;
    return frame_next_record(bytes, frame, &at, &record) &&
           storage_sealed_decode(record.payload, &sealed) == 0 &&
           sealed.block_count == frame->file_offset / LOG_BLOCK_SIZE &&
           block_index_matches(&job->index, &sealed);
}

/* What the sealed form will say of this frame; false if it says something wrong itself. */
static bool take_frame(struct job *job, struct merkle *tree, const uint8_t *bytes,
                       const struct frame_header *frame)
{
    note_times(&job->front, bytes, frame);
    merkle_add_frame(tree, bytes, frame);
    if (frame->flags & (FRAME_SEAL | FRAME_CLOSE))
        return index_agrees(job, bytes, frame);
    block_index_add(&job->index, bytes, frame);
    return true;
}

/* Every frame up to where the next segment goes on, whole and in order. */
static int check_frames(struct job *job, struct scan *scan, struct error *error)
{
    struct sealed_front *front = &job->front;
    struct frame_header frame;
    struct merkle tree;
    const uint8_t *bytes;
    int result;
    merkle_init(&tree, NULL);
    front->min_time_ns = UINT64_MAX;
    front->max_time_ns = 0;
    scan_begin(scan, &job->view.source, &job->view.header);
    scan->check_chain = true;
    scan->limit = job->next.prev_end_offset;
    while ((result = scan_next(scan, &frame, &bytes)) == SCAN_FRAME) {
        if (!take_frame(job, &tree, bytes, &frame))
            return set_damaged(job, frame.file_offset,
                               "its index does not say where its records are", error);
        if (is_stopped(job))
            return -ECANCELED;
    }
    if (result == SCAN_BAD)
        return set_damaged(job, scan->here.end_offset, scan->what, error);
    if (result == ERROR_TRUNCATED)
        return set_damaged(job, scan->here.end_offset, "the file ends before", error);
    if (result < 0)
        return failed(job, result, "its bytes", error);
    const struct scan_mark *end = &scan->counted;
    if (end->end_offset != job->next.prev_end_offset || end->last_seq != job->next.prev_last_seq ||
        memcmp(end->chain, job->next.prev_chain, SHA256_SIZE) != 0)
        return set_damaged(job, end->end_offset, "the next segment goes on at another place",
                           error);
    front->end_offset = end->end_offset;
    front->last_seq = end->last_seq;
    front->record_count = end->last_seq + 1 - job->view.header.first_seq;
    memcpy(front->chain, end->chain, SHA256_SIZE);
    merkle_root(&tree, front->merkle_root);
    return 0;
}

/* What a crash left behind the end is kept; behind SEAL and CLOSE there is nothing. */
static int find_used(struct job *job, const struct scan *scan, struct error *error)
{
    struct source *source = &job->view.source;
    const uint8_t *block;
    job->front.used = job->front.end_offset;
    for (uint64_t at = job->front.end_offset; at < job->view.header.capacity;
         at += LOG_BLOCK_SIZE) {
        int code = source_bytes(source, at, LOG_BLOCK_SIZE, &block);
        if (code == ERROR_TRUNCATED)
            return set_damaged(job, at, "the file ends before", error);
        if (code < 0)
            return failed(job, code, "what lies behind its last frame", error);
        if (!bytes_are_zero(block, LOG_BLOCK_SIZE))
            job->front.used = at + LOG_BLOCK_SIZE;
    }
    if (scan->ended && job->front.used != job->front.end_offset)
        return set_damaged(job, job->front.end_offset, "nothing was ever written there", error);
    return 0;
}

static int look(struct job *job, struct error *error)
{
    const uint8_t *block;
    struct scan scan;
    int code =
        block_index_reset(&job->index, job->view.header.capacity, job->view.header.first_seq);
    if (code < 0)
        return failed(job, code, "its index", error);
    code = check_frames(job, &scan, error);
    if (code == 0)
        code = find_used(job, &scan, error);
    if (code == 0)
        code = source_bytes(&job->view.source, 0, LOG_BLOCK_SIZE, &block);
    if (code < 0)
        return code;
    memcpy(job->front.block, block, LOG_BLOCK_SIZE);
    job->front.header = job->view.header;
    job->front.chunk_size = SEALED_CHUNK_SIZE;
    job->front.chunk_count =
        (uint32_t)((job->front.used + SEALED_CHUNK_SIZE - 1) / SEALED_CHUNK_SIZE);
    return 0;
}

/*--- Packing -----------------------------------------------------------------------------------*/

static int prepare(struct job *job)
{
    job->packed_capacity = ZSTD_compressBound(SEALED_CHUNK_SIZE);
    job->packed = malloc(job->packed_capacity);
    job->sizes = calloc(job->front.chunk_count, sizeof *job->sizes);
    job->checksums = calloc(job->front.chunk_count, sizeof *job->checksums);
    job->zstd = ZSTD_createCCtx();
    if (job->packed == NULL || job->sizes == NULL || job->checksums == NULL || job->zstd == NULL)
        return -ENOMEM;
    (void)ZSTD_CCtx_setParameter(job->zstd, ZSTD_c_compressionLevel, SEALING_LEVEL);
    (void)ZSTD_CCtx_setParameter(job->zstd, ZSTD_c_checksumFlag, 1);
    return 0;
}

static int pack_chunk(struct job *job, uint32_t chunk, uint64_t *offset)
{
    uint32_t size = sealed_chunk_bytes(&job->front, chunk);
    const uint8_t *raw;
    int code = source_bytes(&job->view.source, (uint64_t)chunk * SEALED_CHUNK_SIZE, size, &raw);
    if (code < 0)
        return code;
    size_t packed = ZSTD_compress2(job->zstd, job->packed, job->packed_capacity, raw, size);
    if (ZSTD_isError(packed))
        return -ENOMEM; /* room is large enough, so nothing else can be wrong */
    job->sizes[chunk] = (uint32_t)packed;
    job->checksums[chunk] = crc32c(job->packed, packed);
    code = file_write_at(job->fd, job->packed, packed, *offset);
    *offset += packed;
    return code;
}

/* What finds the chunks, and the front that says that all is there. */
static int write_tables(struct job *job, uint64_t offset)
{
    uint32_t count = job->front.chunk_count;
    uint64_t size = sealed_index_size(count) + sealed_table_size(count);
    uint8_t *tables = malloc(size), front[SEALED_FRONT_SIZE];
    if (tables == NULL)
        return -ENOMEM;
    job->front.index_offset = offset;
    job->front.file_size = offset + size;
    sealed_tables_encode(tables, &job->front, job->sizes, job->checksums);
    sealed_front_encode(front, &job->front);
    int code = file_write_at(job->fd, tables, size, offset);
    if (code == 0)
        code = file_write_at(job->fd, front, sizeof front, 0);
    free(tables);
    return code;
}

static int pack(struct job *job, struct error *error)
{
    char path[PATH_MAX];
    uint64_t offset = SEALED_FRONT_SIZE;
    path_of(job, job->temporary, path);
    job->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int code = job->fd < 0 ? -errno : prepare(job);
    for (uint32_t chunk = 0; code == 0 && chunk < job->front.chunk_count; chunk++)
        code = is_stopped(job) ? -ECANCELED : pack_chunk(job, chunk, &offset);
    if (code == 0)
        code = write_tables(job, offset);
    if (code == 0 && fsync(job->fd) < 0)
        code = -errno;
    if (code < 0)
        return failed(job, code, job->temporary, error);
    /* So that what is compared comes from the disk. */
    (void)posix_fadvise(job->fd, 0, 0, POSIX_FADV_DONTNEED);
    return 0;
}

/*--- Proof and change --------------------------------------------------------------------------*/

/* 1: the sealed file `name` is the raw one, byte by byte. 0: it is not. Negative. */
static int compare(struct job *job, const char *name, struct error *error)
{
    uint64_t capacity = job->view.header.capacity;
    const uint8_t *raw, *unpacked;
    struct source sealed;
    int code = source_open_sealed(&sealed, job->dir, name, job->view.header.segment_no,
                                  job->sealing->budget, error);
    sealed.sequential = true;
    if (code == 0 && sealed.size != capacity)
        code = ERROR_DAMAGED;
    for (uint64_t at = 0; code == 0 && at < capacity; at += COMPARE_SIZE) {
        uint64_t size = capacity - at < COMPARE_SIZE ? capacity - at : COMPARE_SIZE;
        code = source_bytes(&sealed, at, size, &unpacked);
        if (code == 0)
            code = source_bytes(&job->view.source, at, size, &raw);
        if (code == 0 && memcmp(raw, unpacked, size) != 0)
            code = ERROR_DAMAGED;
        if (code == 0 && is_stopped(job))
            code = -ECANCELED;
    }
    source_close(&sealed);
    if (code < 0 && code != ERROR_DAMAGED)
        return failed(job, code, name, error);
    return code == 0;
}

/* False when retention took it meanwhile. */
static bool raw_is_there(const struct job *job)
{
    struct stat status;
    char path[PATH_MAX];
    path_of(job, job->raw_name, path);
    return stat(path, &status) == 0;
}

/* A write that stalled may still be on its way into it. */
static bool is_written(const struct job *job)
{
    char path[PATH_MAX];
    path_of(job, job->raw_name, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return locked;
}

static int remove_name(const struct job *job, const char *name, struct error *error)
{
    int code = second_remove(job->dir, name);
    if (code == 0 || code == -ENOENT)
        return 0;
    return error_set(error, code, "cannot remove %s/%s: %s", job->dir, name, error_text(code));
}

/* The sealed file has its name and is the raw one: 1, or 0 when the segment was removed meanwhile.
 * A removal takes the raw file first, so whoever comes second sees the other. */
static int change_over(struct job *job, struct error *error)
{
    struct stat status;
    char path[PATH_MAX];
    int code = file_sync_dir(job->dir, error);
    if (code < 0)
        return code;
    if (!raw_is_there(job))
        return remove_name(job, job->name, error);
    path_of(job, job->name, path);
    job->sealing->packed = stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
    job->sealing->raw = job->view.header.capacity;
    code = remove_name(job, job->raw_name, error);
    return code < 0 ? code : 1;
}

static int make(struct job *job, struct error *error)
{
    char from[PATH_MAX], to[PATH_MAX];
    int code = pack(job, error);
    if (code == 0) {
        code = compare(job, job->temporary, error);
        if (code == 0)
            return error_set(error, ERROR_DAMAGED,
                             "%s is not sealed: what came back from the disk is not what was "
                             "written there: look at the disk",
                             job->raw_name);
    }
    if (code < 0)
        return code;
    path_of(job, job->temporary, from);
    path_of(job, job->name, to);
    if (rename(from, to) < 0)
        return failed(job, -errno, "rename", error);
    return change_over(job, error);
}

/* Who wrote it is not known: it may be of a copy that nobody synced. */
static int sync_file(struct job *job, const char *name, struct error *error)
{
    char path[PATH_MAX];
    path_of(job, name, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int code = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return code < 0 ? failed(job, code, name, error) : 0;
}

/* Both are there: a crash came between the name and the removal. */
static int finish(struct job *job, struct error *error)
{
    int code = sync_file(job, job->name, error);
    if (code == 0)
        code = compare(job, job->name, error);
    if (code == 1)
        return change_over(job, error);
    return code < 0 ? code : remove_name(job, job->name, error);
}

static int seal(struct job *job, struct error *error)
{
    char path[PATH_MAX];
    int code = look(job, error);
    if (code < 0)
        return code;
    path_of(job, job->name, path);
    if (access(path, F_OK) == 0) {
        code = finish(job, error);
        if (code != 0 || !raw_is_there(job))
            return code;
    }
    code = make(job, error);
    if (code < 0)
        (void)remove_name(job, job->temporary, NULL);
    return code;
}

static void close_job(struct job *job)
{
    if (job->fd >= 0)
        close(job->fd);
    ZSTD_freeCCtx(job->zstd);
    free(job->packed);
    free(job->sizes);
    free(job->checksums);
    block_index_free(&job->index);
    view_close(&job->view);
}

int sealing_segment(struct sealing *sealing, size_t index, struct error *error)
{
    const struct directory *directory = sealing->directory;
    struct job job = {
        .sealing = sealing, .dir = directory->path, .fd = -1, .index = { .budget = sealing->budget }
    };
    view_init(&job.view);
    sealing->raw = sealing->packed = 0;
    segment_name(job.raw_name, directory->segments[index]);
    sealed_name(job.name, directory->segments[index]);
    snprintf(job.temporary, sizeof job.temporary, "%s.tmp", job.name);
    if (!raw_is_there(&job))
        return 0;
    int code = find_next(&job, index, error);
    if (code == -ENOENT && !raw_is_there(&job))
        return 0;
    if (code <= 0)
        return code;
    code = view_open(&job.view, directory, index, sealing->budget, error);
    if (code == 0)
        code = view_set_end(&job.view, directory, &job.next, error);
    if (code == 0 && job.view.source.sealed == NULL)
        code = is_written(&job) ? -EBUSY : seal(&job, error);
    /* Retention may take it at any moment. */
    if (code == -ENOENT && !raw_is_there(&job))
        code = 0;
    close_job(&job);
    return code;
}

void sealing_remove_leftovers(const char *dir)
{
    DIR *names = opendir(dir);
    struct dirent *entry;
    uint64_t segment_no;
    while (names != NULL && (entry = readdir(names)) != NULL) {
        char name[LOG_SEGMENT_NAME_SIZE + 4];
        size_t length = strlen(entry->d_name);
        if (length < 4 || length >= sizeof name || strcmp(entry->d_name + length - 4, ".tmp") != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(length - 4), entry->d_name);
        if (sealed_no_of_name(name, &segment_no))
            (void)unlinkat(dirfd(names), entry->d_name, 0);
    }
    if (names != NULL)
        closedir(names);
}
