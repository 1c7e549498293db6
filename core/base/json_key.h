/* Strings of a JSON text byte by byte, decoded, and the search for a key that is there twice.
 * For json.c alone; others use json.h.
 *
 * Threads: a cursor belongs to its owner. json_key_find_twice changes the document: it is called
 * while that is still being parsed. */
#ifndef CORE_BASE_JSON_KEY_H
#define CORE_BASE_JSON_KEY_H

#include "core/base/json.h"

/* A string that was parsed before, so that every escape in it is whole. */
struct json_key {
    const uint8_t *at, *end;
    uint8_t more[4]; /* what is left of the UTF-8 of an escape */
    uint8_t more_count, more_at;
};

struct json_key json_key_of(const struct json *json, uint32_t node);

/* The next decoded byte, or -1 at the end. */
int json_key_next(struct json_key *key);

/* The later one of two equal keys, or 0. The `key_count` keys are chained from the last to the
 * first by json_node.count, which is 0 in all of them afterwards. Of several pairs any is found. */
uint32_t json_key_find_twice(struct json *json, uint32_t last_key, uint32_t key_count);

#endif
