/* Copies the agent's log into PostgreSQL ([database] sync), as daa-pgsync --follow does and by the
 * same code (tools/replication/follow.h).
 *
 * It is in nobody's way: it reads the log like any process (log/reader.h), with a connection, a
 * budget and a thread of its own, at a low priority; the agent neither waits for it nor asks it.
 * A server that is away, slow or full, or wants a password, is tried again for ever. What no second
 * try can mend (another history, another schema, no rights, taken over by another copier, damage
 * in the log) ends the copy, with a reason, until the agent is started again.
 *
 * Threads: a thread of its own; functions by any, open and close by one. */
#ifndef TOOLS_AGENT_REPLICATOR_H
#define TOOLS_AGENT_REPLICATOR_H

#include "core/base/error.h"
#include "tools/config/config.h"
#include "tools/replication/replication.h"

/* Under which the log's directory is told how far the copy is: daa-pgsync's own name too. */
#define REPLICATOR_READER "pgsync"

struct keyring;
struct replicator;

/* ERROR_INVALID when the configuration wants a copy and does not say where to. */
int replicator_check(const struct config *config, struct error *error);

/* Connects to nothing yet. `config`, `log_dir` and the keyring, which may be NULL, have to stay. */
int replicator_open(struct replicator **replicator, const struct config *config,
                    const char *log_dir, struct keyring *keyring, struct error *error);

/* Begins nothing more: the transaction under way is ended, or given up when the server does not
 * answer for ten seconds. Returns at once; NULL is fine. */
void replicator_stop(struct replicator *replicator);
void replicator_close(struct replicator *replicator); /* stops and waits for that; NULL is fine */

void replicator_status_get(struct replicator *replicator, struct replication *status);

#endif
