#include "log/keyring.h"

#include "core/base/check.h"
#include "iouring/file.h"
#include "log/keyring_format.h"
#include "log/keyring_inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The directory. */

static int set_dir_error(const struct keyring *keyring, int code, struct error *error)
{
    return error_set(error, code, "directory of keys %s: %s", keyring->dir, error_text(code));
}

int keyring_sync(const struct keyring *keyring, struct error *error)
{
    if (fsync(keyring->dir_fd) == 0)
        return 0;
    return error_set(error, -errno, "cannot sync the directory %s: %s", keyring->dir,
                     error_text(-errno));
}

int keyring_names(const struct keyring *keyring, keyring_see *see, void *context,
                  struct error *error)
{
    int fd = openat(keyring->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), code = 0;
    DIR *names = fd < 0 ? NULL : fdopendir(fd);
    if (names == NULL) {
        code = set_dir_error(keyring, -errno, error);
        if (fd >= 0)
            close(fd);
        return code;
    }
    while (code == 0) {
        errno = 0;
        const struct dirent *entry = readdir(names);
        if (entry == NULL) {
            code = errno == 0 ? 0 : set_dir_error(keyring, -errno, error);
            break;
        }
        code = see(entry->d_name, context, error);
    }
    closedir(names);
    return code;
}

/* What is written there opens what is encrypted. */
static int check_mode(const struct keyring *keyring, struct error *error)
{
    struct stat status;
    if (fstat(keyring->dir_fd, &status) < 0)
        return set_dir_error(keyring, -errno, error);
    if ((status.st_mode & 077) == 0)
        return 0;
    return error_set(error, ERROR_INVALID,
                     "directory of keys %s: its mode is %04o, which lets others than its owner in; "
                     "say chmod 700 %s, and think of the keys in it as known to them",
                     keyring->dir, status.st_mode & 07777, keyring->dir);
}

