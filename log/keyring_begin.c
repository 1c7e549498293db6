/* Where the keys end that are there. */
#include "log/keyring_format.h"
#include "log/keyring_inside.h"

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
