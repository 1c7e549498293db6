/* What stands in an event, for measurements: its payload packs as those of workflows do. */
#ifndef PAYLOAD_H
#define PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

/* Ids that differ, words that repeat, and a little that nothing predicts: `size` bytes, the same
 * for the same `seq`. Below 200 the words are cut off. */
void payload_make(char *payload, size_t size, uint64_t seq);

/* As many of them, one behind the other, as events until the first may come again: more than are
 * packed together (SEALED_CHUNK_SIZE), so that one is not packed as a copy of another. Exits when
 * there is no memory. free(). */
enum { PAYLOADS = 1024 };
char *payloads_make(size_t size);

#endif
