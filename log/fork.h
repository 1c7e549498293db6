/* A log that goes on under a new name: its end moved back (a restore, an import, a copy), so that
 * from there on (log, seq) would name another event than it did before. The new uuid's parent is
 * {old uuid, last event, chain after it}; see docs/daa-log-format.5.
 *
 * The wish to fork is a file FORK in the log's directory, for those who prepare a log that somebody
 * else opens: log_open() forks as with options.fork, and removes the file once the first OPEN
 * record under the new uuid is durable. A crash before that leaves it, and the next opening forks.
 * The file names the uuid that is to be left behind, where it is known: when the log has left it
 * already, the file is removed and nothing forks again.
 *
 * Threads: any, one call at a time per directory. */
#ifndef LOG_FORK_H
#define LOG_FORK_H

#include "core/base/error.h"

#define LOG_FORK_NAME "FORK"

/* Asks, durably (file and directory are synced), that the next log_open() of the log directory
 * `dir` forks. To be called before anything of the copy can be opened: while `dir` has no segment
 * yet, or by who holds LOCK. Repeating it changes nothing. 0 or negative, with the file. */
int log_fork_request(const char *dir, struct error *error);

#endif
