/* A record as a line of JSON, as export --format records writes it and import reads it:
 *
 *   {"seq":17,"time":"...","kind":"step.completed","log":"<uuid>","record":"<hex>"}
 *
 * `record` is the record's bytes as docs/daa-log-format.5 has them, under their checksum, and `log`
 * the log whose name it was written under: these two count, and `seq` must agree. The others are
 * for people and programs that look for a line; whoever reads takes them, and members that are not
 * among these, as they come. No number but `seq` is there, since a stream of another's log may be
 * beyond what JSON readers can hold.
 *
 * Memory: what reads or writes keeps the bytes of one record, and a bounded arena.
 * Threads: one at a time. */
#ifndef TOOLS_LOG_RECORD_LINE_H
#define TOOLS_LOG_RECORD_LINE_H

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/id.h"
#include "core/base/text.h"
#include "log/record.h"

/* No line is longer: a record of 8 MiB in hexadecimal has half of it. */
#define RECORD_LINE_SIZE_MAX (32u << 20)

struct record_line {
    uint8_t log_uuid[UUID_SIZE];
    struct record record; /* what its payload points to is in `bytes` */
    struct span bytes;    /* the record as it stands in a log */

    /* Its own. */
    struct budget budget;
    struct arena arena;
    uint8_t *room;
    size_t room_size;
};

void record_line_begin(struct record_line *line);
void record_line_end(struct record_line *line);

/* Adds the line of this record with its end; a lack of memory is kept in `text`. */
void record_line_write(struct record_line *line, const uint8_t log_uuid[UUID_SIZE],
                       const struct record *record, struct text *text);

/* Reads a line without its end; what it fills is valid until the next call. 0; with a clause that
 * names no file: ERROR_SYNTAX no JSON; ERROR_INVALID a member is missing or wrong; ERROR_DAMAGED
 * the record's checksum is wrong; ERROR_BUDGET. */
int record_line_read(struct record_line *line, struct span json, struct error *error);

#endif
