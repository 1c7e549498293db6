/* Whether the encrypted events of a log can be opened with the keys that there are, for verify.
 * What cannot is no damage of the log, whose bytes are what was written.
 *
 * Threads: the main thread. */
#ifndef TOOLS_LOG_CHECK_KEYS_H
#define TOOLS_LOG_CHECK_KEYS_H

#include "core/base/text.h"
#include "tools/log/decryption.h"

#define KEY_FINDINGS_SHOWN 100u

struct check_keys {
    struct decryption keys; /* of --keys alone: without it nothing is looked at */
    struct budget budget;
    struct arena arena;
    uint64_t events, opened, erased;       /* that are encrypted, and of them */
    uint64_t misfits;                      /* whose tag does not fit */
    uint64_t unavailable;                  /* whose key cannot be read */
    char text[sizeof(struct error) + 128]; /* a sentence, of the finding under way */
};

void check_keys_begin(struct check_keys *checking);
void check_keys_end(struct check_keys *checking);

/* True: text says what is wrong, and it should be shown; not of more than KEY_FINDINGS_SHOWN. */
bool check_keys_record(struct check_keys *checking, const struct record *record);

void check_keys_finding_to_json(const struct check_keys *checking, const struct record *record,
                                struct text *line);

static inline bool check_keys_is_wrong(const struct check_keys *checking)
{
    return checking->misfits > 0 || checking->unavailable > 0;
}

/* The result. */
void check_keys_to_text(const struct check_keys *checking, struct text *line);
void check_keys_to_json(const struct check_keys *checking, struct text *line);

#endif
