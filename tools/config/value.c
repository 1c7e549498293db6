#include "tools/config/value.h"

#include "core/base/duration.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void value_list_free(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct config_list){ NULL, 0 };
}

int value_list_add(struct config_list *list, const char *item, size_t size)
{
    char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (items == NULL)
        return -ENOMEM;
    list->items = items;
    items[list->count] = strndup(item, size);
    if (items[list->count] == NULL)
        return -ENOMEM;
    list->count++;
    return 0;
}

static int set_text(char **target, const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return -ENOMEM;
    free(*target);
    *target = copy;
    return 0;
}

void *value_member(const struct config *config, const struct key *key)
{
    return (char *)(uintptr_t)config + key->offset;
}

/*--- What was found, what is expected -----------------------------------------------------------*/

/* A value as a person may read it: printable, and not too long. */
static void describe(char found[120], const struct toml_entry *entry)
{
    switch (entry->kind) {
    case TOML_TEXT: {
        size_t size = strnlen(entry->text, 80);
        (void)snprintf(found, 120, "\"%.*s%s\"", (int)size, entry->text,
                       entry->text[size] != '\0' ? "..." : "");
        for (char *at = found; *at != '\0'; at++)
            if ((unsigned char)*at < 0x20 || *at == 0x7f)
                *at = '?';
        break;
    }
    case TOML_INTEGER:
        (void)snprintf(found, 120, "the number %" PRId64, entry->integer);
        break;
    case TOML_TRUTH:
        (void)snprintf(found, 120, "%s", entry->truth ? "true" : "false");
        break;
    case TOML_LIST:
        (void)snprintf(found, 120, "a list");
        break;
    case TOML_TABLE:
        (void)snprintf(found, 120, "a table");
        break;
    case TOML_OTHER:
        (void)snprintf(found, 120, "%s", entry->text);
        break;
    }
}

static void expect_choice(char *expected, size_t size, const struct key *key)
{
    size_t at = (size_t)snprintf(expected, size, "one of");
    for (int i = 0; i < KEY_CHOICES_MAX && key->choices[i] != NULL; i++)
        at += (size_t)snprintf(expected + at, size - at, "%s \"%s\"", i > 0 ? "," : "",
                               key->choices[i]);
}

static void expect(char *expected, size_t size, const struct key *key)
{
    char min[DURATION_TEXT_SIZE], max[DURATION_TEXT_SIZE];
    switch (key->kind) {
    case KEY_TEXT:
        (void)snprintf(expected, size, "%s in quotes, like \"%s\"",
                       key->expected != NULL ? key->expected : "text",
                       key->example != NULL ? key->example : key->fallback);
        break;
    case KEY_COUNT:
        (void)snprintf(expected, size, "a number from %" PRIu64 " to %" PRIu64 ", like %s",
                       key->min, key->max, key->fallback);
        break;
    case KEY_TRUTH:
        (void)snprintf(expected, size, "true or false");
        break;
    case KEY_DURATION:
        duration_to_text(min, key->min);
        duration_to_text(max, key->max);
        (void)snprintf(expected, size, "a duration with its unit from %s to %s, like \"%s\"", min,
                       max, key->fallback);
        break;
    case KEY_SIZE:
        size_to_text(min, key->min);
        size_to_text(max, key->max);
        (void)snprintf(expected, size, "a size with its unit from %s to %s, like \"%s\"", min, max,
                       key->fallback);
        break;
    case KEY_CHOICE:
        expect_choice(expected, size, key);
        break;
    case KEY_LIST:
        (void)snprintf(expected, size, "a list of %s, like [\"%s\"]", key->expected, key->example);
        break;
    }
}

static int refuse(const struct value_source *source, const struct key *key,
                  const struct toml_entry *entry, struct error *error)
{
    char found[120], expected[320], path[KEY_PATH_SIZE];
    if (key->secret && entry->kind == TOML_TEXT)
        (void)snprintf(found, sizeof found, "not such a text");
    else
        describe(found, entry);
    expect(expected, sizeof expected, key);
    key_path(path, key);
    return error_set(error, ERROR_INVALID, "%s%s is %s; expected %s", source->text, path, found,
                     expected);
}

/*--- One value ----------------------------------------------------------------------------------*/

