/* Reads the event log: closed segments through the page cache or a map, the live tail from the
 * writer's image. Never shows an event that is not durable, nor half a command; takes no lock that
 * the writer wants.
 *
 * `dir` may be a live log, a stopped one, a copy, or a damaged copy. Where the image cannot be used
 * (another user's, a copy), reading goes up to max(durable_seq of the last valid frame, CHECKPOINT)
 * while a writer runs, else up to the end that recovery would find. The active file is read with
 * O_DIRECT only.
 *
 * The beginning of a log may be removed while it is read (log/removal.h). A reader finishes the
 * segment that it is in, whose bytes stay while it has it open; when what it wants next is gone,
 * the answer is ERROR_NOT_FOUND with the first event that is there, and reading goes on behind a
 * log_reader_seek() to that.
 *
 * Memory: one frame and a 1 MiB window, of sealed segments 1 MiB of packed bytes, on the budget.
 * Threads: a reader belongs to one thread at a time; any number of readers in any process. */
#ifndef LOG_READER_H
#define LOG_READER_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/id.h"
#include "log/frame.h"
#include "log/record.h"
#include "mmapstore/interrupt.h"

#include <stdbool.h>
#include <stdint.h>

struct log_reader;

struct log_reader_options {
    const char *dir; /* the log directory, or an agent's data directory that holds it as "log" */
    struct budget *budget; /* NULL: a private one without limit */
    bool skip_damage;      /* go on behind a damaged frame at the next valid one; see
                              log_reader_skipped() */
    bool verify_chain;
    bool glance; /* for whoever opens the log for good next: the end of a log without a writer is
                    not judged (log_glance()) */
};

/* Where a record was found. */
struct log_place {
    uint64_t segment_no;
    uint64_t frame_offset;  /* bytes in the segment's file */
    uint64_t record_offset; /* bytes in the file */
    uint32_t epoch;
    uint8_t frame_chain[SHA256_SIZE]; /* chain after the record's frame */
    uint64_t frame_last_seq;
    uint64_t frame_durable_seq;  /* what was known to be durable when the frame was built */
    uint8_t log_uuid[UUID_SIZE]; /* of its segment: a log that forked had others before */
};

int log_reader_open(struct log_reader **reader, const struct log_reader_options *options,
                    struct error *error);
void log_reader_close(struct log_reader *reader);

/* The next log_reader_next() gives the first record with seq >= `seq`. 0, or ERROR_NOT_FOUND when
 * the log begins later (the error names its first), and then reading starts there. ERROR_DAMAGED:
 * what would come first is in a segment whose header is damaged (the error names it); with
 * skip_damage reading starts behind it. */
int log_reader_seek(struct log_reader *reader, uint64_t seq, struct error *error);

/* 1: *record is the next one, valid until the next call on this reader. 0: no more that is durable
 * now. Negative: ERROR_DAMAGED and others, with the place; again the same until seek, unless
 * skip_damage. ERROR_NOT_FOUND, also with skip_damage: the next one was removed meanwhile. */
int log_reader_next(struct log_reader *reader, struct record *record, struct log_place *place,
                    struct error *error);

/* The record `seq` itself. 1 found, 0 not there (yet, or any more), negative. Moves the cursor
 * behind it. */
int log_reader_get(struct log_reader *reader, uint64_t seq, struct record *record,
                   struct log_place *place, struct error *error);

/* Waits until there may be more, or `timeout_ns` passed: on the futex of the image, else by looking
 * again at 50 ms. 1 there may be more, 0 timed out. */
int log_reader_wait(struct log_reader *reader, uint64_t timeout_ns);

/* The same, and ends at once, with 0, when the interrupt is raised, before or meanwhile. While a
 * writer's image is at hand nothing is looked at but twice a second whether the writer lives: one
 * that was killed tells nobody. */
int log_reader_wait_interruptible(struct log_reader *reader, uint64_t timeout_ns,
                                  struct interrupt *interrupt);

uint64_t log_reader_first_seq(struct log_reader *reader);   /* the oldest that is there; 0: none */
uint64_t log_reader_durable_seq(struct log_reader *reader); /* the newest that may be shown now */

/* So many bytes of the log, as it is unpacked, lie between a record that log_reader_get() found and
 * the end as the reader knows it (log_reader_durable_seq()). Reads a block of each segment between
 * them that was not there the last time; of more than a hundred the oldest count as full. */
uint64_t log_reader_bytes_from(struct log_reader *reader, const struct log_place *place);

const uint8_t *log_reader_uuid(
    struct log_reader *reader); /* 16 bytes, of the newest segment; zero: there is none */
bool log_reader_live(struct log_reader *reader); /* the tail comes from a writer's image */

/* Closes what was kept open of removed segments for point reads (up to 16), so that their disk is
 * free. log_reader_next() does so whenever it comes to another segment. */
void log_reader_trim(struct log_reader *reader);

/* Damaged ranges passed over so far (skip_damage). */
uint64_t log_reader_skipped(const struct log_reader *reader);

#endif
