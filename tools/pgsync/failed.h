/* How what daa-pgsync asks of a database fails: the sentence, with what can be done about it. */
#ifndef TOOLS_PGSYNC_FAILED_H
#define TOOLS_PGSYNC_FAILED_H

#include "tools/command/command.h"

int pgsync_failed(const struct command *command, const struct error *error); /* COMMAND_FAILED */

#endif
