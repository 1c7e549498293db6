#include "log/sealed.h"

#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "iouring/file.h"
#include "log/diagnose.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define ZSTD_STATIC_LINKING_ONLY /* for ZSTD_d_forceIgnoreChecksum */
#include <zstd.h>

#define READ_SIZE (1u << 20) /* packed bytes that are read at once, at most */

static int reserve(struct sealed *sealed, uint64_t bytes)
{
    if (sealed->budget != NULL && budget_reserve(sealed->budget, BUDGET_READERS, bytes) < 0)
        return ERROR_BUDGET;
    sealed->budgeted += bytes;
    return 0;
}

static void release(struct sealed *sealed, uint64_t bytes)
{
    if (sealed->budget != NULL)
        budget_release(sealed->budget, BUDGET_READERS, bytes);
    sealed->budgeted -= bytes;
}

/* Has room for `size` packed bytes, wherever they begin in a block. */
static int grow_packed(struct sealed *sealed, uint64_t size)
{
    if (size <= sealed->packed_capacity)
        return 0;
    free(sealed->packed);
    release(sealed, sealed->packed_capacity);
    sealed->packed_capacity = sealed->packed_size = 0;
    sealed->packed = NULL;
    int code = reserve(sealed, size);
    if (code < 0)
        return code;
    sealed->packed = file_aligned_buffer(size);
    if (sealed->packed == NULL) {
        release(sealed, size);
        return -ENOMEM;
    }
    sealed->packed_capacity = size;
    return 0;
}

static void flip_back(struct sealed *sealed)
{
    for (unsigned i = 0; i < sealed->flip_count; i++) {
        uint64_t at = sealed->flips[i].offset - sealed->packed_offset;
        if (sealed->flips[i].offset >= sealed->packed_offset && at < sealed->packed_size)
            sealed->packed[at] ^= sealed->flips[i].mask;
    }
}

/* Has the bytes [offset, end) of the file in `packed`, and more of them up to `more` when it has to
 * read. */
