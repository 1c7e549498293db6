/* What the functions of log/daalog.h share in dealing with their callers. For log/ only.
 *
 * Threads: any. */
#ifndef LOG_FACE_H
#define LOG_FACE_H

#include "core/base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Copies a struct of a caller that was compiled with another version of it: what it lacks stays 0,
 * what we do not know must be 0. Both begin with their size in a size_t; `theirs` may be NULL. 0,
 * ERROR_INVALID or ERROR_NEWER. */
int face_take_options(void *ours, size_t ours_size, const void *theirs, struct error *error);

/* 0, or ERROR_INVALID when a flag is not among the known ones or `reserved` is not 0. */
int face_check_flags(uint32_t flags, uint32_t known, uint32_t reserved, struct error *error);

/* Puts the sentence into the caller's array, cut to fit ("" when code is not negative); returns
 * `code`. `why` may be NULL. */
int face_tell(int code, const struct error *error, char *why, size_t why_size);

#endif
