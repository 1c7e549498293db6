/* daa-pgsync --verify and --repair: what is printed, and the exit status. */
#ifndef TOOLS_PGSYNC_VERIFY_H
#define TOOLS_PGSYNC_VERIFY_H

#include "core/base/text.h"
#include "pgsync/verify.h"
#include "tools/command/command.h"

#include <stdbool.h>

struct verify_wish {
    const char *url, *dir;
    struct log_reader *reader;
    const struct event_keys *keys;
    struct budget *budget;
    const atomic_bool *stop;
    bool content, json;
};

/* An exit status: COMMAND_FAILED also when anything differs. */
int run_verify(const struct command *command, const struct verify_wish *wish);

/* The result for people, without the verdict; and as members of an open JSON object. */
void print_verified(const struct verify_result *result);
void verified_to_json(struct text *text, const struct verify_result *result);

#endif
