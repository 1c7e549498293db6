#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "iouring/file.h"
#include "log/manifest.h"
#include "mmapstore/kv.h"
#include "tools/agent/snapshot_format.h"
#include "tools/agent/state_view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#define IN_SIZE (1u << 20)    /* bytes of the file */
#define PLAIN_SIZE (1u << 20) /* documents, as long as none is larger */

struct reader {
    const char *path;
    int fd;
    uint64_t offset, end;     /* of the compressed bytes that were not read yet */
    uint32_t crc, wanted_crc; /* of all bytes before the trailer */
    ZSTD_DCtx *zstd;
    bool frame_ended;
    uint8_t *in, *plain;
    ZSTD_inBuffer from;
    size_t used, capacity; /* of plain */
    struct state_sum sum;
    uint8_t last_key[KV_KEY_SIZE_MAX];
    size_t last_key_size;
};

static int damaged(const struct reader *reader, const char *what, struct error *error)
{
    return error_set(error, ERROR_DAMAGED, "the snapshot %s is damaged at byte %llu: %s",
                     reader->path, (unsigned long long)reader->offset, what);
}

static int failed(const struct reader *reader, int status, struct error *error)
{
    return error_set(error, status, "cannot read the snapshot %s: %s", reader->path,
                     error_text(status));
}

static int open_file(struct reader *reader, struct snapshot_info *info, struct error *error)
{
    struct stat stat_of;
    uint8_t header[SNAPSHOT_HEADER_SIZE], trailer[SNAPSHOT_TRAILER_SIZE];
    *info = (struct snapshot_info){ 0 };
    reader->fd = open(reader->path, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0 || fstat(reader->fd, &stat_of) < 0)
        return failed(reader, errno == ENOENT ? ERROR_NOT_FOUND : -errno, error);
    info->file_bytes = (uint64_t)stat_of.st_size;
    if (info->file_bytes < sizeof header + sizeof trailer)
        return damaged(reader, "it is cut", error);
    reader->offset = sizeof header;
    reader->end = info->file_bytes - sizeof trailer;
    int64_t got = file_read_at(reader->fd, header, sizeof header, 0);
    if (got == sizeof header)
        got = file_read_at(reader->fd, trailer, sizeof trailer, reader->end);
    if (got < 0)
        return failed(reader, (int)got, error);
    int status = snapshot_header_decode(header, info);
    if (status == ERROR_NEWER)
        return failed(reader, status, error);
    if (status == 0)
        status = snapshot_trailer_decode(trailer, info, &reader->wanted_crc);
    reader->crc = crc32c(header, sizeof header);
    return status < 0 ? damaged(reader, "its beginning or its end is not whole", error) : 0;
}

int snapshot_look(const char *path, struct snapshot_info *info, struct error *error)
{
    struct reader reader = { .path = path };
    int status = open_file(&reader, info, error);
    if (reader.fd >= 0)
        close(reader.fd);
    return status;
}

static int fill(struct reader *reader, struct error *error)
{
    size_t size = reader->end - reader->offset < IN_SIZE ? reader->end - reader->offset : IN_SIZE;
    int64_t got = file_read_at(reader->fd, reader->in, size, reader->offset);
    if (got < 0)
        return failed(reader, (int)got, error);
    if ((uint64_t)got < size)
        return damaged(reader, "it is cut", error);
    /* Nobody reads it again soon. */
    (void)posix_fadvise(reader->fd, (off_t)reader->offset, (off_t)size, POSIX_FADV_DONTNEED);
    reader->offset += size;
    reader->crc = crc32c_more(reader->crc, reader->in, size);
    reader->from = (ZSTD_inBuffer){ .src = reader->in, .size = size };
    return 0;
}

/* Makes room behind what is there for a document of `size` bytes. */
static int make_room(struct reader *reader, uint64_t size, struct error *error)
{
    if (size <= reader->capacity)
        return 0;
    uint8_t *plain = realloc(reader->plain, size);
    if (!plain)
        return failed(reader, -ENOMEM, error);
    reader->plain = plain;
    reader->capacity = size;
    return 0;
}

/* More plain bytes behind those that are there. 1, 0 at the end of all, negative. */
static int decompress(struct reader *reader, struct error *error)
{
    size_t before = reader->used;
    while (reader->used == before) {
        if (reader->from.pos == reader->from.size) {
            if (reader->offset == reader->end)
                return reader->frame_ended ? 0 : damaged(reader, "it is cut", error);
            int status = fill(reader, error);
            if (status < 0)
                return status;
        }
        if (reader->frame_ended)
            return damaged(reader, "bytes behind the documents", error);
        ZSTD_outBuffer out = { .dst = reader->plain,
                               .size = reader->capacity,
                               .pos = reader->used };
        size_t hint = ZSTD_decompressStream(reader->zstd, &out, &reader->from);
        if (ZSTD_isError(hint))
            return damaged(reader, ZSTD_getErrorName(hint), error);
        reader->frame_ended = hint == 0;
        reader->used = out.pos;
    }
    return 1;
}

static bool is_behind(const struct reader *reader, struct span key)
{
    size_t size = reader->last_key_size;
    int order = memcmp(key.bytes, reader->last_key, key.size < size ? key.size : size);
    return order > 0 || (order == 0 && key.size > size);
}

