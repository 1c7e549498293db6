/* What LMDB holds beside the documents, under "!", and access to it for tools/agent/state_view.c.
 *
 * Threads: the position's functions by whoever has the transaction; the rest as said. */
#ifndef TOOLS_AGENT_STATE_POSITION_H
#define TOOLS_AGENT_STATE_POSITION_H

#include "mmapstore/kv.h"
#include "tools/agent/state.h"

struct state_position {
    uint8_t log_uuid[16];
    uint32_t version; /* DOCUMENT_VERSION; 0: none is there */
    uint64_t applied_seq;
    struct state_mark mark;
};

/* All zero when there is none. Negative: the database cannot be read. */
int state_position_read(struct kv_reader *reader, struct state_position *position);
void state_position_write(struct kv_writer *writer, const struct state_position *position);

/* "!" begins no document's key. */
static inline bool state_key_is_own(struct span key)
{
    return key.size > 0 && key.bytes[0] == '!';
}

struct kv *state_kv(struct state *state);
const uint8_t *state_log_uuid(const struct state *state); /* 16 bytes */

/* LMDB was written past the state thread, before the first hand-over: it stands for this now. */
void state_moved(struct state *state, const struct state_position *position);

#endif
