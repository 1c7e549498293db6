/* Who asks, and what that allows.
 *
 * On the Unix socket the kernel says who it is: our own uid, and root, may do everything, others
 * nothing. On loopback the admin token (DATA_DIR/admin.token, made at the first start, 0600) allows
 * everything; without one reading and submitting is allowed if the configuration says so.
 *
 * A request from a web page is refused: its Host is not ours, or it has a foreign Origin.
 *
 * Threads: open by one, the rest by any. */
#ifndef TOOLS_AGENT_AUTH_H
#define TOOLS_AGENT_AUTH_H

#include "core/base/error.h"
#include "core/base/span.h"

#include <stdbool.h>
#include <sys/types.h>

#define AUTH_TOKEN_BYTES 32

enum auth_scope { AUTH_NOTHING = 0, AUTH_READ = 1, AUTH_SUBMIT = 2, AUTH_ADMIN = 4 };

struct auth {
    char token[AUTH_TOKEN_BYTES * 2 + 1];
    bool anonymous; /* loopback without a token may read and submit */
    char host[128]; /* that we listen on, without port */
};

struct principal {
    unsigned scopes;
    int actor_type; /* DAA__ACTOR__TYPE__... */
    char id[32];    /* "admin", "anonymous", "1000" */
};

/* Reads the token, or makes it when there is none. */
int auth_open(struct auth *auth, const char *data_dir, bool anonymous, struct error *error);

/* `authorization` is the header's value, NULL when there is none. False: there is one, and it is
 * wrong. */
bool auth_of_loopback(const struct auth *auth, const char *authorization,
                      struct principal *principal);
void auth_of_uid(uid_t uid, struct principal *principal);

bool auth_host_is_ours(const struct auth *auth, const char *host);     /* "localhost:8080" */
bool auth_origin_is_ours(const struct auth *auth, const char *origin); /* "http://localhost:8080" */

#endif
