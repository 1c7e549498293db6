/* What other operations show of the clock. Threads: the API's, once the agent is ready. */
#ifndef TOOLS_AGENT_API_CLOCK_H
#define TOOLS_AGENT_API_CLOCK_H

#include <stdbool.h>
#include <stddef.h>

struct boot;
struct text;

/* Adds the member "clock". */
void clock_add_status(const struct boot *boot, struct text *text);

/* True: DEGRADED, and why. */
bool clock_is_degraded(const struct boot *boot, char *why, size_t size);

#endif