static int set_number(struct config *config, const struct key *key, const struct toml_entry *entry)
{
    uint64_t number = 0;
    int error = ERROR_INVALID;
    if (key->kind == KEY_COUNT && entry->kind == TOML_INTEGER && entry->integer >= 0) {
        number = (uint64_t)entry->integer;
        error = 0;
    } else if (key->kind == KEY_DURATION && entry->kind == TOML_TEXT) {
        error = duration_parse(span_of_text(entry->text), &number);
    } else if (key->kind == KEY_SIZE && entry->kind == TOML_TEXT) {
        error = size_parse(span_of_text(entry->text), &number);
    }
    if (error < 0 || number < key->min || number > key->max)
        return ERROR_INVALID;
    *(uint64_t *)value_member(config, key) = number;
    return 0;
}

static int set_choice(struct config *config, const struct key *key, const struct toml_entry *entry)
{
    if (entry->kind != TOML_TEXT)
        return ERROR_INVALID;
    for (uint64_t i = 0; i < KEY_CHOICES_MAX && key->choices[i] != NULL; i++)
        if (strcmp(key->choices[i], entry->text) == 0) {
            *(uint64_t *)value_member(config, key) = i;
            return 0;
        }
    return ERROR_INVALID;
}

/* *wrong is the first item that will not do, if that is what is wrong. */
static int set_list(struct config *config, const struct key *key, const struct toml_entry *entry,
                    const char **wrong)
{
    struct config_list list = { NULL, 0 };
    if (entry->kind != TOML_LIST)
        return ERROR_INVALID;
    for (size_t i = 0; i < entry->item_count; i++) {
        const char *item = entry->items[i];
        if (key->check != NULL && !key->check(item)) {
            *wrong = item;
            value_list_free(&list);
            return ERROR_INVALID;
        }
        if (value_list_add(&list, item, strlen(item)) < 0) {
            value_list_free(&list);
            return -ENOMEM;
        }
    }
    value_list_free(value_member(config, key));
    *(struct config_list *)value_member(config, key) = list;
    return 0;
}

int value_set(struct config *config, const struct key *key, const struct toml_entry *entry,
              const struct value_source *source, struct error *error)
{
    struct toml_entry item = { .kind = TOML_TEXT };
    const char *wrong = NULL;
    int failed = ERROR_INVALID;
    switch (key->kind) {
    case KEY_TEXT:
        if (entry->kind == TOML_TEXT && (key->check == NULL || key->check(entry->text)))
            failed = set_text(value_member(config, key), entry->text);
        break;
    case KEY_TRUTH:
        if (entry->kind == TOML_TRUTH) {
            *(bool *)value_member(config, key) = entry->truth;
            failed = 0;
        }
        break;
    case KEY_CHOICE:
        failed = set_choice(config, key, entry);
        break;
    case KEY_LIST:
        failed = set_list(config, key, entry, &wrong);
        break;
    case KEY_COUNT:
    case KEY_DURATION:
    case KEY_SIZE:
        failed = set_number(config, key, entry);
        break;
    }
    if (failed == -ENOMEM)
        return error_set(error, failed, "%sout of memory", source->text);
    if (wrong != NULL) {
        char text[120], path[KEY_PATH_SIZE];
        item.text = (char *)(uintptr_t)wrong;
        describe(text, &item);
        key_path(path, key);
        return error_set(error, ERROR_INVALID,
                         "%s%s holds %s; expected a list of %s, like [\"%s\"]", source->text, path,
                         text, key->expected, key->example);
    }
    return failed < 0 ? refuse(source, key, entry, error) : 0;
}

/* A value as the environment has it. What it cannot be stays a text, for value_set to refuse. */
int value_set_text(struct config *config, const struct key *key, const char *value,
                   const struct value_source *source, struct error *error)
{
    struct config_list list = { NULL, 0 };
    struct toml_entry entry = { .kind = TOML_TEXT, .text = (char *)(uintptr_t)value };
    size_t size = strlen(value);
    if (key->kind == KEY_COUNT && size > 0 && size < 19 && strspn(value, "0123456789") == size) {
        entry.kind = TOML_INTEGER;
        entry.integer = strtoll(value, NULL, 10);
    } else if (key->kind == KEY_TRUTH &&
               (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)) {
        entry.kind = TOML_TRUTH;
        entry.truth = value[0] == 't';
    } else if (key->kind == KEY_LIST) {
        for (const char *at = value; *at != '\0';) {
            size_t item_size = strcspn(at, ",");
            if (value_list_add(&list, at, item_size) < 0) {
                value_list_free(&list);
                return error_set(error, -ENOMEM, "%sout of memory", source->text);
            }
            at += item_size + (at[item_size] == ',');
        }
        entry.kind = TOML_LIST;
        entry.items = list.items;
        entry.item_count = list.count;
    }
    int failed = value_set(config, key, &entry, source, error);
    value_list_free(&list);
    return failed;
}
