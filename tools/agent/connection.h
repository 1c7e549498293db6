/* The connections of clients, and the guard that ends what would last for ever.
 *
 *   HEAD --headers--> BODY --all of it--> BUSY --answer--> WRITING --sent--> HEAD
 *     |                |                   | ^
 *     '-- overdue: shut down               '-'  WAITING for the end of a workflow (suspended)
 *
 * A request must have arrived, and an answer must have been read, within request_timeout: not per
 * byte, but in all. A connection on which nothing is asked is closed after the same time. A
 * suspended connection is watched for a client that has gone (EPOLLRDHUP), which ends its wait.
 *
 * A suspended connection is resumed exactly once, by whoever takes it out of WAITING: the end of
 * its workflow, the guard (deadline, client gone, shutdown), or the API thread itself.
 *
 * Threads: the API threads own a connection; connections_ended() is called by the agent thread; the
 * guard is a thread of its own. One lock, held for a few instructions, guards lists and waits. */
#ifndef TOOLS_AGENT_CONNECTION_H
#define TOOLS_AGENT_CONNECTION_H

#include "core/base/error.h"

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct exchange;

enum connection_state {
    CONNECTION_HEAD = 0,
    CONNECTION_BODY,
    CONNECTION_BUSY,
    CONNECTION_WRITING,
    CONNECTION_OVERDUE, /* the guard has shut it down */
};

struct connection {
    struct connections *all;
    struct MHD_Connection *mhd;
    int fd;
    bool is_unix;
    uid_t uid; /* of the peer, on the Unix socket */
    struct exchange *exchange;
    _Atomic int state;            /* enum connection_state */
    _Atomic uint64_t deadline_ns; /* monotonic; of HEAD, BODY and WRITING */

    /* Under the lock. */
    struct connection *next, *prev;
    struct connection *wait_next, *wait_prev; /* in its bucket */
    uint64_t wait_stream;                     /* 0: does not wait */
    uint64_t wait_deadline_ns;
    bool gone; /* the client has closed its side */
};

struct connections;

int connections_open(struct connections **connections, uint64_t request_timeout_ns,
                     struct error *error);
void connections_close(struct connections *connections); /* none may be left */

struct connection *connection_add(struct connections *connections, struct MHD_Connection *mhd,
                                  int fd);
void connection_remove(struct connection *connection); /* frees it */

/* Begins a state and its deadline. False: the guard has shut it down. */
bool connection_enter(struct connection *connection, enum connection_state state);

/* The connection is suspended and shall be resumed when `stream` ends, at the latest at the
 * deadline. False: its client has gone, or
 * the agent stops; it does not wait. */
bool connection_wait(struct connection *connection, uint64_t stream, uint64_t deadline_ns);

/* True: it waited, and the caller is to resume it. */
bool connection_unwait(struct connection *connection);

bool connection_gone(struct connection *connection);

void connections_ended(struct connections *connections, uint64_t stream);
void connections_end_waits(struct connections *connections); /* and allows no new ones */

uint64_t connections_count(struct connections *connections);

#endif
