#include "log/copying.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "iouring/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void copying_init(struct copying *copying)
{
    *copying = (struct copying){ .fd = -1 };
}

int copying_failed(struct error *error, int code, const char *path)
{
    return error_set(error, code, "%s cannot be written: %s", path, error_text(code));
}

void copying_advise(struct error *error, int code)
{
    char text[sizeof error->text];
    if (error == NULL || (code != -ENOSPC && code != -EDQUOT && code != -EFBIG))
        return;
    snprintf(text, sizeof text, "%s", error->text);
    error_set(error, code,
              "%s: make room and run the same command again, it goes on where it stopped", text);
}

/* Makes all behind `kept` a hole, without making the file shorter for a moment: what it holds
 * already is of use, and its length belongs to it. */
static int clear_behind(int fd, uint64_t kept, uint64_t size, uint64_t capacity)
{
    if (size > kept && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)kept,
                                 (off_t)(size - kept)) < 0) {
        if (errno != EOPNOTSUPP && errno != ENOSYS)
            return -errno;
        if (ftruncate(fd, (off_t)kept) < 0)
            return -errno;
    }
    return ftruncate(fd, (off_t)capacity) < 0 ? -errno : 0;
}

/* The file with its first `kept` bytes and a hole behind them. */
static int open_target(struct copying *copying, uint64_t capacity, uint64_t kept,
                       struct error *error)
{
    struct stat status;
    int fd = open(copying->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int code = fd < 0 || fstat(fd, &status) < 0 ? -errno : 0;
    if (code == 0 && (!S_ISREG(status.st_mode) || (uint64_t)status.st_size < kept))
        code = error_set(error, ERROR_DAMAGED,
                         "%s is shorter than the %llu bytes that were copied to it: take another "
                         "directory",
                         copying->path, (unsigned long long)kept);
    else if (code == 0)
        code = clear_behind(fd, kept, (uint64_t)status.st_size, capacity);
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && code < 0 && kept == 0)
        (void)unlink(copying->path);
    if (code < 0)
        return code == ERROR_DAMAGED ? code : copying_failed(error, code, copying->path);
    copying->fd = file_open_direct(copying->path, true, &copying->direct, error);
    return copying->fd < 0 ? copying->fd : 0;
}

int copying_begin(struct copying *copying, const char *dir, const char *name, uint64_t capacity,
                  uint64_t kept, struct error *error)
{
    CHECK(copying->fd < 0);
    if (copying->buffer == NULL)
        copying->buffer = file_aligned_buffer(COPYING_BUFFER_SIZE);
    if (copying->buffer == NULL)
        return error_set(error, -ENOMEM, "no memory to copy %s", name);
    if (snprintf(copying->path, sizeof copying->path, "%s/%s", dir, name) >=
        (int)sizeof copying->path)
        return error_set(error, -ENAMETOOLONG, "%s/%s: the path is too long", dir, name);
    copying->used = copying->offset = copying->zeros = copying->size = copying->written = 0;
    copying->kept = kept;
    copying->capacity = capacity;
    sha256_init(&copying->sha256);
    return open_target(copying, capacity, kept, error);
}

/* Writes what the buffer holds behind `kept`. */
static int flush(struct copying *copying, struct error *error)
{
    uint64_t start = copying->offset, end = copying->offset + copying->used;
    if (start < copying->kept)
        start = copying->kept < end ? copying->kept : end;
    int code = start == end
                   ? 0
                   : file_write_at(copying->fd, copying->buffer + (start - copying->offset),
                                   end - start, start);
    if (code < 0)
        return copying_failed(error, code, copying->path);
    copying->written += end - start;
    copying->offset = end;
    copying->used = 0;
    return 0;
}

/* Up to the end of the buffer, or all: `bytes` NULL stands for zeros. */
static uint64_t add_some(struct copying *copying, const uint8_t *bytes, uint64_t size)
{
    uint64_t room = COPYING_BUFFER_SIZE - copying->used;
    uint64_t some = size < room ? size : room;
    uint8_t *target = copying->buffer + copying->used;
    if (bytes == NULL)
        memset(target, 0, some);
    else
        memcpy(target, bytes, some);
    sha256_more(&copying->sha256, target, some);
    copying->used += some;
    copying->size += some;
    return some;
}

static int add(struct copying *copying, const uint8_t *bytes, uint64_t size, struct error *error)
{
    CHECK(size % FILE_BLOCK_SIZE == 0);
    while (size > 0) {
        uint64_t some = add_some(copying, bytes, size);
        if (bytes != NULL)
            bytes += some;
        size -= some;
        int code = copying->used == COPYING_BUFFER_SIZE ? flush(copying, error) : 0;
        if (code < 0)
            return code;
    }
    return 0;
}

int copying_add(struct copying *copying, const void *bytes, uint64_t size, struct error *error)
{
    uint64_t zeros = copying->zeros;
    copying->zeros = 0;
    int code = add(copying, NULL, zeros, error);
    return code < 0 ? code : add(copying, bytes, size, error);
}

int copying_add_sparse(struct copying *copying, const uint8_t *block, struct error *error)
{
    if (!bytes_are_zero(block, FILE_BLOCK_SIZE))
        return copying_add(copying, block, FILE_BLOCK_SIZE, error);
    copying->zeros += FILE_BLOCK_SIZE;
    return 0;
}

