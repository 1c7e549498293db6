/* daa-pgsync --repair: compares, mends, compares again. */
#ifndef TOOLS_PGSYNC_REPAIR_H
#define TOOLS_PGSYNC_REPAIR_H

#include "tools/pgsync/verify.h"

/* An exit status: COMMAND_GOOD if all is the same afterwards. `wish->content` does not matter: all
 * columns are compared. */
int run_repair(const struct command *command, const struct verify_wish *wish, bool dry_run);

#endif
