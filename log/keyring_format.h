/* The bytes of a keyring's files, and the names in its directory. For log/ only. All integers
 * little-endian; all reserved bytes are 0 and checked. docs/daa-log-format.5 says the same.
 *
 * File n, `keys-<n in 10 digits>`, holds the keys of ids n * 65536 to n * 65536 + 65535: a header
 * of one block, then a slot of 64 bytes for each. It is written once, whole, under the same name
 * with `.tmp`; after that only slots change, from ready to destroyed. A slot lies within a sector,
 * so a crash leaves one or the other. The slot of id 0 is destroyed from the beginning.
 *
 * `erase-<id>-<stream>`, both decimal without zeros in front, is a marker, and empty.
 *
 * Pure. Threads: any. */
#ifndef LOG_KEYRING_FORMAT_H
#define LOG_KEYRING_FORMAT_H

#include "log/format.h"
#include "log/keyring.h"

#include <stdbool.h>

#define KEYRING_MAGIC                                                                              \
    "\x89"                                                                                         \
    "DAAK\r\n\x1a"
#define KEYRING_FILE_KEYS 65536u
#define KEYRING_SLOT_SIZE 64u
#define KEYRING_FILE_SIZE (LOG_BLOCK_SIZE + KEYRING_FILE_KEYS * KEYRING_SLOT_SIZE)

enum {
    KEYRING_AT_MAGIC = 0,     /* 8 */
    KEYRING_AT_VERSION = 8,   /* u32 = 1 */
    KEYRING_AT_CRC = 12,      /* u32 CRC-32C over [0,12) and [16,4096) */
    KEYRING_AT_FIRST_ID = 16, /* u32 */
    KEYRING_AT_COUNT = 20,    /* u32 = 65536 */
    KEYRING_AT_UUID = 24,     /* 16, of the keyring: the same in all its files */
    KEYRING_END_OF_FIELDS = 40
};

enum {
    KEYRING_SLOT_AT_KEY = 0,      /* 32, zero when it is destroyed */
    KEYRING_SLOT_AT_STATE = 32,   /* u32 enum keyring_state */
    KEYRING_SLOT_AT_CRC = 36,     /* u32 CRC-32C over the id (u32), [0,36) and [40,64) */
    KEYRING_SLOT_AT_RESERVED = 40 /* 24 bytes = 0 */
};

enum keyring_state { KEYRING_READY = 1, KEYRING_DESTROYED = 2 };

#define KEYRING_NAME_SIZE 64 /* of any name here */
#define KEYRING_TEMPORARY ".tmp"
#define KEYRING_BEGIN "log-" /* <uuid of the log>-<number before its first key> */

static inline uint32_t keyring_file_of(uint32_t id)
{
    return id / KEYRING_FILE_KEYS;
}

static inline uint32_t keyring_slot_offset(uint32_t id)
{
    return LOG_BLOCK_SIZE + id % KEYRING_FILE_KEYS * KEYRING_SLOT_SIZE;
}

void keyring_header_encode(uint8_t block[LOG_BLOCK_SIZE], uint32_t file_no,
                           const uint8_t uuid[UUID_SIZE]);
/* 0, ERROR_NEWER or ERROR_DAMAGED; *what says what is wrong. */
int keyring_header_decode(const uint8_t block[LOG_BLOCK_SIZE], uint32_t file_no,
                          uint8_t uuid[UUID_SIZE], const char **what);

/* `key` is NULL for one that is destroyed. */
void keyring_slot_encode(uint8_t slot[KEYRING_SLOT_SIZE], uint32_t id,
                         const uint8_t key[KEYRING_KEY_SIZE]);
/* The state, or ERROR_DAMAGED. The key of one that is ready lies at its begin. */
int keyring_slot_decode(const uint8_t slot[KEYRING_SLOT_SIZE], uint32_t id);

void keyring_file_name(char name[KEYRING_NAME_SIZE], uint32_t file_no);
void keyring_marker_name(char name[KEYRING_NAME_SIZE], uint32_t id, uint64_t stream);
/* False when it is not exactly such a name. */
bool keyring_file_of_name(const char *name, uint32_t *file_no);
bool keyring_marker_of_name(const char *name, uint32_t *id, uint64_t *stream);
/* True for a file of keys that was being made when a process ended. */
bool keyring_name_is_temporary(const char *name);

#endif
