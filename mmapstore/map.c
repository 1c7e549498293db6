#include "mmapstore/map.h"

#include "core/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Brought in at once: a scan then makes a system call for each window, not for each slice. */
enum { WINDOW = 4 * 1024 * 1024, PAGE = 4096 };

int map_open(struct map *map, int fd, const char *name, struct error *error)
{
    struct stat status;
    *map = (struct map){ .fd = -1 };
    if (fstat(fd, &status) < 0) {
        int code = -errno;
        return error_set(error, code, "cannot map %s: %s", name, error_text(code));
    }
    if (status.st_size == 0)
        return 0;
    map->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    void *bytes =
        map->fd < 0 ? MAP_FAILED : mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) {
        int code = -errno;
        map_close(map);
        return error_set(error, code, "cannot map the %lld bytes of %s: %s",
                         (long long)status.st_size, name, error_text(code));
    }
    map->bytes = bytes;
    map->size = (uint64_t)status.st_size;
    return 0;
}

void map_close(struct map *map)
{
    if (map->bytes != NULL)
        munmap((void *)(uintptr_t)map->bytes, map->size);
    if (map->fd >= 0)
        close(map->fd);
    *map = (struct map){ .fd = -1 };
}

/* Brings in [start, end), which lies within the mapping; `start` at a page. */
static int populate(struct map *map, uint64_t start, uint64_t end)
{
    void *address = (void *)(uintptr_t)(map->bytes + start);
    while (madvise(address, (size_t)(end - start), MADV_POPULATE_READ) < 0) {
        if (errno == EFAULT || errno == EHWPOISON) /* it would have been a SIGBUS */
            return -EIO;
        if (errno != EINTR && errno != EAGAIN)
            return -errno;
    }
    return 0;
}

static int bring_in(struct map *map, uint64_t offset, uint64_t end)
{
    if (end <= map->populated)
        return 0;
    bool in_sequence = offset <= map->populated;
    uint64_t start = in_sequence ? map->populated : offset - offset % PAGE;
    uint64_t ahead = map->size - start > WINDOW ? start + WINDOW : map->size;
    uint64_t stop = in_sequence && ahead > end ? ahead : end;
    int result = populate(map, start, stop);
    if (result == -EIO && stop > end) { /* what lies ahead may be what cannot be read */
        stop = end;
        result = populate(map, start, stop);
    }
    if (result == 0 && in_sequence)
        map->populated = stop == map->size ? stop : stop - stop % PAGE;
    return result;
}

int map_slice(struct map *map, uint64_t offset, uint64_t size, struct span *span)
{
    struct stat status;
    if (offset > map->size || size > map->size - offset)
        return ERROR_TRUNCATED;
    *span = span_of(NULL, 0);
    if (size == 0)
        return 0;
    if (fstat(map->fd, &status) < 0)
        return -errno;
    if ((uint64_t)status.st_size < offset + size)
        return -EIO;
    int result = bring_in(map, offset, offset + size);
    if (result == 0)
        *span = span_of(map->bytes + offset, (size_t)size);
    return result;
}
