/* Reads many records by their numbers, wherever they are: up to 256 reads under way at once, around
 * the page cache, from raw and sealed segments. For whoever wants a set of records, not a range: a
 * point read waits for the device, and here the device is what is kept busy.
 *
 * Numbers that lie in one block or one packed chunk share a read. What lies in the newest segment,
 * or in more than two chunks, or is damaged, is read by log_reader_get(), which knows what to say.
 *
 * Memory: 8 MiB of buffers, 32 MiB more for sealed segments that did not get small, one segment's
 * index and a reader (log/reader.h), on the budget, however many are asked for; 24 bytes for each
 * number while a call lasts. Threads: the one that reads first, from then on; any may close. */
#ifndef LOG_READ_MANY_H
#define LOG_READ_MANY_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "log/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define READ_MANY_DEPTH 256u

struct log_many;

struct log_many_options {
    const char *dir;       /* as in struct log_reader_options */
    struct budget *budget; /* NULL: a private one without limit */
    unsigned depth;        /* reads under way at once, at most READ_MANY_DEPTH; 0: as many */
    bool plain_engine;     /* not io_uring, even where the kernel allows it */
};

int log_many_open(struct log_many **many, const struct log_many_options *options,
                  struct error *error);
void log_many_close(struct log_many *many);

/* What became of the number `seqs[index]`. result: 1, `record` is it, valid in the call only; 0, it
 * is not in the log (yet, or any more); negative, `error` says why, and the others are read all the
 * same. */
typedef void log_many_function(size_t index, int result, const struct record *record,
                               const struct error *error, void *context);

/* Reads them all and calls `each` once for each, in no order. Negative when nothing can be read any
 * more (memory, the engine): `each` was not called for all then. */
int log_read_many(struct log_many *many, const uint64_t *seqs, size_t count,
                  log_many_function *each, void *context, struct error *error);

struct log_many_counts {
    uint64_t reads, bytes; /* from files, by the engine */
    uint64_t one_by_one;   /* numbers that log_reader_get() read */
};
void log_many_counts_get(const struct log_many *many, struct log_many_counts *counts);

#endif
