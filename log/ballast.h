/* A file of no use but its size: given up when the disk is full, so that there is room for what has
 * to be written then. It lies beside the segments and takes real blocks.
 *
 * Threads: any, one at a time for a directory. */
#ifndef LOG_BALLAST_H
#define LOG_BALLAST_H

#include "core/base/error.h"

#include <stdint.h>

#define LOG_BALLAST_NAME "ballast"

/* Bytes that it takes; 0: it is not there. */
uint64_t ballast_bytes(const char *dir);

/* Makes one of `size` bytes, in the place of another. On error there is none. */
int ballast_make(const char *dir, uint64_t size, struct error *error);

/* 1 it is given up, 0 there was none, negative. */
int ballast_release(const char *dir, struct error *error);

#endif
