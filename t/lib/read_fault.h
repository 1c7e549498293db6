/* Blocks of a file that cannot be read or are read as something else, for tests in one process: a
 * program that uses it has a pread() of its own.
 *
 * Threads: any may read; what is set holds for all of them. */
#ifndef READ_FAULT_H
#define READ_FAULT_H

#include <stdint.h>

/* From now on every pread() that touches the block of 4096 bytes at `offset` of a file whose path
 * ends with `name` fails with the errno `number`. NULL: none does any more. */
void read_fault_set(const char *name, uint64_t offset, int number);

/* One more block of that file. */
void read_fault_add(uint64_t offset);

/* From now on the block of 4096 bytes at `offset` of a file whose path ends with `name` is read as
 * `bytes`, which are the caller's. In the place of what was set before. */
void read_fault_give(const char *name, uint64_t offset, const uint8_t bytes[4096]);

/* How many calls failed, or were given other bytes, since then. */
unsigned read_fault_count(void);

#endif
