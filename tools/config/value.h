/* One value of the configuration: checked against its key and stored, or refused with a sentence.
 * For config.c alone. Threads: any. */
#ifndef TOOLS_CONFIG_VALUE_H
#define TOOLS_CONFIG_VALUE_H

#include "tools/config/config.h"
#include "tools/config/keys.h"
#include "tools/config/toml.h"

#include <stddef.h>

/* Where a value comes from, as messages begin: "daa.toml:3: ", "DAA_LOG_SPARES: ". */
struct value_source {
    char text[300];
};

/* ERROR_INVALID names source, key, what was found and what is expected; -ENOMEM. The value is as it
 * was then. */
int value_set(struct config *config, const struct key *key, const struct toml_entry *entry,
              const struct value_source *source, struct error *error);

/* The same from text as the environment has it: a list's items between commas. */
int value_set_text(struct config *config, const struct key *key, const char *value,
                   const struct value_source *source, struct error *error);

/* Where the value of a key lies; its type is that of the key's kind. */
void *value_member(const struct config *config, const struct key *key);

/* 0 or -ENOMEM. The list keeps a copy of the `size` bytes. */
int value_list_add(struct config_list *list, const char *item, size_t size);
void value_list_free(struct config_list *list);

#endif