static int read_packed(struct sealed *sealed, int fd, uint64_t offset, uint64_t end, uint64_t more,
                       uint64_t *bytes_read)
{
    if (offset >= sealed->packed_offset && end <= sealed->packed_offset + sealed->packed_size)
        return 0;
    uint64_t start = offset / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    uint64_t stop = more - start > READ_SIZE && end - start <= READ_SIZE ? start + READ_SIZE : more;
    uint64_t size = (stop - start + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    int code = grow_packed(sealed, size);
    if (code < 0)
        return code;
    sealed->packed_size = 0;
    int64_t got = file_read_at(fd, sealed->packed, size, start);
    if (got < 0)
        return (int)got;
    sealed->packed_offset = start;
    sealed->packed_size = (uint64_t)got;
    flip_back(sealed);
    *bytes_read += (uint64_t)got;
    return end <= start + (uint64_t)got ? 0 : ERROR_TRUNCATED;
}

static void free_tables(struct sealed *sealed)
{
    free(sealed->offsets);
    free(sealed->checksums);
    ZSTD_freeDCtx(sealed->zstd);
    sealed->offsets = NULL;
    sealed->checksums = NULL;
    sealed->zstd = NULL;
}

int sealed_open(struct sealed **opened, int fd, uint64_t file_size, struct budget *budget,
                struct error *error)
{
    uint64_t ignored = 0;
    *opened = NULL;
    if (file_size < SEALED_FRONT_SIZE)
        return error_set(error, ERROR_DAMAGED, "it is %llu bytes long, shorter than its front",
                         (unsigned long long)file_size);
    struct sealed *sealed = calloc(1, sizeof *sealed);
    if (sealed == NULL)
        return error_set(error, -ENOMEM, "no memory to read it");
    sealed->budget = budget;
    int code = reserve(sealed, sizeof *sealed);
    if (code == 0)
        code = read_packed(sealed, fd, 0, SEALED_FRONT_SIZE, SEALED_FRONT_SIZE, &ignored);
    if (code < 0)
        error_set(error, code, "its front cannot be read: %s", error_text(code));
    else
        code = sealed_front_decode(sealed->packed, &sealed->front, error);
    if (code == 0 && sealed->front.file_size != file_size)
        code =
            error_set(error, ERROR_DAMAGED, "it is %llu bytes long instead of %llu",
                      (unsigned long long)file_size, (unsigned long long)sealed->front.file_size);
    if (code < 0)
        sealed_close(sealed);
    else
        *opened = sealed;
    return code;
}

void sealed_close(struct sealed *sealed)
{
    if (sealed == NULL)
        return;
    free_tables(sealed);
    free(sealed->packed);
    if (sealed->budget != NULL)
        budget_release(sealed->budget, BUDGET_READERS, sealed->budgeted);
    free(sealed);
}

/* The CRC-32C of all packed bytes is checked before. A library that cannot checks both. */
static void ignore_content_checksum(struct sealed *sealed, bool ignore)
{
    (void)ZSTD_DCtx_setParameter(sealed->zstd, ZSTD_d_forceIgnoreChecksum,
                                 ignore ? ZSTD_d_ignoreChecksum : ZSTD_d_validateChecksum);
}

/* Room for the tables, and what unpacks. */
static int prepare(struct sealed *sealed)
{
    uint64_t count = sealed->front.chunk_count;
    if (sealed->zstd != NULL)
        return 0;
    sealed->offsets = calloc(count + 1, sizeof *sealed->offsets);
    sealed->checksums = calloc(count, sizeof *sealed->checksums);
    sealed->zstd = ZSTD_createDCtx();
    int code = -ENOMEM;
    if (sealed->zstd != NULL)
        ignore_content_checksum(sealed, true);
    if (sealed->offsets != NULL && sealed->checksums != NULL && sealed->zstd != NULL)
        code =
            reserve(sealed, (count + 1) * sizeof *sealed->offsets +
                                count * sizeof *sealed->checksums + ZSTD_sizeof_DCtx(sealed->zstd));
    if (code < 0)
        free_tables(sealed);
    return code;
}

int sealed_load(struct sealed *sealed, int fd, uint64_t *bytes_read)
{
    const struct sealed_front *front = &sealed->front;
    if (sealed->loaded)
        return 0;
    int code = prepare(sealed);
    if (code == 0)
        code = read_packed(sealed, fd, front->index_offset, front->file_size, front->file_size,
                           bytes_read);
    if (code < 0)
        return code;
    const uint8_t *tables = sealed->packed + (front->index_offset - sealed->packed_offset);
    code = sealed_tables_decode(tables, front, sealed->offsets, sealed->checksums, NULL);
    sealed->loaded = code == 0;
    return code;
}

int sealed_unpack(struct sealed *sealed, uint32_t chunk, const uint8_t *packed, uint64_t there,
                  uint8_t *target)
{
    size_t size = (size_t)(sealed->offsets[chunk + 1] - sealed->offsets[chunk]);
    size_t raw = sealed_chunk_bytes(&sealed->front, chunk);
    if (there < size)
        return ERROR_TRUNCATED;
    if (crc32c(packed, size) != sealed->checksums[chunk])
        return ERROR_DAMAGED;
    return ZSTD_decompressDCtx(sealed->zstd, target, raw, packed, size) == raw ? 0 : ERROR_DAMAGED;
}

int sealed_read(struct sealed *sealed, int fd, uint32_t first, uint32_t count, bool ahead,
                uint8_t *target, uint64_t *bytes_read)
{
    CHECK(first + count <= sealed->front.chunk_count);
    int code = sealed_load(sealed, fd, bytes_read);
    for (uint32_t chunk = first; code == 0 && chunk < first + count; chunk++) {
        uint64_t start = sealed->offsets[chunk], end = sealed->offsets[chunk + 1];
        bool far = ahead && !sealed->near_only;
        uint64_t more = sealed->offsets[far ? sealed->front.chunk_count : first + count];
        code = read_packed(sealed, fd, start, end, more, bytes_read);
        if (code < 0 && far) {
            sealed->near_only = true;
            code = read_packed(sealed, fd, start, end, sealed->offsets[first + count], bytes_read);
        }
        uint64_t at = sealed->offsets[chunk] - sealed->packed_offset;
        if (code == 0)
            code = sealed_unpack(sealed, chunk, sealed->packed + at, sealed->packed_size - at,
                                 target + (uint64_t)(chunk - first) * sealed->front.chunk_size);
    }
    return code;
}

bool sealed_mend(struct sealed *sealed, int fd, uint32_t chunk, uint64_t *offset, unsigned *bit)
{
    uint64_t first = sealed->offsets[chunk], last = sealed->offsets[chunk + 1], ignored = 0;
    if (sealed->flip_count == SEALED_FLIPS_MAX ||
        read_packed(sealed, fd, first, last, last, &ignored) < 0)
        return false;
    uint8_t *packed = sealed->packed + (first - sealed->packed_offset);
    uint64_t found =
        diagnose_bit(sealed->checksums[chunk], crc32c(packed, last - first), last - first);
    if (found == UINT64_MAX)
        return false;
    uint8_t *raw = malloc(sealed->front.chunk_size);
    /* The bit was chosen for the CRC-32C, which is no witness then. */
    ignore_content_checksum(sealed, false);
    *offset = first + found / 8;
    *bit = found % 8;
    packed[found / 8] ^= (uint8_t)(1u << *bit);
    bool whole = raw != NULL && sealed_unpack(sealed, chunk, packed, last - first, raw) == 0;
    ignore_content_checksum(sealed, true);
    free(raw);
    if (whole)
        sealed->flips[sealed->flip_count++] =
            (struct sealed_flip){ .offset = *offset, .mask = (uint8_t)(1u << *bit) };
    else
        packed[found / 8] ^= (uint8_t)(1u << *bit);
    return whole;
}
