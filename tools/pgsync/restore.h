/* daa-pgsync restore: a log directory out of Postgres. */
#ifndef TOOLS_PGSYNC_RESTORE_H
#define TOOLS_PGSYNC_RESTORE_H

#include "pgsync/restore.h"
#include "tools/command/command.h"

#include <stdbool.h>

/* An exit status. `options` without progress. */
int run_restore(const struct command *command, const struct restore_options *options, bool json);

#endif
