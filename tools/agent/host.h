/* What the machine says: its clocks, its boot, and lines for people on stderr.
 *
 * Threads: any. */
#ifndef TOOLS_AGENT_HOST_H
#define TOOLS_AGENT_HOST_H

#include <stdint.h>

/* The two clocks that log time is made of, to be handed on, so that a test can give its own. */
struct host_clock {
    /* What elapsed (never back; suspend counts), then wall time. */
    void (*read)(uint64_t *elapsed_ns, uint64_t *wall_ns);
};
extern const struct host_clock host_clock; /* the machine's */

uint64_t host_monotonic_ns(void);
uint64_t host_boottime_ns(void); /* monotonic that goes on in suspend */
uint64_t host_wall_ns(void);
uint64_t host_coarse_ns(void); /* monotonic, a few ms behind, nearly free */

/* /proc/sys/kernel/random/boot_id; zeros where there is none. */
void host_boot_id(uint8_t boot_id[16]);

/* One line on stderr, "daa-agent: ...". */
void host_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
