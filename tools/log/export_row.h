/* An event in the formats of export. Threads: the main thread. */
#ifndef TOOLS_LOG_EXPORT_ROW_H
#define TOOLS_LOG_EXPORT_ROW_H

#include "tools/log/log.h"

struct export_row {
    bool csv, no_payload;
    struct printer printer; /* for JSON lines as cat prints them */
    struct text line;       /* a row with its end */
    struct text payload;
};

void export_row_begin(struct export_row *row, bool csv, bool no_payload);
void export_row_end(struct export_row *row);

/* The names of the columns with the line's end; "" where there are none. */
const char *export_row_header(const struct export_row *row);

/* The event as a line with its end, in row->line; 0, or negative when it does not fit in memory. */
int export_row_fill(struct export_row *row, const struct record *record);

#endif
