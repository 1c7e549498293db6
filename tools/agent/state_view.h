/* All documents at one moment, and all documents at once: what digests, snapshots and rebuilds need
 * of the state.
 *
 * A view is one read transaction of LMDB: what commits meanwhile is not in it, and nobody waits for
 * it. While it is open LMDB uses no page again that it sees, so the database grows by what changes.
 *
 * Threads: a view belongs to one thread from open to close; any number of them. A load belongs to
 * the thread that would hand over. */
#ifndef TOOLS_AGENT_STATE_VIEW_H
#define TOOLS_AGENT_STATE_VIEW_H

#include "tools/agent/state_position.h"

struct state_view;

/* A view of what is in LMDB now. The documents may stand for more soon; its position is exact. */
int state_view_open(struct state *state, struct state_view **view, struct error *error);
void state_view_close(struct state_view *view);

const struct state_position *state_view_position(const struct state_view *view);
uint64_t state_view_documents(const struct state_view *view);

/* The next document in key order; spans are valid until state_view_close(). 1, 0 no more, negative;
 * ERROR_UNAVAILABLE: the database has to grow and cannot while this view is open: close it and
 * begin again. */
int state_view_next(struct state_view *view, struct span *key, struct span *value,
                    struct error *error);

/* One document of the same moment; its span as those of state_view_next(), whose place it leaves
 * alone. 1, 0 not there, negative. */
int state_view_get(struct state_view *view, struct span key, struct span *value);

/* The sum over documents in key order that state_digest() gives. */
struct state_sum {
    struct sha256 sha256;
    uint64_t documents;
    uint64_t bytes; /* of keys and values */
};
void state_sum_begin(struct state_sum *sum);
void state_sum_add(struct state_sum *sum, struct span key, struct span value);
void state_sum_end(struct state_sum *sum, uint8_t digest[SHA256_SIZE]);

/* Fills an empty state with documents in key order, in large transactions. Until state_load_end()
 * the database counts as unusable: a crash in between, and the next start deletes what is there.
 * Only before the first hand-over. */
struct state_load {
    struct state *state;
    struct kv_writer *writer;
    uint64_t pending_bytes;
};
/* Deletes what is there. */
int state_load_begin(struct state_load *load, struct state *state, struct error *error);
int state_load_add(struct state_load *load, struct span key, struct span value,
                   struct error *error);
/* From now on the state stands for `position` (version and log_uuid are filled in). */
int state_load_end(struct state_load *load, const struct state_position *position,
                   struct error *error);
/* Instead of the end, also after an error: leaves an empty state. */
int state_load_abandon(struct state_load *load, struct error *error);

#endif
