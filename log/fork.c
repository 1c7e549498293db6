#include "log/fork.h"

#include "core/base/crc32c.h"
#include "iouring/file.h"
#include "log/directory.h"
#include "log/place.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FORK_TEXT_SIZE = 512 };

static size_t wish_to_text(char text[FORK_TEXT_SIZE], const struct fork_wish *wish)
{
    char uuid[UUID_TEXT_SIZE] = "anything";
    if (wish->bound)
        uuid_to_text(uuid, wish->from);
    int size = snprintf(text, FORK_TEXT_SIZE, "from %s\nwhy %s\n", uuid, wish->why);
    size += snprintf(text + size, FORK_TEXT_SIZE - (size_t)size, "crc %08x\n",
                     crc32c(text, (size_t)size));
    return (size_t)size;
}

/* A wish that is not what was written is for whatever there is: a uuid with a flipped bit would say
 * that the fork has happened. */
int fork_read(const char *dir, struct fork_wish *wish, struct error *error)
{
    char text[FORK_TEXT_SIZE], again[FORK_TEXT_SIZE], uuid[UUID_TEXT_SIZE] = "", path[PATH_MAX];
    *wish = (struct fork_wish){ .exists = false };
    int result = place_read_text(dir, LOG_FORK_NAME, text, sizeof text);
    if (result < 0)
        return error_set(error, result, "cannot read %s/%s: %s", dir, LOG_FORK_NAME,
                         error_text(result));
    if (result == 0) { /* there is none, or it is too long to be ours: a wish all the same */
        snprintf(path, sizeof path, "%s/%s", dir, LOG_FORK_NAME);
        wish->exists = access(path, F_OK) == 0;
        return 0;
    }
    (void)sscanf(text, "from %36s\nwhy %159[^\n]", uuid, wish->why);
    wish->bound = uuid_from_text(wish->from, span_of_text(uuid));
    wish_to_text(again, wish);
    wish->bound = wish->bound && strcmp(again, text) == 0;
    wish->exists = true;
    return 0;
}

int fork_write(const char *dir, const struct fork_wish *wish, struct error *error)
{
    char text[FORK_TEXT_SIZE];
    return file_replace(dir, LOG_FORK_NAME, text, wish_to_text(text, wish), error);
}

int fork_remove(const char *dir, struct error *error)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", dir, LOG_FORK_NAME) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", dir);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set(error, -errno, "cannot remove %s: %s", path, error_text(-errno));
    return file_sync_dir(dir, error);
}

/* The uuid of the newest segment. When it cannot be read the wish is for whatever there is: an
 * older one may have a name that was left. */
static void bind_wish(const char *dir, struct fork_wish *wish)
{
    struct directory directory;
    struct source source = { .fd = -1 };
    struct segment_header header;
    struct error ignored;
    if (directory_open(&directory, dir, &ignored) < 0)
        return;
    int state = SEGMENT_SPARE;
    for (size_t i = directory.count; i-- > 0 && (state == SEGMENT_SPARE || state == SEGMENT_SHORT);)
        state = directory_segment(&directory, i, &source, &header, &ignored);
    wish->bound = state == SEGMENT_BEGUN;
    if (wish->bound)
        memcpy(wish->from, header.log_uuid, UUID_SIZE);
    source_close(&source);
    directory_close(&directory);
}

int log_fork_request(const char *dir, struct error *error)
{
    struct fork_wish wish = { .why = "it was asked for in " LOG_FORK_NAME };
    bind_wish(dir, &wish);
    int result = fork_write(dir, &wish, error);
    return result < 0 ? error_wrap(error, result, "ask for a fork of log %s", dir) : 0;
}
