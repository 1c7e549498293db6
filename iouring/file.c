#include "iouring/file.h"

#include "core/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { ZERO_CHUNK = 1024 * 1024 }; /* bytes a write, when a file is filled with zeros */

/* open() with O_DIRECT where the filesystem has it. */
static int open_direct(const char *path, int flags, bool *direct)
{
    int fd = open(path, flags | O_DIRECT | O_CLOEXEC, 0600);
    *direct = fd >= 0;
    if (fd < 0 && errno == EINVAL)
        fd = open(path, flags | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

int file_open_direct(const char *path, bool writable, bool *direct, struct error *error)
{
    int fd = open_direct(path, writable ? O_RDWR : O_RDONLY, direct);
    if (fd < 0)
        return error_set(error, fd, "cannot open %s: %s", path, error_text(fd));
    return fd;
}

/* Where the filesystem has no O_TMPFILE it has a name for a moment. */
static int open_and_unlink(const char *dir)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/probe-XXXXXX", dir) >= (int)sizeof path)
        return -ENAMETOOLONG;
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (unlink(path) == 0)
        return fd;
    int result = -errno;
    close(fd);
    return result;
}

int file_open_nameless(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
        fd = open_and_unlink(dir);
    else if (fd < 0)
        fd = -errno;
    if (fd >= 0)
        (void)fcntl(fd, F_SETFL, O_DIRECT); /* refused: then buffered, as the log itself would be */
    return fd;
}

static int write_zeros(int fd, uint64_t size)
{
    void *zeros = file_aligned_buffer(size < ZERO_CHUNK ? size : ZERO_CHUNK);
    if (zeros == NULL)
        return -ENOMEM;
    int result = 0;
    for (uint64_t offset = 0; result == 0 && offset < size;) {
        uint64_t chunk = size - offset < ZERO_CHUNK ? size - offset : ZERO_CHUNK;
        result = file_write_at(fd, zeros, chunk, offset);
        offset += chunk;
    }
    free(zeros);
    return result;
}

/* Reserved first: one extent where there is one, and a full disk is known at once. Written then:
 * a write into a reserved extent that was never written changes metadata, which the append path
 * must not wait for. */
static int fill_with_zeros(int fd, uint64_t size, bool direct)
{
    if (fallocate(fd, 0, 0, (off_t)size) < 0 && errno != EOPNOTSUPP && errno != ENOSYS)
        return -errno;
    int result = write_zeros(fd, size);
    if (result == 0 && fsync(fd) < 0)
        result = -errno;
    if (result == 0 && !direct)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return result;
}

static int make_temporary(const char *temporary, uint64_t size)
{
    bool direct;
    int fd = open_direct(temporary, O_RDWR | O_CREAT | O_TRUNC, &direct);
    if (fd < 0)
        return fd;
    int result = fill_with_zeros(fd, size, direct);
    if (close(fd) < 0 && result == 0)
        result = -errno;
    return result;
}

static int rename_to_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    /* A filesystem without RENAME_NOREPLACE: whoever makes files here holds the log's lock. */
    if (access(to, F_OK) == 0)
        return -EEXIST;
    return rename(from, to) < 0 ? -errno : 0;
}

static int join(char path[PATH_MAX], const char *dir, const char *name, const char *suffix)
{
    int length = snprintf(path, PATH_MAX, "%s/%s%s", dir, name, suffix);
    return length < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int file_make_zeroed(const char *dir, const char *name, uint64_t size, struct error *error)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    CHECK(size > 0);
    CHECK(size % FILE_BLOCK_SIZE == 0);
    int result = join(path, dir, name, "");
    if (result == 0)
        result = join(temporary, dir, name, ".tmp");
    if (result == 0 && access(path, F_OK) == 0) /* before 64 MiB are written for nothing */
        result = -EEXIST;
    if (result < 0)
        return error_set(error, result, "cannot make %s/%s: %s", dir, name, error_text(result));

    bool was_there = access(temporary, F_OK) == 0;
    result = make_temporary(temporary, size);
    if (result == 0)
        result = rename_to_new(temporary, path);
    if (result < 0) {
        (void)!(was_there ? truncate(temporary, 0) : unlink(temporary));
        return error_set(error, result, "cannot make %s of %llu bytes: %s", path,
                         (unsigned long long)size, error_text(result));
    }
    return file_sync_dir(dir, error);
}

int file_make_reserved(const char *dir, const char *name, uint64_t size, struct error *error)
{
    char path[PATH_MAX];
    CHECK(size % FILE_BLOCK_SIZE == 0);
    int result = join(path, dir, name, ""), fd = -1;
    if (result == 0) {
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        result = fd < 0 ? -errno : 0;
    }
    if (result == 0 && fallocate(fd, 0, 0, (off_t)size) < 0) {
        bool cannot = errno == EOPNOTSUPP || errno == ENOSYS;
        result = cannot ? write_zeros(fd, size) : -errno;
    }
    if (fd >= 0 && close(fd) < 0 && result == 0)
        result = -errno;
    if (fd >= 0 && result < 0)
        (void)unlink(path);
    if (result < 0)
        return error_set(error, result, "cannot make %s/%s of %llu bytes: %s", dir, name,
                         (unsigned long long)size, error_text(result));
    return 0;
}

