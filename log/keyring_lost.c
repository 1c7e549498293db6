/* Giving up keys that are lost: from then on they are as destroyed ones, and the rest of the
 * keyring is whole again. */
#include "core/base/check.h"
#include "iouring/file.h"
#include "log/keyring_format.h"
#include "log/keyring_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOTS = 64 }; /* of a block: what is read and written at once */

struct giving_up {
    struct keyring *keyring;
    struct keyring_given_up *result;
    struct error *error;
};

static int set_error(const struct giving_up *giving, uint32_t file_no, int code, const char *what)
{
    char name[KEYRING_NAME_SIZE];
    keyring_file_name(name, file_no);
    return error_set(giving->error, code, "%s/%s: %s: %s", giving->keyring->dir, name, what,
                     error_text(code));
}

/* What cannot be read, where the disk says so or the file ends before, is left zero, which is no
 * slot. */
static int read_slots(int fd, uint32_t first, uint8_t slots[SLOTS * KEYRING_SLOT_SIZE])
{
    uint64_t offset = keyring_slot_offset(first);
    memset(slots, 0, SLOTS * KEYRING_SLOT_SIZE);
    int64_t got = file_read_at(fd, slots, SLOTS * KEYRING_SLOT_SIZE, offset);
    if (got != -EIO)
        return got < 0 ? (int)got : 0;
    for (uint64_t at = 0; at < SLOTS * KEYRING_SLOT_SIZE; at += KEYRING_SLOT_SIZE) {
        got = file_read_at(fd, slots + at, KEYRING_SLOT_SIZE, offset + at);
        if (got < 0 && got != -EIO)
            return (int)got;
        if (got < 0)
            memset(slots + at, 0, KEYRING_SLOT_SIZE);
    }
    return 0;
}

/* What can be had of these slots stays, byte for byte. */
static int mend_slots(const struct giving_up *giving, int fd, uint32_t first)
{
    uint8_t slots[SLOTS * KEYRING_SLOT_SIZE];
    bool lost = false;
    int code = read_slots(fd, first, slots);
    for (uint32_t i = 0; code == 0 && i < SLOTS; i++) {
        uint8_t *slot = slots + (size_t)i * KEYRING_SLOT_SIZE;
        if (keyring_slot_decode(slot, first + i) >= 0)
            continue;
        keyring_slot_encode(slot, first + i, NULL);
        giving->result->keys += first + i != 0;
        lost = true;
    }
    if (code == 0 && lost)
        code = file_write_at(fd, slots, sizeof slots, keyring_slot_offset(first));
    explicit_bzero(slots, sizeof slots);
    return code;
}

/* 1: it is as it should be. 0: it says nothing that is true. Negative: it is not to be touched. */
static int look_at_header(const struct giving_up *giving, int fd, uint32_t file_no)
{
    uint8_t block[LOG_BLOCK_SIZE], uuid[UUID_SIZE];
    const char *what;
    if (file_read_at(fd, block, sizeof block, 0) != (int64_t)sizeof block)
        return 0;
    int code = keyring_header_decode(block, file_no, uuid, &what);
    if (code == ERROR_NEWER)
        return set_error(giving, file_no, code, what);
    if (code < 0)
        return 0;
    if (memcmp(uuid, giving->keyring->uuid, UUID_SIZE) == 0)
        return 1;
    return set_error(giving, file_no, ERROR_CONFLICT,
                     "it belongs to another keyring: move it away");
}

static int mend_header(const struct giving_up *giving, int fd, uint32_t file_no, off_t size)
{
    uint8_t header[LOG_BLOCK_SIZE];
    int code = look_at_header(giving, fd, file_no);
    bool whole = code == 1 && size == KEYRING_FILE_SIZE;
    giving->result->files_mended += code >= 0 && !whole;
    if (code < 0 || whole)
        return code < 0 ? code : 0;
    if (size != KEYRING_FILE_SIZE && ftruncate(fd, KEYRING_FILE_SIZE) < 0)
        return set_error(giving, file_no, -errno, "its size");
    keyring_header_encode(header, file_no, giving->keyring->uuid);
    code = file_write_at(fd, header, sizeof header, 0);
    return code < 0 ? set_error(giving, file_no, code, "its header") : 0;
}