void copying_digest(const struct copying *copying, uint8_t sha256[SHA256_SIZE])
{
    struct sha256 so_far = copying->sha256;
    sha256_end(&so_far, sha256);
}

int copying_end(struct copying *copying, uint8_t sha256[SHA256_SIZE], struct error *error)
{
    int code = flush(copying, error);
    if (code == 0 && fsync(copying->fd) < 0)
        code = copying_failed(error, -errno, copying->path);
    if (code < 0)
        return code;
    if (!copying->direct)
        (void)posix_fadvise(copying->fd, 0, 0, POSIX_FADV_DONTNEED);
    close(copying->fd);
    copying->fd = -1;
    copying_digest(copying, sha256);
    return 0;
}

void copying_abandon(struct copying *copying)
{
    if (copying->fd < 0)
        return;
    /* A whole prefix is better than half a frame behind it; if this fails the next run does it. */
    if (copying->kept > 0)
        (void)clear_behind(copying->fd, copying->kept, copying->capacity, copying->capacity);
    else
        (void)unlink(copying->path);
    close(copying->fd);
    copying->fd = -1;
}

void copying_free(struct copying *copying)
{
    copying_abandon(copying);
    free(copying->buffer);
    copying_init(copying);
}

/* Whole files. */

struct file_copy {
    const char *from, *to; /* paths; `to` NULL: only the hash is wanted */
    int in, out;
    bool direct;
    uint8_t *buffer;
    uint64_t size, size_max; /* read so far; and at most */
    struct sha256 sha256;
};

/* One bufferful. 1 go on, 0 the end. */
static int copy_some(struct file_copy *copy, struct error *error)
{
    uint64_t left = copy->size_max - copy->size;
    uint64_t want = left < COPYING_BUFFER_SIZE ? left : COPYING_BUFFER_SIZE;
    /* O_DIRECT reads whole blocks. */
    uint64_t blocks = (want + FILE_BLOCK_SIZE - 1) / FILE_BLOCK_SIZE * FILE_BLOCK_SIZE;
    int64_t got = want == 0 ? 0 : file_read_at(copy->in, copy->buffer, blocks, copy->size);
    if (got < 0)
        return error_set(error, (int)got, "%s cannot be read at offset %llu: %s", copy->from,
                         (unsigned long long)copy->size, error_text((int)got));
    uint64_t some = (uint64_t)got < want ? (uint64_t)got : want;
    int code = copy->to == NULL ? 0 : file_write_at(copy->out, copy->buffer, some, copy->size);
    if (code < 0)
        return copying_failed(error, code, copy->to);
    sha256_more(&copy->sha256, copy->buffer, some);
    copy->size += some;
    return some > 0;
}

static int copy_all(struct file_copy *copy, struct error *error)
{
    int code;
    copy->buffer = file_aligned_buffer(COPYING_BUFFER_SIZE);
    if (copy->buffer == NULL)
        return error_set(error, -ENOMEM, "no memory to read %s", copy->from);
    sha256_init(&copy->sha256);
    do {
        code = copy_some(copy, error);
    } while (code > 0);
    if (code == 0 && copy->to != NULL && fsync(copy->out) < 0)
        code = copying_failed(error, -errno, copy->to);
    if (code == 0 && copy->to != NULL)
        (void)posix_fadvise(copy->out, 0, 0, POSIX_FADV_DONTNEED);
    if (!copy->direct)
        (void)posix_fadvise(copy->in, 0, 0, POSIX_FADV_DONTNEED);
    free(copy->buffer);
    return code;
}

int copying_file(const char *from, const char *to, const char *name, uint64_t *size,
                 uint8_t sha256[SHA256_SIZE], struct error *error)
{
    char path[PATH_MAX], source[PATH_MAX], temporary[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", to, name) >= (int)sizeof path ||
        snprintf(source, sizeof source, "%s/%s", from, name) >= (int)sizeof source ||
        snprintf(temporary, sizeof temporary, "%s/%s.tmp", to, name) >= (int)sizeof temporary)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", name);
    struct file_copy copy = { .from = source, .to = temporary, .size_max = UINT64_MAX };
    copy.in = file_open_direct(source, false, &copy.direct, error);
    if (copy.in < 0)
        return copy.in;
    copy.out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int code = copy.out < 0 ? copying_failed(error, -errno, temporary) : copy_all(&copy, error);
    if (code == 0 && rename(temporary, path) < 0)
        code = copying_failed(error, -errno, path);
    if (copy.out >= 0)
        close(copy.out);
    close(copy.in);
    if (code < 0) {
        (void)unlink(temporary);
        return code;
    }
    *size = copy.size;
    sha256_end(&copy.sha256, sha256);
    return 0;
}

int copying_hash(const char *path, uint64_t size, uint8_t sha256[SHA256_SIZE], struct error *error)
{
    struct file_copy copy = { .from = path, .size_max = size };
    copy.in = file_open_direct(path, false, &copy.direct, error);
    if (copy.in < 0)
        return copy.in;
    int code = copy_all(&copy, error);
    close(copy.in);
    sha256_end(&copy.sha256, sha256);
    if (code == 0 && copy.size < size)
        code = error_set(error, ERROR_TRUNCATED, "%s is %llu bytes long instead of %llu", path,
                         (unsigned long long)copy.size, (unsigned long long)size);
    return code;
}
