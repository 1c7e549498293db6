/* The daemon: from start to stop.
 *
 * Threads: daemon_run() is the main thread; it starts and joins all others. */
#ifndef TOOLS_AGENT_DAEMON_H
#define TOOLS_AGENT_DAEMON_H

#include "core/base/error.h"
#include "tools/config/config.h"

/* Serves until SIGTERM or SIGINT: 0 after an orderly end (everything durable, a CLOSE frame).
 * Negative with a sentence: it could not start, or the event log failed. A second signal ends the
 * process at once. */
int daemon_run(const struct config *config, struct error *error);

#endif
