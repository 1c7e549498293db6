/* The bytes of one segment, for log/ only: from its file (O_DIRECT, through one window), from its
 * sealed form (log/sealed.h, unpacked into the window), from a map that the caller keeps, or from
 * the writer's image (copied into the window, since the writer may give the image to another
 * segment at any time). Whoever reads does not notice which.
 *
 * Memory: a window of SOURCE_WINDOW_SIZE, grown to the largest piece asked for and kept, and what a
 * sealed form needs, on the budget. Threads: a source belongs to one thread. */
#ifndef LOG_SOURCE_H
#define LOG_SOURCE_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/sha256.h"
#include "iouring/bad_blocks.h"
#include "mmapstore/image.h"
#include "mmapstore/map.h"

#include <stdbool.h>
#include <stdint.h>

#define SOURCE_WINDOW_SIZE (1u << 20)

struct sealed;

/* Hashes of pieces of what is at hand, from whoever knew that they will be wanted. */
#define SOURCE_HASHES_MAX 7u

struct source_hash {
    uint64_t offset, size;
    uint8_t digest[SHA256_SIZE];
};

/* Puts the bytes [offset, offset + size) at `target`. 0 or negative. */
typedef int source_fill_function(void *context, uint8_t *target, uint64_t offset, uint64_t size);

struct source {
    int fd;                     /* -1: none */
    struct sealed *sealed;      /* `fd` is a sealed form; NULL: it is not */
    struct map *map;            /* the caller's, or NULL */
    const struct image *image;  /* the caller's, or NULL */
    source_fill_function *fill; /* whose bytes these are, or NULL */
    void *fill_context;
    uint64_t generation; /* of the image when it was given to this source */
    uint64_t size;       /* bytes that are there; of an image, those that are durable; of a
                                  sealed form, those that it stands for */
    bool sequential;     /* read SOURCE_WINDOW_SIZE at a time, not just what is asked for */
    bool remembers;      /* what cannot be read is not tried again, and nothing across it */
    uint64_t bad_offset, bad_size; /* with that: the last such place; size 0: none */
    int bad_code;                  /* what reading it gave */
    struct budget *budget;         /* may be NULL */
    uint8_t *window;
    uint64_t window_capacity;
    uint64_t window_offset, window_size;          /* what the window holds */
    struct source_hash hashes[SOURCE_HASHES_MAX]; /* forgotten with the window */
    unsigned hash_count;
    uint64_t bytes_read;
};

/* Opens `<dir>/<name>`, or when that is a segment that is only there sealed, its sealed form:
 * ERROR_DAMAGED and ERROR_NEWER come from that. The window is made at the first read. */
int source_open(struct source *source, const char *dir, const char *name, struct budget *budget,
                struct error *error);
/* Opens a sealed form under whatever name it has. */
int source_open_sealed(struct source *source, const char *dir, const char *name,
                       uint64_t segment_no, struct budget *budget, struct error *error);
void source_of_map(struct source *source, struct map *map);
void source_of_image(struct source *source, const struct image *image, uint64_t generation,
                     struct budget *budget);
/* Of bytes that somebody else puts together, `size` of them. */
void source_of_fill(struct source *source, source_fill_function *fill, void *context,
                    uint64_t size);
/* Another file of the same directory in the same window. */
int source_reopen(struct source *source, const char *dir, const char *name, struct error *error);
void source_close(struct source *source);

/* The bytes [offset, offset + size), valid until the next call. 0; ERROR_TRUNCATED when the file
 * ends before; ERROR_CONFLICT: the image is not this segment's any more; -EIO and other errnos when
 * they cannot be read; ERROR_BUDGET. */
int source_bytes(struct source *source, uint64_t offset, uint64_t size, const uint8_t **bytes);

/* Those of them that take no reading now: how many, 0 for none. */
uint64_t source_at_hand(struct source *source, uint64_t offset, uint64_t size,
                        const uint8_t **bytes);

/* Which blocks of the file, as it lies on the disk, keep the bytes [offset, offset + size) from
 * being read: of a sealed form those of the chunks that hold them, or of its index. 0 or negative.
 */
int source_bad_blocks(struct source *source, uint64_t offset, uint64_t size,
                      struct bad_blocks *found);

/* To be asked after bytes of the image, or fields of its control page, were copied: true if they
 * were those of this generation, and its segment has not ended. */
bool source_image_held(const struct image *image, uint64_t generation);

/* Forgets what the window holds, and hashes: the file may have grown new bytes since. */
void source_forget(struct source *source);

#endif
