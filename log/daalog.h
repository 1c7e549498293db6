/* libdaalog: daa's durable event log as a library for other programs.
 *
 * A log is a directory of segments to which one process at a time appends events, and which any
 * number of processes read meanwhile. What was reported durable survives a kill and a loss of
 * power; a batch is in the log as a whole or not at all; every byte is under a checksum.
 * daa-log(1) inspects these directories; daa-log-format(5) says what their bytes mean.
 *
 *   daalog_open -> { daalog_append... -> daalog_sync }... -> daalog_close
 *   daalog_reader_open -> daalog_reader_seek -> { daalog_reader_next... -> daalog_reader_wait }...
 *
 * Answers: 0, a positive number that the function explains, or a negative code: one of enum
 * daalog_code, or -errno of the system call that failed. A sentence for a person goes with it: by
 * daalog_error() and daalog_reader_error(), or, where there is no handle, into `why`, an array of
 * `why_size` bytes (DAALOG_WHY_SIZE is enough; NULL and 0: not wanted), "" when all went well.
 *
 * Threads: a struct daalog belongs to the thread that opened it, which alone may use it, but for
 * daalog_durable_seq(). A struct daalog_reader is used by one thread at a time. Nothing else is
 * shared: any number of both, in any threads. After fork(2) a child uses neither. Each struct
 * daalog runs a thread that makes files ahead of time, and with DAALOG_SEAL one that packs them;
 * they block all signals and end in daalog_close().
 *
 * Memory: the caller's stays the caller's; what the library hands out says until when it is valid.
 * It prints nothing, installs no handler, and aborts only when an invariant of its own is broken.
 *
 * ABI: within one SONAME functions are only added. The structs with a `size`, which the caller sets
 * to sizeof, may grow at their end, as may those that only the library makes; the others stay. */
#ifndef DAALOG_H
#define DAALOG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DAALOG_VERSION_MAJOR 0
#define DAALOG_VERSION_MINOR 1
#define DAALOG_VERSION_PATCH 0

/* Of the library that runs, "0.1.0"; semantic versioning. Valid for ever. Any thread. */
const char *daalog_version(void);

enum daalog_code {
    DAALOG_DAMAGED = -1000,     /* bytes that were once whole are not any more */
    DAALOG_TORN = -1001,        /* a partial write */
    DAALOG_UNPROVEN = -1002,    /* an end that nothing proves */
    DAALOG_NEWER = -1003,       /* written by a newer version, which is needed here */
    DAALOG_LOCKED = -1004,      /* held by another process */
    DAALOG_TOO_LARGE = -1005,   /* larger than its limit */
    DAALOG_MEMORY = -1006,      /* memory_max is used up */
    DAALOG_FULL = -1007,        /* no room now: try again */
    DAALOG_UNAVAILABLE = -1008, /* writing failed for good: close, and open again */
    DAALOG_NOT_FOUND = -1009,   /* does not exist (any more) */
    DAALOG_SYNTAX = -1010,      /* a file that cannot be parsed */
    DAALOG_INVALID = -1011,     /* an argument, or a place, that breaks a rule */
    DAALOG_MISMATCH = -1012,    /* belongs to something else */
    DAALOG_CONFLICT = -1013,    /* contradicts what is there */
    DAALOG_TRUNCATED = -1014    /* ends too early */
};

/* What a code means, -errno too, in a few words. Never NULL. Any thread. */
const char *daalog_code_text(int code);

#define DAALOG_WHY_SIZE 1024

/* Flags of the options and of daalog_verify(). */
enum daalog_flag {
    DAALOG_NO_CHAIN = 1,    /* open: do not compute the SHA-256 chain; verify: do not check it */
    DAALOG_SEAL = 2,        /* open: pack segments that are over, to about a tenth, in a thread */
    DAALOG_SKIP_DAMAGE = 4, /* reader: go on behind what is damaged; daalog_reader_skipped() */
    DAALOG_CHECK_CHAIN = 8  /* reader: check the SHA-256 chain as well */
};

/* One event. The layout is fixed. Appending, `seq`, `time_ns` and the reserved must be 0. */
struct daalog_event {
    uint64_t seq;             /* its number: from 1, dense, never used again */
    uint64_t time_ns;         /* nanoseconds since 1970; never less than that of the one before */
    uint64_t stream;          /* seq of the event with which the thing that it is about began; 0:
                                 about no thing */
    uint64_t stream_prev_seq; /* seq of the event before it in its stream; 0: none, or not kept */
    uint64_t cause;           /* seq of the event that led to it; 0: none */
    const void *payload;      /* may be NULL when payload_size is 0 */
    size_t payload_size;      /* bytes, at most daalog_payload_size_max() */
    uint16_t kind;            /* the caller's meaning of it, see below */
    uint16_t reserved16;
    uint32_t key_id; /* of a reader: daa-log-format(5); 0 in events that are appended */
};

