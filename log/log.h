/* The event log's writer: group commit into pre-written segments, acknowledged in order.
 *
 *   log_open -> { log_reserve -> log_append x n }... -> log_flush -> log_wait -> log_durable_seq ->
 * ... -> log_close
 *
 * A command is one log_reserve() and exactly its appends; it is atomic: after a crash all of its
 * records are there or none. Several commands share a frame; a frame is one durable write.
 * log_flush() closes the open frame at once if a write slot is free (zero linger), else it goes on
 * filling; the kernel hears of it in log_wait(), so a turn is one system call. Durable is a prefix:
 * log_durable_seq() moves over frames in the order they were built, and over a run of frames (a
 * command larger than a frame) only at its end.
 *
 * Nothing here allocates after log_open(). A roll to the next segment is serial: SEAL durable,
 * header durable, then frames; commands reserved meanwhile are built in the next image.
 *
 * After a failed or short write, or a failed sync, the log fails over: nothing is retried, nothing
 * is written to that segment any more; a spare begins with a higher epoch behind the last event
 * that was acknowledged, and what was not is written there again, with the same sequence numbers.
 * The caller notices a delay, and log_failover(). Only when no spare takes writes either is the log
 * FAILED for good: reserve answers ERROR_UNAVAILABLE, log_durable_seq() stays, what was not durable
 * is unknown until the log is opened again.
 *
 * The same when a write has been under way for options.stall_ns and there is options.second_dir:
 * the log goes on there, on another device, and comes back at the first roll for which its own
 * device has made a file. What stalled may end much later, well or not: it changes nothing. Only
 * one stall is avoided at a time: one of the second device, or of the first again while a write is
 * still stuck there, is waited for. The engine must not wait inside io_submit(), as the plain one
 * does.
 *
 * Files that segments need are made ahead of time by a maintenance thread, or by log_maintain()
 * when options.maintain_inline is set (tests, the simulator).
 *
 * Threads: the writer belongs to one thread; log_durable_seq() and log_stats_get() may be called by
 * any. */
#ifndef LOG_LOG_H
#define LOG_LOG_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "iouring/io.h"
#include "log/record.h"
#include "log/recovery.h"
#include "log/storage.h"

#include <stdbool.h>
#include <stdint.h>

struct log;

enum log_sync { LOG_SYNC_PROBE = 0, LOG_SYNC_DSYNC = 1, LOG_SYNC_FDATASYNC = 2 };

struct log_options {
    const char *dir;        /* made when missing (0700) */
    const char *second_dir; /* on another device, made when missing (0700): the log goes on there
                               when a write stalls (log/second.h); NULL: none */
    struct io *io;          /* the engine; the caller's, open until after log_close(), with room for
                        frames_in_flight_max + 2 ops, with a second_dir twice as many */
    struct budget *budget;
    uint64_t segment_size; /* bytes, for a new log; 0: LOG_SEGMENT_SIZE. An old log keeps its own */
    uint32_t frames_in_flight_max; /* 1 to 32; 0: 8 */
    uint32_t frame_target_size; /* bytes at which the open frame is closed though no slot is free;
                                   0: 1 MiB */
    uint32_t spares;            /* segments made ahead, at least 2; 0: 2 */
    enum log_sync sync;         /* PROBE: RWF_DSYNC unless write + fdatasync is over 15 % faster */
    bool no_chain;
    uint16_t event_schema; /* the highest event schema that the caller may write; 0 means 1 */
    bool fork;             /* go on under a new uuid (log/fork.h); no effect on a new log */
    bool seal;             /* segments that are over are packed (log/sealing.h) */
    bool maintain_inline;  /* no thread: the caller calls log_maintain() */
    bool allow_tmpfs;      /* tests only: filesystems and devices are not looked at; otherwise a
                               directory in memory is refused */
    bool verify;           /* tests: checks each frame once more when it is closed */
    const uint8_t
        *boot_id; /* 16 bytes, for files that must be the same again; NULL: the kernel's */
    uint64_t start_time_ns; /* log time now, not before the newest record's: the OPEN record's */
    uint64_t stall_ns;      /* a write that takes longer is a stall; 0: 500 ms */
    const struct log_witness *witnesses;
    unsigned witness_count;
    /* Salts and the uuid; NULL: getrandom. The maintenance thread calls it too, if there is one. */
    void (*random)(void *bytes, size_t size, void *context);
    void *random_context;
};

enum log_health { LOG_OPEN = 0, LOG_FAILED = 1 };

/* Locks the directory first (flock on LOCK, which holds our pid), recovers, opens a new segment
 * with a higher epoch and writes the OPEN record durably. `recovery` (may be NULL) gets what was
 * found. Errors: ERROR_LOCKED names the pid; ERROR_DAMAGED when acknowledged data is damaged
 * (nothing is changed); ERROR_NEWER; ERROR_INVALID for a filesystem that cannot hold a log, or a
 * second directory that is of no use; -ENXIO when a segment lies in a second directory that is not
 * there; -errno. */
