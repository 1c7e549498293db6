/* Files and directories as the event log needs them: O_DIRECT, filled ahead of time, durable names.
 *
 * All functions return 0 (or a descriptor) or a negative errno and, where they take one, leave a
 * sentence in `error`. Nothing retries a failed sync. Threads: any. */
#ifndef IOURING_FILE_H
#define IOURING_FILE_H

#include "core/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILE_BLOCK_SIZE 4096u

/* Opens for O_DIRECT reads (and writes). Falls back to buffered only where the filesystem has no
 * O_DIRECT at all (-EINVAL); *direct says which. */
int file_open_direct(const char *path, bool writable, bool *direct, struct error *error);

/* A new file in `dir` without a name, for O_DIRECT where that is to be had: nothing is left of it,
 * whatever happens. A descriptor or a negative errno. */
int file_open_nameless(const char *dir);

/* Makes `<dir>/<name>` of `size` zero bytes (a multiple of FILE_BLOCK_SIZE), really written and
 * synced, mode 0600: as `<name>.tmp` first, then renamed, then the directory is synced. -EEXIST
 * when there is a file of that name. A `.tmp` that is there already is overwritten; on error it
 * stays, empty, since it says something to whoever left it; else none is left. */
int file_make_zeroed(const char *dir, const char *name, uint64_t size, struct error *error);

/* Makes `<dir>/<name>` of `size` bytes (a multiple of FILE_BLOCK_SIZE) whose blocks are allocated,
 * written only where the filesystem cannot allocate otherwise; mode 0600, not synced. -EEXIST when
 * there is a file of that name. On error none is left. */
int file_make_reserved(const char *dir, const char *name, uint64_t size, struct error *error);

/* Syncs a directory, so that names made or removed in it are durable. */
int file_sync_dir(const char *dir, struct error *error);

/* Makes the directory `path` (0700) when it is missing, and its name durable. That also when it is
 * there: whoever made it may have ended before that. */
int file_make_dir(const char *path, struct error *error);

/* Writes a small file whole: `<name>.tmp` (mode 0600), fsync, rename, directory sync. */
int file_replace(const char *dir, const char *name, const void *bytes, size_t size,
                 struct error *error);

/* pread/pwrite until done or failed. file_read_at gives the bytes read, fewer only at the end of
 * the file; -EIO is a block that the disk cannot read (iouring/bad_blocks.h), whatever it says of
 * the reason. */
int64_t file_read_at(int fd, void *buffer, size_t size, uint64_t offset);
int file_write_at(int fd, const void *buffer, size_t size, uint64_t offset);

/* Zeroed memory aligned for O_DIRECT; freed with free(). NULL without memory. */
void *file_aligned_buffer(size_t size);

/* The name of the filesystem of `path`: "ext4" (also for ext2 and ext3), "xfs", "tmpfs", "btrfs",
 * ..., "0x1234" for one unknown. */
int file_system_name(const char *path, char *name, size_t size);

struct file_probe {
    uint64_t dsync_p50_ns;     /* one 4 KiB RWF_DSYNC overwrite */
    uint64_t fdatasync_p50_ns; /* one 4 KiB overwrite and fdatasync */
};

/* Measures both ways of a durable 4 KiB write on a zero-filled file in `dir` (removed after), 32
 * times each, in turns. */
int file_probe(const char *dir, struct file_probe *probe, struct error *error);

#endif
