/* The Merkle tree over the records of a segment: one of them can be shown to belong to it without
 * the others. The tree and its proofs are those of RFC 9162, section 2.1 (and of RFC 6962):
 *
 *     leaf  SHA-256(0x00 || the record as it is stored: header, payload, padding)
 *     node  SHA-256(0x01 || left || right), where the left one is over the largest power of two of
 *           leaves that is smaller than their number
 *
 * It is built from left to right; what is kept are the roots of its whole parts, one for each bit
 * of the number of leaves. Pure. Threads: a tree belongs to one. */
#ifndef LOG_MERKLE_H
#define LOG_MERKLE_H

#include "core/base/sha256.h"
#include "core/base/span.h"
#include "log/frame.h"

#include <stdbool.h>
#include <stdint.h>

#define MERKLE_DEPTH_MAX 64u

/* What joins a leaf to the root, from the leaf up. */
struct merkle_path {
    uint64_t index; /* of the leaf, from 0 */
    uint32_t size;
    uint8_t nodes[MERKLE_DEPTH_MAX][SHA256_SIZE];
};

struct merkle {
    uint64_t count; /* of leaves */
    uint8_t parts[MERKLE_DEPTH_MAX]
                 [SHA256_SIZE]; /* [i] is over 2^i leaves, if count has that bit */
    struct merkle_path *path;   /* being found; NULL: none is wanted */
};

void merkle_leaf(uint8_t leaf[SHA256_SIZE], struct span record);

/* With `path`, whose index is set, its nodes are found on the way; it must stay until the root is
 * taken. NULL: none. */
void merkle_init(struct merkle *tree, struct merkle_path *path);
void merkle_add(struct merkle *tree, const uint8_t leaf[SHA256_SIZE]);
/* Adds the records of a frame that frame_check() passed. */
void merkle_add_frame(struct merkle *tree, const uint8_t *frame, const struct frame_header *header);
/* The root; nothing more is added then. That of no leaf is SHA-256 of nothing. */
void merkle_root(struct merkle *tree, uint8_t root[SHA256_SIZE]);

/* True if the path leads from the leaf, in a tree of `count` leaves, to this root. */
bool merkle_path_holds(const struct merkle_path *path, uint64_t count,
                       const uint8_t leaf[SHA256_SIZE], const uint8_t root[SHA256_SIZE]);

#endif
