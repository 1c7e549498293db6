/* The keys with which the events of streams are encrypted, outside of the log, so that destroying
 * one is erasure of what it encrypts. A record's key_id is the number of a key here; 0 is none.
 *
 * A directory of files `keys-<10 digits>`, of 65536 keys each (log/keyring_format.h has the bytes),
 * made ahead of time, because nobody who wants a key may wait for a sync. The bytes of keys are
 * kept nowhere else: each keyring_get() reads, so a key that any process destroyed is gone for all
 * from then on. A file that is lost is to be had from a copy alone, and a copy brings back the keys
 * that were destroyed behind it.
 *
 * A keyring has a uuid, in each of its files, so that the keys of another one are not taken for
 * these: numbers of keys begin with 1 in each.
 *
 * An erasure is a few steps: a marker (keyring_condemn), the event in the log that says so, the key
 * (keyring_destroy, which takes the marker away). A crash may come between any two, so whoever
 * starts looks through the markers (keyring_condemned) and goes on, or gives up (keyring_spare).
 *
 * What a filesystem or a disk keeps of overwritten blocks (copy on write, snapshots, flash) is out
 * of our reach, as are copies; see daa-log-format(5).
 *
 * Threads: any may call keyring_get(), at any time, keyring_end() and keyring_count(). Functions
 * that change something belong to one thread each: keyring_begin() and keyring_prepare() to one,
 * those of erasure to one, all of one process, which holds the log's lock. Readers in other
 * processes are not disturbed. */
#ifndef LOG_KEYRING_H
#define LOG_KEYRING_H

#include "core/base/error.h"
#include "core/base/id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYRING_KEY_SIZE 32u
#define KEYRING_AHEAD 65536u /* keys that keyring_prepare() sees to */

struct keyring;

enum keyring_mode {
    KEYRING_READ,
    KEYRING_WRITE,
    KEYRING_MEND, /* as KEYRING_WRITE, for keyring_give_up() alone: whatever its files are */
};

struct keyring_options {
    const char *dir;
    enum keyring_mode mode;
    const uint8_t *uuid; /* KEYRING_MEND: of the keyring, or NULL: a file says it */
    /* The bytes of keys; NULL: getrandom. Called by keyring_prepare() alone. */
    void (*random)(void *bytes, size_t size, void *context);
    void *random_context;
};

/* Opens the directory; a writer makes it (0700) when it is missing. The caller closes *keyring,
 * which is NULL on error. Errors: ERROR_NOT_FOUND there is no such directory (of a reader);
 * ERROR_INVALID others than its owner may do something with it (of a writer); ERROR_LOCKED another
 * writer has it open (the sentence names its pid); ERROR_DAMAGED and others, of a writer: it has
 * files of keys, and the first of them cannot be read as one; of KEYRING_MEND: ERROR_CONFLICT, its
 * files are of another keyring than `uuid`; ERROR_INVALID, nothing says of which; -errno. */
int keyring_open(struct keyring **keyring, const struct keyring_options *options,
                 struct error *error);
/* Nobody may be in any other function. NULL is fine. */
void keyring_close(struct keyring *keyring);

/* Of which uuid it is; false: it has no files yet. Any thread. */
bool keyring_uuid(struct keyring *keyring, uint8_t uuid[UUID_SIZE]);

/* The key with this number; all zero on error. The caller wipes it (explicit_bzero). `error` may be
 * NULL. Errors:
 *   ERROR_NOT_FOUND    it was destroyed, for good (as is 0, from the beginning)
 *   ERROR_UNAVAILABLE  its file is missing: the sentence says which, and to put it back
 *   ERROR_DAMAGED      its file is not what was written: the sentence says where
 *   ERROR_NEWER        a newer version wrote it
 *   -errno             its file cannot be read */
int keyring_get(struct keyring *keyring, uint32_t id, uint8_t key[KEYRING_KEY_SIZE],
                struct error *error);

/* Sees to it that the KEYRING_AHEAD keys from `next_id` on are there, durably; fewer where numbers
 * end. May take as long as writing and syncing 8 MiB, and nothing at all when they are. `next_id`
 * is the number that is given out next, from 1; all before it were given out. Therefore a file that
 * has such keys is never made anew: ERROR_UNAVAILABLE when it is missing. ERROR_DAMAGED when what
 * has its name is not a file of keys. On error no half file has a name of its own. */
int keyring_prepare(struct keyring *keyring, uint32_t next_id, struct error *error);

/* The number behind the last key of the last file that is there; 0: there is none. */
int keyring_end(struct keyring *keyring, uint64_t *end, struct error *error);

/* A log gives out keys of this directory that no other log has: *before is the number before its
 * first one. A log that is new here, as one that was restored or copied with its keys is, begins
 * behind the last file that is there; a file `log-<uuid>-<*before>` says so from then on. Of a
 * writer, before it prepares. */
int keyring_begin(struct keyring *keyring, const uint8_t log_uuid[16], uint32_t *before,
                  struct error *error);

/* Leaves a durable marker: the key is going to be destroyed with what it encrypts, `stream`. 0 also
 * when it is there. ERROR_INVALID: 0 is no key. */
int keyring_condemn(struct keyring *keyring, uint32_t id, uint64_t stream, struct error *error);

/* Takes the marker away, durably. 0 also when there is none. */
int keyring_spare(struct keyring *keyring, uint32_t id, uint64_t stream, struct error *error);

/* Whether keyring_destroy() can get at the key: 0, or its errors. */
int keyring_check(struct keyring *keyring, uint32_t id, struct error *error);

/* Overwrites the key, durably, whatever is in its place, and takes its markers away. 0 also when it
 * was destroyed before. After an error it may be destroyed or not, and the markers are there: call
 * it again. Errors as keyring_get(), but for ERROR_NOT_FOUND; ERROR_INVALID: 0 is no key. */
int keyring_destroy(struct keyring *keyring, uint32_t id, struct error *error);

/* Shows all markers that are there now, in the order of ids; `take` may take them away. Negative
 * ends it and is returned. */
typedef int keyring_take(uint32_t id, uint64_t stream, void *context, struct error *error);
int keyring_condemned(struct keyring *keyring, keyring_take *take, void *context,
                      struct error *error);

struct keyring_given_up {
    uint64_t keys;         /* that were lost, and are destroyed now */
    uint64_t files_made;   /* which were missing, without a key */
    uint64_t files_mended; /* whose header or size was wrong */
};

/* What cannot be had of the keys up to `last_id`, of those that were made ahead of their use then,
 * and of the files that are there, is given up: the keys count as destroyed from then on, those
 * that can be read stay. So no key that is made later has a number that a copy may have. Files are
 * mended in place. A run that was interrupted is run again. On error *result says what was done
 * before: ERROR_CONFLICT, ERROR_NEWER, ERROR_INVALID a file is not of this keyring, of a newer
 * version, or none, and is not touched; -errno. */
int keyring_give_up(struct keyring *keyring, uint32_t last_id, struct keyring_given_up *result,
                    struct error *error);

struct keyring_counts {
    uint64_t files;
    uint64_t keys;      /* in them, those made ahead too; 0 is none */
    uint64_t destroyed; /* of the keys */
    uint64_t damaged;   /* of the keys; all of a file that cannot be read as one */
    uint64_t missing;   /* files before the last one that is there */
    uint64_t condemned; /* markers */
};

/* Reads all files. On error `error` says the first thing that is wrong (the codes of keyring_get(),
 * but for ERROR_NOT_FOUND), and *counts holds what could be counted. */
int keyring_count(struct keyring *keyring, struct keyring_counts *counts, struct error *error);

#endif
