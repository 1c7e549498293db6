/* What happened to bytes whose checksum is wrong: which single bit, flipped back, makes them whole,
 * and which frame it is that stands where another one should.
 *
 * CRC-32C is linear: flipping a bit changes it by a value that depends only on how many bits
 * follow. So the bit is found by walking the difference between the two checksums backwards, byte
 * by byte, in one pass without touching the data. Of a body of 16 MiB one in 32 random
 * differences names some bit: a bit counts only if with it flipped all the other checks (records,
 * sequence numbers, padding) pass too.
 *
 * Pure but for diagnose_place(). Threads: any. */
#ifndef LOG_DIAGNOSE_H
#define LOG_DIAGNOSE_H

#include "log/directory.h"
#include "log/frame.h"
#include "log/segment.h"

#include <stdbool.h>
#include <stdint.h>

enum diagnosis_kind {
    DIAGNOSIS_NONE,      /* nothing can be said beyond what is wrong */
    DIAGNOSIS_WHOLE,     /* it is whole and ours, only not what should stand here */
    DIAGNOSIS_FLIPPED,   /* one flipped bit, and otherwise whole */
    DIAGNOSIS_MISPLACED, /* a whole frame of another place or another segment */
};

struct diagnosis {
    enum diagnosis_kind kind;
    uint64_t offset;           /* of FLIPPED: the byte, from the beginning of what was looked at */
    unsigned bit;              /* and the bit in it, 0 the lowest */
    struct frame_header frame; /* of MISPLACED: what it says of itself; else the frame's own */
};

/* The bit of `size` bytes that makes their CRC turn from `computed` into `stored` when it is
 * flipped: bit number 8 * byte + bit; UINT64_MAX if there is none. O(size). */
uint64_t diagnose_bit(uint32_t stored, uint32_t computed, uint64_t size);

/* A segment's header: one block, whose segment_header_decode() says that it is damaged. */
struct diagnosis diagnose_segment_header(const uint8_t block[LOG_BLOCK_SIZE]);

/* A slot of CHECKPOINT. */
struct diagnosis diagnose_checkpoint(const uint8_t block[LOG_BLOCK_SIZE]);

/* The 128 bytes of a frame's header alone. FLIPPED fills in the frame as it would be. */
struct diagnosis diagnose_frame_header(const uint8_t bytes[FRAME_HEADER_SIZE]);

/* Bytes that should be a frame at `offset` of the segment: `size` of them are there, from the
 * frame's beginning on. `bytes` are changed meanwhile and come back as they were. */
struct diagnosis diagnose_frame(uint8_t *bytes, uint64_t size, const struct segment_header *segment,
                                uint64_t offset);

/* One record, of which `size` bytes are there. */
struct diagnosis diagnose_record(const uint8_t *bytes, uint64_t size);

/* The same for the place `offset` of a segment that is open in `source`, as a clause for a person,
 * and a misplaced frame is looked for among the segments of the directory (through `probe`); ""
 * when nothing can be said. */
#define DIAGNOSIS_TEXT_SIZE 256
struct diagnosis diagnose_place(const struct directory *directory, struct source *source,
                                struct source *probe, const struct segment_header *segment,
                                uint64_t offset, char text[DIAGNOSIS_TEXT_SIZE]);

/* "flipping bit 3 of byte 0x1a2f makes it whole": `base` is where what was looked at lies. */
void diagnosis_describe_flip(const struct diagnosis *diagnosis, uint64_t base,
                             char text[DIAGNOSIS_TEXT_SIZE]);

#endif
