#include "tap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int claims_made;
static int claims_failed;

TAP_PRINTF(2, 0)
static void line(const char *prefix, const char *format, va_list arguments)
{
    fputs(prefix, stdout);
    vfprintf(stdout, format, arguments);
    fputc('\n', stdout);
    fflush(stdout); /* a crash must not eat what came before it */
}

TAP_PRINTF(4, 0)
static bool claim(bool held, const char *file, int at, const char *name, va_list arguments)
{
    char prefix[32];
    claims_made++;
    claims_failed += !held;
    snprintf(prefix, sizeof prefix, "%s %d - ", held ? "ok" : "not ok", claims_made);
    line(prefix, name, arguments);
    if (!held)
        tap_note("at %s:%d", file, at);
    return held;
}

bool tap_ok(bool held, const char *text, const char *file, int at, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    claim(held, file, at, name, arguments);
    va_end(arguments);
    if (!held)
        tap_note("claimed: %s", text);
    return held;
}

bool tap_is_int(intmax_t got, intmax_t want, const char *file, int at, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    bool held = claim(got == want, file, at, name, arguments);
    va_end(arguments);
    if (!held)
        tap_note("got %jd, want %jd", got, want);
    return held;
}

bool tap_is_str(const char *got, const char *want, const char *file, int at, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    bool held = claim(got && strcmp(got, want) == 0, file, at, name, arguments);
    va_end(arguments);
    if (!held)
        tap_note("got \"%s\", want \"%s\"", got ? got : "(null)", want);
    return held;
}

bool tap_is_mem(const void *got, const void *want, size_t size, const char *file, int at,
                const char *name, ...)
{
    const unsigned char *g = got, *w = want;
    size_t first = 0;
    va_list arguments;
    while (first < size && g[first] == w[first])
        first++;
    va_start(arguments, name);
    bool held = claim(first == size, file, at, name, arguments);
    va_end(arguments);
    if (!held)
        tap_note("first difference at byte %zu: got 0x%02x, want 0x%02x", first, g[first],
                 w[first]);
    return held;
}

void tap_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    line("# ", format, arguments);
    va_end(arguments);
}

void tap_skip(int count, const char *reason, ...)
{
    const char *required = getenv("TEST_REQUIRE");
    bool fail = required && strcmp(required, "1") == 0;
    for (int i = 0; i < count; i++) {
        char prefix[48];
        va_list arguments;
        claims_made++;
        claims_failed += fail;
        snprintf(prefix, sizeof prefix, "%s %d # SKIP ", fail ? "not ok" : "ok", claims_made);
        va_start(arguments, reason);
        line(prefix, reason, arguments);
        va_end(arguments);
    }
}

_Noreturn void tap_skip_all(const char *reason, ...)
{
    va_list arguments;
    va_start(arguments, reason);
    line("1..0 # SKIP ", reason, arguments);
    va_end(arguments);
    exit(0);
}

_Noreturn void tap_bail_out(const char *reason, ...)
{
    va_list arguments;
    va_start(arguments, reason);
    line("Bail out! ", reason, arguments);
    va_end(arguments);
    exit(255);
}

int tap_done(void)
{
    printf("1..%d\n", claims_made);
    if (claims_failed > 0)
        tap_note("%d of %d claims failed", claims_failed, claims_made);
    return claims_failed > 0 ? 1 : 0;
}
