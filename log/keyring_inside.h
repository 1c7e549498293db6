/* What the parts of a keyring share. For log/keyring*.c only. Threads: as said at each. */
#ifndef LOG_KEYRING_INSIDE_H
#define LOG_KEYRING_INSIDE_H

#include "log/keyring.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>

#define KEYRING_OPEN_MAX 64 /* descriptors kept; more only while more threads read at once */

/* A file that is open for reading. */
struct keyring_file {
    int fd; /* -1: nothing is here */
    uint32_t file_no;
    unsigned users; /* threads that read it now: it stays */
    uint64_t used;  /* when it was taken last, by `clock` */
};

struct keyring {
    struct keyring_options options;
    char dir[PATH_MAX]; /* for sentences; what is done is done by dir_fd */
    int dir_fd;
    int lock_fd; /* of a writer; -1: none */
    /* Of the keyring: known, or (of a writer alone) drawn for the first file, which makes it known.
     * A reader that found no file takes any. */
    uint8_t uuid[UUID_SIZE];
    _Atomic bool uuid_is_known;
    /* Files that are known to be whole and durable: of the thread that prepares. */
    uint64_t prepared_first, prepared_end;
    pthread_mutex_t lock; /* of what follows */
    uint64_t clock;
    struct keyring_file files[KEYRING_OPEN_MAX];
};

/* Opens a file of keys (O_RDONLY or O_RDWR) and checks its size and header. A descriptor, or the
 * errors of keyring_get(). Any thread. */
int keyring_file_open(const struct keyring *keyring, uint32_t file_no, int flags,
                      struct error *error);

/* 0 once no slot of this file is being written, by any process, or read by those that write
 * (LOCK_EX), or no slot is being written (LOCK_SH); -errno. Closing the descriptor ends it. */
int keyring_file_lock(int fd, int operation);

/* Shows each name in the directory. Negative ends it and is returned. */
typedef int keyring_see(const char *name, void *context, struct error *error);
int keyring_names(const struct keyring *keyring, keyring_see *see, void *context,
                  struct error *error);

/* Makes a file that is not there, with new keys or with destroyed ones; the directory is not
 * synced. */
int keyring_make_file(const struct keyring *keyring, uint32_t file_no, bool has_keys,
                      struct error *error);

/* Removes files that were being made when a process ended. */
int keyring_clear_torn(struct keyring *keyring, struct error *error);

/* Finds out the uuid, or draws one. Of whoever opens. */
int keyring_identify(struct keyring *keyring, struct error *error);
/* Lets no other writer in; that one's errors. */
int keyring_lock(struct keyring *keyring, struct error *error);

int keyring_sync(const struct keyring *keyring, struct error *error);

#endif
