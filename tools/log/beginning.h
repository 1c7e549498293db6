/* Why a log does not begin with event 1: what its own events say of it. The log's layer parses no
 * payload, so this is the tool's business.
 *
 * Threads: belongs to one thread. */
#ifndef TOOLS_LOG_BEGINNING_H
#define TOOLS_LOG_BEGINNING_H

#include "core/base/text.h"
#include "log/record.h"
#include "log/verify.h"

#include <stdbool.h>
#include <stdint.h>

enum beginning_state {
    BEGINNING_WHOLE,    /* event 1 is there */
    BEGINNING_REMOVED,  /* storage.removed says that all before was to go */
    BEGINNING_FORKED,   /* the log was begun behind an event of another one, in a new directory */
    BEGINNING_BACKUP,   /* a backup of later events only */
    BEGINNING_RESTORED, /* made of such a backup, with a snapshot of what came before */
    BEGINNING_MISSING,  /* nothing says why */
};

struct beginning {
    uint64_t first_seq;  /* of the first record that was noted; 0: none */
    uint64_t parent_seq; /* of a fork that begins with it and with the directory; 0: it is none */
    /* The newest storage.removed; removed_event 0: none. */
    uint64_t removed_event, removed_time_ns, removed_last_seq;
};

/* To be called with every record in order. */
void beginning_note(struct beginning *beginning, const struct record *record);

/* `first_seq` is where the log begins, `dir` its directory or a data directory. */
enum beginning_state beginning_state(const struct beginning *beginning, uint64_t first_seq,
                                     const char *dir);
const char *beginning_name(enum beginning_state state); /* "whole", "removed", ... */

/* After log_verify() with every record noted. The log itself finds nothing wrong with a beginning
 * that is gone: true if nothing says why, and then the verdict is damage from here on, and
 * `finding` says so. While segments are removed the event may be newer than what was checked. */
bool beginning_is_damage(const struct beginning *beginning, enum beginning_state state,
                         struct log_verify_result *result, struct log_finding *finding);

/* "events 1 to 40 were removed by retention (event 55, 2026-11-25T10:00:00Z)", or nothing of a log
 * that begins with event 1. */
void beginning_describe(const struct beginning *beginning, enum beginning_state state,
                        uint64_t first_seq, struct text *text);

/* The members "beginning" and, when there is such an event, "removed" of an open JSON object. */
void beginning_to_json(const struct beginning *beginning, enum beginning_state state,
                       uint64_t first_seq, struct text *text);

#endif
