/* The HTTP API: libmicrohttpd's threads (one for TCP, one for the Unix socket) around the table of
 * operations (tools/agent/operation.h).
 *
 * It listens before the agent is ready: until api_ready() only /health, /ready and /status answer,
 * everything else gets 503.
 *
 * Threads: open, ready, drain and close by one; api_ended() by the agent thread. */
#ifndef TOOLS_AGENT_API_H
#define TOOLS_AGENT_API_H

#include "core/base/error.h"

#include <stdint.h>

struct api;
struct boot;

/* Whether api_open() would take that `[agent] listen`. */
int api_check_listen(const char *listen_at, struct error *error);

/* Takes the address of `[agent] listen`, loopback only, and the socket. `boot` is being filled
 * meanwhile; nothing but its progress is looked at before api_ready(). */
int api_open(struct api **api, struct boot *boot, struct error *error);

const char *api_url(const struct api *api); /* "http://127.0.0.1:8080" */

void api_ready(struct api *api);

/* A workflow has ended, durably (tools/agent/loop.h). */
void api_ended(uint64_t stream, void *api);
void api_segments_removed(void *api); /* of the log; by the housekeeper's thread */

/* No new connections, no new commands (503), and nobody waits any more; what was asked is
 * answered. */
void api_drain(struct api *api);

/* Waits until every request has its answer (the agent's loop must be gone, or answer), at most a
 * few seconds for clients that do not read, then closes every connection. */
void api_close(struct api *api);

#endif
