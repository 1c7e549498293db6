/* A mapped file gives bounds-checked slices, and an error where a mapping would give a signal. */
#include "mmapstore/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "tap.h"

enum { MIB = 1024 * 1024, SIZE = 9 * MIB + 100 };

static unsigned char byte_at(uint64_t offset)
{
    return (unsigned char)(offset * 2654435761u >> 13);
}

static int new_file(const char *name, uint64_t size)
{
    int fd = open(scratch_path(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    unsigned char *bytes = malloc(size + 1);
    if (fd < 0 || bytes == NULL)
        tap_bail_out("cannot make a file: %s", strerror(errno));
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = byte_at(i);
    if (write(fd, bytes, size) != (ssize_t)size)
        tap_bail_out("cannot write a file: %s", strerror(errno));
    free(bytes);
    return fd;
}

static bool slice_is_right(struct map *map, uint64_t offset, uint64_t size)
{
    struct span span;
    if (map_slice(map, offset, size, &span) != 0 || span.size != size)
        return false;
    for (uint64_t i = 0; i < size; i++) {
        if (span.bytes[i] != byte_at(offset + i))
            return false;
    }
    return true;
}

static void slices_are_the_bytes_of_the_file(void)
{
    struct map map;
    struct error error = { 0 };
    int fd = new_file("slices", SIZE);
    is_int(map_open(&map, fd, "slices", &error), 0, "a file is mapped");
    close(fd);
    is_int(map.size, SIZE, "all of it");
    ok(slice_is_right(&map, 0, SIZE), "one slice may be the whole file");
    map_close(&map);

    fd = open(scratch_path("slices"), O_RDONLY | O_CLOEXEC);
    map_open(&map, fd, "slices", &error);
    close(fd);
    bool right = true;
    for (uint64_t at = 0; at < SIZE; at += 4096)
        right &= slice_is_right(&map, at, SIZE - at < 4096 ? SIZE - at : 4096);
    ok(right, "slices in sequence are right, the descriptor being closed");
    is_int(map.populated, SIZE, "and then all of it has been in memory");
    map_close(&map);

    fd = open(scratch_path("slices"), O_RDONLY | O_CLOEXEC);
    map_open(&map, fd, "slices", &error);
    right = slice_is_right(&map, 8 * MIB + 77, MIB) && slice_is_right(&map, 5, 1) &&
            slice_is_right(&map, SIZE - 1, 1) && slice_is_right(&map, 3 * MIB - 1, 2 * MIB);
    ok(right, "so are slices here and there");
    close(fd);
    map_close(&map);
}

static void slices_are_bounded(void)
{
    struct map map;
    struct error error = { 0 };
    struct span span;
    int fd = new_file("bounded", 5000);
    map_open(&map, fd, "bounded", &error);
    close(fd);
    is_int(map_slice(&map, 0, 5001, &span), ERROR_TRUNCATED, "a byte too many is refused");
    is_int(map_slice(&map, 5001, 0, &span), ERROR_TRUNCATED, "an offset behind the end too");
    is_int(map_slice(&map, UINT64_MAX, 2, &span), ERROR_TRUNCATED, "even one that wraps around");
    is_int(map_slice(&map, 1, UINT64_MAX, &span), ERROR_TRUNCATED, "or a size that does");
    is_int(map_slice(&map, 5000, 0, &span), 0, "nothing at the end is nothing");
    is_int(span.size, 0, "of size 0");
    map_close(&map);

    fd = new_file("empty", 0);
    is_int(map_open(&map, fd, "empty", &error), 0, "an empty file can be mapped");
    is_int(map.size, 0, "it has no bytes");
    is_int(map_slice(&map, 0, 0, &span), 0, "none of which can be had");
    is_int(map_slice(&map, 0, 1, &span), ERROR_TRUNCATED, "and no more");
    close(fd);
    map_close(&map);
    is_int(map_open(&map, -1, "segment-7", &error), -EBADF, "a bad descriptor is an error");
    ok(strstr(error.text, "segment-7") != NULL, "with the name in its sentence");
    map_close(&map);
}

/* A SIGBUS would end this process, and the test with it. */
static void a_file_cut_short_is_an_error(void)
{
    struct map map;
    struct error error = { 0 };
    struct span span;
    int fd = new_file("cut", SIZE);
    map_open(&map, fd, "cut", &error);
    ok(ftruncate(fd, 6 * MIB) == 0, "a file is cut after it was mapped");
    is_int(map_slice(&map, 0, SIZE, &span), -EIO, "all of it cannot be had");
    is_int(map_slice(&map, 6 * MIB - 1, 2, &span), -EIO, "nor a slice across the cut");
    is_int(map_slice(&map, 8 * MIB, 4096, &span), -EIO, "nor one behind it");
    ok(slice_is_right(&map, 0, MIB), "but what is there can");
    ok(slice_is_right(&map, 6 * MIB - 4096, 4096), "to its last page");

    ok(slice_is_right(&map, 0, 6 * MIB), "what has been in memory");
    ok(ftruncate(fd, 4096) == 0, "and is cut then");
    is_int(map_slice(&map, 5 * MIB, 4096, &span), -EIO, "cannot be had again");
    is_int(map_slice(&map, 4096, 1, &span), -EIO, "not a byte of it");
    ok(slice_is_right(&map, 0, 4096), "the rest still can");
    close(fd);
    map_close(&map);
}

int main(void)
{
    slices_are_the_bytes_of_the_file();
    slices_are_bounded();
    a_file_cut_short_is_an_error();
    return tap_done();
}
