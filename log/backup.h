/* A backup of a log: a directory that is itself a log, readable by everything in log/, with BACKUP
 * beside the segments (log/manifest.h). It is made of a live log without making its writer wait, of
 * a stopped one, or of a copy; run again on the same target it adds what is new.
 *
 * What is in it is a prefix of the history: closed segments byte for byte up to their end (the rest
 * of the file is a hole), and the newest one up to a place between two commands up to which all was
 * durable when the backup began (where the writer's image cannot be used: up to which the files
 * prove that it was). Every frame is checked on the way: damage fails the backup.
 * Snapshots of the state that stand for an event in it are copied too.
 *
 * Without BACKUP it is unfinished. BACKUP is written last, when everything it names is durable, so
 * that a crash, a full disk or damage in the source leave the one before it valid; bytes that a
 * BACKUP covers are never written again. A further run goes on where one was stopped: segments
 * named in BACKUP or BACKUP.part are not copied again.
 *
 * The target holds FORK (log/fork.h): if it is opened for writing as it is, which log/restore.h
 * does better, it goes on under a new uuid.
 *
 * Memory: a window of 1 MiB (16 MiB for the largest frames), a buffer of 1 MiB, and 130 bytes a
 * segment. Threads: any, one call at a time per target; other processes are kept out. */
#ifndef LOG_BACKUP_H
#define LOG_BACKUP_H

#include "core/base/error.h"
#include "core/base/id.h"
#include "core/base/sha256.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether the file is a whole snapshot of the state that stands for event `seq`: what is in it is
 * the agent's business. 0; ERROR_DAMAGED when it is not; others when that cannot be told. */
typedef int log_snapshot_check(const char *path, uint64_t seq, struct error *error);

struct log_backup_options {
    const char *dir;    /* the log directory, or a data directory that holds it as "log" */
    const char *target; /* made when missing; else empty, or a backup of the same log */
    uint64_t since_seq; /* only segments that hold events from here on; 0: all. For a new target */
    uint64_t time_ns;   /* wall clock, to be noted */
    log_snapshot_check *check; /* NULL: every snapshot is taken for a whole one */
    void (*progress)(uint64_t done_bytes, uint64_t all_bytes, void *context); /* may be NULL */
    void *context;
};

struct log_backup_result {
    char log_uuid[UUID_TEXT_SIZE]; /* of the newest segment */
    uint64_t first_seq, last_seq;
    uint8_t chain[SHA256_SIZE]; /* at last_seq */
    uint64_t segments, segments_copied;
    uint64_t bytes_copied; /* of segments, written in this run */
    uint64_t snapshots, snapshots_copied;
    char left_out[512]; /* a snapshot that is not whole, and why; "": none */
    bool live;          /* a writer runs */
    bool incremental;   /* the target was a whole backup before */
    bool resumed;       /* an unfinished run was found, and this one went on from there */
};

/* Errors: ERROR_INVALID (target in dir, not empty and no backup, since_seq for a target that is a
 * backup), ERROR_MISMATCH (the target holds another history), ERROR_DAMAGED (with the place, in
 * the source or in BACKUP), ERROR_NOT_FOUND (no log; since_seq is beyond its end), ERROR_LOCKED,
 * ERROR_NEWER, -ENOSPC and others. Each says what to do. */
int log_backup(const struct log_backup_options *options, struct log_backup_result *result,
               struct error *error);

#endif
