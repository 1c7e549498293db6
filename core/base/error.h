/* Errors: an int and, where a person will read it, one sentence.
 *
 * Every function that can fail returns 0 or a negative code: -errno, or one of ours from
 * -1000 down. Positive values are documented answers ("1: no more"). Functions that open,
 * recover or parse take a last `struct error *` and leave one sentence there that names the
 * thing (file, offset, sequence number, key) and the way out; callers wrap it on the way up.
 *
 * Threads: a struct error belongs to its caller. */
#ifndef CORE_BASE_ERROR_H
#define CORE_BASE_ERROR_H

#define ERROR_CODES(X)                                                                             \
    X(ERROR_DAMAGED, -1000, "bytes that were once whole are not any more")                         \
    X(ERROR_TORN, -1001, "a partial write")                                                        \
    X(ERROR_UNPROVEN, -1002, "an end that nothing proves")                                         \
    X(ERROR_NEWER, -1003, "written by a newer version")                                            \
    X(ERROR_LOCKED, -1004, "held by another process")                                              \
    X(ERROR_TOO_LARGE, -1005, "larger than its limit")                                             \
    X(ERROR_BUDGET, -1006, "the memory budget is used up")                                         \
    X(ERROR_FULL, -1007, "no room")                                                                \
    X(ERROR_UNAVAILABLE, -1008, "does not accept writes")                                          \
    X(ERROR_NOT_FOUND, -1009, "does not exist")                                                    \
    X(ERROR_SYNTAX, -1010, "cannot be parsed")                                                     \
    X(ERROR_INVALID, -1011, "breaks a rule")                                                       \
    X(ERROR_MISMATCH, -1012, "belongs to something else")                                          \
    X(ERROR_CONFLICT, -1013, "contradicts what is there")                                          \
    X(ERROR_TRUNCATED, -1014, "ends too early")

enum error_code {
#define X(name, code, text) name = code,
    ERROR_CODES(X)
#undef X
};

struct error {
    int code;
    char text[1024]; /* always terminated; cut with "..." when too long */
};

#define ERROR_PRINTF(nth, first) __attribute__((format(printf, nth, first)))

/* Sets code and sentence; returns `code`. `error` may be NULL. */
int error_set(struct error *error, int code, const char *format, ...) ERROR_PRINTF(3, 4);

/* Puts "<format>: " before the sentence; returns error->code. `error` may be NULL: returns
 * `code` then, which must be what the callee returned. */
int error_wrap(struct error *error, int code, const char *format, ...) ERROR_PRINTF(3, 4);

/* What a code means: ours from the table above, strerror for the rest. Never NULL. */
const char *error_text(int code);

#endif
