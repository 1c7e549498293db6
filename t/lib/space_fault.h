/* No room on the disk, for tests in one process: a program that uses it has a fallocate() of its
 * own.
 *
 * Threads: one. */
#ifndef SPACE_FAULT_H
#define SPACE_FAULT_H

/* When `calls` more have gone well, the next `count` fallocate() calls fail with ENOSPC. A count of
 * 0: none does. */
void space_fault_set(unsigned calls, unsigned count);

/* How many calls failed since then. */
unsigned space_fault_count(void);

#endif
