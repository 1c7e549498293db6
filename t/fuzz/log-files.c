/* The small files of a log: the first byte says which, the second what is put right of its
 * checksums, the rest is the file. What is accepted is written again as it was. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "core/base/sha256.h"
#include "core/base/text.h"
#include "log/checkpoint.h"
#include "log/fork.h"
#include "log/keyring_format.h"
#include "log/manifest.h"
#include "log/place.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum { CHECKPOINT, FORK, PLACE, BACKUP, BACKUP_PART, KEYS_HEADER, KEYS_SLOT, NAMES, KINDS };
enum { FILE_MAX = 1 << 16 };

/* In memory, where there is such a filesystem: each input is a file. */
static char dir[] = "/dev/shm/daa-fuzz-XXXXXX";
static uint8_t bytes[FILE_MAX];

static void remove_files(void)
{
    static const char *const names[] = { LOG_FORK_NAME, LOG_PLACE_NAME, LOG_LOCK_NAME,
                                         MANIFEST_NAME, MANIFEST_PART_NAME };
    char path[64];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void put_file(const char *name, const void *content, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, content, size) == (ssize_t)size);
    close(fd);
}

static void make_dir(void)
{
    static bool made;
    if (made)
        return;
    if (mkdtemp(dir) == NULL)
        CHECK(mkdtemp(memcpy(dir, "/var/tmp/daa-fuzz-XXXXXX", sizeof dir)) != NULL);
    put_file(LOG_LOCK_NAME, "", 0);
    atexit(remove_files);
    made = true;
}

static void fuzz_checkpoint(bool right)
{
    struct checkpoint checkpoint;
    uint8_t again[LOG_BLOCK_SIZE];
    if (right) {
        memcpy(bytes, CHECKPOINT_MAGIC, 8);
        bytes_put_u32(bytes + CHECKPOINT_AT_CRC,
                      crc32c_more(crc32c(bytes, CHECKPOINT_AT_CRC), bytes + CHECKPOINT_AT_LOG_UUID,
                                  LOG_BLOCK_SIZE - CHECKPOINT_AT_LOG_UUID));
    }
    if (checkpoint_decode(bytes, &checkpoint) != 0)
        return;
    checkpoint_encode(again, &checkpoint);
    CHECK(memcmp(again, bytes, LOG_BLOCK_SIZE) == 0);
}

/* The CRC of the lines before is the last one. */
static size_t put_crc(size_t size)
{
    if (size > FILE_MAX - 16)
        size = FILE_MAX - 16;
    return size + (size_t)snprintf((char *)bytes + size, 16, "crc %08x\n", crc32c(bytes, size));
}

static void fuzz_fork(bool right, size_t size)
{
    struct fork_wish wish, again;
    struct error error;
    put_file(LOG_FORK_NAME, bytes, right ? put_crc(size) : size);
    CHECK(fork_read(dir, &wish, &error) == 0);
    CHECK(wish.exists);
    if (!wish.bound)
        return;
    CHECK(fork_write(dir, &wish, &error) == 0);
    CHECK(fork_read(dir, &again, &error) == 0);
    CHECK(again.bound);
    CHECK(memcmp(again.from, wish.from, UUID_SIZE) == 0);
    CHECK(strcmp(again.why, wish.why) == 0);
}

static void fuzz_place(bool right, size_t size)
{
    static const struct segment_header nobody;
    put_file(LOG_PLACE_NAME, bytes, right ? put_crc(size) : size);
    (void)place_is_moved(dir, &nobody);
}

