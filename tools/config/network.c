#include "tools/config/network.h"

#include "core/base/error.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const uint8_t ipv4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
static const uint8_t nat64[12] = { 0, 0x64, 0xff, 0x9b };

static bool bit(const uint8_t address[16], unsigned index)
{
    return (address[index / 8] >> (7 - index % 8) & 1) != 0;
}

static int parse_address(uint8_t address[16], const char *text, unsigned *bits)
{
    *bits = 32;
    if (inet_pton(AF_INET, text, address + 12) == 1) {
        memcpy(address, ipv4_mapped, sizeof ipv4_mapped);
        return 0;
    }
    *bits = 128;
    return inet_pton(AF_INET6, text, address) == 1 ? 0 : ERROR_SYNTAX;
}

int network_parse(struct network *network, const char *text)
{
    char address[64];
    size_t size = strcspn(text, "/");
    unsigned bits;
    if (size >= sizeof address)
        return ERROR_SYNTAX;
    memcpy(address, text, size);
    address[size] = '\0';
    if (parse_address(network->address, address, &bits) < 0)
        return ERROR_SYNTAX;
    network->prefix = 128;
    if (text[size] == '\0')
        return 0;

    const char *digits = text + size + 1;
    size_t digit_count = strlen(digits);
    if (digit_count == 0 || digit_count > 3 || strspn(digits, "0123456789") != digit_count)
        return ERROR_SYNTAX;
    unsigned prefix = (unsigned)strtoul(digits, NULL, 10);
    if (prefix > bits)
        return ERROR_SYNTAX;
    network->prefix = prefix + 128 - bits;
    for (unsigned i = network->prefix; i < 128; i++)
        if (bit(network->address, i))
            return ERROR_INVALID;
    return 0;
}

/* 16 bytes, IPv4 in whatever clothes as ::ffff:a.b.c.d; false for other families. */
static bool canonical(uint8_t address[16], const struct sockaddr *from)
{
    if (from->sa_family == AF_INET) {
        const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)(const void *)from;
        memcpy(address, ipv4_mapped, sizeof ipv4_mapped);
        memcpy(address + 12, &ipv4->sin_addr, 4);
        return true;
    }
    if (from->sa_family != AF_INET6)
        return false;
    const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)(const void *)from;
    memcpy(address, &ipv6->sin6_addr, 16);
    if (memcmp(address, nat64, sizeof nat64) == 0)
        memcpy(address, ipv4_mapped, sizeof ipv4_mapped);
    return true;
}

bool network_holds(const struct network *network, const struct sockaddr *address)
{
    uint8_t bytes[16];
    if (!canonical(bytes, address))
        return false;
    unsigned whole = network->prefix / 8, rest = network->prefix % 8;
    if (memcmp(bytes, network->address, whole) != 0)
        return false;
    return rest == 0 || ((bytes[whole] ^ network->address[whole]) >> (8 - rest)) == 0;
}

static bool list_holds(const struct config_list *list, const struct sockaddr *address)
{
    struct network network;
    for (size_t i = 0; i < list->count; i++)
        if (network_parse(&network, list->items[i]) == 0 && network_holds(&network, address))
            return true;
    return false;
}

bool network_may_connect(const struct config *config, const char *host,
                         const struct sockaddr *address)
{
    if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
        return false;
    for (size_t i = 0; host != NULL && i < config->network.allow.count; i++)
        if (strcasecmp(config->network.allow.items[i], host) == 0)
            return true;
    return list_holds(&config->network.allow, address) ||
           !list_holds(&config->network.deny, address);
}
