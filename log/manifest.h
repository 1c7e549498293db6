/* BACKUP: what a backup holds, as a text of lines, written when all of it is durable.
 *
 *   daa backup 1
 *   log 1a2b...-...                       uuid of the newest segment
 *   since 0                               0: from the log's beginning
 *   time 2026-11-25T23:05:17.000000000Z   when it was finished
 *   segment NAME BYTES CAPACITY FIRST_SEQ LAST_SEQ STATE SHA256 CHAIN
 *   snapshot NAME BYTES SHA256
 *   last_seq 1234 CHAIN
 *   end SHA256                            of all lines above
 *
 * SHA256 is of the first BYTES of a file; what follows up to CAPACITY is zero. CHAIN is the log's
 * after LAST_SEQ. STATE is "closed" (a later segment goes on: no more of it will come) or "open".
 *
 * Beside it stands, while a backup is under way, BACKUP.part: the same lines, appended as each
 * segment gets durable, without the last two. A line that a crash cut is left out.
 *
 * For log/ only. Memory: some 130 bytes a segment. Threads: a manifest belongs to one thread. */
#ifndef LOG_MANIFEST_H
#define LOG_MANIFEST_H

#include "core/base/error.h"
#include "core/base/id.h"
#include "core/base/sha256.h"
#include "log/segment.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MANIFEST_NAME "BACKUP"
#define MANIFEST_PART_NAME "BACKUP.part"
#define SNAPSHOTS_NAME "snapshots"
#define SNAPSHOT_NAME_SIZE 32 /* "snap-<20 digits>.zst" and the terminating NUL */

struct backup_segment {
    uint64_t segment_no;
    uint64_t bytes, capacity;
    uint64_t first_seq, last_seq;
    bool closed;
    uint8_t sha256[SHA256_SIZE];
    uint8_t chain[SHA256_SIZE];
};

struct backup_snapshot {
    char name[SNAPSHOT_NAME_SIZE];
    uint64_t seq; /* of its name: what it stands for */
    uint64_t bytes;
    uint8_t sha256[SHA256_SIZE];
};

struct manifest {
    char log_uuid[UUID_TEXT_SIZE]; /* "": not known yet */
    uint64_t since_seq;
    uint64_t time_ns;
    struct backup_segment *segments; /* ascending */
    size_t segment_count, segment_capacity;
    struct backup_snapshot *snapshots; /* ascending */
    size_t snapshot_count, snapshot_capacity;
    int failed; /* of reading: there was no memory for a line */
};

void manifest_init(struct manifest *manifest);
void manifest_free(struct manifest *manifest);

/* The last segment, or NULL: its last_seq and chain are the backup's. */
const struct backup_segment *manifest_last(const struct manifest *manifest);
/* NULL: it is not there. */
const struct backup_segment *manifest_find(const struct manifest *manifest, uint64_t segment_no);

/* Adds the segment, or puts it in the place of the one with that number. 0 or -ENOMEM. */
int manifest_put(struct manifest *manifest, const struct backup_segment *segment);
int manifest_put_snapshot(struct manifest *manifest, const struct backup_snapshot *snapshot);
/* Forgets the snapshot at `index`. */
void manifest_drop_snapshot(struct manifest *manifest, size_t index);

/* True if it is a snapshot's name. */
bool snapshot_seq_of_name(const char *name, uint64_t *seq);

/* Reads `<dir>/BACKUP`. 1; 0 when there is none; ERROR_DAMAGED, ERROR_NEWER, -errno. */
int manifest_read(struct manifest *manifest, const char *dir, struct error *error);
/* Puts the lines of `<dir>/BACKUP.part` into the manifest. 1; 0 when there is none, or not even its
 * first line. */
int manifest_read_part(struct manifest *manifest, const char *dir, struct error *error);

/* Writes `<dir>/BACKUP`, durably and as a whole or not at all. */
int manifest_write(const struct manifest *manifest, const char *dir, struct error *error);
/* Begins `<dir>/BACKUP.part` unless it is there, and appends a segment to it, durably. */
int manifest_begin_part(const struct manifest *manifest, const char *dir, struct error *error);
int manifest_append_part(const struct backup_segment *segment, const char *dir,
                         struct error *error);

#endif
