/* A snapshot: all documents of the state at one position of the log, in a file of its own.
 *
 *   <dir>/snap-<seq, 20 digits>.zst
 *     a skippable zstd frame of 128 bytes: magic, versions, log uuid, seq, mark, count, time, CRC
 *     one zstd frame with its checksum: of each document in key order
 *         key size u32, key, value size u32, value
 *     a skippable zstd frame of 80 bytes: magic, documents, bytes, SHA-256, CRC
 *
 * so `zstd -dc` shows the documents' bytes. Integers are little-endian. The SHA-256 is what
 * state_digest() gives of the same documents. The keys that LMDB holds beside them are not in it.
 *
 * A file has this name only when it was written whole, synced, and read back.
 *
 * Threads: any; a call works on its own. */
#ifndef TOOLS_AGENT_SNAPSHOT_H
#define TOOLS_AGENT_SNAPSHOT_H

#include "core/base/error.h"
#include "core/base/sha256.h"
#include "core/base/span.h"
#include "tools/agent/state.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SNAPSHOT_NAME_SIZE 32 /* with the terminating NUL */

struct snapshot_info {
    uint32_t document_version;
    uint8_t log_uuid[16];
    uint64_t seq; /* all events up to there are in it */
    struct state_mark mark;
    uint64_t time_ns; /* when it was begun, wall clock */
    uint64_t documents;
    uint64_t bytes; /* of keys and values */
    uint8_t digest[SHA256_SIZE];
    uint64_t file_bytes;
};

void snapshot_name(char name[SNAPSHOT_NAME_SIZE], uint64_t seq);

/* Writes one of what LMDB holds now into `dir`, which exists, and reads it back: 0 with *info once
 * it is durable under its name. ERROR_INVALID: the state stands for nothing yet. On failure nothing
 * is left behind, and other snapshots stay as they are. *stop (may be NULL) becoming true ends it
 * early: -ECANCELED. Takes a few MiB of memory. */
int snapshot_write(const char *dir, struct state *state, uint64_t time_ns, const _Atomic bool *stop,
                   struct snapshot_info *info, struct error *error);

/* Looks at the beginning and the end alone. ERROR_DAMAGED, ERROR_NEWER, ERROR_NOT_FOUND, -errno. */
int snapshot_look(const char *path, struct snapshot_info *info, struct error *error);

/* Reads it all and checks it: gives each document in key order (`each` may be NULL; negative ends
 * it). What was given counts only if this returns 0. ERROR_DAMAGED and others, with the file. */
typedef int snapshot_each_function(struct span key, struct span value, void *context,
                                   struct error *error);
int snapshot_read(const char *path, struct snapshot_info *info, snapshot_each_function *each,
                  void *context, const _Atomic bool *stop, struct error *error);

/* The snapshots of a directory by name, the newest first; `items` is malloc'ed, the caller frees
 * it. A missing directory is empty. */
int snapshot_list(const char *dir, uint64_t **items, size_t *count, struct error *error);

/* Removes what a crash left of snapshots under way. */
void snapshot_remove_leftovers(const char *dir);

#endif
