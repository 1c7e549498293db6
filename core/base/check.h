/* Assertions for our own invariants. They stay on in release builds.
 *
 * Never CHECK what came from a disk, a network or a user: that is an error code.
 * Threads: any. */
#ifndef CORE_BASE_CHECK_H
#define CORE_BASE_CHECK_H

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

/* Says which condition failed and where on stderr, then aborts. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#endif