/* Kinds below 16 are the log's own (opened, sealed, closed, ...): readers see them, nobody else
 * appends them. Those up to 1023 are what daa-agent(8) writes, and daa-log(1) shows them as that;
 * from DAALOG_KIND_FIRST on they are free. Payloads are the bytes in the log: what daa-agent
 * encrypted of one stays so, and key_id is the number of its key. */
#define DAALOG_KIND_OWN_MAX 15
#define DAALOG_KIND_FIRST 1024

/* As stream, stream_prev_seq or cause of an event that is appended: event `index` (from 0) of the
 * same batch, whose number is not known yet. stream may name the event itself, which then begins
 * one. */
#define DAALOG_IN_BATCH(index) ((UINT64_C(1) << 63) | (uint64_t)(index))

/*--- Writing ---------------------------------------------------------------------------------*/

struct daalog;

/* All 0 but `size` is a good choice. */
struct daalog_options {
    size_t size;               /* sizeof(struct daalog_options) */
    uint64_t segment_size;     /* bytes, for a new log; a multiple of 4096 from 256 KiB to 1 GiB;
                                  0: 64 MiB. Two are in memory, and two on the disk ahead of time */
    uint64_t memory_max;       /* bytes; 0: no limit */
    uint32_t flags;            /* DAALOG_NO_CHAIN, DAALOG_SEAL */
    uint32_t frames_in_flight; /* writes under way at once, 1 to 32; 0: 8 */
    uint32_t full_wait_ms;     /* for how long daalog_append() waits for room; 0: 10,000 */
    uint32_t reserved;
};

/* Opens the log in `dir` for appending; makes the directory (0700, not its parents) when it is
 * missing. What a crash left at the end is judged, fenced off and recorded; see daalog_found().
 * `options` may be NULL. *log is set on success only, and then to be closed.
 * DAALOG_LOCKED: another process, or another handle, has it open for appending. DAALOG_DAMAGED:
 * what had been durable is damaged; nothing was changed. DAALOG_NEWER. DAALOG_INVALID: an option
 * that is none, or a filesystem in memory. DAALOG_MEMORY. -errno. */
int daalog_open(struct daalog **log, const char *dir, const struct daalog_options *options,
                char *why, size_t why_size);

/* What was found at the end when the log was opened and is not part of it, in a sentence with the
 * verdict (torn, unproven); "": nothing. Valid until the log is closed. */
const char *daalog_found(const struct daalog *log);

/* Appends `count` events (from 1) as one batch: all or none will be in the log. Their numbers are
 * *first_seq (may be NULL) and those that follow it; their time is CLOCK_REALTIME, or the newest
 * time in the log where that is later. Everything is copied. Nothing is durable yet, and what is
 * written when is up to daalog_flush(), daalog_sync() and the sizes of batches.
 * Waits, up to full_wait_ms, when too much is on its way to the disk. On an error nothing was
 * appended: DAALOG_FULL: no room came up in that time, as on a full disk; may be tried again.
 * DAALOG_TOO_LARGE: more than a segment holds, or a payload over its limit. DAALOG_INVALID: an
 * event that breaks a rule, or the wrong thread. DAALOG_UNAVAILABLE. */
int daalog_append(struct daalog *log, const struct daalog_event *events, size_t count,
                  uint64_t *first_seq);

/* Hands what was appended to the disk, as far as it takes more at this moment, without waiting, and
 * takes note of what became durable. 0, DAALOG_INVALID (the wrong thread) or DAALOG_UNAVAILABLE. */
int daalog_flush(struct daalog *log);

/* Waits until all that was appended is durable; without a limit, as fsync(2) does. 0,
 * DAALOG_INVALID (the wrong thread) or DAALOG_UNAVAILABLE: what is behind daalog_durable_seq() may
 * be in the log or not, which the next opening tells. */
int daalog_sync(struct daalog *log);

/* The newest event that survives a crash, as do all before it; moves in daalog_flush(),
 * daalog_sync() and daalog_append(). Any thread, while the log is open. */
uint64_t daalog_durable_seq(const struct daalog *log);

/* Bytes that a payload may have in this log: 8 MiB, less with small segments. */
uint32_t daalog_payload_size_max(const struct daalog *log);

/* What the last function on this handle that failed had to say; "" before. Valid until the next
 * call. */
const char *daalog_error(const struct daalog *log);

/* Makes durable what was appended, ends the log in order, and frees `log`, whatever the answer; but
 * for DAALOG_INVALID (the wrong thread), which does nothing. NULL: 0. DAALOG_UNAVAILABLE: the log
 * does not end in order, and of what was not durable nothing is known. */
int daalog_close(struct daalog *log, char *why, size_t why_size);

/*--- Reading ---------------------------------------------------------------------------------*/

struct daalog_reader;

