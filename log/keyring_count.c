/* What a keyring holds. */
#include "iouring/file.h"
#include "log/keyring_format.h"
#include "log/keyring_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { SLOTS_A_READ = 4096 };

struct counting {
    struct keyring *keyring;
    struct keyring_counts *counts;
    uint64_t end; /* behind the last file that is there */
    uint8_t *slots;
    int code; /* the first problem, or 0 */
    struct error *error;
};

static int see_name(const char *name, void *context, struct error *error)
{
    (void)error;
    struct counting *counting = context;
    uint32_t file_no;
    if (keyring_file_of_name(name, &file_no) && file_no >= counting->end)
        counting->end = (uint64_t)file_no + 1;
    return 0;
}

static int see_marker(uint32_t id, uint64_t stream, void *context, struct error *error)
{
    (void)id, (void)stream, (void)error;
    ((struct counting *)context)->counts->condemned++;
    return 0;
}

/* Only the first one is told. */
static void note(struct counting *counting, int code, const struct error *what)
{
    if (counting->code != 0)
        return;
    counting->code = code;
    if (counting->error != NULL)
        *counting->error = *what;
}

/* keyring_get() judges what looks damaged: it knows how to read beside a writer. */
static void count_again(struct counting *counting, uint32_t id)
{
    uint8_t key[KEYRING_KEY_SIZE];
    struct error what;
    int code = keyring_get(counting->keyring, id, key, &what);
    explicit_bzero(key, sizeof key);
    counting->counts->destroyed += code == ERROR_NOT_FOUND;
    if (code == 0 || code == ERROR_NOT_FOUND)
        return;
    counting->counts->damaged++;
    note(counting, code, &what);
}

static void count_slots(struct counting *counting, uint32_t first, uint32_t count)
{
    for (uint32_t i = first == 0; i < count; i++) {
        int state = keyring_slot_decode(counting->slots + (size_t)i * KEYRING_SLOT_SIZE, first + i);
        counting->counts->destroyed += state == KEYRING_DESTROYED;
        if (state < 0)
            count_again(counting, first + i);
    }
}

/* Where a batch cannot be read, each of its keys is tried alone. */
static void count_file(struct counting *counting, int fd, uint32_t file_no)
{
    uint32_t first = file_no * KEYRING_FILE_KEYS;
    for (uint32_t at = 0; at < KEYRING_FILE_KEYS; at += SLOTS_A_READ) {
        size_t size = (size_t)SLOTS_A_READ * KEYRING_SLOT_SIZE;
        if (file_read_at(fd, counting->slots, size, keyring_slot_offset(first + at)) !=
            (int64_t)size)
            memset(counting->slots, 0, size);
        count_slots(counting, first + at, SLOTS_A_READ);
    }
    explicit_bzero(counting->slots, (size_t)SLOTS_A_READ * KEYRING_SLOT_SIZE);
}

static void count_file_no(struct counting *counting, uint32_t file_no)
{
    struct error what;
    uint32_t keys = KEYRING_FILE_KEYS - (file_no == 0);
    int fd = keyring_file_open(counting->keyring, file_no, O_RDONLY, &what);
    if (fd < 0)
        note(counting, fd, &what);
    if (fd == ERROR_UNAVAILABLE) {
        counting->counts->missing++;
        return;
    }
    counting->counts->files++;
    counting->counts->keys += keys;
    if (fd < 0) {
        counting->counts->damaged += keys;
        return;
    }
    count_file(counting, fd, file_no);
    close(fd);
}

int keyring_count(struct keyring *keyring, struct keyring_counts *counts, struct error *error)
{
    *counts = (struct keyring_counts){ .files = 0 };
    struct counting counting = { .keyring = keyring, .counts = counts, .error = error };
    counting.slots = malloc((size_t)SLOTS_A_READ * KEYRING_SLOT_SIZE);
    if (counting.slots == NULL)
        return error_set(error, -ENOMEM, "no memory to count keys");
    int code = keyring_names(keyring, see_name, &counting, error);
    if (code == 0)
        code = keyring_condemned(keyring, see_marker, &counting, error);
    for (uint64_t file_no = 0; code == 0 && file_no < counting.end; file_no++)
        count_file_no(&counting, (uint32_t)file_no);
    free(counting.slots);
    return code < 0 ? code : counting.code;
}
