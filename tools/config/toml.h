/* TOML as a flat list of values: all that a configuration needs, and no C++ for whoever reads it.
 *
 * Tables are flattened: `[log] spares = 3` is the entry "log.spares". A part of a key that is not
 * bare (letters, digits, _ and -) stands in quotes in the path, so that no two keys look the same.
 * Each table is an entry too, so that an empty one is seen.
 *
 * Limits: 256 KiB of text, 1024 bytes a line, 16 levels of nested values.
 *
 * Threads: any; a document belongs to its owner. */
#ifndef TOOLS_CONFIG_TOML_H
#define TOOLS_CONFIG_TOML_H

#include "core/base/error.h"
#include "core/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOML_SIZE_MAX (256u << 10)
#define TOML_LINE_SIZE_MAX 1024u

enum toml_kind {
    TOML_TEXT,
    TOML_INTEGER,
    TOML_TRUTH,
    TOML_LIST,  /* of texts, or empty */
    TOML_TABLE, /* its values are entries of their own */
    TOML_OTHER  /* what no configuration needs: `text` says what it is */
};

struct toml_entry {
    char *path;
    uint32_t line; /* 1-based */
    enum toml_kind kind;
    char *text; /* of TOML_TEXT, terminated and without NUL inside; "a date" */
    int64_t integer;
    bool truth;
    char **items; /* of TOML_LIST */
    size_t item_count;
};

struct toml_document {
    struct toml_entry *entries; /* in the order of the text */
    size_t count;
};

/* `name` stands for the text in messages: "daa.toml:3: ...". ERROR_SYNTAX, ERROR_TOO_LARGE. Nothing
 * to free after an error. */
int toml_read(struct toml_document *document, const char *name, struct span text,
              struct error *error);
void toml_free(struct toml_document *document);

#endif
