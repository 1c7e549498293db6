#include "tools/log/findings.h"

#include "tools/command/command.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const level_names[] = { "ok", "note", "warning", "problem" };

void findings_begin(struct findings *findings, bool json)
{
    *findings = (struct findings){ .json = json };
    text_init(&findings->values);
    text_json_open_object(&findings->values, NULL);
}

void findings_number(struct findings *findings, const char *key, uint64_t value)
{
    text_json_unsigned(&findings->values, key, value);
}

void findings_text(struct findings *findings, const char *key, const char *value)
{
    text_json_cstring(&findings->values, key, value);
}

static void print_json(struct findings *findings, enum finding_level level, const char *check,
                       const char *sentence, const char *advice)
{
    struct text line;
    text_init(&line);
    text_json_open_object(&line, NULL);
    text_json_cstring(&line, "check", check);
    text_json_cstring(&line, "level", level_names[level]);
    text_json_cstring(&line, "text", sentence);
    text_json_cstring(&line, "advice", advice);
    text_json_close_object(&findings->values);
    text_json_raw(&line, "values", text_span(&findings->values));
    text_json_close_object(&line);
    printf("%s\n", text_string(&line));
    text_free(&line);
}

static void print_text(enum finding_level level, const char *check, const char *sentence,
                       const char *advice)
{
    static const enum command_style styles[] = { COMMAND_GREEN, COMMAND_PLAIN, COMMAND_YELLOW,
                                                 COMMAND_RED };
    printf("%s%-7s%s  %-14s  %s\n", command_style(stdout, styles[level]), level_names[level],
           command_style(stdout, COMMAND_PLAIN), check, sentence);
    if (advice != NULL)
        printf("%25s-> %s\n", "", advice);
}

void findings_add(struct findings *findings, enum finding_level level, const char *check,
                  const char *advice, const char *format, ...)
{
    char sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    findings->counts[level]++;
    if (findings->json)
        print_json(findings, level, check, sentence, advice);
    else
        print_text(level, check, sentence, advice);
    text_clear(&findings->values);
    text_json_open_object(&findings->values, NULL);
}

bool findings_end(struct findings *findings)
{
    const unsigned *counts = findings->counts;
    if (findings->json)
        printf("{\"problems\":%u,\"warnings\":%u,\"notes\":%u,\"ok\":%u}\n",
               counts[FINDING_PROBLEM], counts[FINDING_WARNING], counts[FINDING_NOTE],
               counts[FINDING_OK]);
    else
        printf("%u problems, %u warnings, %u notes\n", counts[FINDING_PROBLEM],
               counts[FINDING_WARNING], counts[FINDING_NOTE]);
    text_free(&findings->values);
    return counts[FINDING_PROBLEM] > 0;
}
