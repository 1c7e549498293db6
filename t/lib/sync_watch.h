/* Counts how often a directory is synced, for tests in one process: a program that uses it has an
 * fsync() of its own.
 *
 * Threads: one. */
#ifndef SYNC_WATCH_H
#define SYNC_WATCH_H

/* From now on the calls of fsync() on this directory are counted, from 0. */
void sync_watch_begin(const char *dir);

unsigned sync_watch_count(void);

#endif
