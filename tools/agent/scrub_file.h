/* What a scrub keeps on the disk: `<data_dir>/scrub`, lines of text.
 *
 *   daa scrub 1
 *   ended 1790000000000000000              ns since 1970; 0: none ever has
 *   segment 17                             under way: the next one to be read; 0: none is
 *   damages 1                              places
 *   damage FILE OFFSET SIZE FIRST_SEQ LAST_SEQ SENTENCE
 *
 * A file that cannot be read or understood counts as none: then all is read again.
 *
 * Threads: one at a time. */
#ifndef TOOLS_AGENT_SCRUB_FILE_H
#define TOOLS_AGENT_SCRUB_FILE_H

#include "tools/agent/scrub.h"

#define SCRUB_FILE_NAME "scrub"

/* False: there is none that can be understood; the report is as it was. */
bool scrub_file_read(const char *data_dir, struct scrub_report *report);
int scrub_file_write(const char *data_dir, const struct scrub_report *report, struct error *error);

#endif
