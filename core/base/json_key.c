#include "core/base/json_key.h"

#include "core/base/utf8.h"

/* Up to here every pair is compared, which is cheapest; above, the keys are sorted. */
enum { PAIRS_MAX = 8 };

struct json_key json_key_of(const struct json *json, uint32_t node)
{
    const struct json_node *found = &json->nodes[node];
    const uint8_t *at = json->text.bytes + found->start;
    return (struct json_key){ .at = at, .end = at + found->size };
}

/* Four digits that were checked when the string was parsed. */
static uint32_t hex4(const uint8_t *at)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 4 | ((at[i] & 15u) + (at[i] >> 6) * 9u);
    return value;
}

/* `at` is behind "\u". */
static int decode_unicode(struct json_key *key)
{
    uint32_t unit = hex4(key->at);
    key->at += 4;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        unit = 0x10000 + ((unit - 0xd800) << 10) + (hex4(key->at + 2) - 0xdc00);
        key->at += 6;
    }
    key->more_count = (uint8_t)utf8_put(key->more, unit);
    key->more_at = 1;
    return key->more[0];
}

int json_key_next(struct json_key *key)
{
    if (key->more_at < key->more_count)
        return key->more[key->more_at++];
    if (key->at == key->end)
        return -1;
    uint8_t byte = *key->at++;
    if (byte != '\\')
        return byte;
    byte = *key->at++;
    switch (byte) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        return decode_unicode(key);
    default:
        return byte;
    }
}

static int compare_plain(const struct json *json, const struct json_node *a,
                         const struct json_node *b)
{
    uint32_t size = a->size < b->size ? a->size : b->size;
    int order = memcmp(json->text.bytes + a->start, json->text.bytes + b->start, size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static int compare(const struct json *json, uint32_t a, uint32_t b)
{
    if (!json->nodes[a].escaped && !json->nodes[b].escaped)
        return compare_plain(json, &json->nodes[a], &json->nodes[b]);
    struct json_key key_a = json_key_of(json, a), key_b = json_key_of(json, b);
    for (;;) {
        int byte_a = json_key_next(&key_a), byte_b = json_key_next(&key_b);
        if (byte_a != byte_b || byte_a < 0)
            return byte_a - byte_b;
    }
}

static bool differ_at_once(const struct json *json, uint32_t a, uint32_t b)
{
    const struct json_node *node_a = &json->nodes[a], *node_b = &json->nodes[b];
    return !node_a->escaped && !node_b->escaped && node_a->size != node_b->size;
}

static uint32_t find_in_pairs(const struct json *json, uint32_t last_key)
{
    for (uint32_t a = last_key; a != 0; a = json->nodes[a].count)
        for (uint32_t b = json->nodes[a].count; b != 0; b = json->nodes[b].count)
            if (!differ_at_once(json, a, b) && compare(json, a, b) == 0)
                return a;
    return 0;
}

/* Merges two sorted chains. Equal keys stop it: *twice is the later one. */
static uint32_t merge(struct json *json, uint32_t a, uint32_t b, uint32_t *twice)
{
    struct json_node *nodes = json->nodes;
    uint32_t head = 0, *tail = &head;
    while (a != 0 && b != 0) {
        int order = compare(json, a, b);
        if (order == 0) {
            *twice = a > b ? a : b;
            return 0;
        }
        uint32_t *smaller = order < 0 ? &a : &b;
        *tail = *smaller;
        tail = &nodes[*smaller].count;
        *smaller = *tail;
    }
    *tail = a != 0 ? a : b;
    return head;
}

/* A merge sort of the chain in place: `runs[i]` is empty or a sorted run of 2^i keys. */
static uint32_t find_by_sorting(struct json *json, uint32_t last_key, uint32_t *sorted)
{
    uint32_t runs[32] = { 0 }, twice = 0;
    for (uint32_t key = last_key, next; key != 0 && twice == 0; key = next) {
        uint32_t run = key, i = 0;
        next = json->nodes[key].count;
        json->nodes[key].count = 0;
        for (; runs[i] != 0 && twice == 0; i++) {
            run = merge(json, runs[i], run, &twice);
            runs[i] = 0;
        }
        runs[i] = run;
    }
    *sorted = 0;
    for (uint32_t i = 0; i < 32 && twice == 0; i++)
        *sorted = merge(json, runs[i], *sorted, &twice);
    return twice;
}

uint32_t json_key_find_twice(struct json *json, uint32_t last_key, uint32_t key_count)
{
    uint32_t twice, chain = last_key;
    if (key_count <= PAIRS_MAX)
        twice = find_in_pairs(json, last_key);
    else
        twice = find_by_sorting(json, last_key, &chain);
    for (uint32_t next; twice == 0 && chain != 0; chain = next) {
        next = json->nodes[chain].count;
        json->nodes[chain].count = 0;
    }
    return twice;
}