/* In its place, so that no key stays in blocks that no file has. */
static int mend(const struct giving_up *giving, int fd, uint32_t file_no, off_t size)
{
    int code = mend_header(giving, fd, file_no, size);
    if (code < 0)
        return code;
    for (uint32_t i = 0; code == 0 && i < KEYRING_FILE_KEYS; i += SLOTS)
        code = mend_slots(giving, fd, file_no * KEYRING_FILE_KEYS + i);
    if (code == 0 && fsync(fd) < 0)
        code = -errno;
    return code < 0 ? set_error(giving, file_no, code, "cannot be mended") : 0;
}

/* Without a key: none is made for what has been encrypted. */
static int make(const struct giving_up *giving, uint32_t file_no)
{
    giving->result->files_made++;
    giving->result->keys += KEYRING_FILE_KEYS - (file_no == 0);
    return keyring_make_file(giving->keyring, file_no, false, giving->error);
}

/* An open descriptor, -ENOENT without a sentence, or negative: it is not to be touched. */
static int open_file(const struct giving_up *giving, uint32_t file_no, struct stat *status)
{
    char name[KEYRING_NAME_SIZE];
    keyring_file_name(name, file_no);
    int fd = openat(giving->keyring->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? -ENOENT : set_error(giving, file_no, -errno, "cannot be opened");
    int code = 0;
    if (fstat(fd, status) < 0)
        code = set_error(giving, file_no, -errno, "cannot be looked at");
    else if (!S_ISREG(status->st_mode))
        code = set_error(giving, file_no, ERROR_INVALID, "it is no file: move it away");
    else
        code = look_at_header(giving, fd, file_no);
    if (code >= 0)
        return fd;
    close(fd);
    return code;
}

/* Before anything is changed. */
static int look_at_file(const struct giving_up *giving, uint32_t file_no)
{
    struct stat status;
    int fd = open_file(giving, file_no, &status);
    if (fd >= 0)
        close(fd);
    return fd < 0 && fd != -ENOENT ? fd : 0;
}

static int see_to_file(const struct giving_up *giving, uint32_t file_no)
{
    struct stat status;
    int fd = open_file(giving, file_no, &status);
    if (fd == -ENOENT)
        return make(giving, file_no);
    if (fd < 0)
        return fd;
    int code = keyring_file_lock(fd, LOCK_EX);
    code = code < 0 ? set_error(giving, file_no, code, "cannot be locked")
                    : mend(giving, fd, file_no, status.st_size);
    close(fd);
    return code;
}

/* Where a log began in it, if its next keys were given up: it begins anew behind all files
 * (keyring_begin), and need not look for a key among those. */
static int forget_begin(const char *name, void *context, struct error *error)
{
    struct keyring *keyring = context;
    uint8_t key[KEYRING_KEY_SIZE];
    const char *number = strrchr(name, '-');
    if (number == NULL || strncmp(name, KEYRING_BEGIN, sizeof KEYRING_BEGIN - 1) != 0)
        return 0;
    int found = keyring_get(keyring, (uint32_t)strtoul(number + 1, NULL, 10) + 1, key, NULL);
    explicit_bzero(key, sizeof key);
    if (found != ERROR_NOT_FOUND || unlinkat(keyring->dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    return error_set(error, -errno, "cannot remove %s/%s: %s", keyring->dir, name,
                     error_text(-errno));
}

int keyring_give_up(struct keyring *keyring, uint32_t last_id, struct keyring_given_up *result,
                    struct error *error)
{
    struct giving_up giving = { keyring, result, error };
    uint64_t end;
    *result = (struct keyring_given_up){ .keys = 0 };
    CHECK(keyring->options.mode == KEYRING_MEND);
    int code = keyring_clear_torn(keyring, error);
    if (code == 0)
        code = keyring_end(keyring, &end, error);
    uint64_t ahead = (uint64_t)last_id + KEYRING_AHEAD;
    uint32_t last_no = keyring_file_of(ahead < UINT32_MAX ? (uint32_t)ahead : UINT32_MAX);
    uint64_t count = code == 0 ? end / KEYRING_FILE_KEYS : 0;
    if (count <= last_no)
        count = (uint64_t)last_no + 1;
    for (uint64_t file_no = 0; code == 0 && file_no < count; file_no++)
        code = look_at_file(&giving, (uint32_t)file_no);
    /* From the last one down: while one is missing before others, no agent makes a file in its
     * place. */
    for (uint64_t file_no = count; code == 0 && file_no > 0; file_no--)
        code = see_to_file(&giving, (uint32_t)file_no - 1);
    if (code == 0)
        code = keyring_sync(keyring, error);
    if (code == 0)
        code = keyring_names(keyring, forget_begin, keyring, error);
    return code < 0 ? code : keyring_sync(keyring, error);
}
