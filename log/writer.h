/* The inside of the event log's writer: what log.c, opening.c, builder.c,
 * pipeline.c, spares.c, sealer.c and writer.c share. For log/ only.
 *
 *   log_append -> builder: the open frame, in the image of the segment being built
 *                    | closed: checksums, chain, a slot in the queue
 *                    v
 *                 pipeline: slots in order; written from the image, acknowledged as a prefix
 *                    ^
 *                 spares: zeroed segments and a clean image, made ahead by the maintenance thread,
 *                         some of them in the second directory, if there is one (log/second.h)
 *                 sealer: segments that are over become smaller, by a thread of its own
 *
 * A roll, step by step; `building` is where appends go, `writing` what the disk gets:
 *
 *   building == writing --(no room)--> SEAL queued, building = the other segment
 *     --(SEAL acknowledged)--> its header is written
 *     --(header durable)--> writing = building, the old image goes to maintenance
 *
 * A failover moves what is not acknowledged of `writing`, and all of `building`, to other files;
 * failover.c tells how. Ops that are still under way then stay where they are, set aside with all
 * that they read from, until they come back: they have a lane of their own.
 *
 * Threads: everything belongs to the writer's thread but for what says otherwise: the counters, the
 * images' states and the ring of spares are atomic, and a trouble has its lock. */
#ifndef LOG_WRITER_H
#define LOG_WRITER_H

#include "log/checkpoint.h"
#include "log/fork.h"
#include "log/frame.h"
#include "log/log.h"
#include "log/segment.h"
#include "log/storage.h"
#include "mmapstore/image.h"

#include <limits.h>
#include <pthread.h>
#include <semaphore.h>

#define FRAMES_IN_FLIGHT_LIMIT 32u
#define FAILOVERS_IN_A_ROW_MAX 8u
#define SPARES_MAX 64u     /* a power of two */
#define GIVE_UP_STALLS 60u /* times what a stall is: how long the end of a log waits for a write */
#define SEGMENTS_MAX 3u
#define LANES_MAX 2u
#define SECOND_SPARES 2u /* what a failover takes that comes in the middle of a roll */

/* Who may touch an image. */
enum image_state {
    IMAGE_CLEAN, /* all zero behind page 0: the writer's, for the next segment */
    IMAGE_USED,  /* the writer's: holds the segment being built or written */
    IMAGE_DIRTY  /* maintenance's: to be emptied */
};

/* A zeroed segment, open and locked, for the next roll. */
struct spare {
    int fd;
    uint64_t segment_no;
    uint64_t salt;
    bool second; /* it lies in the second directory */
};

/* One of the segments that can be in memory: two, and with a second directory one that is set
 * aside. */
struct segment {
    struct image image;
    _Atomic int image_state; /* enum image_state */
    int fd;                  /* -1: none */
    bool second;             /* the file lies in the second directory */
    bool begun;              /* its header is durable: frames may be written */
    struct segment_header header;
    uint64_t end;       /* bytes: where the next frame is built */
    uint64_t submitted; /* bytes: where the next frame to be written must begin */
    uint32_t prev_blocks;
    uint8_t *index; /* capacity / 4096 entries as in SEAL */
    uint64_t record_count, frame_count, payload_bytes, min_time_ns, max_time_ns;
};

/* The frame that appends go to. Nothing is in it when record_count is 0. */
struct open_frame {
    uint32_t record_count;
    uint32_t body_size;
    uint64_t first_seq;
    uint64_t base_time_ns;
    struct frame_digest digest; /* of what is in it, but for the last few records */
};

/* What log_reserve() promised and log_append() has not used yet. */
struct command {
    uint32_t left; /* records */
    uint64_t room; /* bytes of records, at most */
    bool run;      /* larger than a frame */
    bool begun;    /* a frame of the run is closed */
};

enum slot_state {
    SLOT_QUEUED,  /* closed, not submitted */
    SLOT_WRITING, /* under way */
    SLOT_WRITTEN, /* waits for a sync (LOG_SYNC_FDATASYNC only) */
    SLOT_SYNCING, /* the sync under way covers it */
    SLOT_DURABLE  /* waits for those before it */
};

