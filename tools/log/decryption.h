/* The keys with which a command opens encrypted events, and what came of it for each.
 *
 * They are in the directory that --keys names, else in "keys" beside that of the log, where it is
 * there and may be read: who may read the keys may read the events. --no-keys uses none. The
 * directory beside the log is looked for when the first encrypted event comes.
 *
 * A key that cannot be had is no error: its events are withheld, that is shown without what is
 * encrypted. The first such reason of a run is said on standard error.
 *
 * Threads: the main thread. */
#ifndef TOOLS_LOG_DECRYPTION_H
#define TOOLS_LOG_DECRYPTION_H

#include "core/base/arena.h"
#include "core/event/event.h"
#include "log/keyring.h"
#include "log/record.h"
#include "tools/command/command.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* What came of an event. */
enum decryption_result {
    DECRYPTION_NONE,        /* nothing of it is encrypted */
    DECRYPTION_DONE,        /* it is open, and its tag fits */
    DECRYPTION_NO_KEYS,     /* withheld: there are no keys */
    DECRYPTION_ERASED,      /* withheld: its key was destroyed, for good */
    DECRYPTION_UNAVAILABLE, /* withheld: its key cannot be read; why.text says more */
    DECRYPTION_MISFIT,      /* withheld: its tag does not fit the key that has its number */
};

/* All zero is one without keys. */
struct decryption {
    /* The options'. */
    const char *keys_dir;
    bool no_keys;

    const struct command *command;
    const char *log_dir; /* beside which they may be; NULL: nowhere */
    struct keyring *keyring;
    bool looked, asked, warned, warned_of_misfit;
    int found;         /* what the keyring said of the last key */
    struct error why;  /* and its sentence */
    uint64_t withheld; /* events that decryption_show() gave so */
};

#define KEYS_OPTION(decryption)                                                                    \
    {                                                                                              \
        "keys", 0, "KEYS", COMMAND_TEXT, &(decryption).keys_dir,                                   \
            "the directory of the keys of encrypted events, instead of\nthe one beside the log"    \
    }

#define KEYS_OPTIONS(decryption)                                                                   \
    KEYS_OPTION(decryption),                                                                       \
    {                                                                                              \
        "no-keys", 0, NULL, COMMAND_FLAG, &(decryption).no_keys,                                   \
            "leave out what is encrypted, also where the keys are"                                 \
    }

/* The keys of a data directory, or of the one in which this log directory is. */
int decryption_keys_beside(char keys[PATH_MAX], const char *dir, struct error *error);

/* Makes sense of the options; `dir` may be NULL. COMMAND_GO_ON, or an exit status with a sentence:
 * keys that were asked for cannot be had. To be ended in any case. */
int decryption_begin(struct decryption *decryption, const struct command *command, const char *dir);
void decryption_end(struct decryption *decryption);

/* NULL: there are none. A directory beside the log that cannot be opened is said once. */
struct keyring *decryption_keyring(struct decryption *decryption);

/* event_open(), of a record that is not the log's own; a result, or negative with *event NULL for
 * one that this version cannot unpack. What is withheld is unpacked. */
int decryption_open(struct decryption *decryption, const struct record *record, struct arena *arena,
                    Daa__Event **event);

/* The same, and says on standard error why it is withheld where that should not be. */
int decryption_show(struct decryption *decryption, const struct record *record, struct arena *arena,
                    Daa__Event **event);

#endif
