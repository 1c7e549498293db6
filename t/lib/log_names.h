/* What a log's directory says about its names: for tests of forks and copies. */
#ifndef LOG_NAMES_H
#define LOG_NAMES_H

#include "log/log.h"
#include "log/reader.h"
#include "log/segment.h"
#include "log/storage.h"
#include "log/verify.h"

#include <stdbool.h>

#define LOG_NAMES_TIME_NS 1700000000000000000u

/* Options of a small log in `dir`; the caller changes what it is about. */
struct log_options log_names_options(const char *dir, struct io *io, struct budget *budget);

/* The headers of the segments that were begun, in order; at most `max`. */
unsigned log_names_headers(const char *dir, struct segment_header *headers, unsigned max);

/* How many uuids they carry: one more than forks. */
unsigned log_names_count(const char *dir);

/* The newest OPEN record; its reason, cut to `size`, goes to `reason`. False when there is none. */
bool log_names_opened(const char *dir, struct storage_opened *opened, char *reason, size_t size);

/* The verdict of log_verify(), with its findings as notes; the first one's text in `text`, if that
 * is not NULL (`size` bytes). LOG_DAMAGED, too, when it cannot be verified. */
enum log_verdict log_names_verify(const char *dir, unsigned *findings, char *text, size_t size);

bool log_names_exists(const char *dir, const char *name);

/* True if both directories hold files of the same names, LOCK and image left out, with the same
 * bytes. */
bool log_names_same_files(const char *a, const char *b);

#endif
