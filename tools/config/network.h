/* Which addresses an effect may talk to: `[network] deny` and its exceptions, `[network] allow`.
 *
 * An IPv4 address in IPv6 clothes (::ffff:a.b.c.d, 64:ff9b::a.b.c.d) is judged as the IPv4 address.
 *
 * Threads: any. */
#ifndef TOOLS_CONFIG_NETWORK_H
#define TOOLS_CONFIG_NETWORK_H

#include "tools/config/config.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* A network; IPv4 as ::ffff:0:0/96 and below. */
struct network {
    uint8_t address[16];
    unsigned prefix; /* bits, 0 to 128 */
};

/* "10.0.0.0/8", "::1/128", or one address. ERROR_SYNTAX; ERROR_INVALID when bits are set behind the
 * prefix. */
int network_parse(struct network *network, const char *text);

bool network_holds(const struct network *network, const struct sockaddr *address);

/* Whether an effect for `host` (as written in the URL, without brackets; NULL: unknown) may connect
 * to `address`, which it resolved to: allowed by host or address, or not denied. What is neither
 * IPv4 nor IPv6 is denied. */
bool network_may_connect(const struct config *config, const char *host,
                         const struct sockaddr *address);

#endif
