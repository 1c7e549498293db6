/* A log that goes on under a new name: its end moved back (a restore, an import, a copy), so that
 * from there on (log, seq) would name another event than it did before. The new uuid's parent is
 * {old uuid, last event, chain after it}, in the header of each of its segments and in each OPEN
 * record; see docs/daa-log-format.5.
 *
 * FORK, a file in the log's directory, is the wish to fork. Who prepares a log that somebody else
 * opens writes it with log_fork_request(); log_open() writes it too before it forks for another
 * reason, so that a crash half-way does not make two forks of one wish. It names the uuid that is
 * to be left, with a checksum: one that is not what was written is a wish to leave whatever there
 * is. log_open():
 *   - the newest segment is of that uuid: forks;
 *   - it is of another: the fork has happened already, and nothing forks again;
 *   - then removes the file durably, once an OPEN record under the new uuid is durable.
 * Before it forks, readers whose files (log/readers.h) say that they are further are drawn back to
 * the end, so that nothing written behind the fork counts as read.
 * A fork has happened when the header of the first segment under the new uuid is durable; if
 * nothing follows it, the next opening goes on under that uuid.
 *
 * Threads: any, one call at a time per directory. */
#ifndef LOG_FORK_H
#define LOG_FORK_H

#include "core/base/error.h"
#include "core/base/id.h"

#include <stdbool.h>
#include <stdint.h>

/* Asks, durably (file and directory are synced), that the next log_open() of the log directory
 * `dir` forks. May be called before `dir` holds a segment, and should be: then no crash leaves a
 * copy that can be opened under the old name. Nobody may have the log open. Asking again changes
 * nothing. 0 or negative, with the file. */
int log_fork_request(const char *dir, struct error *error);

/* For log/ only. */

struct fork_wish {
    bool exists;
    bool bound; /* it names the uuid to be left; else whatever is there */
    uint8_t from[UUID_SIZE];
    char why[160];
};

/* 0 or negative. */
int fork_read(const char *dir, struct fork_wish *wish, struct error *error);
int fork_write(const char *dir, const struct fork_wish *wish, struct error *error);
int fork_remove(const char *dir, struct error *error); /* durably; there may be none */

#endif
