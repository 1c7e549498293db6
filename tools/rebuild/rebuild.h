/* The state as of an event, made from a log in a database of its own: what programs beside the
 * daemon may ask of it. How it is done is in tools/agent/rebuild.h, by the code with which the
 * agent starts.
 *
 * Threads: a rebuild is one call on one thread; its progress may be looked at by any. */
#ifndef TOOLS_REBUILD_REBUILD_H
#define TOOLS_REBUILD_REBUILD_H

#include "core/base/error.h"
#include "core/base/sha256.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum rebuild_stage {
    REBUILD_BEGINS = 0,
    REBUILD_SNAPSHOT,  /* loads a snapshot: counts are of documents */
    REBUILD_DOCUMENTS, /* loads what has not ended */
    REBUILD_REPLAY,    /* replays the log: counts are of sequence numbers */
    REBUILD_ENDED,
};

struct rebuild_progress {
    _Atomic int stage;                /* enum rebuild_stage */
    _Atomic uint64_t first, at, last; /* of the stage */
    _Atomic uint64_t bytes;           /* of the log, replayed */
    _Atomic uint64_t began_ns;        /* of the stage, monotonic */
};

struct rebuild_result {
    bool foreign;           /* the documents were of another history */
    bool documents_damaged; /* why it failed: the log is not to blame */
    uint64_t snapshot_seq;  /* of the one that was loaded; 0: none */
    uint64_t loaded;        /* workflows, into the agent */
    uint64_t replayed;      /* events */
    uint64_t seq;           /* that the state stands for in the end */
    uint64_t time_ns;       /* log time of the last event replayed; 0: none was */
};

struct keyring;

struct rebuild_copy_options {
    const char *log_dir;
    const char *snapshots_dir; /* NULL: none are used */
    const char *db_dir;        /* made; must not be there yet; removed again on failure */
    struct keyring *keyring; /* of encrypted events; NULL: there is none, and such events end it */
    uint64_t until_seq;      /* 0: all that is durable */
    uint64_t memory;         /* bytes of budget */
    struct rebuild_progress *progress; /* NULL: nobody looks */
    /* What a person should know though it goes on. May be NULL. */
    void (*say)(const char *sentence, void *context);
    void *context;
};

struct rebuild_copy {
    struct rebuild_result result;
    uint64_t documents, bytes; /* of keys and values */
    uint8_t digest[SHA256_SIZE];
};

/* Nothing of the log's directory is changed, and an agent may run on it. 0, or negative with the
 * event, file or document, and the way out. */
int rebuild_copy(const struct rebuild_copy_options *options, struct rebuild_copy *copy,
                 struct error *error);

/* The event for which the documents in `db_dir` stand, and the log whose event it is. 0: there are
 * none, or they do not say. Nothing is changed there. */
uint64_t rebuild_documents_seq(const char *db_dir, uint8_t log_uuid[16]);

/* What a log_snapshot_check (log/backup.h) is to tell. One of a newer version is taken for whole:
 * that is for the agent of that version to say. */
int rebuild_check_snapshot(const char *path, uint64_t seq, struct error *error);

#endif
