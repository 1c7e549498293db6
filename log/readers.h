/* Who reads a log and how far each is: `<log dir>/readers/NAME`, one JSON object in a file. What a
 * reader has safely elsewhere may be removed from the log, and nothing more (log/removal.h).
 *
 *   {"seq": 120, "flushed_seq": 100, "chain": "<64 hex digits>", "pid": 7, "time_ns": 17...,
 *    "required": false}
 *
 * Members that are not known are passed over; only flushed_seq (or seq) and time_ns have to be
 * there. Any program may write such a file, under another name and renamed.
 *
 * Threads: any. A name belongs to one writer at a time. */
#ifndef LOG_READERS_H
#define LOG_READERS_H

#include "core/base/error.h"
#include "core/base/sha256.h"

#include <stdbool.h>
#include <stdint.h>

#define LOG_READERS_DIR "readers"
#define LOG_READER_NAME_SIZE 64 /* with its terminator */

struct log_reader_position {
    char name[LOG_READER_NAME_SIZE];
    uint64_t seq;               /* the newest event that it has taken */
    uint64_t flushed_seq;       /* it never needs this one again, nor those before it */
    uint8_t chain[SHA256_SIZE]; /* after the frame of flushed_seq; zeros: not known */
    uint64_t pid;               /* 0: not known */
    uint64_t time_ns;           /* wall clock when it wrote this */
    bool required;              /* nothing goes that it needs, however long it was not seen */
    /* Of a file that says nothing: why, in a clause. The name is cut to fit, time_ns is the file's,
     * and the rest is zero. "": it is good. */
    char problem[160];
};

/* Letters, digits, '-', '_' and '.', the first a letter or digit, at most 63 of them, and not
 * ending in ".tmp". */
bool log_reader_name_is_good(const char *name);

/* Writes `position` to its file: temporary, synced, renamed. The directory is made when it is
 * missing, and synced when the name is new or `sync_dir` is set: without that a loss of power may
 * bring the position before this one back, which only keeps events longer. `dir` is the log
 * directory, or a data directory that holds it as "log". ERROR_INVALID for a bad name; -errno. */
int log_reader_position_write(const char *dir, const struct log_reader_position *position,
                              bool sync_dir, struct error *error);

/* Removes the file, durably: the reader needs nothing any more. 0 also when there is none. */
int log_reader_position_remove(const char *dir, const char *name, struct error *error);

/* The position of one, as it is among all: 1, or 0 when there is none. */
int log_reader_position_read(const char *dir, const char *name,
                             struct log_reader_position *position, struct error *error);

/* All of them by name, bad ones with their problem; *count of them in *positions, to be freed with
 * free(). No directory is none. Negative when it cannot be read: then nothing is known. */
int log_reader_positions(const char *dir, struct log_reader_position **positions, size_t *count,
                         struct error *error);

#endif
