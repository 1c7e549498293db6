/* Where a log was written, so that a copy of it is known for one. For log/ only.
 *
 * PLACE in the log's directory names the log and its own place: the inode of LOCK, when that file
 * was made, and the id of the filesystem. LOCK is never replaced, and a directory that is renamed
 * keeps it; a copied one has a LOCK of its own. The time tells apart two files of one inode number
 * (a copy that was put where the original had been); where both times are known the filesystem's id
 * does not count, since some change it when devices are numbered anew. What copies blocks below the
 * filesystem (a clone of a virtual machine) is not noticed.
 *
 * A directory without PLACE, as older versions leave it, or with one that is not whole, is where it
 * was written. Threads: any. */
#ifndef LOG_PLACE_H
#define LOG_PLACE_H

#include "core/base/error.h"
#include "log/directory.h"
#include "log/recovery.h"
#include "log/segment.h"
#include "log/tail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True if `dir`, whose newest segment has this header, is not where the log was written. */
bool place_is_moved(const char *dir, const struct segment_header *newest);

/* Says durably that the log of this uuid is written here; nothing is written when PLACE says so
 * already. LOCK must be there. 0 or negative. */
int place_note(const char *dir, const uint8_t log_uuid[UUID_SIZE], struct error *error);

/* A number for the place of `dir`, by its LOCK as it is now: a copy has another one. 0 or a
 * negative errno. */
int place_tag(const char *dir, uint64_t *tag);

/* Adds to what recovery found at the end what is to be said when the directory is not where the log
 * was written (result->moved). A copy of a live log may lack the end of any segment, or something
 * in its middle, also when its newest one, which was copied last, ends with CLOSE. With `all` every
 * frame of every segment is looked at, else the last of each. 1: it misses events or some are
 * damaged, and nothing else needs to be known of it; 0; negative when a file cannot be read. */
int place_judge(struct log_recovery *result, const struct directory *directory,
                const struct segment_header *newest, const struct tail *tail, bool all,
                struct error *error);

/* Passes an error on; adds the advice when files do not fit in such a directory. */
int place_explain(const struct log_recovery *result, int code, struct error *error);

/* What to do with a copy that misses events, as the end of a sentence. */
#define PLACE_ADVICE                                                                               \
    "use daa-log backup to copy a live log; to go on with what is here: daa-log restore COPY NEW"

/* Small files of text, for FORK too. */

/* Reads `<dir>/<name>` as text. 1; 0 there is none, or it does not fit; negative errno. */
int place_read_text(const char *dir, const char *name, char *text, size_t size);

#endif
