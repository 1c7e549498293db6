/* Opening the log's writer: lock, recover, a segment of its own, OPEN. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "iouring/file.h"
#include "log/frame.h"
#include "log/second.h"
#include "log/storage.h"
#include "log/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Refuses what does not survive a loss of power; *note says what is slower than it could be. */
static int check_filesystem(const struct log *log, const char **note, struct error *error)
{
    static const char *const copying[] = { "btrfs", "zfs", "nfs", "overlay", "fuse", "cifs" };
    char name[32];
    *note = "";
    if (log->options.allow_tmpfs)
        return 0;
    int result = file_system_name(log->dir, name, sizeof name);
    if (result < 0)
        return error_set(error, result, "cannot look at the filesystem of %s: %s", log->dir,
                         error_text(result));
    if (strcmp(name, "tmpfs") == 0 || strcmp(name, "ramfs") == 0)
        return error_set(error, ERROR_INVALID,
                         "%s is on %s, which loses everything with power: choose a directory on a "
                         "disk",
                         log->dir, name);
    for (size_t i = 0; i < sizeof copying / sizeof copying[0]; i++)
        if (strcmp(name, copying[i]) == 0)
            *note = copying[i];
    return 0;
}

static int lock_directory(struct log *log, struct error *error)
{
    char path[PATH_MAX + sizeof LOG_LOCK_NAME + 1], pid[16];
    snprintf(path, sizeof path, "%s/%s", log->dir, LOG_LOCK_NAME);
    log->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (log->lock_fd < 0)
        return error_set(error, -errno, "cannot open %s: %s", path, error_text(-errno));
    if (flock(log->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return error_set(error, -errno, "cannot lock %s: %s", path, error_text(-errno));
        ssize_t size = pread(log->lock_fd, pid, sizeof pid - 1, 0);
        pid[size > 0 ? (size_t)size : 0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        return error_set(error, ERROR_LOCKED, "%s is in use by process %s: stop it first", log->dir,
                         pid[0] != '\0' ? pid : "unknown");
    }
    int size = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(log->lock_fd, 0) < 0 || pwrite(log->lock_fd, pid, (size_t)size, 0) != size)
        return error_set(error, -errno, "cannot write %s: %s", path, error_text(-errno));
    return 0;
}

static int recover(struct log *log, struct log_recovery *recovery, struct error *error)
{
    int result = log_recover_to_write(log->dir, log->options.witnesses, log->options.witness_count,
                                      recovery, error);
    if (result < 0)
        return result;
    if (recovery->exists && log->options.event_schema < recovery->event_schema)
        return error_set(error, ERROR_NEWER,
                         "segment %llu was begun by a program that writes events up to schema %u, "
                         "and this one writes up to %u: use that daa-agent or a newer one; nothing "
                         "was changed, and daa-log still reads the log",
                         (unsigned long long)recovery->last_segment_no, recovery->event_schema,
                         log->options.event_schema);
    if (recovery->exists && recovery->verdict == LOG_DAMAGED)
        return error_set(error, ERROR_DAMAGED, "%s: nothing was changed: run daa-log verify %s",
                         recovery->reason, log->dir);
    if (recovery->exists)
        log->capacity = recovery->capacity;
    return 0;
}

static void read_boot_id(struct log *log)
{
    char text[UUID_TEXT_SIZE] = "", digits[2 * sizeof log->boot_id];
    size_t count = 0;
    if (log->options.boot_id != NULL) {
        memcpy(log->boot_id, log->options.boot_id, sizeof log->boot_id);
        return;
    }
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* stays zero: not known */
    if (read(fd, text, sizeof text - 1) < 0)
        text[0] = '\0';
    close(fd);
    for (const char *at = text; *at != '\0' && count < sizeof digits; at++)
        if (*at != '-')
            digits[count++] = *at;
    (void)bytes_from_hex(log->boot_id, sizeof log->boot_id, digits, count);
}

/* RWF_DSYNC, unless a write and a sync are clearly faster: they cost a hop to a kernel thread. */
static int choose_sync(struct log *log, struct error *error)
{
    log->sync = log->options.sync;
    if (log->sync != LOG_SYNC_PROBE)
        return 0;
    struct file_probe probe;
    int result = file_probe(log->dir, &probe, error);
    if (result < 0)
        return result;
    log->probe_dsync_ns = probe.dsync_p50_ns;
    log->probe_fdatasync_ns = probe.fdatasync_p50_ns;
    bool faster = probe.fdatasync_p50_ns * 115 < probe.dsync_p50_ns * 100;
    log->sync = faster ? LOG_SYNC_FDATASYNC : LOG_SYNC_DSYNC;
    return 0;
}

/* Goes on from the newer of the two slots that are there. */
static void read_checkpoint(struct log *log)
{
    struct checkpoint *last = &log->checkpoint.last, slot;
    uint8_t *block = log->checkpoint.side.block;
    for (uint64_t i = 0; i < 2; i++) {
        if (file_read_at(log->checkpoint.fd, block, LOG_BLOCK_SIZE, i * LOG_BLOCK_SIZE) !=
            LOG_BLOCK_SIZE)
            continue;
        if (checkpoint_decode(block, &slot) == 0 && slot.generation > last->generation)
            *last = slot;
    }
    log->checkpoint.kept = *last;
}

static int open_checkpoint(struct log *log, struct error *error)
{
    char path[PATH_MAX + sizeof LOG_CHECKPOINT_NAME + 1];
    struct stat status;
    bool direct;
    int result = 0;
    snprintf(path, sizeof path, "%s/%s", log->dir, LOG_CHECKPOINT_NAME);
    if (stat(path, &status) == 0 && status.st_size != CHECKPOINT_SIZE && unlink(path) < 0)
        return error_set(error, -errno, "cannot replace %s: %s", path, error_text(-errno));
    if (access(path, F_OK) < 0)
        result = file_make_zeroed(log->dir, LOG_CHECKPOINT_NAME, CHECKPOINT_SIZE, error);
    if (result < 0)
        return result;
    log->checkpoint.fd = file_open_direct(path, true, &direct, error);
    if (log->checkpoint.fd < 0)
        return log->checkpoint.fd;
    read_checkpoint(log);
    return 0;
}

/* What was found valid counts from now on, so it must be as durable as what is acknowledged. */
static int sync_last_segment(struct log *log, const struct log_recovery *recovery,
                             struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1];
    bool direct;
    if (!recovery->exists)
        return 0;
    segment_name(name, recovery->last_segment_no);
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    /* Sealed, it is synced already: what came behind it was lost. */
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    int fd = file_open_direct(path, true, &direct, error);
    if (fd < 0)
        return fd;
    int result = pipeline_sync_file(log, fd);
    close(fd);
    return result < 0 ? error_set(error, result, "cannot sync %s: %s", path, error_text(result))
                      : 0;
}

