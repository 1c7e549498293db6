/* Bytes with the names of their fields, for explain and hexdump: as lines for a person, or as JSON
 * objects.
 *
 * Threads: the main thread. */
#ifndef TOOLS_LOG_DUMP_H
#define TOOLS_LOG_DUMP_H

#include "core/base/span.h"
#include "core/base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum field_kind {
    FIELD_NUMBER,
    FIELD_TIME,  /* ns since 1970 */
    FIELD_KIND,  /* of an event */
    FIELD_FLAGS, /* of a frame */
    FIELD_HEX,   /* a magic, a hash, an id: the bytes say it */
};

struct field {
    unsigned at, size;
    const char *name; /* NULL ends a table */
    enum field_kind kind;
};

extern const struct field segment_fields[], frame_fields[], record_fields[], opened_fields[],
    sealed_fields[], failover_fields[], space_fields[], stalled_fields[], checkpoint_fields[];

struct dump {
    bool json;
    const char *file;  /* its name */
    uint64_t from, to; /* what lies outside is not shown */
    struct text line;
};

/* Shows all of the file; frees what it holds at the end. */
void dump_begin(struct dump *dump, bool json, const char *file);
void dump_end(struct dump *dump);

/* A sentence about the bytes [offset, offset + size) before they are shown: `what` is "frame",
 * "record", "zeros", ... */
void dump_heading(struct dump *dump, const char *what, uint64_t offset, uint64_t size,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The same of what is wrong there. */
void dump_damage(struct dump *dump, uint64_t offset, uint64_t size, const char *text);

/* `bytes` lie at `offset`. Fields that are not within `size` are left out. */
void dump_fields(struct dump *dump, const struct field *fields, const uint8_t *bytes, uint64_t size,
                 uint64_t offset);
/* Sixteen a line; equal lines of zeros behind one are left out. */
void dump_bytes(struct dump *dump, const char *name, const uint8_t *bytes, uint64_t size,
                uint64_t offset);

/* "OPEN CHAIN" */
void dump_flags(uint16_t flags, char text[64]);

#endif