int log_open(struct log **log, const struct log_options *options, struct log_recovery *recovery,
             struct error *error);

/* Reserves sequence numbers and room for a command of `record_count` records with `payload_size`
 * bytes of payload in all, none over log_payload_size_max(). *first_seq is the first one's number.
 * The only place that refuses: ERROR_TOO_LARGE (more than a segment holds), ERROR_FULL (no spare is
 * ready yet, or too much waits for the disk: try again), ERROR_UNAVAILABLE (FAILED). Nothing
 * changes then. */
int log_reserve(struct log *log, uint32_t record_count, uint64_t payload_size, uint64_t *first_seq);

/* Appends the next record of the reservation; the payload is copied. record->seq must be the next
 * number and time_ns not before the one before it. Cannot fail. */
void log_append(struct log *log, const struct record *record);

/* Closes the open frame if a write slot is free. 0, or ERROR_UNAVAILABLE when FAILED. */
int log_flush(struct log *log);

/* Runs finished writes, flushing what can be; waits as io_wait() does. 0 or ERROR_UNAVAILABLE. */
int log_wait(struct log *log, int wake_fd, uint64_t timeout_ns);

uint64_t log_durable_seq(const struct log *log); /* everything up to here survives a crash */
/* The newest durable event and the chain after its frame (zeros with no_chain), together: what a
 * consumer stores beside its position, to find later that (log, seq) is still the same history
 * (log_place.frame_chain of that record). A command's events end with a frame, so the mark never
 * lies inside one. For the writer's thread only. */
void log_durable_mark(const struct log *log, uint64_t *seq, uint8_t chain[SHA256_SIZE]);
uint64_t log_next_seq(const struct log *log);   /* the next reservation's first */
const uint8_t *log_uuid(const struct log *log); /* 16 bytes */
uint32_t log_payload_size_max(const struct log *log);
enum log_health log_health(const struct log *log);
const char *log_failure(const struct log *log); /* a sentence; NULL while healthy */

/* How often the log has failed over, and the newest time in a sentence (NULL: never). For the
 * writer's thread only. */
const char *log_failover(const struct log *log, uint64_t *count);

/* For how long the oldest write has been under way, once that is a stall; else 0. By any thread. */
uint64_t log_stalled_ns(const struct log *log);

/* Whether there were stalls that nobody has taken yet, and takes them. They are over. For the
 * writer's thread only. */
bool log_stalls(const struct log *log);
void log_take_stalls(struct log *log, struct storage_stalled *stalled);

/* Makes one spare or prepares the next image, if one is due; else seals a segment. 1 did something,
 * 0 nothing to do, negative error. */
int log_maintain(struct log *log, struct error *error);

struct log_stats {
    uint64_t next_seq, durable_seq, segment_no, segment_offset, capacity;
    uint64_t frames, records, payload_bytes, disk_bytes, rolls, checkpoints, syncs;
    uint64_t frames_in_flight, frames_in_flight_max, spares, spare_waits;
    uint64_t failovers; /* times that it went on in another segment after a write failed, or did not
                           end */
    bool second;        /* there is a second directory */
    bool in_second;     /* the log is written there now */
    bool stuck;         /* a write that it left behind is still under way */
    uint64_t second_spares;
    char second_error[256]; /* why its last spare could not be made; "" while all is well */
    uint64_t stalls, stall_longest_ns; /* writes that took long, those that coincide as one */
    uint64_t commit_ns_sum;            /* submit to durable, over all frames */
    uint64_t depth;                    /* frames that may be under way now */
    uint64_t sealed;                   /* segments, since it was opened */
    uint64_t sealed_raw_bytes, sealed_packed_bytes; /* of them, before and after */
    uint64_t unsealed; /* segments that are over and wait to be sealed, about; 0 if none is to be */
    char seal_error[256];  /* why a segment could not be sealed; "" while all is well */
    char spare_error[256]; /* why the last spare could not be made; "" while all is well */
    int spare_code;        /* its code; 0 while all is well */
    uint32_t epoch;
    enum log_sync sync;
    uint64_t probe_dsync_ns, probe_fdatasync_ns;
    char engine[16];
};
void log_stats_get(const struct log *log, struct log_stats *stats);

/* Waits until all is durable, writes the CLOSE frame, releases everything and sets *log to NULL. An
 * error says that the CLOSE frame is not there; everything is released all the same. A write that
 * does not end is waited for only so long (60 times stall_ns; not at all if it was left behind for
 * the second directory). Then it is left to the engine with all that it needs, the directory's lock
 * too, and released when it ends: io_underway() says so, and such an engine must not be closed. */
int log_close(struct log **log, struct error *error);

/* Releases everything as a crash would: nothing more is written. For tests and after FAILED. What
 * does not end is left as by log_close(). */
void log_abandon(struct log **log);

#endif
