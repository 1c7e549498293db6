/* What a TOML text must be before toml++ may see it: for toml.cc alone. Threads: any. */
#ifndef TOOLS_CONFIG_TOML_CHECK_H
#define TOOLS_CONFIG_TOML_CHECK_H

#include "core/base/error.h"
#include "core/base/span.h"

/* Refuses what is no TOML or no configuration, but is more than the library can bear: a large text;
 * long lines, which could nest keys deeply (a.a.a.a...); characters beyond ASCII outside quotes and
 * comments, which its tables take for unreachable. ERROR_TOO_LARGE, ERROR_SYNTAX. */
int toml_check(const char *name, struct span text, struct error *error);

#endif