/* One document at `at`: 1 with its end in *next, 0 it is not all there (*wanted bytes are),
 * negative. */
static int parse(struct reader *reader, size_t at, size_t *next, uint64_t *wanted, struct span *key,
                 struct span *value, struct error *error)
{
    const uint8_t *bytes = reader->plain + at;
    size_t there = reader->used - at;
    *wanted = 8;
    if (there < 4)
        return 0;
    uint32_t key_size = bytes_get_u32(bytes);
    if (key_size == 0 || key_size > KV_KEY_SIZE_MAX)
        return damaged(reader, "no document's key is so long", error);
    *wanted = 8 + (uint64_t)key_size;
    if (there < *wanted)
        return 0;
    uint32_t value_size = bytes_get_u32(bytes + 4 + key_size);
    if (value_size > SNAPSHOT_VALUE_SIZE_MAX)
        return damaged(reader, "no document is so long", error);
    *wanted += value_size;
    if (there < *wanted)
        return 0;
    *key = span_of(bytes + 4, key_size);
    *value = span_of(bytes + 8 + key_size, value_size);
    if (!is_behind(reader, *key) || state_key_is_own(*key))
        return damaged(reader, "a document is out of order", error);
    *next = at + *wanted;
    return 1;
}

/* All documents that are whole in the buffer. */
static int give_documents(struct reader *reader, snapshot_each_function *each, void *context,
                          struct error *error)
{
    size_t at = 0;
    uint64_t wanted;
    struct span key, value;
    int status;
    while ((status = parse(reader, at, &at, &wanted, &key, &value, error)) == 1) {
        memcpy(reader->last_key, key.bytes, key.size);
        reader->last_key_size = key.size;
        state_sum_add(&reader->sum, key, value);
        if (each && (status = each(key, value, context, error)) < 0)
            return status;
    }
    if (status < 0)
        return status;
    reader->used -= at;
    memmove(reader->plain, reader->plain + at, reader->used);
    return make_room(reader, wanted, error);
}

static int read_documents(struct reader *reader, const struct snapshot_info *info,
                          snapshot_each_function *each, void *context, const _Atomic bool *stop,
                          struct error *error)
{
    uint8_t digest[SHA256_SIZE];
    int more;
    state_sum_begin(&reader->sum);
    while ((more = decompress(reader, error)) == 1) {
        int status = give_documents(reader, each, context, error);
        if (status < 0)
            return status;
        if (stop && atomic_load_explicit(stop, memory_order_relaxed))
            return error_set(error, -ECANCELED, "the snapshot was given up: the agent stops");
    }
    if (more < 0)
        return more;
    state_sum_end(&reader->sum, digest);
    if (reader->crc != reader->wanted_crc)
        return damaged(reader, "its bytes have another checksum than it says", error);
    if (reader->used > 0)
        return damaged(reader, "the last document is cut", error);
    if (reader->sum.documents != info->documents || reader->sum.bytes != info->bytes ||
        memcmp(digest, info->digest, SHA256_SIZE) != 0)
        return damaged(reader, "its documents have another digest than it says", error);
    return 0;
}

int snapshot_read(const char *path, struct snapshot_info *info, snapshot_each_function *each,
                  void *context, const _Atomic bool *stop, struct error *error)
{
    struct reader reader = { .path = path, .capacity = PLAIN_SIZE };
    int status = open_file(&reader, info, error);
    if (status == 0) {
        (void)posix_fadvise(reader.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        reader.zstd = ZSTD_createDCtx();
        reader.in = malloc(IN_SIZE);
        reader.plain = malloc(PLAIN_SIZE);
        if (!reader.zstd || !reader.in || !reader.plain)
            status = failed(&reader, -ENOMEM, error);
    }
    if (status == 0)
        status = read_documents(&reader, info, each, context, stop, error);
    ZSTD_freeDCtx(reader.zstd);
    free(reader.in);
    free(reader.plain);
    if (reader.fd >= 0)
        close(reader.fd);
    return status;
}

/*--- The directory -----------------------------------------------------------------------------*/

static int newest_first(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? 1 : left > right ? -1 : 0;
}

int snapshot_list(const char *dir, uint64_t **items, size_t *count, struct error *error)
{
    size_t capacity = 0;
    uint64_t seq;
    *items = NULL;
    *count = 0;
    DIR *opened = opendir(dir);
    if (!opened && errno == ENOENT)
        return 0;
    if (!opened)
        return error_set(error, -errno, "cannot list the snapshots in %s: %s", dir,
                         error_text(-errno));
    for (struct dirent *entry; (entry = readdir(opened)) != NULL;) {
        if (!snapshot_seq_of_name(entry->d_name, &seq))
            continue;
        if (*count == capacity) {
            capacity = capacity ? capacity * 2 : 8;
            uint64_t *grown = realloc(*items, capacity * sizeof **items);
            if (!grown) {
                closedir(opened);
                free(*items);
                *items = NULL;
                return error_set(error, -ENOMEM, "no memory to list the snapshots");
            }
            *items = grown;
        }
        (*items)[(*count)++] = seq;
    }
    closedir(opened);
    if (*count > 1)
        qsort(*items, *count, sizeof **items, newest_first);
    return 0;
}

void snapshot_remove_leftovers(const char *dir)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/" SNAPSHOT_TEMPORARY, dir) < (int)sizeof path)
        unlink(path);
}
