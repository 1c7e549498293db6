/* Where the keys end that are there, and where those of a log begin. */
#include "core/base/check.h"
#include "core/base/id.h"
#include "log/keyring_format.h"
#include "log/keyring_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int see_file(const char *name, void *context, struct error *error)
{
    (void)error;
    uint64_t *end = context;
    uint32_t file_no;
    if (keyring_file_of_name(name, &file_no) && *end <= (uint64_t)file_no * KEYRING_FILE_KEYS)
        *end = ((uint64_t)file_no + 1) * KEYRING_FILE_KEYS;
    return 0;
}

int keyring_end(struct keyring *keyring, uint64_t *end, struct error *error)
{
    *end = 0;
    return keyring_names(keyring, see_file, end, error);
}

struct begin {
    char name[KEYRING_NAME_SIZE]; /* up to the number */
    size_t size;
    bool found;
    uint32_t before;
};

static int see_begin(const char *name, void *context, struct error *error)
{
    (void)error;
    struct begin *begin = context;
    char *end;
    if (strncmp(name, begin->name, begin->size) != 0)
        return 0;
    errno = 0;
    unsigned long long number = strtoull(name + begin->size, &end, 10);
    if (errno != 0 || end == name + begin->size || *end != '\0' || number > UINT32_MAX)
        return 0;
    begin->found = true;
    if (number > begin->before)
        begin->before = (uint32_t)number;
    return 0;
}

static int write_begin(struct keyring *keyring, struct begin *begin, struct error *error)
{
    uint64_t end;
    int status = keyring_end(keyring, &end, error);
    if (status < 0)
        return status;
    begin->before = end == 0 ? 0 : (uint32_t)(end - 1);
    (void)snprintf(begin->name + begin->size, sizeof begin->name - begin->size, "%" PRIu32,
                   begin->before);
    int fd = openat(keyring->dir_fd, begin->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(error, -errno, "cannot make %s/%s: %s", keyring->dir, begin->name,
                         error_text(-errno));
    close(fd);
    return keyring_sync(keyring, error);
}

int keyring_begin(struct keyring *keyring, const uint8_t log_uuid[16], uint32_t *before,
                  struct error *error)
{
    struct begin begin = { .found = false };
    char uuid[UUID_TEXT_SIZE];
    CHECK(keyring->options.mode == KEYRING_WRITE);
    uuid_to_text(uuid, log_uuid);
    begin.size = (size_t)snprintf(begin.name, sizeof begin.name, KEYRING_BEGIN "%s-", uuid);
    int status = keyring_names(keyring, see_begin, &begin, error);
    if (status == 0 && !begin.found)
        status = write_begin(keyring, &begin, error);
    *before = begin.before;
    return status;
}
