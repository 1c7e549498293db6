/* A pager for long output, as git has: $PAGER, else less, which ends by itself when all fits on the
 * screen.
 *
 * Threads: the main thread. */
#ifndef TOOLS_COMMAND_PAGER_H
#define TOOLS_COMMAND_PAGER_H

#include <stdbool.h>

/* From here on what is printed goes through the pager, until the program ends: it waits for the
 * pager then. Nothing happens unless stdout is a terminal, or when $PAGER is empty or "cat". */
void pager_begin(void);

/* True while stdout leads to a terminal by way of the pager: colour is as welcome as without. */
bool pager_runs(void);

#endif
