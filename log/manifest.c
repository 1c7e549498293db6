#include "log/manifest.h"

#include "core/base/bytes.h"
#include "core/base/text.h"
#include "iouring/file.h"
#include "log/copying.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FIRST_LINE "daa backup 1\n"
#define SIZE_MAX_BYTES (1ull << 30) /* of the text: some four million segments */
#define HEX_SIZE (2 * SHA256_SIZE + 1)

void manifest_init(struct manifest *manifest)
{
    *manifest = (struct manifest){ .segments = NULL };
}

void manifest_free(struct manifest *manifest)
{
    free(manifest->segments);
    free(manifest->snapshots);
    manifest_init(manifest);
}

const struct backup_segment *manifest_last(const struct manifest *manifest)
{
    return manifest->segment_count == 0 ? NULL : &manifest->segments[manifest->segment_count - 1];
}

/* Index of the first segment that is not below. */
static size_t place_of(const struct manifest *manifest, uint64_t segment_no)
{
    size_t low = 0, high = manifest->segment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (manifest->segments[middle].segment_no < segment_no)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct backup_segment *manifest_find(const struct manifest *manifest, uint64_t segment_no)
{
    size_t at = place_of(manifest, segment_no);
    bool found = at < manifest->segment_count && manifest->segments[at].segment_no == segment_no;
    return found ? &manifest->segments[at] : NULL;
}

/* Room for one more of `size` bytes, at `at`: what is there moves up. The elements, which may have
 * moved; NULL, and nothing was changed, when there is no memory. */
static void *open_gap(void *items, size_t *count, size_t *capacity, size_t size, size_t at)
{
    if (*count == *capacity) {
        size_t more = *capacity == 0 ? 16 : *capacity * 2;
        items = reallocarray(items, more, size);
        if (items == NULL)
            return NULL;
        *capacity = more;
    }
    uint8_t *gap = (uint8_t *)items + at * size;
    memmove(gap + size, gap, (*count - at) * size);
    ++*count;
    return items;
}

int manifest_put(struct manifest *manifest, const struct backup_segment *segment)
{
    size_t at = place_of(manifest, segment->segment_no);
    if (manifest_find(manifest, segment->segment_no) == NULL) {
        void *items = open_gap(manifest->segments, &manifest->segment_count,
                               &manifest->segment_capacity, sizeof *segment, at);
        if (items == NULL)
            return -ENOMEM;
        manifest->segments = items;
    }
    manifest->segments[at] = *segment;
    return 0;
}

int manifest_put_snapshot(struct manifest *manifest, const struct backup_snapshot *snapshot)
{
    size_t at = 0;
    while (at < manifest->snapshot_count && manifest->snapshots[at].seq < snapshot->seq)
        at++;
    if (at == manifest->snapshot_count || manifest->snapshots[at].seq != snapshot->seq) {
        void *items = open_gap(manifest->snapshots, &manifest->snapshot_count,
                               &manifest->snapshot_capacity, sizeof *snapshot, at);
        if (items == NULL)
            return -ENOMEM;
        manifest->snapshots = items;
    }
    manifest->snapshots[at] = *snapshot;
    return 0;
}

void manifest_drop_snapshot(struct manifest *manifest, size_t index)
{
    manifest->snapshot_count--;
    memmove(manifest->snapshots + index, manifest->snapshots + index + 1,
            (manifest->snapshot_count - index) * sizeof *manifest->snapshots);
}

bool snapshot_seq_of_name(const char *name, uint64_t *seq)
{
    uint64_t number = 0;
    if (strlen(name) != 29 || memcmp(name, "snap-", 5) != 0 || strcmp(name + 25, ".zst") != 0)
        return false;
    for (size_t i = 5; i < 25; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(name[i] - '0');
    }
    *seq = number;
    return true;
}

/* Lines. */

static void add_segment(struct text *text, const struct backup_segment *segment)
{
    char name[LOG_SEGMENT_NAME_SIZE], sha256[HEX_SIZE], chain[HEX_SIZE];
    segment_name(name, segment->segment_no);
    bytes_to_hex(sha256, segment->sha256, SHA256_SIZE);
    bytes_to_hex(chain, segment->chain, SHA256_SIZE);
    text_printf(text, "segment %s %llu %llu %llu %llu %s %s %s\n", name,
                (unsigned long long)segment->bytes, (unsigned long long)segment->capacity,
                (unsigned long long)segment->first_seq, (unsigned long long)segment->last_seq,
                segment->closed ? "closed" : "open", sha256, chain);
}

static void add_head(struct text *text, const struct manifest *manifest)
{
    text_add_string(text, FIRST_LINE);
    text_printf(text, "log %s\n", manifest->log_uuid);
    text_printf(text, "since %llu\n", (unsigned long long)manifest->since_seq);
}

static void add_time(struct text *text, uint64_t time_ns)
{
    char day[32];
    struct tm tm;
    time_t seconds = (time_t)(time_ns / 1000000000u);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
    text_printf(text, "time %s.%09lluZ\n", day, (unsigned long long)(time_ns % 1000000000u));
}

static void add_all(struct text *text, const struct manifest *manifest)
{
    char hex[HEX_SIZE];
    uint8_t sha256[SHA256_SIZE];
    const struct backup_segment *last = manifest_last(manifest);
    add_head(text, manifest);
    add_time(text, manifest->time_ns);
    for (size_t i = 0; i < manifest->segment_count; i++)
        add_segment(text, &manifest->segments[i]);
    for (size_t i = 0; i < manifest->snapshot_count; i++) {
        const struct backup_snapshot *snapshot = &manifest->snapshots[i];
        bytes_to_hex(hex, snapshot->sha256, SHA256_SIZE);
        text_printf(text, "snapshot %s %llu %s\n", snapshot->name,
                    (unsigned long long)snapshot->bytes, hex);
    }
    bytes_to_hex(hex, last->chain, SHA256_SIZE);
    text_printf(text, "last_seq %llu %s\n", (unsigned long long)last->last_seq, hex);
    sha256_of(sha256, text->bytes, text->size);
    bytes_to_hex(hex, sha256, SHA256_SIZE);
    text_printf(text, "end %s\n", hex);
}

/* What was understood is taken; for want of memory it may not be. */
static bool taken(struct manifest *manifest, int code)
{
    if (code < 0)
        manifest->failed = code;
    return code == 0;
}

static bool take_segment(struct manifest *manifest, const char *line)
{
    char name[LOG_SEGMENT_NAME_SIZE], state[8], sha256[HEX_SIZE], chain[HEX_SIZE];
    unsigned long long bytes, capacity, first_seq, last_seq;
    struct backup_segment segment;
    int used = 0;
    if (sscanf(line, "segment %31s %llu %llu %llu %llu %7s %64s %64s%n", name, &bytes, &capacity,
               &first_seq, &last_seq, state, sha256, chain, &used) != 8 ||
        line[used] != '\0' || !segment_no_of_name(name, &segment.segment_no))
        return false;
    segment.bytes = bytes;
    segment.capacity = capacity;
    segment.first_seq = first_seq;
    segment.last_seq = last_seq;
    segment.closed = strcmp(state, "closed") == 0;
    return bytes >= LOG_BLOCK_SIZE && bytes <= capacity && bytes % LOG_BLOCK_SIZE == 0 &&
           capacity <= LOG_SEGMENT_SIZE_MAX && capacity % LOG_BLOCK_SIZE == 0 &&
           bytes_from_hex(segment.sha256, SHA256_SIZE, sha256, strlen(sha256)) &&
           bytes_from_hex(segment.chain, SHA256_SIZE, chain, strlen(chain)) &&
           taken(manifest, manifest_put(manifest, &segment));
}

static bool take_snapshot(struct manifest *manifest, const char *line)
{
    char sha256[HEX_SIZE];
    unsigned long long bytes;
    struct backup_snapshot snapshot;
    return sscanf(line, "snapshot %31s %llu %64s", snapshot.name, &bytes, sha256) == 3 &&
           (snapshot.bytes = bytes, snapshot_seq_of_name(snapshot.name, &snapshot.seq)) &&
           bytes_from_hex(snapshot.sha256, SHA256_SIZE, sha256, strlen(sha256)) &&
           taken(manifest, manifest_put_snapshot(manifest, &snapshot));
}

/* True if the line, which is terminated, was understood. */
static bool take_line(struct manifest *manifest, const char *line)
{
    unsigned long long number;
    if (strncmp(line, "segment ", 8) == 0)
        return take_segment(manifest, line);
    if (strncmp(line, "snapshot ", 9) == 0)
        return take_snapshot(manifest, line);
    if (strncmp(line, "log ", 4) == 0 && strlen(line) == 4 + UUID_TEXT_SIZE - 1)
        return memcpy(manifest->log_uuid, line + 4, UUID_TEXT_SIZE) != NULL;
    if (sscanf(line, "since %llu", &number) == 1) {
        manifest->since_seq = number;
        return true;
    }
    return strncmp(line, "time ", 5) == 0 || strncmp(line, "last_seq ", 9) == 0;
}

/* Takes whole lines up to one that is not understood; the offset behind them. */
static size_t take_lines(struct manifest *manifest, char *text, size_t size)
{
    size_t at = 0;
    char *end;
    while (at < size && (end = memchr(text + at, '\n', size - at)) != NULL) {
        *end = '\0';
        if (!take_line(manifest, text + at))
            return at;
        at = (size_t)(end - text) + 1;
    }
    return at;
}

/* Files. */

/* The whole file, to be freed. -ENOENT and others. */
static int read_whole(const char *path, char **bytes, size_t *size)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int code = fd < 0 || fstat(fd, &status) < 0 ? -errno : 0;
    if (code == 0 && (uint64_t)status.st_size > SIZE_MAX_BYTES)
        code = ERROR_TOO_LARGE;
    *bytes = code == 0 ? malloc((size_t)status.st_size + 1) : NULL;
    if (code == 0 && *bytes == NULL)
        code = -ENOMEM;
    if (code == 0) {
        int64_t got = file_read_at(fd, *bytes, (size_t)status.st_size, 0);
        code = got < 0 ? (int)got : 0;
        *size = got < 0 ? 0 : (size_t)got;
    }
    if (fd >= 0)
        close(fd);
    if (code < 0) {
        free(*bytes);
        *bytes = NULL;
    }
    return code;
}

