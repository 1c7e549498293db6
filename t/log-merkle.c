/* The Merkle tree: roots against those of Certificate Transparency, paths against the definition of
 * RFC 9162, and no other leaf, place, number or node leads to the root. */
#include "log/merkle.h"

#include "core/base/bytes.h"
#include "tap.h"

#include <string.h>

#define LEAVES 70u

static uint8_t leaves[LEAVES][SHA256_SIZE];

/* The trees over the first leaves of Certificate Transparency's own tests; what they should be was
 * computed from the definition, by another program (Perl's Digest::SHA), and is what is printed in
 * CT's sources. */
static void test_known_roots(void)
{
    static const char *const hex[] = { "",
                                       "00",
                                       "10",
                                       "2021",
                                       "3031",
                                       "40414243",
                                       "5051525354555657",
                                       "606162636465666768696a6b6c6d6e6f" };
    static const char *const roots[] = {
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    };
    for (unsigned count = 0; count < sizeof roots / sizeof roots[0]; count++) {
        struct merkle tree;
        uint8_t bytes[16], leaf[SHA256_SIZE], root[SHA256_SIZE];
        char text[2 * SHA256_SIZE + 1];
        merkle_init(&tree, NULL);
        for (unsigned i = 0; i < count; i++) {
            size_t size = strlen(hex[i]) / 2;
            (void)bytes_from_hex(bytes, size, hex[i], 2 * size);
            merkle_leaf(leaf, span_of(bytes, size));
            merkle_add(&tree, leaf);
        }
        merkle_root(&tree, root);
        bytes_to_hex(text, root, sizeof root);
        is_str(text, roots[count], "the root over %u leaves", count);
    }
}

/* MTH of RFC 9162, section 2.1.1, over leaves [first, first + count). */
static void root_of(uint8_t root[SHA256_SIZE], unsigned first, unsigned count)
{
    uint8_t bytes[1 + 2 * SHA256_SIZE] = { 1 };
    unsigned k = 1;
    if (count == 1) {
        memcpy(root, leaves[first], SHA256_SIZE);
        return;
    }
    while (2 * k < count)
        k *= 2;
    root_of(bytes + 1, first, k);
    root_of(bytes + 1 + SHA256_SIZE, first + k, count - k);
    sha256_of(root, bytes, sizeof bytes);
}

/* PATH of section 2.1.3.1. */
static void path_of(struct merkle_path *path, unsigned index, unsigned first, unsigned count)
{
    unsigned k = 1;
    if (count == 1)
        return;
    while (2 * k < count)
        k *= 2;
    if (index < k) {
        path_of(path, index, first, k);
        root_of(path->nodes[path->size++], first + k, count - k);
    } else {
        path_of(path, index - k, first + k, count - k);
        root_of(path->nodes[path->size++], first, k);
    }
}

static void find(unsigned index, unsigned count, struct merkle_path *path,
                 uint8_t root[SHA256_SIZE])
{
    struct merkle tree;
    path->index = index;
    merkle_init(&tree, path);
    for (unsigned i = 0; i < count; i++)
        merkle_add(&tree, leaves[i]);
    merkle_root(&tree, root);
}

/* How many of the ways to be wrong are not seen. */
static unsigned unseen(const struct merkle_path *path, unsigned count, const uint8_t *root)
{
    struct merkle_path other = *path;
    unsigned wrong = 0;
    for (unsigned i = 0; i < count; i++) {
        other.index = i;
        wrong += i != path->index && merkle_path_holds(&other, count, leaves[path->index], root);
        wrong += i != path->index && merkle_path_holds(path, count, leaves[i], root);
    }
    other = *path;
    for (unsigned i = 0; i < path->size; i++) {
        other.nodes[i][i % SHA256_SIZE] ^= 1;
        wrong += merkle_path_holds(&other, count, leaves[path->index], root);
        other.nodes[i][i % SHA256_SIZE] ^= 1;
    }
    other.size++;
    wrong += merkle_path_holds(&other, count, leaves[path->index], root);
    if (path->size > 0) {
        other.size = path->size - 1;
        wrong += merkle_path_holds(&other, count, leaves[path->index], root);
    }
    other.size = MERKLE_DEPTH_MAX + 1;
    wrong += merkle_path_holds(&other, count, leaves[path->index], root);
    return wrong;
}

static void test_paths(void)
{
    unsigned roots = 0, paths = 0, held = 0, all = 0, wrong = 0;
    for (unsigned i = 0; i < LEAVES; i++)
        sha256_of(leaves[i], &i, sizeof i);
    for (unsigned count = 1; count <= LEAVES; count++)
        for (unsigned i = 0; i < count; i++, all++) {
            struct merkle_path path, want = { .index = i };
            uint8_t root[SHA256_SIZE], right[SHA256_SIZE];
            root_of(right, 0, count);
            path_of(&want, i, 0, count);
            find(i, count, &path, root);
            roots += memcmp(root, right, SHA256_SIZE) == 0;
            paths += path.size == want.size &&
                     memcmp(path.nodes, want.nodes, (size_t)want.size * SHA256_SIZE) == 0;
            held += merkle_path_holds(&path, count, leaves[i], root);
            wrong += unseen(&path, count, root);
        }
    is_int(roots, all, "up to %u leaves the root is that of the definition", LEAVES);
    is_int(paths, all, "and the path of each of them");
    is_int(held, all, "which leads to the root");
    is_int(wrong, 0, "no other leaf, place, node or length does");
    struct merkle_path none = { .index = 0 };
    ok(!merkle_path_holds(&none, 0, leaves[0], leaves[0]), "nothing is in a tree of no leaf");
}

static void test_frame(void)
{
    static uint8_t frame[LOG_BLOCK_SIZE];
    static const uint8_t chain[SHA256_SIZE];
    uint8_t leaf[SHA256_SIZE], root[SHA256_SIZE], want[SHA256_SIZE];
    struct frame_header header = { .first_seq = 7, .record_count = 3, .epoch = 1, .version = 1 };
    struct merkle tree, by_hand;
    merkle_init(&by_hand, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        struct record record = { .seq = 7 + i, .kind = 16, .payload = span_of("payloads", 3 * i) };
        uint8_t *at = frame + FRAME_HEADER_SIZE + header.body_size;
        record_encode(at, &record);
        merkle_leaf(leaf, span_of(at, record_size(3 * i)));
        merkle_add(&by_hand, leaf);
        header.body_size += (uint32_t)record_size(3 * i);
    }
    header.raw_size = header.body_size;
    frame_finish(frame, &header, chain);
    merkle_init(&tree, NULL);
    merkle_add_frame(&tree, frame, &header);
    merkle_root(&tree, root);
    merkle_root(&by_hand, want);
    ok(tree.count == 3 && memcmp(root, want, SHA256_SIZE) == 0,
       "the leaves of a frame are its records, with header, payload and padding");
}

int main(void)
{
    test_known_roots();
    test_paths();
    test_frame();
    return tap_done();
}