/* One frame from its closing to its acknowledgement. */
struct slot {
    struct io_op op; /* first: a struct io_op * is a struct slot * */
    struct lane *lane;
    struct segment *segment;
    enum slot_state state;
    uint64_t end_offset; /* bytes */
    uint64_t ack_seq;    /* 0: in the middle of a run */
    uint32_t record_count;
    uint16_t flags;
    uint64_t link; /* of the frame, as the next one names it */
    uint64_t submit_ns;
    uint8_t chain[SHA256_SIZE];
};

/* Frames from the oldest that is not acknowledged to the newest that is closed; the slots are the
 * lane's. */
struct queue {
    uint32_t capacity;
    uint32_t reserve; /* slots kept for the frames of one command and what a failover takes back */
    uint32_t first;   /* index of the oldest */
    uint32_t count;
    uint32_t submitted; /* of `count`, from the oldest on */
};

/* How many frames may be under way, by what more of them gained last time. */
struct depth {
    uint32_t now, max;
    uint32_t frames, limited; /* in this window; those of them that waited for a slot */
    uint32_t hold;            /* windows until the next try */
    bool tried;               /* the last window was one deeper */
    uint64_t bytes, start_ns; /* of this window */
    uint64_t rate;            /* bytes a second before the try */
};

/* An op that is not a frame's. */
struct side_op {
    struct io_op op; /* first */
    struct log *log;
    struct lane *lane; /* NULL: of CHECKPOINT */
    bool underway;
    int result;     /* of a sync, when it is over */
    uint8_t *block; /* LOG_BLOCK_SIZE, aligned */
};

/* What is under way for the segments, but for CHECKPOINT. One lane is in use. With a second
 * directory there is another, which takes over when ops of the first are stuck; that one stays
 * aside until the last of them came back, and what becomes of them counts for nothing. */
struct lane {
    struct log *log;
    struct slot *slots;
    struct side_op header, sync_op;
    uint32_t underway; /* ops */
    bool aside;
    uint64_t last_ns;        /* when one of them came back, monotonic */
    uint64_t since_ns;       /* aside: when the oldest of them began, monotonic */
    struct segment *segment; /* aside: whose image they read; NULL: none's */
    int fds[2];              /* aside: files that are not needed any more; -1: none */
};

struct checkpoints {
    int fd;
    bool broken; /* a write failed: no more of them to this file */
    struct side_op side;
    struct checkpoint last; /* as written, or being written */
    struct checkpoint kept; /* the newest that is durable; the maintenance's while broken */
    _Atomic bool wanted;    /* another file, from the maintenance, with what is kept */
    _Atomic int fresh_fd;   /* that file; -1: none */
};

/* What becomes of a write or a sync that failed (failover.c). */
struct failover {
    bool possible;     /* the log is open: before that, and in its last frame, an error ends it */
    bool wanted;       /* something failed: as soon as nothing is under way any more */
    bool header;       /* it was the header of `header_of` */
    bool removed;      /* whose file was removed for that */
    unsigned in_a_row; /* since the last frame that was acknowledged */
    uint64_t since_ns; /* of the error, monotonic */
    uint64_t failed_no;
    char reason[256];
    struct storage_failover untold; /* no record tells of it yet; count 0: nothing */
    char text[400];                 /* the newest, in a sentence */
};

/* Writes that took long (stall.c). */
struct stalls {
    uint64_t end_ns; /* of the newest, monotonic */
    struct storage_stalled untold;
};

/* Why something could not be made ahead, or sealed; "" while all is well. */
struct trouble {
    pthread_mutex_t lock;
    struct error error;
};

/* Maintenance makes, the writer takes; and maintenance takes away what cannot be used any more. */
struct spare_ring {
    struct spare spares[SPARES_MAX]; /* numbers ascend */
    _Atomic uint32_t taken, made;
};

struct maintenance {
    bool threaded;
    pthread_t thread;
    sem_t wake;
    _Atomic bool stop;
    _Atomic bool announce;     /* the image in `announced` is to be made known */
    _Atomic int announced;     /* index of the segment being written */
    _Atomic bool stuck;        /* the log's own device does not answer: it is left alone */
    _Atomic bool sweep;        /* segments may have been passed over */
    _Atomic uint64_t floor_no; /* the highest that was taken: spares below are of no use */
    uint64_t first_no;         /* of those that may have been made since the log was opened */
    uint64_t next_no, top_no;  /* of the next spare; the highest that is there */
    struct spare_ring main, second;
    struct trouble *trouble, *second_trouble;
};

