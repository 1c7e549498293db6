/* What /proc says about processes, to tell one that we started from another with its number.
 *
 * Threads: any. */
#ifndef TOOLS_AGENT_PROCESS_H
#define TOOLS_AGENT_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Field 22 of /proc/PID/stat, clock ticks since boot; 0 when there is no such process. */
uint64_t process_start_time(uint64_t pid);

/* The id that the kernel gave this boot; false when it cannot be read. */
bool process_boot_id(uint8_t boot_id[16]);

#endif
