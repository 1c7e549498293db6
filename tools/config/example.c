/* Configurations written as TOML: the one in effect, and the documented example. */
#include "core/base/duration.h"
#include "tools/config/config.h"
#include "tools/config/keys.h"
#include "tools/config/value.h"

#include <inttypes.h>
#include <string.h>

enum { LINE_WIDTH = 100 };

static void write_list(struct text *text, const struct config_list *list, size_t indent)
{
    struct text line;
    text_init(&line);
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            text_add_string(&line, ", ");
        text_json_cstring(&line, NULL, list->items[i]);
    }
    bool fits = line.size + indent + 2 <= LINE_WIDTH;
    text_add_string(text, "[");
    if (fits)
        text_add_span(text, text_span(&line));
    for (size_t i = 0; !fits && i < list->count; i++) {
        text_add_string(text, "\n    ");
        text_json_cstring(text, NULL, list->items[i]); /* JSON's escapes are TOML's too */
        text_add_string(text, ",");
    }
    text_add_string(text, fits ? "]" : "\n]");
    text_free(&line);
}

static void write_value(struct text *text, const struct config *config, const struct key *key)
{
    const void *value = value_member(config, key);
    char unit[DURATION_TEXT_SIZE];
    switch (key->kind) {
    case KEY_TEXT:
        text_json_cstring(text, NULL, *(char *const *)value);
        break;
    case KEY_COUNT:
        text_printf(text, "%" PRIu64, *(const uint64_t *)value);
        break;
    case KEY_TRUTH:
        text_add_string(text, *(const bool *)value ? "true" : "false");
        break;
    case KEY_DURATION:
        duration_to_text(unit, *(const uint64_t *)value);
        text_printf(text, "\"%s\"", unit);
        break;
    case KEY_SIZE:
        size_to_text(unit, *(const uint64_t *)value);
        text_printf(text, "\"%s\"", unit);
        break;
    case KEY_CHOICE:
        text_printf(text, "\"%s\"", key->choices[*(const uint64_t *)value]);
        break;
    case KEY_LIST:
        write_list(text, value, strlen(key->name) + 3);
        break;
    }
}

static void write_comment(struct text *text, const char *comment)
{
    for (;;) {
        size_t size = strcspn(comment, "\n");
        text_printf(text, "#%s%.*s\n", size > 0 ? " " : "", (int)size, comment);
        if (comment[size] == '\0')
            return;
        comment += size + 1;
    }
}

static void write_doc(struct text *text, const struct key *key)
{
    char min[DURATION_TEXT_SIZE], max[DURATION_TEXT_SIZE];
    text_add_string(text, "\n");
    write_comment(text, key->doc);
    if (key->kind == KEY_COUNT) {
        text_printf(text, "# From %" PRIu64 " to %" PRIu64 ".\n", key->min, key->max);
    } else if (key->kind == KEY_DURATION) {
        duration_to_text(min, key->min);
        duration_to_text(max, key->max);
        text_printf(text, "# From %s to %s.\n", min, max);
    } else if (key->kind == KEY_SIZE) {
        size_to_text(min, key->min);
        size_to_text(max, key->max);
        text_printf(text, "# From %s to %s.\n", min, max);
    }
}

static void write_keys(struct text *text, const struct config *config, bool documented)
{
    for (size_t i = 0; i < key_count; i++) {
        const struct key *key = &keys[i];
        if (i == 0 || strcmp(key->section, keys[i - 1].section) != 0)
            text_printf(text, "%s[%s]\n", i > 0 ? "\n" : "", key->section);
        if (documented)
            write_doc(text, key);
        text_printf(text, "%s = ", key->name);
        write_value(text, config, key);
        text_add_string(text, "\n");
    }
}

void config_print(const struct config *config, struct text *text)
{
    write_keys(text, config, false);
    text_add_string(text, "\n[secrets]\n");
    for (size_t i = 0; i < config->secret_count; i++) {
        text_printf(text, "%s = ", config->secrets[i].name);
        text_json_cstring(text, NULL, config->secrets[i].source);
        text_add_string(text, "\n");
    }
}

void config_print_example(struct text *text)
{
    struct config config;
    int failed = config_load(&config, NULL, NULL, NULL);
    if (failed < 0) {
        text->failed = failed;
        return;
    }
    write_comment(
        text, "The configuration of daa-agent: every key with its default.\n"
              "\n"
              "Use it with `daa-agent --config FILE`, and see what is in effect with\n"
              "`daa-agent --config FILE --check-config`. Without a file the defaults hold. The\n"
              "environment wins over the file: DAA_LOG_SPARES=4 is [log] spares = 4; the items\n"
              "of a list stand between commas there.\n"
              "\n"
              "Durations have a unit (ns us ms s m h d), sizes too (B KB MB GB TB, in steps of\n"
              "1024). This file is made from the table in tools/config/keys.c.");
    text_add_string(text, "\n");
    write_keys(text, &config, true);
    text_add_string(text, "\n[secrets]\n\n");
    write_comment(text,
                  "What ${{ secrets.NAME }} stands for in a step: never the value itself, but a\n"
                  "file that holds it or an environment variable of the agent.\n"
                  "PAYMENT_TOKEN = \"file:/run/secrets/payment-token\"\n"
                  "MODEL_KEY = \"env:MODEL_KEY\"");
    config_free(&config);
}
