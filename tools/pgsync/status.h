/* daa-pgsync --status: how far a log is copied, how far that is behind, and who copies it.
 *
 * Threads: the main thread. */
#ifndef TOOLS_PGSYNC_STATUS_H
#define TOOLS_PGSYNC_STATUS_H

#include "core/base/error.h"
#include "log/reader.h"
#include "mmapstore/interrupt.h"

#include <stdbool.h>

struct status_options {
    const char *url, *dir;
    const char *reader_name; /* under which the copy tells its position; "": under none */
    struct log_reader *reader;
    struct interrupt *stop;
    bool json;
};

/* Prints it on stdout. 0 or negative: the copier's and the reader's errors. */
int status_print(const struct status_options *options, struct error *error);

#endif
