/* A directory of a test's own, on a real filesystem (O_DIRECT works there), removed at the end.
 *
 * It lies under $TEST_SCRATCH, which `t/run` makes; alone, a test uses /var/tmp. */
#ifndef SCRATCH_H
#define SCRATCH_H

/* Makes the directory and returns its path; bails out when it cannot. The same one each call. */
const char *scratch_dir(void);

/* "<scratch_dir>/<name>", in one of eight buffers used in turn. */
const char *scratch_path(const char *name);

/* A directory in memory where there is one, else scratch_path("memory"): for tests whose engine
 * syncs nothing that matters. Removed at the end. The same one each call. */
const char *scratch_memory_dir(void);

/* Removes everything in `path` and the directory itself. Missing is fine. */
void scratch_remove(const char *path);

/* Copies a flat directory of regular files; `to` is made and must not exist. */
void scratch_copy(const char *from, const char *to);

/* How many names a directory holds that do not begin with a dot; 0 when there is none. */
unsigned scratch_count(const char *path);

/* Bytes of a file, to be freed by the caller; bails out when it cannot be read. */
unsigned char *scratch_read(const char *path, unsigned long *size);

#endif