/* Checks the first and the last line; *size becomes that of the lines between "end" and them. */
static int check_frame(const char *bytes, size_t *size, struct error *error)
{
    const size_t last = 4 + 2 * SHA256_SIZE + 1, first = strlen(FIRST_LINE);
    uint8_t got[SHA256_SIZE];
    char hex[HEX_SIZE];
    if (*size >= first && memcmp(bytes, "daa backup ", 11) == 0 &&
        memcmp(bytes, FIRST_LINE, first) != 0)
        return error_set(error, ERROR_NEWER, "a newer daa-log wrote it: use that one");
    if (*size < first + last || memcmp(bytes, FIRST_LINE, first) != 0)
        return ERROR_DAMAGED;
    *size -= last;
    const char *end = bytes + *size;
    sha256_of(got, bytes, *size);
    bytes_to_hex(hex, got, sizeof got); /* as it is written: capitals are another text */
    return memcmp(end, "end ", 4) == 0 && end[last - 1] == '\n' &&
                   memcmp(end + 4, hex, 2 * SHA256_SIZE) == 0
               ? 0
               : ERROR_DAMAGED;
}

int manifest_read(struct manifest *manifest, const char *dir, struct error *error)
{
    char path[PATH_MAX], *bytes;
    size_t size = 0, first = strlen(FIRST_LINE);
    if (snprintf(path, sizeof path, "%s/%s", dir, MANIFEST_NAME) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", dir);
    int code = read_whole(path, &bytes, &size);
    if (code == -ENOENT)
        return 0;
    if (code < 0)
        return error_set(error, code, "%s cannot be read: %s", path, error_text(code));
    code = check_frame(bytes, &size, error);
    if (code == 0 && (take_lines(manifest, bytes + first, size - first) != size - first ||
                      manifest->segment_count == 0 || manifest->log_uuid[0] == '\0'))
        code = manifest->failed < 0 ? manifest->failed : ERROR_DAMAGED;
    free(bytes);
    if (code == ERROR_NEWER)
        return error_wrap(error, code, "%s", path);
    if (code < 0 && code != ERROR_DAMAGED)
        return error_set(error, code, "%s cannot be read: %s", path, error_text(code));
    if (code < 0)
        return error_set(error, code,
                         "%s is damaged: use another backup; to restore from the segments beside "
                         "it all the same, remove it and give the directory to daa-log restore",
                         path);
    return 1;
}

int manifest_read_part(struct manifest *manifest, const char *dir, struct error *error)
{
    char path[PATH_MAX], *bytes;
    size_t size = 0, first = strlen(FIRST_LINE), used = 0;
    if (snprintf(path, sizeof path, "%s/%s", dir, MANIFEST_PART_NAME) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", dir);
    int code = read_whole(path, &bytes, &size);
    if (code == -ENOENT)
        return 0;
    if (code < 0)
        return error_set(error, code, "%s cannot be read: %s", path, error_text(code));
    if (size >= first && memcmp(bytes, FIRST_LINE, first) == 0)
        used = first + take_lines(manifest, bytes + first, size - first);
    free(bytes);
    if (manifest->failed < 0)
        return error_set(error, manifest->failed, "%s cannot be read: %s", path,
                         error_text(manifest->failed));
    /* What is appended next must not stand behind half a line. */
    if (used < size && truncate(path, (off_t)used) < 0)
        return error_set(error, -errno, "%s cannot be cut: %s", path, error_text(-errno));
    return used > 0;
}

int manifest_write(const struct manifest *manifest, const char *dir, struct error *error)
{
    struct text text;
    text_init(&text);
    text.size_max = SIZE_MAX_BYTES;
    add_all(&text, manifest);
    int code = text.failed;
    if (code < 0)
        error_set(error, code, "%s/%s: %s", dir, MANIFEST_NAME, error_text(code));
    else
        code = file_replace(dir, MANIFEST_NAME, text.bytes, text.size, error);
    text_free(&text);
    return code;
}

/* Appends and syncs. */
static int append(const char *dir, const struct text *text, struct error *error)
{
    char path[PATH_MAX];
    struct stat status;
    if (snprintf(path, sizeof path, "%s/%s", dir, MANIFEST_PART_NAME) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int code = fd < 0 || fstat(fd, &status) < 0 ? -errno : text->failed;
    if (code == 0)
        code = file_write_at(fd, text->bytes, text->size, (uint64_t)status.st_size);
    if (code == 0 && fsync(fd) < 0)
        code = -errno;
    if (fd >= 0)
        close(fd);
    return code < 0 ? copying_failed(error, code, path) : 0;
}

int manifest_begin_part(const struct manifest *manifest, const char *dir, struct error *error)
{
    char path[PATH_MAX];
    struct stat status;
    struct text text;
    snprintf(path, sizeof path, "%s/%s", dir, MANIFEST_PART_NAME);
    if (stat(path, &status) == 0 && status.st_size > 0)
        return 0;
    text_init(&text);
    add_head(&text, manifest);
    /* Whole or not at all: half of it would speak of another backup than was asked for. */
    int code = text.failed;
    if (code < 0)
        error_set(error, code, "%s: %s", path, error_text(code));
    else
        code = file_replace(dir, MANIFEST_PART_NAME, text.bytes, text.size, error);
    text_free(&text);
    return code;
}

int manifest_append_part(const struct backup_segment *segment, const char *dir, struct error *error)
{
    struct text text;
    text_init(&text);
    add_segment(&text, segment);
    int code = append(dir, &text, error);
    text_free(&text);
    return code;
}