struct daalog_reader_options {
    size_t size;         /* sizeof(struct daalog_reader_options) */
    uint64_t memory_max; /* bytes; 0: no limit. A reader takes 1 MiB and the largest batch */
    uint32_t flags;      /* DAALOG_SKIP_DAMAGE, DAALOG_CHECK_CHAIN */
    uint32_t reserved;
};

/* Opens the log in `dir`, or in `dir`/log, for reading, beside a writer or without one. Readers
 * never see what is not durable. `options` may be NULL. *reader is set on success only. */
int daalog_reader_open(struct daalog_reader **reader, const char *dir,
                       const struct daalog_reader_options *options, char *why, size_t why_size);

/* NULL is fine. */
void daalog_reader_close(struct daalog_reader *reader);

/* daalog_reader_next() goes on with the first event from `seq` on; a new reader begins with the
 * oldest. 0; DAALOG_NOT_FOUND: the log begins later, and so does reading; DAALOG_DAMAGED. */
int daalog_reader_seek(struct daalog_reader *reader, uint64_t seq);

/* 1: *event is the next one; its payload is valid until the next call on this reader. 0: there is
 * no more now. DAALOG_DAMAGED and others: the same again until a seek, unless DAALOG_SKIP_DAMAGE.
 * DAALOG_NOT_FOUND: it was removed meanwhile; seek. */
int daalog_reader_next(struct daalog_reader *reader, struct daalog_event *event);

/* Event `seq` itself; reading goes on behind it. 1; 0: it is not there (yet, or any more);
 * negative. The payload is valid until the next call on this reader. */
int daalog_reader_get(struct daalog_reader *reader, uint64_t seq, struct daalog_event *event);

/* What became of the number seqs[index]. result: 1, *event is it, valid in the call only; 0, it is
 * not there; negative, and `why` says so. */
typedef void daalog_many_function(size_t index, int result, const struct daalog_event *event,
                                  const char *why, void *context);

/* Reads many events by their numbers, with up to 256 reads under way; `each` is called once for
 * each, in no order, on this thread; it must not throw, nor use this reader. Takes 8 MiB at least
 * and a millisecond or so for a start: for dozens of numbers and more. Does not move the reader.
 * 0; negative: `each` was not called for all. */
int daalog_reader_get_many(struct daalog_reader *reader, const uint64_t *seqs, size_t count,
                           daalog_many_function *each, void *context);

/* Waits until there may be more to read than daalog_reader_next() saw, for `timeout_ms` at most, or
 * without a limit if that is negative. 1: there may be more; 0: the time is over. */
int daalog_reader_wait(struct daalog_reader *reader, int timeout_ms);

uint64_t daalog_reader_first_seq(struct daalog_reader *reader);     /* the oldest; 0: none */
uint64_t daalog_reader_durable_seq(struct daalog_reader *reader);   /* the newest that is durable */
uint64_t daalog_reader_skipped(const struct daalog_reader *reader); /* damaged ranges passed over */

/* As daalog_error(). */
const char *daalog_reader_error(const struct daalog_reader *reader);

/*--- Verifying -------------------------------------------------------------------------------*/

enum daalog_verdict {
    DAALOG_IS_SOUND = 0,
    DAALOG_IS_DAMAGED = 1,  /* it had been written whole */
    DAALOG_IS_TORN = 2,     /* behind the last event: a write that a crash cut off */
    DAALOG_IS_UNPROVEN = 3, /* behind the last event: one of the two */
};

/* Made by the library; its texts are valid in the call only. */
struct daalog_finding {
    int verdict;                  /* enum daalog_verdict */
    int tail;                     /* 1: behind the last event that counts */
    const char *file;             /* its name in the directory */
    const char *text;             /* one sentence with the reason and what to do */
    uint64_t offset, size;        /* bytes in the file; size 0: not known */
    uint64_t first_seq, last_seq; /* events concerned; 0: not known */
};

typedef void daalog_finding_function(const struct daalog_finding *finding, void *context);

struct daalog_verified {
    size_t size; /* sizeof(struct daalog_verified), set by the caller */
    int verdict; /* enum daalog_verdict: damaged, else of the tail, else sound */
    int live;    /* 1: a writer runs; checked up to what was durable */
    uint64_t first_seq, last_seq;
    uint64_t events, findings, segments, bytes_read;
    uint8_t chain[32]; /* SHA-256 over the history up to last_seq: equal chains, equal events */
};

/* Reads every byte of the log in `dir` and checks it; changes nothing; beside a writer too. `each`
 * (may be NULL) is called for each finding in the order of the log, on this thread; it must not
 * throw. `flags`: DAALOG_NO_CHAIN. 0: the log could be read, and *verified is the result; negative:
 * it could not be, or there is none. Any thread. */
int daalog_verify(const char *dir, uint32_t flags, daalog_finding_function *each, void *context,
                  struct daalog_verified *verified, char *why, size_t why_size);

#ifdef __cplusplus
}
#endif

#endif
