/* The image of the active segment: a memfd with the same bytes at the same offsets as the file,
 * except for page 0, which is a control page. Other processes read it without any lock.
 *
 * The writer builds frames in the image, writes them to the file from there, and after each durable
 * write moves `durable_end` and `durable_seq` and wakes the futex. A reader:
 *   1. finds the image through `<dir>/image` (one line: "pid start_time fd pid_namespace
 * generation"),
 *   2. opens /proc/<pid>/fd/<fd>, maps it read-only,
 *   3. checks magic, uuid, segment and generation, loads durable_end (acquire), uses bytes below
 * it, and checks the generation again after: changed means that the bytes are of no use. The memfd
 * is sealed against growing, shrinking and later writable mappings (F_SEAL_FUTURE_WRITE).
 *
 * Threads: one writer; any number of readers in any process. */
#ifndef MMAPSTORE_IMAGE_H
#define MMAPSTORE_IMAGE_H

#include "core/base/error.h"
#include "mmapstore/interrupt.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define IMAGE_MAGIC "DAAIMG01"

/* Page 0. Written by one process, read by many: fixed layout. */
struct image_control {
    char magic[8];
    uint8_t log_uuid[16];
    uint64_t segment_no;
    uint64_t salt;
    uint64_t capacity;            /* bytes of the segment */
    _Atomic uint64_t generation;  /* odd while the image is being given to another segment */
    _Atomic uint64_t durable_seq; /* everything up to here is durable and may be shown */
    _Atomic uint64_t durable_end; /* bytes of this segment that are durable; a frame boundary */
    _Atomic uint32_t wake;        /* futex word: changes with every durable frame */
    _Atomic uint32_t ended;       /* 1: the segment got its last frame (the next has begun) */
};

struct image {
    int fd;
    uint64_t size;
    uint8_t *bytes;                /* the mapping; writable only in the writer */
    struct image_control *control; /* == bytes */
};

/* The writer's side: makes a sealed memfd of `size` bytes, mapped and brought into memory. */
int image_create(struct image *image, uint64_t size, struct error *error);

/* Gives the image to a segment: all of page 0 in one go, generation made odd before and even after;
 * the bytes behind page 0 are what they were. */
void image_assign(struct image *image, const uint8_t log_uuid[16], uint64_t segment_no,
                  uint64_t salt, uint64_t durable_seq, uint64_t durable_end);

/* Publishes (release) and wakes every waiting reader. */
void image_publish(struct image *image, uint64_t durable_seq, uint64_t durable_end);
void image_end(struct image *image);

/* Writes `<dir>/image` for this image (atomically, not synced: it is of no use after a crash). */
int image_announce(const struct image *image, const char *dir, struct error *error);
void image_withdraw(const char *dir);

/* The reader's side. 0; ERROR_NOT_FOUND when there is no announcement or no such process; -EACCES
 * when it may not be opened; ERROR_MISMATCH when it is not what it says. */
int image_attach(struct image *image, const char *dir, struct error *error);
void image_close(struct image *image);

/* Waits until `wake` differs from `seen`, `timeout_ns` passed, or the interrupt (NULL: none) is
 * raised. True if it differs. */
bool image_wait(const struct image *image, uint32_t seen, uint64_t timeout_ns,
                struct interrupt *interrupt);

#endif
