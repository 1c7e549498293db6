/* Makes the sealed form (log/sealed.h) of a segment that is over, and takes the raw file away when
 * the sealed one is proven to be the same.
 *
 *   check every frame, and the chain up to the next segment's header; take the Merkle root of the
 *   records (log/merkle.h) -> pack into `<name>.tmp` -> sync -> unpack what is on disk and compare
 *   it with the raw bytes, to the last -> rename -> sync the directory -> unlink the raw file
 *
 * A segment that is not whole is left as it is: it is the evidence. A crash leaves the raw file,
 * or both, and the next call goes on. Readers see the bytes all the time: whoever has the raw file
 * open keeps it, whoever opens one finds either.
 *
 * For the log's writer, which alone may change its directory. Memory: zstd's, a chunk, and a map of
 * the raw file. Threads: one call at a time for a directory. */
#ifndef LOG_SEALING_H
#define LOG_SEALING_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "log/directory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SEALING_LEVEL 3 /* of zstd: packs as fast as 1 here, and unpacks as fast as any */

struct sealing {
    const struct directory *directory;
    struct budget *budget;    /* may be NULL */
    const _Atomic bool *stop; /* gives up soon after it is set: -ECANCELED; may be NULL */
    uint64_t raw, packed;     /* out: bytes of the two files */
};

/* Segment `index` of the directory. 1: it is sealed now. 0: there was nothing to do (it is sealed,
 * was removed meanwhile, or nothing goes on behind it). ERROR_DAMAGED names what is wrong with it;
 * nothing was changed. -EBUSY: a write to it may still be under way. -ENOSPC and others: nothing
 * was changed. */
int sealing_segment(struct sealing *sealing, size_t index, struct error *error);

/* Removes what a crash in sealing_segment() left half made. */
void sealing_remove_leftovers(const char *dir);

#endif
