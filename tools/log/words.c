#include "tools/log/words.h"

#include <stddef.h>
#include <stdio.h>
#include <time.h>

const char *words_of_bytes(char text[WORDS_SIZE], uint64_t bytes)
{
    static const char *const units[] = { "B", "KB", "MB", "GB", "TB" };
    double value = (double)bytes;
    size_t i = 0;
    for (; value >= 1024 && i + 1 < sizeof units / sizeof units[0]; i++)
        value /= 1024;
    snprintf(text, WORDS_SIZE, i == 0 ? "%.0f %s" : "%.1f %s", value, units[i]);
    return text;
}

const char *words_of_time(char text[WORDS_SIZE], uint64_t time_ns)
{
    time_t seconds = (time_t)(time_ns / 1000000000u);
    struct tm tm;
    if (time_ns == 0 || gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, WORDS_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(text, WORDS_SIZE, "-");
    return text;
}

const char *words_of_duration(char text[WORDS_SIZE], uint64_t ns)
{
    static const struct {
        double ns;
        const char *name;
    } units[] = { { 86400e9, "days" }, { 3600e9, "h" }, { 60e9, "min" },
                  { 1e9, "s" },        { 1e6, "ms" },   { 1e3, "us" } };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if ((double)ns >= units[i].ns) {
            snprintf(text, WORDS_SIZE, "%.3g %s", (double)ns / units[i].ns, units[i].name);
            return text;
        }
    snprintf(text, WORDS_SIZE, "%u ns", (unsigned)ns);
    return text;
}
