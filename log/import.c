#include "log/import.h"

#include "core/base/check.h"
#include "iouring/file.h"
#include "log/checkpoint.h"
#include "log/fork.h"
#include "log/frame.h"
#include "log/segment.h"
#include "log/storage.h"
#include "log/verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#define FRAME_GOAL (UINT64_C(1) << 20) /* bytes at which a frame is closed */

struct log_import {
    struct log_import_options options;
    char stage[PATH_MAX]; /* the data directory until it is whole */
    char log[PATH_MAX];
    int stage_fd; /* locked; -1: not ours */
    bool finished;
    /* The segment that is written; header.segment_no is 0 before the first. */
    struct segment_header header;
    int fd;
    uint64_t end;         /* of its last frame */
    uint32_t prev_blocks; /* of that frame; 0: none */
    /* The log so far. */
    uint64_t prev_link, last_seq;
    uint8_t log_uuid[UUID_SIZE]; /* of its last record */
    uint8_t chain[SHA256_SIZE];
    uint64_t segments;
    /* The open frame. */
    uint8_t *frame;
    uint32_t frame_size_max, record_count, body_size;
    uint64_t first_seq, base_time_ns;
};

/*--- The directory ---------------------------------------------------------------------------*/

static int failed_on(struct error *error, int code, const char *path)
{
    return error_set(error, code, "%s: %s", path, error_text(code));
}

/* A slash at the end of `dir` is no part of its name. */
static int join(char path[PATH_MAX], const char *dir, const char *tail, struct error *error)
{
    size_t size = strlen(dir);
    while (size > 1 && dir[size - 1] == '/')
        size--;
    if (size < PATH_MAX && snprintf(path, PATH_MAX, "%.*s%s", (int)size, dir, tail) < PATH_MAX)
        return 0;
    return error_set(error, -ENAMETOOLONG, "%s%s: the path is too long", dir, tail);
}

/* Files of the directory; it has no others than an import's. */
static int remove_files(const char *dir, struct error *error)
{
    struct dirent *entry;
    int code = 0;
    DIR *names = opendir(dir);
    if (names == NULL)
        return errno == ENOENT ? 0 : failed_on(error, -errno, dir);
    while (code == 0 && (entry = readdir(names)) != NULL) {
        bool dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!dots && unlinkat(dirfd(names), entry->d_name, 0) < 0)
            code = failed_on(error, -errno, dir);
    }
    closedir(names);
    return code;
}

