/* A file of metrics in the text format of Prometheus, for whoever collects them from files
 * (node_exporter).
 *
 * Threads: any; a path belongs to one writer at a time. */
#ifndef TOOLS_PGSYNC_METRICS_FILE_H
#define TOOLS_PGSYNC_METRICS_FILE_H

#include "core/base/error.h"
#include "core/base/text.h"

/* Replaces the file by `text` as a whole: PATH.tmp, renamed. Not synced: it is made anew soon. 0 or
 * negative with a sentence; no PATH.tmp is left then. */
int metrics_file_write(const char *path, struct text *text, struct error *error);

#endif
