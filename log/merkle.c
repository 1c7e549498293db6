#include "log/merkle.h"

#include "core/base/check.h"

#include <string.h>

/* RFC 9162, section 2.1.1: different first bytes, so that no leaf passes for a node. */
enum { LEAF = 0, NODE = 1 };

void merkle_leaf(uint8_t leaf[SHA256_SIZE], struct span record)
{
    static const uint8_t prefix = LEAF;
    struct sha256 sha256;
    sha256_init(&sha256);
    sha256_more(&sha256, &prefix, 1);
    sha256_more(&sha256, record.bytes, record.size);
    sha256_end(&sha256, leaf);
}

/* `target` may be one of the two. */
static void join(uint8_t target[SHA256_SIZE], const uint8_t left[SHA256_SIZE],
                 const uint8_t right[SHA256_SIZE])
{
    uint8_t bytes[1 + 2 * SHA256_SIZE] = { NODE };
    memcpy(bytes + 1, left, SHA256_SIZE);
    memcpy(bytes + 1 + SHA256_SIZE, right, SHA256_SIZE);
    sha256_of(target, bytes, sizeof bytes);
}

void merkle_init(struct merkle *tree, struct merkle_path *path)
{
    tree->count = 0;
    tree->path = path;
    if (path != NULL)
        path->size = 0;
}

/* Two neighbours meet, over leaves [first, middle) and [middle, end): if the leaf is in one of
 * them, the other one is on its path. */
static void note(struct merkle_path *path, uint64_t first, uint64_t middle, uint64_t end,
                 const uint8_t left[SHA256_SIZE], const uint8_t right[SHA256_SIZE])
{
    if (path == NULL || path->index < first || path->index >= end)
        return;
    CHECK(path->size < MERKLE_DEPTH_MAX);
    memcpy(path->nodes[path->size++], path->index < middle ? right : left, SHA256_SIZE);
}

void merkle_add(struct merkle *tree, const uint8_t leaf[SHA256_SIZE])
{
    uint8_t node[SHA256_SIZE];
    uint64_t end = tree->count + 1;
    unsigned level = 0;
    memcpy(node, leaf, SHA256_SIZE);
    for (; tree->count >> level & 1; level++) {
        uint64_t size = 1ull << level;
        note(tree->path, end - 2 * size, end - size, end, tree->parts[level], node);
        join(node, tree->parts[level], node);
    }
    memcpy(tree->parts[level], node, SHA256_SIZE);
    tree->count = end;
}

void merkle_add_frame(struct merkle *tree, const uint8_t *frame, const struct frame_header *header)
{
    uint8_t leaf[SHA256_SIZE];
    struct record record;
    for (uint32_t at = 0, from = 0; frame_next_record(frame, header, &at, &record); from = at) {
        merkle_leaf(leaf, span_of(frame + FRAME_HEADER_SIZE + from, at - from));
        merkle_add(tree, leaf);
    }
}

void merkle_root(struct merkle *tree, uint8_t root[SHA256_SIZE])
{
    uint64_t middle = tree->count;
    bool begun = false;
    if (tree->count == 0)
        sha256_of(root, NULL, 0);
    for (unsigned level = 0; level < MERKLE_DEPTH_MAX; level++) {
        if (!(tree->count >> level & 1))
            continue;
        uint64_t first = middle - (1ull << level);
        if (begun) {
            note(tree->path, first, middle, tree->count, tree->parts[level], root);
            join(root, tree->parts[level], root);
        } else {
            memcpy(root, tree->parts[level], SHA256_SIZE);
        }
        middle = first;
        begun = true;
    }
}

/* RFC 9162, section 2.1.3.2, with its names. */
bool merkle_path_holds(const struct merkle_path *path, uint64_t count,
                       const uint8_t leaf[SHA256_SIZE], const uint8_t root[SHA256_SIZE])
{
    uint64_t fn = path->index, sn = count - 1;
    uint8_t r[SHA256_SIZE];
    if (path->index >= count || path->size > MERKLE_DEPTH_MAX)
        return false;
    memcpy(r, leaf, SHA256_SIZE);
    for (uint32_t i = 0; i < path->size; i++) {
        if (sn == 0)
            return false;
        if (fn & 1 || fn == sn) {
            join(r, path->nodes[i], r);
            for (; !(fn & 1) && fn != 0; fn >>= 1)
                sn >>= 1;
        } else {
            join(r, r, path->nodes[i]);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && memcmp(r, root, SHA256_SIZE) == 0;
}