struct sealer {
    bool threaded;
    pthread_t thread;
    sem_t wake;
    _Atomic bool stop;
    _Atomic uint64_t done_no; /* segments up to this one are sealed, or stay as they are */
    _Atomic uint64_t sealed, raw_bytes, packed_bytes;
    bool passed_over; /* a segment stays raw; the sealer's own */
    struct trouble *trouble;
};

/* Written by the writer's thread, read by any. */
struct counters {
    _Atomic uint64_t next_seq, durable_seq, segment_no, segment_offset;
    _Atomic uint64_t frames, records, payload_bytes, disk_bytes, rolls, checkpoints, syncs;
    _Atomic uint64_t frames_in_flight, frames_in_flight_max, spare_waits, commit_ns_sum, depth;
    _Atomic uint64_t failovers, epoch, stalls, stall_longest_ns, in_second;
    _Atomic uint64_t waiting_since_ns; /* monotonic: the oldest write under way; 0: none */
};

struct log {
    char dir[PATH_MAX];
    struct log_options options;
    struct io *io;
    int lock_fd;
    uint8_t log_uuid[UUID_SIZE];
    bool forked; /* it has a parent */
    uint8_t parent_uuid[UUID_SIZE];
    uint64_t parent_seq;
    uint8_t parent_chain[SHA256_SIZE];
    struct fork_wish wish;     /* while the log is opened */
    bool forking;              /* this opening gives it a new uuid */
    char second_dir[PATH_MAX]; /* "": none */
    uint64_t close_by_ns;      /* monotonic: log_close() waits no longer; 0: it was not called */
    bool left;                 /* closed, but for what is still under way */
    bool left_threads;         /* and for a thread that waits for a device */
    uint8_t boot_id[16];
    uint64_t capacity;
    uint64_t usable_end; /* bytes: frames that are not the last end here at most */
    uint32_t frame_size_max, payload_size_max;
    uint32_t epoch;
    uint8_t hash;
    enum log_sync sync;
    uint64_t probe_dsync_ns, probe_fdatasync_ns;
    uint64_t budgeted; /* bytes reserved on the budget */

    struct segment segments[SEGMENTS_MAX];
    uint32_t segment_count;
    struct segment *building, *writing;
    struct open_frame open;
    struct command command;
    uint64_t next_seq, last_time_ns;
    uint64_t prev_link;
    uint8_t chain[SHA256_SIZE]; /* after the newest closed frame */
    uint8_t *own_payload;       /* room for the payload of SEAL, CLOSE and OPEN */

    struct queue queue;
    struct depth depth;
    uint64_t looked_ns; /* when the engine was last asked for what came back, monotonic */
    struct lane lanes[LANES_MAX];
    struct lane *lane;         /* in use */
    struct segment *header_of; /* whose header is being written */
    struct checkpoints checkpoint;
    uint64_t durable_seq, durable_end;
    uint8_t durable_chain[SHA256_SIZE];
    uint64_t durable_link; /* of the frame that ends there */
    uint64_t drained_ns;   /* monotonic: when the last frame was acknowledged */
    enum log_health health;
    char failure[512];
    struct failover failover;
    struct stalls stalls;

    struct maintenance maintenance;
    struct sealer sealer;
    struct counters counters;
};

/* One writer, so no read-modify-write is needed. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

static inline void counter_set(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static inline uint64_t counter_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* writer.c: its memory. */

void trouble_set(struct trouble *trouble, const struct error *error);
int trouble_get(struct trouble *trouble, char *text, size_t size); /* its code */

/* An image that the next segment can be built in; NULL: none is clean. */
struct segment *writer_free_segment(struct log *log);
struct log *writer_new(void);
int writer_set_options(struct log *log, const struct log_options *options, struct error *error);
int writer_allocate(struct log *log, struct error *error);     /* once the capacity is known */
int writer_failed(const struct log *log, struct error *error); /* why it FAILED, as an error */
/* Frees all of it: 0; or what nothing under way needs, and the rest when that is over: 1. */
int writer_release(struct log *log);
/* An op that writer_release() left came back. */
void writer_came_back(struct log *log);

