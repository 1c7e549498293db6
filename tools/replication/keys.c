#include "tools/replication/keys.h"

#include "log/event.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static int open_keyring(struct key_source *source, struct error *error)
{
    const struct keyring_options options = { .dir = source->dir, .mode = KEYRING_READ };
    return keyring_open(&source->keyring, &options, error);
}

/* Without a directory nobody can say that a key was destroyed. */
static int find(void *context, uint32_t key_id, uint8_t key[AEAD_KEY_SIZE])
{
    struct key_source *source = context;
    struct error ignored;
    if (source->keyring == NULL && open_keyring(source, &ignored) < 0)
        return ERROR_UNAVAILABLE;
    return event_key_find(source->keyring, key_id, key);
}

static int set_dir(struct key_source *source, const char *dir, const char *keys_dir)
{
    struct stat status;
    char *path = source->dir;
    if (keys_dir != NULL)
        return snprintf(path, PATH_MAX, "%s", keys_dir);
    int size = snprintf(path, PATH_MAX, "%s/log", dir);
    bool inner = size < PATH_MAX && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    return snprintf(path, PATH_MAX, "%s/%skeys", dir, inner ? "" : "../");
}

int key_source_open(struct key_source *source, const char *dir, const char *keys_dir,
                    struct error *error)
{
    source->keyring = NULL;
    source->keys = (struct event_keys){ .find = find, .context = source };
    if (set_dir(source, dir, keys_dir) >= PATH_MAX)
        return error_set(error, -ENAMETOOLONG, "the path of the keys is too long: %s",
                         keys_dir != NULL ? keys_dir : dir);
    return open_keyring(source, error);
}

void key_source_close(struct key_source *source)
{
    keyring_close(source->keyring);
    source->keyring = NULL;
}
