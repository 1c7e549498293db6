/* Making keys ahead of their use. */
#include "core/base/check.h"
#include "iouring/file.h"
#include "log/keyring_format.h"
#include "log/keyring_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { BATCH = 1024 }; /* keys a write */

struct batch {
    uint8_t keys[BATCH][KEYRING_KEY_SIZE];
    uint8_t slots[BATCH][KEYRING_SLOT_SIZE];
};

static void draw(const struct keyring *keyring, void *bytes, size_t size)
{
    if (keyring->options.random != NULL) {
        keyring->options.random(bytes, size, keyring->options.random_context);
        return;
    }
    /* More than 256 bytes may come in parts, when a signal does. */
    for (size_t done = 0; done < size;) {
        ssize_t got = getrandom((uint8_t *)bytes + done, size - done, 0);
        CHECK(got > 0 || errno == EINTR);
        done += got > 0 ? (size_t)got : 0;
    }
}

static int write_batch(const struct keyring *keyring, int fd, uint32_t first, bool has_keys,
                       struct batch *batch)
{
    if (has_keys)
        draw(keyring, batch->keys, sizeof batch->keys);
    for (uint32_t i = 0; i < BATCH; i++)
        keyring_slot_encode(batch->slots[i], first + i,
                            has_keys && first + i != 0 ? batch->keys[i] : NULL);
    return file_write_at(fd, batch->slots, sizeof batch->slots, keyring_slot_offset(first));
}

static int write_file(const struct keyring *keyring, int fd, uint32_t file_no, bool has_keys)
{
    uint8_t header[LOG_BLOCK_SIZE];
    _Static_assert(KEYRING_FILE_KEYS % BATCH == 0, "");
    struct batch *batch = malloc(sizeof *batch);
    if (batch == NULL)
        return -ENOMEM;
    keyring_header_encode(header, file_no, keyring->uuid);
    int result = file_write_at(fd, header, sizeof header, 0);
    for (uint32_t i = 0; result == 0 && i < KEYRING_FILE_KEYS; i += BATCH)
        result = write_batch(keyring, fd, file_no * KEYRING_FILE_KEYS + i, has_keys, batch);
    explicit_bzero(batch, sizeof *batch);
    free(batch);
    return result == 0 && fsync(fd) < 0 ? -errno : result;
}

static int make_temporary(const struct keyring *keyring, const char *temporary, uint32_t file_no,
                          bool has_keys)
{
    int fd = openat(keyring->dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = write_file(keyring, fd, file_no, has_keys);
    if (close(fd) < 0 && result == 0)
        result = -errno;
    return result;
}

int keyring_make_file(const struct keyring *keyring, uint32_t file_no, bool has_keys,
                      struct error *error)
{
    char name[KEYRING_NAME_SIZE], temporary[KEYRING_NAME_SIZE + sizeof KEYRING_TEMPORARY];
    keyring_file_name(name, file_no);
    (void)snprintf(temporary, sizeof temporary, "%s" KEYRING_TEMPORARY, name);
    int result = make_temporary(keyring, temporary, file_no, has_keys);
    /* Nothing else makes such files, and there is none of this name. */
    if (result == 0 && renameat(keyring->dir_fd, temporary, keyring->dir_fd, name) < 0)
        result = -errno;
    if (result == 0)
        return 0;
    (void)unlinkat(keyring->dir_fd, temporary, 0);
    return error_set(error, result, "cannot make %s/%s: %s", keyring->dir, name,
                     error_text(result));
}

static int remove_torn(const char *name, void *context, struct error *error)
{
    const struct keyring *keyring = context;
    if (!keyring_name_is_temporary(name) || unlinkat(keyring->dir_fd, name, 0) == 0 ||
        errno == ENOENT)
        return 0;
    return error_set(error, -errno, "cannot remove %s/%s, which a crash left: %s", keyring->dir,
                     name, error_text(-errno));
}

int keyring_clear_torn(struct keyring *keyring, struct error *error)
{
    return keyring_names(keyring, remove_torn, keyring, error);
}

/* True if keys of this file were given out, so that no other file can be in its place. */
static bool is_used(uint32_t file_no, uint32_t next_id)
{
    uint32_t first = file_no * KEYRING_FILE_KEYS;
    return (first == 0 ? 1 : first) < next_id;
}

static int see_to_file(const struct keyring *keyring, uint32_t file_no, uint32_t next_id,
                       struct error *error)
{
    struct error why;
    int fd = keyring_file_open(keyring, file_no, O_RDONLY, &why);
    if (fd == ERROR_UNAVAILABLE && !is_used(file_no, next_id))
        return keyring_make_file(keyring, file_no, true, error);
    if (fd < 0 && error != NULL)
        *error = why;
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

int keyring_prepare(struct keyring *keyring, uint32_t next_id, struct error *error)
{
    CHECK(keyring->options.mode == KEYRING_WRITE);
    uint32_t last_id =
        next_id > UINT32_MAX - (KEYRING_AHEAD - 1) ? UINT32_MAX : next_id + (KEYRING_AHEAD - 1);
    uint32_t first = keyring_file_of(next_id), last = keyring_file_of(last_id);
    if (keyring->prepared_first <= first && last < keyring->prepared_end)
        return 0;
    int code = keyring_clear_torn(keyring, error);
    for (uint32_t file_no = first; code == 0 && file_no <= last; file_no++)
        code = see_to_file(keyring, file_no, next_id, error);
    /* Also of files that were there: their maker may have ended before it. */
    if (code == 0)
        code = keyring_sync(keyring, error);
    if (code < 0)
        return code;
    keyring->uuid_is_known = true; /* not before it is durable */
    keyring->prepared_first = first;
    keyring->prepared_end = (uint64_t)last + 1;
    return 0;
}