/* naming.c: who the log is. */

/* Decides whether this opening forks, and says so durably: a crash on the way must not make another
 * fork of the same wish, nor none. PLACE comes after that: a copy forks because it is elsewhere. */
int naming_prepare(struct log *log, const struct log_recovery *recovery, struct error *error);
/* Gives the log its uuid and its parent from now on. */
void naming_take(struct log *log, const struct log_recovery *recovery);
/* The verdict in words, and how the log came to its name when its first record under it is about to
 * be written. `reason` holds OPENED_REASON_SIZE_MAX bytes; returns how many are used. */
size_t naming_reason(char *reason, const struct log *log, const struct log_recovery *recovery,
                     const char *note);
/* The name is durable in an OPEN record: what led to it has done its work. */
int naming_settle(const struct log *log, struct error *error);

/* builder.c: frames in memory. */

/* Gives `segment` to the segment of this header: nothing built yet. Its image is clean. */
void builder_begin(struct log *log, struct segment *segment, const struct segment_header *header,
                   const struct spare *file);
/* The same, without a look at what the image holds. */
void builder_place(struct log *log, struct segment *segment, const struct segment_header *header,
                   const struct spare *file);
/* Makes room in `building` for `bytes` of records in one frame, or with `run` in as many as it
 * takes; rolls when they do not fit the rest. 0, or ERROR_FULL with nothing changed. */
int builder_make_room(struct log *log, uint64_t bytes, bool run);
/* Most frames, and most bytes of file, that a run with `bytes` of records takes. */
uint64_t builder_run_frames(const struct log *log, uint64_t bytes);
uint64_t builder_run_size(const struct log *log, uint64_t bytes);
/* The next record of the command; `command.left` does not count it any more. */
void builder_append(struct log *log, const struct record *record);
/* Takes in a closed frame whose bytes were moved to where the next one is built: its records are
 * counted again, and it is closed for its new place. */
void builder_take_frame(struct log *log, const struct frame_header *frame);
/* Closes the open frame, if anything is in it, and queues it. */
void builder_close_frame(struct log *log, uint16_t flags);
/* A frame of the log's own with one record of this kind and payload (own_payload). */
void builder_own_frame(struct log *log, uint16_t kind, uint16_t flags, size_t payload_size);
/* Queues SEAL or CLOSE: the segment's last frame. */
void builder_end_segment(struct log *log, uint16_t kind, uint16_t flag);

/* pipeline.c: frames on their way to disk. */

uint64_t pipeline_now_ns(void); /* monotonic */
/* A free slot behind the newest; there is always one (log_reserve() sees to it). */
struct slot *pipeline_add(struct log *log);
/* True unless a roll or a failover is under way. */
bool pipeline_is_steady(const struct log *log);
/* True while a frame could be submitted at once. */
bool pipeline_has_slot(const struct log *log);
/* Submits what is queued and may go. */
void pipeline_submit(struct log *log);
/* Acknowledges what is durable, goes on with a roll, submits what became possible. */
void pipeline_advance(struct log *log);
/* Writes the header of `segment` to its file, durably. */
void pipeline_write_header(struct log *log, struct segment *segment);
/* io_wait(); then pipeline_advance() is to be called. */
int pipeline_wait(struct log *log, int wake_fd, uint64_t timeout_ns);
/* Runs the engine until nothing is queued and nothing is under way that was not set aside, or the
 * log has failed. */
void pipeline_drain(struct log *log);
/* Ends the ops that are under way, whatever becomes of them. False: some do not end. */
bool pipeline_stop(struct log *log);
uint32_t pipeline_underway(const struct log *log); /* ops, of all kinds */
/* The log takes no more writes: `reason` says why. */
void pipeline_fail(struct log *log, const char *reason);
/* The same, after the engine itself failed: what became of the ops under way is not known. */
void pipeline_lost(struct log *log, int result);
/* Nanoseconds until a CHECKPOINT is due; UINT64_MAX: there is no news. */
uint64_t pipeline_checkpoint_due_ns(const struct log *log);
void pipeline_write_checkpoint(struct log *log);
/* Goes on with the file that the maintenance made, if it has, after a write that failed. */
void pipeline_take_checkpoint(struct log *log);
/* Syncs a file through the engine: 0 or a negative errno. */
int pipeline_sync_file(struct log *log, int fd);

