#include "log/keyring_format.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { KEYRING_VERSION = 1 };

_Static_assert(sizeof KEYRING_MAGIC - 1 == 8, "");
_Static_assert(KEYRING_AT_VERSION == KEYRING_AT_MAGIC + 8, "");
_Static_assert(KEYRING_AT_CRC == KEYRING_AT_VERSION + 4, "");
_Static_assert(KEYRING_AT_FIRST_ID == KEYRING_AT_CRC + 4, "");
_Static_assert(KEYRING_AT_COUNT == KEYRING_AT_FIRST_ID + 4, "");
_Static_assert(KEYRING_AT_UUID == KEYRING_AT_COUNT + 4, "");
_Static_assert(KEYRING_END_OF_FIELDS == KEYRING_AT_UUID + UUID_SIZE, "");
_Static_assert(KEYRING_SLOT_AT_STATE == KEYRING_SLOT_AT_KEY + KEYRING_KEY_SIZE, "");
_Static_assert(KEYRING_SLOT_AT_CRC == KEYRING_SLOT_AT_STATE + 4, "");
_Static_assert(KEYRING_SLOT_AT_RESERVED == KEYRING_SLOT_AT_CRC + 4, "");
/* No slot crosses a sector. */
_Static_assert(LOG_SECTOR_SIZE % KEYRING_SLOT_SIZE == 0, "");
_Static_assert(LOG_BLOCK_SIZE % LOG_SECTOR_SIZE == 0, "");

static uint32_t header_crc(const uint8_t *block)
{
    return crc32c_more(crc32c(block, KEYRING_AT_CRC), block + KEYRING_AT_FIRST_ID,
                       LOG_BLOCK_SIZE - KEYRING_AT_FIRST_ID);
}

void keyring_header_encode(uint8_t block[LOG_BLOCK_SIZE], uint32_t file_no,
                           const uint8_t uuid[UUID_SIZE])
{
    memset(block, 0, LOG_BLOCK_SIZE);
    memcpy(block + KEYRING_AT_MAGIC, KEYRING_MAGIC, 8);
    bytes_put_u32(block + KEYRING_AT_VERSION, KEYRING_VERSION);
    bytes_put_u32(block + KEYRING_AT_FIRST_ID, file_no * KEYRING_FILE_KEYS);
    bytes_put_u32(block + KEYRING_AT_COUNT, KEYRING_FILE_KEYS);
    memcpy(block + KEYRING_AT_UUID, uuid, UUID_SIZE);
    bytes_put_u32(block + KEYRING_AT_CRC, header_crc(block));
}

int keyring_header_decode(const uint8_t block[LOG_BLOCK_SIZE], uint32_t file_no,
                          uint8_t uuid[UUID_SIZE], const char **what)
{
    *what = "it does not begin as a file of keys does";
    if (memcmp(block + KEYRING_AT_MAGIC, KEYRING_MAGIC, 8) != 0)
        return ERROR_DAMAGED;
    *what = "the checksum of its header is wrong";
    if (bytes_get_u32(block + KEYRING_AT_CRC) != header_crc(block))
        return ERROR_DAMAGED;
    *what = "it was written by a newer version: use that one";
    if (bytes_get_u32(block + KEYRING_AT_VERSION) != KEYRING_VERSION)
        return ERROR_NEWER;
    *what = "its header says that it holds other keys";
    if (bytes_get_u32(block + KEYRING_AT_FIRST_ID) != file_no * KEYRING_FILE_KEYS ||
        bytes_get_u32(block + KEYRING_AT_COUNT) != KEYRING_FILE_KEYS)
        return ERROR_DAMAGED;
    *what = "a reserved byte of its header is not zero";
    if (!bytes_are_zero(block + KEYRING_END_OF_FIELDS, LOG_BLOCK_SIZE - KEYRING_END_OF_FIELDS))
        return ERROR_DAMAGED;
    *what = "it does not say to which keyring it belongs";
    if (bytes_are_zero(block + KEYRING_AT_UUID, UUID_SIZE))
        return ERROR_DAMAGED;
    memcpy(uuid, block + KEYRING_AT_UUID, UUID_SIZE);
    return 0;
}