static int open_dir(struct keyring *keyring, struct error *error)
{
    bool writes = keyring->options.mode != KEYRING_READ;
    int code = writes ? file_make_dir(keyring->dir, error) : 0;
    if (code < 0)
        return error_wrap(error, code, "directory of keys");
    keyring->dir_fd = open(keyring->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (keyring->dir_fd < 0)
        return set_dir_error(keyring, errno == ENOENT ? ERROR_NOT_FOUND : -errno, error);
    code = writes ? check_mode(keyring, error) : 0;
    if (code == 0 && writes)
        code = keyring_lock(keyring, error);
    return code < 0 ? code : keyring_identify(keyring, error);
}

int keyring_open(struct keyring **keyring, const struct keyring_options *options,
                 struct error *error)
{
    *keyring = NULL;
    struct keyring *made = calloc(1, sizeof *made);
    if (made == NULL)
        return error_set(error, -ENOMEM, "no memory for the keys of %s", options->dir);
    made->options = *options;
    made->options.dir = NULL; /* it is the caller's */
    made->dir_fd = made->lock_fd = -1;
    for (size_t i = 0; i < KEYRING_OPEN_MAX; i++)
        made->files[i].fd = -1;
    CHECK(pthread_mutex_init(&made->lock, NULL) == 0);
    int length = snprintf(made->dir, sizeof made->dir, "%s", options->dir);
    int code = length < (int)sizeof made->dir
                   ? open_dir(made, error)
                   : error_set(error, -ENAMETOOLONG,
                               "the path of a directory of keys is too long: %s", options->dir);
    if (code < 0) {
        keyring_close(made);
        return code;
    }
    *keyring = made;
    return 0;
}

void keyring_close(struct keyring *keyring)
{
    if (keyring == NULL)
        return;
    for (size_t i = 0; i < KEYRING_OPEN_MAX; i++) {
        CHECK(keyring->files[i].users == 0);
        if (keyring->files[i].fd >= 0)
            close(keyring->files[i].fd);
    }
    if (keyring->lock_fd >= 0)
        close(keyring->lock_fd);
    if (keyring->dir_fd >= 0)
        close(keyring->dir_fd);
    CHECK(pthread_mutex_destroy(&keyring->lock) == 0);
    free(keyring);
}

/* Files of keys. */

static int set_file_error(const struct keyring *keyring, uint32_t file_no, int code,
                          const char *what, struct error *error)
{
    char name[KEYRING_NAME_SIZE];
    keyring_file_name(name, file_no);
    return error_set(error, code, "%s/%s: %s", keyring->dir, name, what);
}

static int set_missing(const struct keyring *keyring, uint32_t file_no, struct error *error)
{
    char name[KEYRING_NAME_SIZE];
    keyring_file_name(name, file_no);
    uint32_t first = file_no * KEYRING_FILE_KEYS;
    return error_set(error, ERROR_UNAVAILABLE,
                     "%s/%s is missing, which has the keys %u to %u: put it back from a copy",
                     keyring->dir, name, first, first + (KEYRING_FILE_KEYS - 1));
}

/* Size and header. */
static int check_file(const struct keyring *keyring, uint32_t file_no, int fd, struct error *error)
{
    uint8_t block[LOG_BLOCK_SIZE];
    struct stat status;
    const char *what;
    char text[200];
    if (fstat(fd, &status) < 0)
        return set_file_error(keyring, file_no, -errno, error_text(-errno), error);
    if (!S_ISREG(status.st_mode))
        return set_file_error(keyring, file_no, ERROR_DAMAGED,
                              "it is not a file: put it back from a copy", error);
    if (status.st_size != KEYRING_FILE_SIZE) {
        (void)snprintf(text, sizeof text, "it is %lld bytes long, not %u: put it back from a copy",
                       (long long)status.st_size, KEYRING_FILE_SIZE);
        return set_file_error(keyring, file_no, ERROR_DAMAGED, text, error);
    }
    int64_t got = file_read_at(fd, block, sizeof block, 0);
    if (got < 0)
        return set_file_error(keyring, file_no, (int)got, error_text((int)got), error);
    uint8_t uuid[UUID_SIZE];
    int code = keyring_header_decode(block, file_no, uuid, &what);
    if (code == 0 && keyring->uuid_is_known && memcmp(uuid, keyring->uuid, UUID_SIZE) != 0) {
        code = ERROR_DAMAGED;
        what = "it belongs to another keyring than the first file";
    }
    if (code == 0)
        return 0;
    (void)snprintf(text, sizeof text, "offset 0: %s%s", what,
                   code == ERROR_DAMAGED ? ": put the file back from a copy" : "");
    return set_file_error(keyring, file_no, code, text, error);
}

int keyring_file_open(const struct keyring *keyring, uint32_t file_no, int flags,
                      struct error *error)
{
    char name[KEYRING_NAME_SIZE];
    keyring_file_name(name, file_no);
    /* O_NONBLOCK: what lies there may be a pipe. */
    int fd = openat(keyring->dir_fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return set_missing(keyring, file_no, error);
    if (fd < 0 && errno == ELOOP)
        return set_file_error(keyring, file_no, -ELOOP,
                              "it is a symbolic link, which is not followed", error);
    if (fd < 0)
        return set_file_error(keyring, file_no, -errno, error_text(-errno), error);
    int code = check_file(keyring, file_no, fd, error);
    if (code == 0)
        return fd;
    close(fd);
    return code;
}

int keyring_file_lock(int fd, int operation)
{
    int result;
    do {
        result = flock(fd, operation) < 0 ? -errno : 0;
    } while (result == -EINTR);
    return result;
}

/* Files that are kept open. */

static struct keyring_file *find(struct keyring *keyring, uint32_t file_no)
{
    for (size_t i = 0; i < KEYRING_OPEN_MAX; i++)
        if (keyring->files[i].fd >= 0 && keyring->files[i].file_no == file_no)
            return &keyring->files[i];
    return NULL;
}

/* An empty place, or the one that was not used for longest; NULL when all are in use. */
static struct keyring_file *find_place(struct keyring *keyring)
{
    struct keyring_file *found = NULL;
    for (size_t i = 0; i < KEYRING_OPEN_MAX; i++) {
        struct keyring_file *file = &keyring->files[i];
        if (file->fd < 0)
            return file;
        if (file->users == 0 && (found == NULL || file->used < found->used))
            found = file;
    }
    return found;
}

static void use(struct keyring *keyring, struct keyring_file *file)
{
    file->users++;
    file->used = ++keyring->clock;
}

/* The file where it is kept open, else NULL. */
static struct keyring_file *take_kept(struct keyring *keyring, uint32_t file_no)
{
    CHECK(pthread_mutex_lock(&keyring->lock) == 0);
    struct keyring_file *file = find(keyring, file_no);
    if (file != NULL)
        use(keyring, file);
    CHECK(pthread_mutex_unlock(&keyring->lock) == 0);
    return file;
}

/* Keeps what was just opened in place of another. NULL: it cannot be kept. */
static struct keyring_file *keep(struct keyring *keyring, uint32_t file_no, int fd)
{
    int superfluous = -1;
    CHECK(pthread_mutex_lock(&keyring->lock) == 0);
    struct keyring_file *file = find(keyring, file_no);
    if (file != NULL) { /* another thread was faster */
        superfluous = fd;
    } else {
        file = find_place(keyring);
        if (file != NULL) {
            superfluous = file->fd;
            *file = (struct keyring_file){ .fd = fd, .file_no = file_no };
        }
    }
    if (file != NULL)
        use(keyring, file);
    CHECK(pthread_mutex_unlock(&keyring->lock) == 0);
    if (superfluous >= 0)
        close(superfluous);
    return file;
}

static void give(struct keyring *keyring, struct keyring_file *file, bool forget)
{
    int superfluous = -1;
    CHECK(pthread_mutex_lock(&keyring->lock) == 0);
    CHECK(file->users > 0);
    if (forget)
        file->file_no = UINT32_MAX; /* the number of no file: never found, and soon replaced */
    if (forget)
        file->used = 0;
    if (--file->users == 0 && file->file_no == UINT32_MAX) {
        superfluous = file->fd;
        file->fd = -1;
    }
    CHECK(pthread_mutex_unlock(&keyring->lock) == 0);
    if (superfluous >= 0)
        close(superfluous);
}

/* Keys. */

/* True when its name was taken from it, perhaps for another file that was put in its place. */
static bool is_removed(int fd)
{
    struct stat status;
    return fstat(fd, &status) < 0 || status.st_nlink == 0;
}

/* The slot's bytes as they are now. */
static int read_slot(struct keyring *keyring, uint32_t id, uint8_t slot[KEYRING_SLOT_SIZE],
                     struct error *error)
{
    uint32_t file_no = keyring_file_of(id);
    struct keyring_file *file = take_kept(keyring, file_no);
    if (file != NULL && is_removed(file->fd)) {
        give(keyring, file, true);
        file = NULL;
    }
    int fd = file != NULL ? file->fd : keyring_file_open(keyring, file_no, O_RDONLY, error);
    if (fd < 0)
        return fd;
    if (file == NULL) {
        file = keep(keyring, file_no, fd);
        fd = file != NULL ? file->fd : fd;
    }
    int64_t got = file_read_at(fd, slot, KEYRING_SLOT_SIZE, keyring_slot_offset(id));
    if (file != NULL)
        give(keyring, file, false);
    else
        close(fd);
    if (got < 0)
        return set_file_error(keyring, file_no, (int)got, error_text((int)got), error);
    return got == KEYRING_SLOT_SIZE ? keyring_slot_decode(slot, id) : ERROR_DAMAGED;
}

/* The same while nobody writes: what is read beside a write may be half of each. */
static int read_slot_alone(struct keyring *keyring, uint32_t id, uint8_t slot[KEYRING_SLOT_SIZE],
                           struct error *error)
{
    uint32_t file_no = keyring_file_of(id);
    char text[100];
    int fd = keyring_file_open(keyring, file_no, O_RDONLY, error);
    if (fd < 0)
        return fd;
    int64_t got = keyring_file_lock(fd, LOCK_SH);
    if (got == 0)
        got = file_read_at(fd, slot, KEYRING_SLOT_SIZE, keyring_slot_offset(id));
    close(fd);
    if (got < 0)
        return set_file_error(keyring, file_no, (int)got, error_text((int)got), error);
    int state = got == KEYRING_SLOT_SIZE ? keyring_slot_decode(slot, id) : ERROR_DAMAGED;
    if (state > 0)
        return state;
    (void)snprintf(text, sizeof text, "offset %u: key %u is damaged: put the file back from a copy",
                   keyring_slot_offset(id), id);
    return set_file_error(keyring, file_no, state, text, error);
}

int keyring_get(struct keyring *keyring, uint32_t id, uint8_t key[KEYRING_KEY_SIZE],
                struct error *error)
{
    uint8_t slot[KEYRING_SLOT_SIZE];
    memset(key, 0, KEYRING_KEY_SIZE);
    int state = read_slot(keyring, id, slot, error);
    if (state == ERROR_DAMAGED)
        state = read_slot_alone(keyring, id, slot, error);
    if (state == KEYRING_READY)
        memcpy(key, slot + KEYRING_SLOT_AT_KEY, KEYRING_KEY_SIZE);
    explicit_bzero(slot, sizeof slot);
    if (state == KEYRING_DESTROYED)
        return error_set(error, ERROR_NOT_FOUND,
                         "key %u was destroyed, and what it encrypts is erased", id);
    return state < 0 ? state : 0;
}