static struct segment_header first_header(struct log *log, const struct log_recovery *recovery,
                                          const struct spare *spare)
{
    struct segment_header header = {
        .segment_no = spare->segment_no,
        .first_seq = recovery->last_seq + 1,
        .created_ns = log->last_time_ns,
        .salt = spare->salt,
        .epoch = log->epoch,
        .capacity = log->capacity,
        .prev_segment_no = recovery->last_segment_no,
        .prev_last_seq = recovery->last_seq,
        .prev_end_offset = recovery->end_offset,
        .durable_seq = recovery->last_seq, /* sync_last_segment() made it so */
        .incompat = log->forked ? LOG_INCOMPAT_FORKED : 0,
        .hash = log->hash,
        .event_schema = log->options.event_schema,
        .parent_seq = log->parent_seq,
    };
    memcpy(header.log_uuid, log->log_uuid, UUID_SIZE);
    memcpy(header.parent_uuid, log->parent_uuid, UUID_SIZE);
    memcpy(header.parent_chain, log->parent_chain, SHA256_SIZE);
    memcpy(header.prev_chain, recovery->chain, SHA256_SIZE);
    memcpy(header.boot_id, log->boot_id, sizeof header.boot_id);
    return header;
}

static void take_over(struct log *log, const struct log_recovery *recovery)
{
    uint64_t start_ns = log->options.start_time_ns;
    log->epoch = recovery->epoch + 1;
    log->hash = !log->options.no_chain;
    log->next_seq = recovery->last_seq + 1;
    log->last_time_ns = start_ns > recovery->last_time_ns ? start_ns : recovery->last_time_ns;
    log->prev_link = recovery->prev_link;
    log->durable_seq = recovery->last_seq;
    log->durable_link = recovery->prev_link;
    counter_set(&log->counters.epoch, log->epoch);
    memcpy(log->chain, recovery->chain, SHA256_SIZE);
    memcpy(log->durable_chain, recovery->chain, SHA256_SIZE);
    naming_take(log, recovery);
}