static int lock_stage(struct log_import *import, struct error *error)
{
    import->stage_fd = open(import->stage, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (import->stage_fd < 0)
        return failed_on(error, -errno, import->stage);
    if (flock(import->stage_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    int code = errno == EWOULDBLOCK ? ERROR_LOCKED : -errno;
    close(import->stage_fd);
    import->stage_fd = -1;
    return error_set(error, code, "%s is being made by another process", import->stage);
}

static int open_stage(struct log_import *import, struct error *error)
{
    const char *dir = import->options.dir;
    int code = join(import->stage, dir, ".importing", error);
    if (code == 0)
        code = join(import->log, import->stage, "/log", error);
    if (code < 0)
        return code;
    if (faccessat(AT_FDCWD, dir, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return error_set(error, ERROR_INVALID, "%s is there already: name a new directory", dir);
    if (import->options.check_only)
        return 0;
    code = file_make_dir(import->stage, error);
    if (code < 0)
        (void)rmdir(import->stage); /* it may be there and not durable */
    else
        code = lock_stage(import, error);
    if (code == 0)
        code = remove_files(import->log, error);
    return code == 0 ? file_make_dir(import->log, error) : code;
}

int log_import_open(struct log_import **out, const struct log_import_options *options,
                    struct error *error)
{
    struct log_import *import = calloc(1, sizeof *import);
    if (import == NULL)
        return error_set(error, -ENOMEM, "no memory for a log");
    import->options = *options;
    import->fd = import->stage_fd = -1;
    import->header.capacity = options->segment_size > 0 ? options->segment_size : LOG_SEGMENT_SIZE;
    if (import->header.capacity < LOG_SEGMENT_SIZE_MIN ||
        import->header.capacity > LOG_SEGMENT_SIZE_MAX ||
        import->header.capacity % LOG_BLOCK_SIZE != 0) {
        free(import);
        return error_set(error, ERROR_INVALID, "a segment has %u to %llu bytes, in whole blocks",
                         LOG_SEGMENT_SIZE_MIN, (unsigned long long)LOG_SEGMENT_SIZE_MAX);
    }
    import->frame_size_max = segment_frame_size_max(import->header.capacity);
    import->frame = file_aligned_buffer(import->frame_size_max);
    int code = import->frame == NULL ? error_set(error, -ENOMEM, "no memory for a frame")
                                     : open_stage(import, error);
    if (code < 0)
        log_import_close(&import);
    else
        *out = import;
    return code;
}

void log_import_close(struct log_import **import)
{
    struct log_import *closing = *import;
    if (closing == NULL)
        return;
    if (closing->fd >= 0)
        close(closing->fd);
    if (closing->stage_fd >= 0 && !closing->finished) {
        (void)remove_files(closing->log, NULL);
        (void)rmdir(closing->log);
        (void)rmdir(closing->stage);
    }
    if (closing->stage_fd >= 0)
        close(closing->stage_fd);
    free(closing->frame);
    free(closing);
    *import = NULL;
}

/*--- Frames ----------------------------------------------------------------------------------*/

static int write_frame(struct log_import *import, struct error *error)
{
    struct frame_header frame = {
        .salt = import->header.salt,
        .first_seq = import->first_seq,
        .file_offset = import->end,
        .record_count = import->record_count,
        .body_size = import->body_size,
        .epoch = import->header.epoch,
        .durable_seq = import->first_seq - 1,
        .base_time_ns = import->base_time_ns,
        .flags = FRAME_CHAIN,
        .prev_blocks = import->prev_blocks,
        .prev_link = import->prev_link,
    };
    size_t used = FRAME_HEADER_SIZE + import->body_size;
    if (import->record_count == 0)
        return 0;
    size_t size = (size_t)frame_block_count(import->body_size) * LOG_BLOCK_SIZE;
    memset(import->frame + used, 0, size - used);
    frame_finish(import->frame, &frame, import->chain);
    int code = file_write_at(import->fd, import->frame, size, import->end);
    if (code < 0)
        return error_set(error, code, "segment %llu in %s: %s",
                         (unsigned long long)import->header.segment_no, import->log,
                         error_text(code));
    import->end += size;
    import->prev_blocks = frame.block_count;
    import->prev_link = frame_link(&frame);
    memcpy(import->chain, frame.chain, SHA256_SIZE);
    import->record_count = import->body_size = 0;
    return 0;
}

/*--- Segments --------------------------------------------------------------------------------*/

static int end_segment(struct log_import *import, struct error *error)
{
    int code = write_frame(import, error);
    if (import->fd < 0)
        return code;
    if (code == 0 && fsync(import->fd) < 0)
        code = error_set(error, -errno, "segment %llu in %s cannot be synced: %s",
                         (unsigned long long)import->header.segment_no, import->log,
                         error_text(-errno));
    close(import->fd);
    import->fd = -1;
    return code;
}

/* Over one that is there already, if need be: nobody has seen this log yet. */
static int write_header(struct log_import *import, struct error *error)
{
    uint8_t block[LOG_BLOCK_SIZE];
    segment_header_encode(block, &import->header);
    int code = file_write_at(import->fd, block, sizeof block, 0);
    return code == 0 ? 0
                     : error_set(error, code, "segment %llu in %s: %s",
                                 (unsigned long long)import->header.segment_no, import->log,
                                 error_text(code));
}

static int make_file(struct log_import *import, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1];
    segment_name(name, import->header.segment_no);
    snprintf(path, sizeof path, "%s/%s", import->log, name);
    int code = file_make_reserved(import->log, name, import->header.capacity, error);
    if (code < 0)
        return code;
    import->fd = open(path, O_RDWR | O_CLOEXEC);
    if (import->fd < 0)
        return failed_on(error, -errno, path);
    return write_header(import, error);
}

int log_import_raise_schema(struct log_import *import, uint16_t event_schema, struct error *error)
{
    if (event_schema <= import->options.event_schema)
        return 0;
    import->options.event_schema = event_schema;
    if (import->fd < 0)
        return 0;
    import->header.event_schema = event_schema;
    return write_header(import, error);
}

/* Of a segment without SEAL the epoch must rise, as behind an opening. */
static int begin_segment(struct log_import *import, const uint8_t log_uuid[UUID_SIZE],
                         uint64_t time_ns, struct error *error)
{
    struct segment_header *header = &import->header;
    bool first = header->segment_no == 0;
    if (!first && memcmp(header->log_uuid, log_uuid, UUID_SIZE) != 0) {
        memcpy(header->parent_uuid, header->log_uuid, UUID_SIZE);
        header->parent_seq = import->last_seq;
        memcpy(header->parent_chain, import->chain, SHA256_SIZE);
        header->incompat = LOG_INCOMPAT_FORKED;
    }
    memcpy(header->log_uuid, log_uuid, UUID_SIZE);
    header->prev_segment_no = header->segment_no++;
    header->first_seq = import->last_seq + 1;
    header->created_ns = time_ns;
    header->epoch++;
    header->prev_last_seq = header->durable_seq = import->last_seq;
    header->prev_end_offset = first ? 0 : import->end;
    memcpy(header->prev_chain, import->chain, SHA256_SIZE);
    header->hash = 1;
    header->event_schema = import->options.event_schema;
    if (getrandom(&header->salt, sizeof header->salt, 0) != sizeof header->salt)
        return error_set(error, -EIO, "no random bytes for a segment");
    import->end = LOG_BLOCK_SIZE;
    import->prev_blocks = 0;
    import->segments++;
    return make_file(import, error);
}

/* A place for `size` bytes of a record of this log: in the open frame, in another one, or in
 * another segment. */
static int make_room(struct log_import *import, const uint8_t log_uuid[UUID_SIZE], size_t size,
                     uint64_t time_ns, struct error *error)
{
    uint64_t body = import->body_size + size;
    int code = 0;
    bool same = import->fd >= 0 && memcmp(import->header.log_uuid, log_uuid, UUID_SIZE) == 0;
    if (same && import->record_count > 0 &&
        (body > FRAME_GOAL || FRAME_HEADER_SIZE + body > import->frame_size_max)) {
        code = write_frame(import, error);
        body = size;
    }
    uint64_t frame = (uint64_t)frame_block_count(body) * LOG_BLOCK_SIZE;
    if (code == 0 && same && import->end + frame <= import->header.capacity)
        return 0;
    if (code == 0 && import->fd >= 0)
        code = end_segment(import, error);
    return code == 0 ? begin_segment(import, log_uuid, time_ns, error) : code;
}

static int add_to_frame(struct log_import *import, const uint8_t log_uuid[UUID_SIZE],
                        const struct record *record, struct error *error)
{
    size_t size = record_size(record->payload.size);
    int code = make_room(import, log_uuid, size, record->time_ns, error);
    if (code < 0)
        return code;
    if (import->record_count == 0) {
        import->first_seq = record->seq;
        import->base_time_ns = record->time_ns;
    }
    record_encode(import->frame + FRAME_HEADER_SIZE + import->body_size, record);
    import->body_size += (uint32_t)size;
    import->record_count++;
    return 0;
}

/* Whether the log of this name has such a record there. */
static bool name_holds(const struct log_import *import, const uint8_t log_uuid[UUID_SIZE],
                       const struct record *record)
{
    struct storage_opened opened;
    if (record->kind != LOG_KIND_OPENED)
        return import->last_seq > 0 && memcmp(log_uuid, import->log_uuid, UUID_SIZE) == 0;
    return storage_opened_decode(record->payload, &opened) == 0 &&
           memcmp(log_uuid, opened.log_uuid, UUID_SIZE) == 0;
}

static int set_other_name(const uint8_t log_uuid[UUID_SIZE], uint64_t seq, struct error *error)
{
    char name[UUID_TEXT_SIZE];
    uuid_to_text(name, log_uuid);
    return error_set(error, ERROR_CONFLICT,
                     "event %llu is not of log %s: no event storage.opened says that the log goes "
                     "on under this name there",
                     (unsigned long long)seq, name);
}

int log_import_add(struct log_import *import, const uint8_t log_uuid[UUID_SIZE],
                   const struct record *record, struct error *error)
{
    size_t size = record_size(record->payload.size);
    if (record->seq != import->last_seq + 1)
        return error_set(error, ERROR_INVALID, "event %llu cannot stand behind event %llu",
                         (unsigned long long)record->seq, (unsigned long long)import->last_seq);
    if (FRAME_HEADER_SIZE + size > import->frame_size_max)
        return error_set(error, ERROR_TOO_LARGE,
                         "event %llu has %zu bytes, which is more than a segment of %llu allows",
                         (unsigned long long)record->seq, size,
                         (unsigned long long)import->header.capacity);
    if (!name_holds(import, log_uuid, record))
        return set_other_name(log_uuid, record->seq, error);
    int code = import->options.check_only ? 0 : add_to_frame(import, log_uuid, record, error);
    if (code < 0)
        return code;
    import->last_seq = record->seq;
    memcpy(import->log_uuid, log_uuid, UUID_SIZE);
    return 0;
}

/*--- The end ---------------------------------------------------------------------------------*/

static int write_checkpoint(struct log_import *import, struct error *error)
{
    struct checkpoint checkpoint = { .durable_seq = import->last_seq,
                                     .segment_no = import->header.segment_no,
                                     .end_offset = import->end,
                                     .time_ns = import->options.time_ns,
                                     .generation = 1 };
    uint8_t blocks[2 * LOG_BLOCK_SIZE] = { 0 };
    memcpy(checkpoint.log_uuid, import->header.log_uuid, UUID_SIZE);
    memcpy(checkpoint.chain, import->chain, SHA256_SIZE);
    checkpoint_encode(blocks, &checkpoint);
    return file_replace(import->log, LOG_CHECKPOINT_NAME, blocks, sizeof blocks, error);
}

struct checking {
    const struct log_import_options *options;
    struct error first; /* finding */
};

static void keep_first(const struct log_finding *finding, void *context)
{
    struct checking *checking = context;
    if (checking->first.code == 0)
        error_set(&checking->first, ERROR_DAMAGED, "%s at offset %llu: %s", finding->file,
                  (unsigned long long)finding->offset, finding->text);
}

static void show_progress(uint64_t done_bytes, uint64_t all_bytes, void *context)
{
    const struct checking *checking = context;
    if (checking->options->progress != NULL)
        checking->options->progress(done_bytes, all_bytes, checking->options->context);
}

static int check_whole(struct log_import *import, struct error *error)
{
    struct checking checking = { .options = &import->options };
    struct log_verify_result got;
    const struct log_verify_options verify = { .dir = import->log,
                                               .stop = import->options.stop,
                                               .finding = keep_first,
                                               .progress = show_progress,
                                               .context = &checking };
    int code = log_verify(&verify, &got, error);
    if (code < 0)
        return code;
    if (got.verdict == LOG_SOUND && got.last_seq == import->last_seq && got.first_seq == 1 &&
        memcmp(got.chain, import->chain, SHA256_SIZE) == 0)
        return 0;
    return error_set(error, ERROR_DAMAGED, "what was written to %s is not sound: %s", import->log,
                     checking.first.code != 0 ? checking.first.text
                                              : "it ends at another event than it should");
}

/* Everything is durable in the stage: it gets its name. */
static int publish(struct log_import *import, struct error *error)
{
    const char *dir = import->options.dir;
    char parent[PATH_MAX];
    if (renameat2(AT_FDCWD, import->stage, AT_FDCWD, dir, RENAME_NOREPLACE) < 0)
        return failed_on(error, -errno, dir);
    import->finished = true;
    snprintf(parent, sizeof parent, "%s", dir);
    return file_sync_dir(dirname(parent), error);
}

int log_import_finish(struct log_import *import, struct log_import_result *result,
                      struct error *error)
{
    CHECK(!import->finished);
    if (import->last_seq == 0)
        return error_set(error, ERROR_NOT_FOUND, "there is no event to make a log of");
    *result = (struct log_import_result){ .last_seq = import->last_seq };
    if (import->options.check_only)
        return 0;
    int code = end_segment(import, error);
    if (code == 0)
        code = write_checkpoint(import, error);
    if (code == 0)
        code = check_whole(import, error);
    if (code == 0)
        code = log_fork_request(import->log, error);
    if (code == 0)
        code = file_sync_dir(import->stage, error);
    if (code < 0)
        return code;
    result->segments = import->segments;
    memcpy(result->chain, import->chain, SHA256_SIZE);
    return publish(import, error);
}
