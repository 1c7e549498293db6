/* What the kernel says of a block device and of direct I/O on it. Reads only.
 *
 * Threads: any. */
#ifndef IOURING_DEVICE_H
#define IOURING_DEVICE_H

#include "core/base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define DEVICE_TEXT_SIZE 64

/* Numbers are -1 and texts "" where the kernel does not say. */
struct device {
    unsigned major, minor;
    char name[DEVICE_TEXT_SIZE]; /* "vda", "nvme0n1p2" */
    bool found;                  /* the kernel shows such a device; not so of btrfs, tmpfs, nfs */
    int64_t size;                /* bytes */
    int64_t read_only, rotational, fua;
    int64_t write_zeroes_max;              /* bytes */
    int64_t logical_block, physical_block; /* bytes */
    char write_cache[DEVICE_TEXT_SIZE];    /* "write back", "write through" */
    char scheduler[DEVICE_TEXT_SIZE];      /* the one in use: "none", "mq-deadline" */
    int64_t direct_memory, direct_offset;  /* alignment of O_DIRECT, bytes; 0: it has none */
    int64_t atomic_min, atomic_max;        /* bytes that are written whole or not at all; 0: none */
};

/* How and where a directory is mounted. Texts are cut when they are longer. */
struct device_mount {
    char point[256], source[256];
    char options[520]; /* ",rw,noatime,...," of the mount and of the filesystem */
};

/* Of the block device at `path`. ERROR_INVALID when that is something else. */
int device_of_path(struct device *device, const char *path, struct error *error);

/* Of the device that the open file of a filesystem lies on; direct and atomic are the file's. */
int device_of_file(struct device *device, int fd);

/* 0, ERROR_NOT_FOUND, or -errno. */
int device_mount_of(struct device_mount *mount, const char *path);
/* True if `option` ("nobarrier", "data=writeback") is among them. */
bool device_mount_has(const struct device_mount *mount, const char *option);

#endif