static void queue_open_frame(struct log *log, const struct log_recovery *recovery, const char *note)
{
    char reason[OPENED_REASON_SIZE_MAX];
    const char *engine = io_name(log->io);
    size_t size = naming_reason(reason, log, recovery, note);
    struct storage_opened opened = {
        .verdict = (uint16_t)recovery->verdict,
        .epoch = log->epoch,
        .prev_segment_no = recovery->last_segment_no,
        .prev_last_seq = recovery->last_seq,
        .prev_end_offset = recovery->end_offset,
        .tail_bytes = recovery->tail_bytes,
        .events_max = recovery->events_max,
        .sync_mode = log->sync == LOG_SYNC_DSYNC ? 1 : 2,
        .engine = strcmp(engine, "ring") == 0    ? 1
                  : strcmp(engine, "plain") == 0 ? 2
                                                 : 3,
        .reason = span_of(reason, size),
        .parent_seq = log->parent_seq,
    };
    memcpy(opened.log_uuid, log->log_uuid, UUID_SIZE);
    memcpy(opened.parent_uuid, log->parent_uuid, UUID_SIZE);
    memcpy(opened.parent_chain, log->parent_chain, SHA256_SIZE);
    memcpy(opened.boot_id, log->boot_id, sizeof opened.boot_id);
    storage_opened_encode(log->own_payload, &opened);
    builder_own_frame(log, LOG_KIND_OPENED, FRAME_OPEN, storage_opened_size(&opened));
}

/* A segment of our own, behind whatever the last one holds, and OPEN in it. */
static int begin(struct log *log, const struct log_recovery *recovery, const char *note,
                 struct error *error)
{
    struct spare spare;
    CHECK(spares_take(log, false, &spare));
    take_over(log, recovery);
    struct segment_header header = first_header(log, recovery, &spare);
    builder_begin(log, &log->segments[0], &header, &spare);
    log->writing = log->building;
    pipeline_write_header(log, log->building);
    pipeline_drain(log);
    if (log->health == LOG_FAILED)
        return writer_failed(log, error);
    queue_open_frame(log, recovery, note);
    pipeline_drain(log);
    return log->health == LOG_FAILED ? writer_failed(log, error) : 0;
}

/* Until the lock of the first spare is ours, a write of a process that was killed may still make
 * it the newest segment: then what was recovered is out of date. */
static int recover_and_reserve(struct log *log, struct log_recovery *recovery, struct error *error)
{
    int result = recover(log, recovery, error);
    if (result == 0)
        result = spares_open(log, recovery, error);
    if (result != ERROR_CONFLICT)
        return result;
    result = recover(log, recovery, error);
    return result == 0 ? spares_open(log, recovery, error) : result;
}

static int open_all(struct log *log, struct log_recovery *recovery, struct error *error)
{
    const char *note = "";
    int result = file_make_dir(log->dir, error);
    if (result == 0)
        result = check_filesystem(log, &note, error);
    if (result == 0)
        result = lock_directory(log, error);
    /* Of a process that was killed; or of another log, when this directory is a copy. */
    if (result == 0)
        image_withdraw(log->dir);
    if (result == 0 && log->options.second_dir != NULL)
        result = second_prepare(log->dir, log->options.second_dir, log->options.allow_tmpfs,
                                log->second_dir, error);
    if (result == 0)
        result = recover_and_reserve(log, recovery, error);
    if (result == 0)
        result = choose_sync(log, error);
    if (result == 0)
        result = writer_allocate(log, error);
    if (result == 0)
        result = open_checkpoint(log, error);
    if (result == 0)
        result = sync_last_segment(log, recovery, error);
    if (result == 0)
        result = naming_prepare(log, recovery, error);
    read_boot_id(log);
    if (result == 0)
        result = begin(log, recovery, note, error);
    return result == 0 ? naming_settle(log, error) : result;
}

int log_open(struct log **log, const struct log_options *options, struct log_recovery *recovery,
             struct error *error)
{
    struct log_recovery found = { .exists = false };
    struct log *opened = writer_new();
    if (opened == NULL)
        return error_set(error, -ENOMEM, "no memory for the event log");
    int result = writer_set_options(opened, options, error);
    if (result == 0)
        result = open_all(opened, &found, error);
    if (result == 0)
        (void)spares_maintain(opened, NULL); /* makes the image known; readers can do without */
    if (result == 0 && !options->maintain_inline)
        result = sealer_start_thread(opened);
    if (result == 0 && !options->maintain_inline)
        result = spares_start_thread(opened); /* it wakes the sealer */
    if (recovery != NULL)
        *recovery = found;
    if (result < 0) {
        writer_release(opened);
        return error_wrap(error, result, "open log");
    }
    opened->failover.possible = true;
    *log = opened;
    return 0;
}
