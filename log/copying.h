/* A file that is being copied: blocks go to disk around the page cache (O_DIRECT where there is),
 * blocks of zeros at its end stay a hole, and the SHA-256 of what it holds comes with it. For log/
 * only.
 *
 * Memory: one buffer of 1 MiB. Threads: a copying belongs to one thread. */
#ifndef LOG_COPYING_H
#define LOG_COPYING_H

#include "core/base/error.h"
#include "core/base/sha256.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define COPYING_BUFFER_SIZE (1u << 20)

struct copying {
    char path[PATH_MAX];
    int fd; /* -1: not open */
    bool direct;
    uint8_t *buffer;
    uint64_t used;   /* bytes in it */
    uint64_t offset; /* in the file, of the buffer's first byte */
    uint64_t kept;   /* bytes that are there already: taken into the hash, not written */
    uint64_t capacity;
    uint64_t zeros;   /* held back: zeros that count only if something follows */
    uint64_t size;    /* bytes that count so far, without them */
    uint64_t written; /* bytes, in this run */
    struct sha256 sha256;
};

void copying_init(struct copying *copying);

/* Opens `<dir>/<name>`, makes it when it is missing (0600), leaves its first `kept` bytes and makes
 * the rest up to `capacity` a hole. Sizes are multiples of 4096. A copying can be begun again for
 * another file once it was ended or abandoned. */
int copying_begin(struct copying *copying, const char *dir, const char *name, uint64_t capacity,
                  uint64_t kept, struct error *error);

/* Adds bytes, a multiple of 4096 of them. */
int copying_add(struct copying *copying, const void *bytes, uint64_t size, struct error *error);

/* The same for one block of 4096 bytes, of which zeros at the end of the file do not count. */
int copying_add_sparse(struct copying *copying, const uint8_t *block, struct error *error);

/* The hash of what counts so far. */
void copying_digest(const struct copying *copying, uint8_t sha256[SHA256_SIZE]);

/* Writes the rest, syncs and closes the file. Its name is durable when the directory is synced. */
int copying_end(struct copying *copying, uint8_t sha256[SHA256_SIZE], struct error *error);

/* Closes without that. What was written behind `kept` is taken away again, with the file when that
 * is 0. */
void copying_abandon(struct copying *copying);
void copying_free(struct copying *copying);

/* A sentence for a failed write to `path`. Returns `code`. */
int copying_failed(struct error *error, int code, const char *path);

/* Adds what to do when there was no room. */
void copying_advise(struct error *error, int code);

/* Copies a whole file that does not change: `<to>/<name>.tmp`, synced, renamed. The directory is
 * the caller's to sync. *size and sha256 are those of the bytes read. -ENOENT when there is no such
 * file. */
int copying_file(const char *from, const char *to, const char *name, uint64_t *size,
                 uint8_t sha256[SHA256_SIZE], struct error *error);

/* The hash of the first `size` bytes of a file, read around the page cache. ERROR_TRUNCATED when it
 * is shorter. */
int copying_hash(const char *path, uint64_t size, uint8_t sha256[SHA256_SIZE], struct error *error);

#endif
