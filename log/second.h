/* A second directory for segments, on another device, where the log goes on while its own device
 * does not answer (log/failover.c). For log/ only.
 *
 * A segment that lies there has its ordinary name in the log's directory all the same: as a
 * symbolic link to the file. So whoever opens it by that name need not know, and the name is there
 * before it is needed. The file's name says whose it is:
 *
 *   UUID-TAG-SERIAL.log    of the log when the file was made; of the directory that made it
 *                          (place_tag(), 16 hexadecimal digits); random (16)
 *
 * so several logs may share a second directory, and a copy of a log's directory, which holds the
 * same links, is told from the original: what it did not make itself it reads and never removes or
 * writes.
 *
 * A link whose file is not there is no segment that was removed, but a device that is missing:
 * -ENXIO, and never the end of a log.
 *
 * Threads: any; the log's writer alone may change its directory. */
#ifndef LOG_SECOND_H
#define LOG_SECOND_H

#include "core/base/error.h"
#include "core/base/id.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define SECOND_NAME_SIZE (UUID_TEXT_SIZE + 1 + 16 + 1 + 16 + 4)

/* Where `<dir>/<name>` points to: 1; 0 when it is no link, or not there; or a negative errno. */
int second_target(const char *dir, const char *name, char target[PATH_MAX]);

/* True if this directory made the file that a link in it points to. */
bool second_is_own(const char *dir, const char *target);

/* Removes a segment's name, and if that was a link to a file that this directory made, the file
 * too. 0 or a negative errno. Only the removal of a link is synced. */
int second_remove(const char *dir, const char *name);

/* What is wrong when `<dir>/<name>` could not be opened for want of the file: -ENXIO and a sentence
 * that names both, when it is a link; else 0. */
int second_explain(const char *dir, const char *name, struct error *error);

/* Makes the directory `second_dir` (0700) when it is missing, and sees that it can serve the log in
 * `dir`: it lies on another device, on a disk, and O_DIRECT works. `second` gets its real path.
 * ERROR_INVALID or a negative errno. With `any_place` (tests) it only has to be there. */
int second_prepare(const char *dir, const char *second_dir, bool any_place, char second[PATH_MAX],
                   struct error *error);

/* Makes a file of `size` zero bytes in `second` for the log in `dir`, durably, and gives it the
 * name `name` there by a link. */
int second_make(const char *dir, const char *name, const char *second,
                const uint8_t log_uuid[UUID_SIZE], uint64_t serial, uint64_t size,
                struct error *error);

/* Makes the link `<dir>/<name>`, durably. */
int second_link(const char *dir, const char *name, const char *target, struct error *error);

/* Removes files that this directory made in `second` and that no link in it points to: what a crash
 * left. 0 or a negative errno. */
int second_sweep(const char *dir, const char *second);

#endif
