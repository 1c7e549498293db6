/* An event in the formats of export. Threads: the main thread. */
#ifndef TOOLS_LOG_EXPORT_ROW_H
#define TOOLS_LOG_EXPORT_ROW_H

#include "tools/log/log.h"
#include "tools/log/record_line.h"

enum export_format { EXPORT_JSONL, EXPORT_CSV, EXPORT_RECORDS };

struct export_row {
    enum export_format format;
    bool no_payload;
    struct printer printer; /* for JSON lines as cat prints them */
    struct record_line record;
    struct text line; /* a row with its end */
    struct text payload;
};

void export_row_begin(struct export_row *row, enum export_format format, bool no_payload,
                      struct decryption *decryption);
void export_row_end(struct export_row *row);

/* The names of the columns with the line's end; "" where there are none. */
const char *export_row_header(const struct export_row *row);

/* The event of the log of this name as a line with its end, in row->line; 0, or negative when it
 * does not fit in memory. */
int export_row_fill(struct export_row *row, const uint8_t log_uuid[UUID_SIZE],
                    const struct record *record);

#endif
