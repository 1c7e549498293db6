#include "tools/pgsync/failed.h"

#include "pgsync/pg.h"

int pgsync_failed(const struct command *command, const struct error *error)
{
    return command_failed(command, "%s%s", error->text, pg_hint(error));
}