static uint32_t slot_crc(const uint8_t *slot, uint32_t id)
{
    uint8_t number[4];
    bytes_put_u32(number, id);
    uint32_t crc = crc32c_more(crc32c(number, sizeof number), slot, KEYRING_SLOT_AT_CRC);
    return crc32c_more(crc, slot + KEYRING_SLOT_AT_RESERVED,
                       KEYRING_SLOT_SIZE - KEYRING_SLOT_AT_RESERVED);
}

void keyring_slot_encode(uint8_t slot[KEYRING_SLOT_SIZE], uint32_t id,
                         const uint8_t key[KEYRING_KEY_SIZE])
{
    memset(slot, 0, KEYRING_SLOT_SIZE);
    if (key != NULL)
        memcpy(slot + KEYRING_SLOT_AT_KEY, key, KEYRING_KEY_SIZE);
    bytes_put_u32(slot + KEYRING_SLOT_AT_STATE, key != NULL ? KEYRING_READY : KEYRING_DESTROYED);
    bytes_put_u32(slot + KEYRING_SLOT_AT_CRC, slot_crc(slot, id));
}

int keyring_slot_decode(const uint8_t slot[KEYRING_SLOT_SIZE], uint32_t id)
{
    uint32_t state = bytes_get_u32(slot + KEYRING_SLOT_AT_STATE);
    if (bytes_get_u32(slot + KEYRING_SLOT_AT_CRC) != slot_crc(slot, id) ||
        !bytes_are_zero(slot + KEYRING_SLOT_AT_RESERVED,
                        KEYRING_SLOT_SIZE - KEYRING_SLOT_AT_RESERVED))
        return ERROR_DAMAGED;
    /* A key of zeros was never drawn: it is one that was erased by half, if the checksum fits. */
    bool zero = bytes_are_zero(slot + KEYRING_SLOT_AT_KEY, KEYRING_KEY_SIZE);
    if ((state == KEYRING_READY && !zero) || (state == KEYRING_DESTROYED && zero))
        return (int)state;
    return ERROR_DAMAGED;
}

void keyring_file_name(char name[KEYRING_NAME_SIZE], uint32_t file_no)
{
    (void)snprintf(name, KEYRING_NAME_SIZE, "keys-%010" PRIu32, file_no);
}

void keyring_marker_name(char name[KEYRING_NAME_SIZE], uint32_t id, uint64_t stream)
{
    (void)snprintf(name, KEYRING_NAME_SIZE, "erase-%" PRIu32 "-%" PRIu64, id, stream);
}

bool keyring_file_of_name(const char *name, uint32_t *file_no)
{
    char again[KEYRING_NAME_SIZE];
    if (sscanf(name, "keys-%10" SCNu32, file_no) != 1 || *file_no > UINT32_MAX / KEYRING_FILE_KEYS)
        return false;
    keyring_file_name(again, *file_no);
    return strcmp(again, name) == 0;
}

bool keyring_marker_of_name(const char *name, uint32_t *id, uint64_t *stream)
{
    char again[KEYRING_NAME_SIZE];
    if (sscanf(name, "erase-%" SCNu32 "-%" SCNu64, id, stream) != 2 || *id == 0)
        return false;
    keyring_marker_name(again, *id, *stream);
    return strcmp(again, name) == 0;
}

bool keyring_name_is_temporary(const char *name)
{
    char start[KEYRING_NAME_SIZE];
    uint32_t file_no;
    size_t size = strlen(name), end = sizeof KEYRING_TEMPORARY - 1;
    if (size < end || size >= sizeof start || strcmp(name + size - end, KEYRING_TEMPORARY) != 0)
        return false;
    memcpy(start, name, size - end);
    start[size - end] = '\0';
    return keyring_file_of_name(start, &file_no);
}
