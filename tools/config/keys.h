/* The table of all keys: for config.c and example.c alone. Threads: any. */
#ifndef TOOLS_CONFIG_KEYS_H
#define TOOLS_CONFIG_KEYS_H

#include "tools/config/config.h"

#include <stddef.h>
#include <stdint.h>

enum key_kind {
    KEY_TEXT,     /* char * */
    KEY_COUNT,    /* uint64_t */
    KEY_TRUTH,    /* bool */
    KEY_DURATION, /* uint64_t, ns */
    KEY_SIZE,     /* uint64_t, bytes */
    KEY_CHOICE,   /* uint64_t: index in `choices` */
    KEY_LIST      /* struct config_list */
};

enum { KEY_CHOICES_MAX = 4, KEY_PATH_SIZE = 80 };

struct key {
    const char *section, *name;
    enum key_kind kind;
    size_t offset;        /* in struct config */
    uint64_t min, max;    /* of numbers */
    const char *fallback; /* as it would be in the environment: a list's items between commas */
    const char *choices[KEY_CHOICES_MAX];
    /* Whether a text, or an item of a list, will do; NULL: any. `expected` then says what would:
     * "an absolute path", and `example` is one. */
    bool (*check)(const char *text);
    const char *expected, *example;
    bool secret; /* a text that may hold a secret by mistake: no message quotes what was found */
    const char *doc; /* sentences; '\n' where a line ends */
};

extern const struct key keys[];
extern const size_t key_count;

/* "log.spares" or "cache.*": names of features that are not in this version. Ends with NULL. */
extern const char *const keys_absent[];

/* NULL if there is none. */
const struct key *key_find(const char *path);

/* "log.spares" */
void key_path(char path[KEY_PATH_SIZE], const struct key *key);

/* "DAA_LOG_SPARES" */
void key_variable(char name[KEY_PATH_SIZE], const struct key *key);

bool key_is_absent(const char *path);

bool key_is_variable_name(const char *text); /* letters, digits and _, no digit first */

#endif
