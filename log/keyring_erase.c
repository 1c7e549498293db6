/* Erasure: markers, and the end of keys. */
#include "core/base/check.h"
#include "iouring/file.h"
#include "log/keyring_format.h"
#include "log/keyring_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static int check_id(uint32_t id, struct error *error)
{
    return id != 0 ? 0 : error_set(error, ERROR_INVALID, "0 is the number of no key");
}

int keyring_condemn(struct keyring *keyring, uint32_t id, uint64_t stream, struct error *error)
{
    char name[KEYRING_NAME_SIZE];
    CHECK(keyring->options.mode == KEYRING_WRITE);
    int code = check_id(id, error);
    if (code < 0)
        return code;
    keyring_marker_name(name, id, stream);
    int fd = openat(keyring->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        return error_set(error, -errno, "cannot make %s/%s: %s", keyring->dir, name,
                         error_text(-errno));
    if (fd >= 0)
        close(fd);
    /* Also of one that was there: its maker may have ended before it. */
    return keyring_sync(keyring, error);
}

static int remove_marker(const struct keyring *keyring, const char *name, struct error *error)
{
    if (unlinkat(keyring->dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    return error_set(error, -errno, "cannot remove %s/%s: %s", keyring->dir, name,
                     error_text(-errno));
}

int keyring_spare(struct keyring *keyring, uint32_t id, uint64_t stream, struct error *error)
{
    char name[KEYRING_NAME_SIZE];
    CHECK(keyring->options.mode == KEYRING_WRITE);
    keyring_marker_name(name, id, stream);
    int code = remove_marker(keyring, name, error);
    return code < 0 ? code : keyring_sync(keyring, error);
}

/* Lists of markers. */

struct marker {
    uint32_t id;
    uint64_t stream;
};

struct markers {
    uint32_t id; /* only those of this key; 0: all */
    struct marker *list;
    size_t count, room;
};

static int add_marker(const char *name, void *context, struct error *error)
{
    struct markers *markers = context;
    struct marker marker;
    if (!keyring_marker_of_name(name, &marker.id, &marker.stream) ||
        (markers->id != 0 && markers->id != marker.id))
        return 0;
    if (markers->count == markers->room) {
        size_t room = markers->room == 0 ? 64 : 2 * markers->room;
        struct marker *grown = realloc(markers->list, room * sizeof *grown);
        if (grown == NULL)
            return error_set(error, -ENOMEM, "no memory for %zu erasures that are under way", room);
        markers->list = grown;
        markers->room = room;
    }
    markers->list[markers->count++] = marker;
    return 0;
}

static int compare_markers(const void *a, const void *b)
{
    const struct marker *left = a, *right = b;
    if (left->id != right->id)
        return left->id < right->id ? -1 : 1;
    return left->stream < right->stream ? -1 : left->stream > right->stream;
}

/* All of them first, since some filesystems begin to list anew when names go meanwhile; so some may
 * be in the list twice. The caller frees `list`. */
static int read_markers(const struct keyring *keyring, struct markers *markers, struct error *error)
{
    int code = keyring_names(keyring, add_marker, markers, error);
    if (code == 0 && markers->count > 1)
        qsort(markers->list, markers->count, sizeof *markers->list, compare_markers);
    size_t kept = 0;
    for (size_t i = 0; i < markers->count; i++)
        if (kept == 0 || compare_markers(&markers->list[i], &markers->list[kept - 1]) != 0)
            markers->list[kept++] = markers->list[i];
    markers->count = kept;
    return code;
}

int keyring_condemned(struct keyring *keyring, keyring_take *take, void *context,
                      struct error *error)
{
    struct markers markers = { .id = 0 };
    int code = read_markers(keyring, &markers, error);
    for (size_t i = 0; code >= 0 && i < markers.count; i++)
        code = take(markers.list[i].id, markers.list[i].stream, context, error);
    free(markers.list);
    return code < 0 ? code : 0;
}

/* The end of a key. */

/* Where it is only left to be synced, that is not enough: whoever wrote it may have been told that
 * it cannot be synced, and no later sync would say so again. So it is written in any case. */
static int overwrite(const struct keyring *keyring, uint32_t id, struct error *error)
{
    uint8_t slot[KEYRING_SLOT_SIZE];
    char name[KEYRING_NAME_SIZE];
    int fd = keyring_file_open(keyring, keyring_file_of(id), O_RDWR, error);
    if (fd < 0)
        return fd;
    keyring_slot_encode(slot, id, NULL);
    int code = keyring_file_lock(fd, LOCK_EX);
    if (code == 0)
        code = file_write_at(fd, slot, sizeof slot, keyring_slot_offset(id));
    /* Readers need not wait for the disk. */
    if (code == 0)
        code = keyring_file_lock(fd, LOCK_UN);
    if (code == 0 && fdatasync(fd) < 0)
        code = -errno;
    close(fd);
    if (code == 0)
        return 0;
    keyring_file_name(name, keyring_file_of(id));
    return error_set(error, code, "cannot destroy key %u in %s/%s at offset %u: %s", id,
                     keyring->dir, name, keyring_slot_offset(id), error_text(code));
}

int keyring_check(struct keyring *keyring, uint32_t id, struct error *error)
{
    int code = check_id(id, error);
    if (code < 0)
        return code;
    int fd = keyring_file_open(keyring, keyring_file_of(id), O_RDWR, error);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

int keyring_destroy(struct keyring *keyring, uint32_t id, struct error *error)
{
    char name[KEYRING_NAME_SIZE];
    struct markers markers = { .id = id };
    CHECK(keyring->options.mode == KEYRING_WRITE);
    int code = check_id(id, error);
    if (code == 0)
        code = overwrite(keyring, id, error);
    if (code == 0)
        code = read_markers(keyring, &markers, error);
    /* Not synced: a marker that is there again after a crash has the key destroyed once more. */
    for (size_t i = 0; code == 0 && i < markers.count; i++) {
        keyring_marker_name(name, markers.list[i].id, markers.list[i].stream);
        code = remove_marker(keyring, name, error);
    }
    free(markers.list);
    return code;
}
