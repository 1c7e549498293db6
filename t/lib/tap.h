/* Test Anything Protocol for C tests, after Perl's Test::More.
 *
 * A test is a main() that makes claims and ends with `return tap_done();`.
 * The plan is printed at the end, so nobody counts claims by hand.  Every claim
 * returns whether it held, so `if (!ok(...)) return tap_done();` stops early. */
#ifndef TAP_H
#define TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAP_HERE __FILE__, __LINE__

#define ok(claim, ...) tap_ok((claim), #claim, TAP_HERE, __VA_ARGS__)
#define is_int(got, want, ...) tap_is_int((intmax_t)(got), (intmax_t)(want), TAP_HERE, __VA_ARGS__)
#define is_str(got, want, ...) tap_is_str((got), (want), TAP_HERE, __VA_ARGS__)
#define is_mem(got, want, size, ...) tap_is_mem((got), (want), (size), TAP_HERE, __VA_ARGS__)

#define TAP_PRINTF(nth, first) __attribute__((format(printf, nth, first)))

bool tap_ok(bool claim, const char *text, const char *file, int line, const char *name, ...)
    TAP_PRINTF(5, 6);
bool tap_is_int(intmax_t got, intmax_t want, const char *file, int line, const char *name, ...)
    TAP_PRINTF(5, 6);
bool tap_is_str(const char *got, const char *want, const char *file, int line, const char *name,
                ...) TAP_PRINTF(5, 6);
bool tap_is_mem(const void *got, const void *want, size_t size, const char *file, int line,
                const char *name, ...) TAP_PRINTF(6, 7);

/* Say something that is not a claim. */
void tap_note(const char *format, ...) TAP_PRINTF(1, 2);

/* Pass the next `count` claims without making them, and say why. With
 * TEST_REQUIRE=1 in the environment a skip is a failure: CI must not skip. */
void tap_skip(int count, const char *reason, ...) TAP_PRINTF(2, 3);

/* Skip the whole file, or give up on the whole test run. */
_Noreturn void tap_skip_all(const char *reason, ...) TAP_PRINTF(1, 2);
_Noreturn void tap_bail_out(const char *reason, ...) TAP_PRINTF(1, 2);

/* Print the plan; the exit status of the test program. */
int tap_done(void);

#endif