int file_sync_dir(const char *dir, struct error *error)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    if (result < 0)
        return error_set(error, result, "cannot sync the directory %s: %s", dir,
                         error_text(result));
    return 0;
}

static int set_not_made(const char *path, int code, struct error *error)
{
    return error_set(error, code, "%s cannot be made a directory: %s", path, error_text(code));
}

int file_make_dir(const char *path, struct error *error)
{
    char parent[PATH_MAX];
    struct stat status;
    struct error what = { 0 };
    bool made = mkdir(path, 0700) == 0;
    if (!made && (errno != EEXIST || stat(path, &status) < 0))
        return set_not_made(path, -errno, error);
    if (!made && !S_ISDIR(status.st_mode))
        return set_not_made(path, -ENOTDIR, error);
    if (snprintf(parent, sizeof parent, "%s/..", path) >= (int)sizeof parent)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", path);
    int code = file_sync_dir(parent, &what);
    /* It was given to whoever may not read what it lies in, or does not lie on a disk's filesystem:
     * that can be no crash's doing. */
    if (!made && (code == -EACCES || code == -EROFS || code == -EINVAL))
        return 0;
    return code < 0 ? error_set(error, code, "%s", what.text) : 0;
}

static int write_whole(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = file_write_at(fd, bytes, size, 0);
    if (result == 0 && fsync(fd) < 0)
        result = -errno;
    if (close(fd) < 0 && result == 0)
        result = -errno;
    return result;
}

int file_replace(const char *dir, const char *name, const void *bytes, size_t size,
                 struct error *error)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    int result = join(path, dir, name, "");
    if (result == 0)
        result = join(temporary, dir, name, ".tmp");
    if (result < 0)
        return error_set(error, result, "cannot write %s/%s: %s", dir, name, error_text(result));

    result = write_whole(temporary, bytes, size);
    if (result == 0 && rename(temporary, path) < 0)
        result = -errno;
    if (result < 0) {
        (void)unlink(temporary);
        return error_set(error, result, "cannot write %s: %s", path, error_text(result));
    }
    return file_sync_dir(dir, error);
}

/* What the kernel has for "the disk cannot read this block": of O_DIRECT also the reason. */
static int read_error(int number)
{
    return number == ENODATA || number == EILSEQ || number == EREMOTEIO ? -EIO : -number;
}

int64_t file_read_at(int fd, void *buffer, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, (char *)buffer + done, size - done, (off_t)(offset + done));
        if (got > 0)
            done += (size_t)got;
        else if (got == 0)
            break;
        else if (errno == EINVAL && done % FILE_BLOCK_SIZE != 0)
            break; /* O_DIRECT, and the file ended within the block just read */
        else if (errno != EINTR)
            return read_error(errno);
    }
    return (int64_t)done;
}

int file_write_at(int fd, const void *buffer, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t put = pwrite(fd, (const char *)buffer + done, size - done, (off_t)(offset + done));
        if (put > 0)
            done += (size_t)put;
        else if (put == 0)
            return -EIO;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

void *file_aligned_buffer(size_t size)
{
    size_t whole = (size + FILE_BLOCK_SIZE - 1) & ~(size_t)(FILE_BLOCK_SIZE - 1);
    if (whole < size)
        return NULL;
    void *buffer = aligned_alloc(FILE_BLOCK_SIZE, whole);
    if (buffer != NULL)
        memset(buffer, 0, whole);
    return buffer;
}

int file_system_name(const char *path, char *name, size_t size)
{
    static const struct {
        uint32_t magic; /* statfs(2) */
        const char *name;
    } known[] = { { 0xef53, "ext4" },        { 0x58465342, "xfs" },      { 0x9123683e, "btrfs" },
                  { 0x01021994, "tmpfs" },   { 0x858458f6, "ramfs" },    { 0x794c7630, "overlay" },
                  { 0x6969, "nfs" },         { 0xfe534d42, "smb" },      { 0xff534d42, "cifs" },
                  { 0x65735546, "fuse" },    { 0x01021997, "9p" },       { 0xf2f52010, "f2fs" },
                  { 0x2fc12fc1, "zfs" },     { 0xca451a4e, "bcachefs" }, { 0x4d44, "vfat" },
                  { 0x2011bab0, "exfat" },   { 0x7366746e, "ntfs3" },    { 0x00c36400, "ceph" },
                  { 0x73717368, "squashfs" } };
    struct statfs status;
    if (statfs(path, &status) < 0)
        return -errno;
    uint32_t magic = (uint32_t)status.f_type;
    int length = -1;
    for (size_t i = 0; i < sizeof known / sizeof *known && length < 0; i++) {
        if (known[i].magic == magic)
            length = snprintf(name, size, "%s", known[i].name);
    }
    if (length < 0)
        length = snprintf(name, size, "0x%x", magic);
    return (size_t)length < size ? 0 : -ENAMETOOLONG;
}