/* failover.c: going on elsewhere. */

/* Going on in a spare, or FAILED when there is none; `wanted` stays while one is being made.
 * Nothing is under way. */
void failover_run(struct log *log);
/* Goes on in the second directory, if what is under way to the log's own device has been for too
 * long, and all that it takes is there. */
void failover_look(struct log *log);
/* At most how long to wait until failover_run() or failover_look() is to be asked again;
 * UINT64_MAX: it is not. */
uint64_t failover_due_ns(const struct log *log);
/* What was set aside is at rest. */
void failover_settle(struct lane *lane);
/* Appends the record that tells of it, if one is due and there is room. */
void failover_record(struct log *log);

/* stall.c: writes that take long. */

uint64_t stall_after_ns(const struct log *log);
/* The write that everything waits for began then; 0: there is none. */
void stall_watch(struct log *log, uint64_t began_ns);
/* It is over. */
void stall_note(struct log *log, uint64_t began_ns, uint64_t now_ns);

/* spares.c: what is made ahead. */

bool spares_pop(struct spare_ring *ring, struct spare *spare);
bool spares_pop_if(struct spare_ring *ring, uint64_t segment_no, struct spare *spare);
void spares_push(struct spare_ring *ring, const struct spare *spare); /* for maintenance */
/* The number of the next one; 0: there is none. For maintenance, which alone makes them. */
uint64_t spares_next_in(const struct spare_ring *ring);
/* One that an earlier opening made, all of which is to be looked at: 1 it is zero, or
 * spares_adopt() says what else it is; 0 it was given up; or negative. */
int spares_look_at(const struct log *log, uint64_t segment_no, struct error *error);
/* Takes a segment that holds nothing its name, durably: `<name>.tmp` stays, empty, until the next
 * opening, since a number that is missing proves nothing by itself. 0 or a negative errno. */
int spares_give_up(const struct log *log, uint64_t segment_no);
/* Opens and locks a spare and puts it at the end of its ring. For maintenance. */
int spares_adopt(struct log *log, uint64_t segment_no, bool second, struct error *error);

/* Takes the first spare, the file behind what recovery found, or makes it; and finds those of the
 * second directory. */
int spares_open(struct log *log, const struct log_recovery *recovery, struct error *error);
void spares_close(struct log *log);
/* About how many there are, of one of maintenance's rings. */
uint32_t spares_count(const struct spare_ring *ring);
/* The next one of the log's own directory, or with `second` else of the second. False: none is
 * ready. For the writer. */
bool spares_take(struct log *log, bool second, struct spare *spare);
/* The next `count` of the second directory, all or none. For the writer. */
bool spares_take_second(struct log *log, struct spare *spares, uint32_t count);
void spares_wake(struct log *log);
int spares_maintain(struct log *log, struct error *error); /* one step: 1, 0, or negative */
int spares_start_thread(struct log *log);
bool spares_join(pthread_t thread); /* false: it does not end, for its device does not answer */
bool spares_stop_thread(struct log *log); /* false: it does not end */
void spares_random(const struct log *log, void *bytes, size_t size);

/* spares_second.c: those of the second directory. For maintenance. */

/* Finds those that are there; sets where numbers go on. `clean_no` was seen to be zero. */
int spares_find(struct log *log, const struct log_recovery *recovery, uint64_t clean_no,
                struct error *error);
/* Gives a spare that was taken from the ring the highest number, and puts it back. Its old name
 * goes to the file `heir`, or with NULL goes. */
int spares_move_up(struct log *log, struct spare *spare, const char *heir, struct error *error);
/* Keeps them behind all others, and as many as there should be: one step: 1, 0, or negative. */
int spares_maintain_second(struct log *log, struct error *error);
/* Removes the segments that the log passed over: below the newest that was begun, what was not is
 * of no use any more. */
int spares_sweep(struct log *log, struct error *error);

/* sealer.c: what is over. */

int sealer_step(struct log *log, struct error *error); /* the next segment: 1, 0, or negative */
void sealer_wake(struct log *log);
int sealer_start_thread(struct log *log);
bool sealer_stop_thread(struct log *log); /* false: it does not end */

#endif
