/* Which keyring it is, and whose. */
#include "core/base/check.h"
#include "iouring/file.h"
#include "log/keyring_format.h"
#include "log/keyring_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#define LOCK_NAME "LOCK"

struct looking {
    uint64_t first_no;    /* the lowest number of a file; UINT64_MAX: there is none */
    uint64_t first_whole; /* of those whose header can be read */
    struct keyring *keyring;
};

static bool read_uuid(const struct keyring *keyring, const char *name, uint32_t file_no,
                      uint8_t uuid[UUID_SIZE])
{
    uint8_t block[LOG_BLOCK_SIZE];
    const char *what;
    int fd = openat(keyring->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool read = file_read_at(fd, block, sizeof block, 0) == (int64_t)sizeof block;
    close(fd);
    return read && keyring_header_decode(block, file_no, uuid, &what) == 0;
}

static int see_file(const char *name, void *context, struct error *error)
{
    struct looking *looking = context;
    uint8_t uuid[UUID_SIZE];
    uint32_t file_no;
    (void)error;
    if (!keyring_file_of_name(name, &file_no))
        return 0;
    if (file_no < looking->first_no)
        looking->first_no = file_no;
    if (file_no < looking->first_whole && read_uuid(looking->keyring, name, file_no, uuid)) {
        looking->first_whole = file_no;
        memcpy(looking->keyring->uuid, uuid, UUID_SIZE);
    }
    return 0;
}

static void draw_uuid(uint8_t uuid[UUID_SIZE])
{
    ssize_t got;
    do {
        got = getrandom(uuid, UUID_SIZE, 0);
    } while (got < 0 && errno == EINTR);
    CHECK(got == UUID_SIZE);
    uuid_from_random(uuid);
}

/* For one that is mended: what its owner says, and its files do not deny. */
static int identify_lost(struct keyring *keyring, struct error *error)
{
    const uint8_t *uuid = keyring->options.uuid;
    char is[UUID_TEXT_SIZE], wanted[UUID_TEXT_SIZE];
    if (uuid == NULL)
        return keyring->uuid_is_known
                   ? 0
                   : error_set(error, ERROR_INVALID,
                               "directory of keys %s: no file of it says to which keyring it "
                               "belongs, and nothing else does",
                               keyring->dir);
    if (keyring->uuid_is_known && memcmp(keyring->uuid, uuid, UUID_SIZE) != 0) {
        uuid_to_text(is, keyring->uuid);
        uuid_to_text(wanted, uuid);
        return error_set(error, ERROR_CONFLICT,
                         "directory of keys %s: it holds keys of keyring %s, and those that are "
                         "missing are of keyring %s: say where these are, or were",
                         keyring->dir, is, wanted);
    }
    memcpy(keyring->uuid, uuid, UUID_SIZE);
    keyring->uuid_is_known = true;
    return 0;
}

/* A writer that cannot tell which keyring it is could make files of another one beside it. */
int keyring_identify(struct keyring *keyring, struct error *error)
{
    struct looking looking = { UINT64_MAX, UINT64_MAX, keyring };
    int code = keyring_names(keyring, see_file, &looking, error);
    keyring->uuid_is_known = looking.first_whole != UINT64_MAX;
    if (code == 0 && keyring->options.mode == KEYRING_MEND)
        return identify_lost(keyring, error);
    if (code < 0 || keyring->uuid_is_known || keyring->options.mode == KEYRING_READ)
        return code;
    if (looking.first_no == UINT64_MAX) {
        draw_uuid(keyring->uuid);
        return 0;
    }
    int fd = keyring_file_open(keyring, (uint32_t)looking.first_no, O_RDONLY, error);
    if (fd >= 0)
        close(fd); /* it was put there just now */
    return fd < 0 ? fd : keyring_identify(keyring, error);
}

bool keyring_uuid(struct keyring *keyring, uint8_t uuid[UUID_SIZE])
{
    if (!keyring->uuid_is_known)
        return false;
    memcpy(uuid, keyring->uuid, UUID_SIZE);
    return true;
}

/* Gone with the process, so the file may stay. */
int keyring_lock(struct keyring *keyring, struct error *error)
{
    char pid[32] = "";
    int fd = openat(keyring->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set(error, -errno, "cannot open %s/" LOCK_NAME ": %s", keyring->dir,
                         error_text(-errno));
    int code = keyring_file_lock(fd, LOCK_EX | LOCK_NB);
    if (code == -EWOULDBLOCK) {
        int64_t size = file_read_at(fd, pid, sizeof pid - 1, 0);
        pid[size > 0 ? strspn(pid, "0123456789") : 0] = 0;
        error_set(error, ERROR_LOCKED,
                  "directory of keys %s belongs to another agent that runs, pid %s: stop it first, "
                  "or give each its own log.keys_dir",
                  keyring->dir, pid[0] ? pid : "unknown");
        code = ERROR_LOCKED;
    } else if (code < 0) {
        error_set(error, code, "cannot lock %s/" LOCK_NAME ": %s", keyring->dir, error_text(code));
    }
    if (code < 0) {
        close(fd);
        return code;
    }
    int size = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) == 0)
        (void)file_write_at(fd, pid, (size_t)size, 0); /* only the sentence lacks it */
    keyring->lock_fd = fd;
    return 0;
}
