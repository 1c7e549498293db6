/* What is known of a workflow that is to be erased, of the log and of its document: either may be
 * gone. Threads: any. */
#ifndef TOOLS_AGENT_ERASER_SUBJECT_H
#define TOOLS_AGENT_ERASER_SUBJECT_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/sha256.h"

#include <stdbool.h>
#include <stdint.h>

struct state;

struct eraser_subject {
    uint32_t key_id; /* 0: its events are not encrypted */
    bool has_key_digest;
    uint8_t key_digest[SHA256_SIZE]; /* of its idempotency key */
};

enum eraser_found {
    ERASER_FOUND = 1,
    ERASER_REMOVED, /* retention has taken its beginning, and its document expired */
    ERASER_NONE,    /* there is no such workflow in this log */
};

/* What was found, with *subject if it was; or negative. */
int eraser_look_up(const char *log_dir, struct state *state, struct budget *budget, uint64_t stream,
                   struct eraser_subject *subject, struct error *error);

/* Reads what the agent will want of it, so that its thread does not wait for the disk. */
void eraser_read_ahead(struct state *state, struct budget *budget, uint64_t stream,
                       const struct eraser_subject *subject);

#endif