/* Behind the lines of the input comes the one that vouches for them. */
static size_t put_end(size_t size)
{
    uint8_t sha256[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    if (size > FILE_MAX - 80)
        size = FILE_MAX - 80;
    sha256_of(sha256, bytes, size);
    bytes_to_hex(hex, sha256, sizeof sha256);
    return size + (size_t)snprintf((char *)bytes + size, 80, "end %s\n", hex);
}

static void fuzz_backup(bool right, size_t size)
{
    struct manifest manifest, again;
    struct error error;
    put_file(MANIFEST_NAME, bytes, right ? put_end(size) : size);
    manifest_init(&manifest);
    manifest_init(&again);
    if (manifest_read(&manifest, dir, &error) == 1 && manifest_last(&manifest) != NULL) {
        CHECK(manifest_write(&manifest, dir, &error) == 0);
        CHECK(manifest_read(&again, dir, &error) == 1);
        CHECK(again.segment_count == manifest.segment_count);
        CHECK(again.snapshot_count == manifest.snapshot_count);
        CHECK(again.since_seq == manifest.since_seq);
    }
    manifest_free(&manifest);
    manifest_free(&again);
}

static void fuzz_part(size_t size)
{
    struct manifest manifest;
    struct error error;
    put_file(MANIFEST_PART_NAME, bytes, size);
    manifest_init(&manifest);
    (void)manifest_read_part(&manifest, dir, &error);
    for (size_t i = 0; i < manifest.segment_count; i++)
        CHECK(manifest_find(&manifest, manifest.segments[i].segment_no) != NULL);
    manifest_free(&manifest);
}

static void fuzz_keys_header(bool right)
{
    uint8_t again[LOG_BLOCK_SIZE], uuid[UUID_SIZE];
    const char *what;
    uint32_t file_no = bytes_get_u32(bytes + KEYRING_AT_FIRST_ID) / KEYRING_FILE_KEYS;
    if (right) {
        memcpy(bytes, KEYRING_MAGIC, 8);
        bytes_put_u32(bytes + KEYRING_AT_CRC,
                      crc32c_more(crc32c(bytes, KEYRING_AT_CRC), bytes + KEYRING_AT_FIRST_ID,
                                  LOG_BLOCK_SIZE - KEYRING_AT_FIRST_ID));
    }
    if (keyring_header_decode(bytes, file_no, uuid, &what) != 0)
        return;
    keyring_header_encode(again, file_no, uuid);
    CHECK(memcmp(again, bytes, LOG_BLOCK_SIZE) == 0);
}

/* A slot, behind it its id. */
static void fuzz_keys_slot(bool right)
{
    uint8_t again[KEYRING_SLOT_SIZE], *number = bytes + KEYRING_SLOT_SIZE;
    uint32_t id = bytes_get_u32(number);
    if (right) {
        uint32_t crc = crc32c_more(crc32c(number, 4), bytes, KEYRING_SLOT_AT_CRC);
        bytes_put_u32(bytes + KEYRING_SLOT_AT_CRC,
                      crc32c_more(crc, bytes + KEYRING_SLOT_AT_RESERVED,
                                  KEYRING_SLOT_SIZE - KEYRING_SLOT_AT_RESERVED));
    }
    int state = keyring_slot_decode(bytes, id);
    if (state < 0)
        return;
    keyring_slot_encode(again, id, state == KEYRING_READY ? bytes : NULL);
    CHECK(memcmp(again, bytes, KEYRING_SLOT_SIZE) == 0);
}

static void fuzz_names(void)
{
    char again[KEYRING_NAME_SIZE];
    const char *name = (const char *)bytes;
    uint32_t id;
    uint64_t stream;
    bytes[FILE_MAX - 1] = 0;
    if (keyring_file_of_name(name, &id)) {
        keyring_file_name(again, id);
        CHECK(strcmp(again, name) == 0);
    }
    if (keyring_marker_of_name(name, &id, &stream)) {
        keyring_marker_name(again, id, stream);
        CHECK(strcmp(again, name) == 0);
    }
    (void)keyring_name_is_temporary(name);
    (void)snapshot_seq_of_name(name, &stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 2 || size - 2 > FILE_MAX)
        return 0;
    bool right = input[1] & 1;
    make_dir();
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, input + 2, size - 2);
    switch (input[0] % KINDS) {
    case CHECKPOINT:
        fuzz_checkpoint(right);
        break;
    case FORK:
        fuzz_fork(right, size - 2);
        break;
    case PLACE:
        fuzz_place(right, size - 2);
        break;
    case BACKUP:
        fuzz_backup(right, size - 2);
        break;
    case BACKUP_PART:
        fuzz_part(size - 2);
        break;
    case KEYS_HEADER:
        fuzz_keys_header(right);
        break;
    case KEYS_SLOT:
        fuzz_keys_slot(right);
        break;
    default:
        fuzz_names();
    }
    return 0;
}
