#include "payload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void payload_make(char *payload, size_t size, uint64_t seq)
{
    uint64_t noise = seq * 0x9e3779b97f4a7c15ull;
    size_t used = (size_t)snprintf(payload, size,
                                   "{\"workflow\":\"wf-8d1f02ab77c6d1e5-%" PRIu64
                                   "\",\"step\":\"s%" PRIu64 "\",\"status\":\"completed\","
                                   "\"token\":\"%016" PRIx64 "\",\"output\":{\"total\":%" PRIu64
                                   ",\"currency\":\"EUR\",\"note\":\"",
                                   seq / 8 * 8, seq % 8, noise, noise % 100000);
    for (; used < size; used++)
        payload[used] = "paid in full, thank you "[used % 24];
}

char *payloads_make(size_t size)
{
    char *payloads = malloc(PAYLOADS * size);
    if (payloads == NULL) {
        fputs("no memory for payloads\n", stderr);
        exit(1);
    }
    for (uint64_t i = 0; i < PAYLOADS; i++)
        payload_make(payloads + i * size, size, 1 + i);
    return payloads;
}
