/* What is made ahead of time: zeroed segments, and a clean image for the next roll.
 *
 * A spare already has its final name, so a roll needs no change of the directory. Its descriptor
 * holds LOCK_EX, and in-flight writes hold the descriptor: whoever opens the log after this
 * process was killed waits for the lock, and so for the last write to end. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "iouring/file.h"
#include "log/scan.h"
#include "log/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LOCK_WAIT_MS = 30000, /* for the last write of a process that was killed */
    LOCK_POLL_MS = 10,
    RETRY_MS = 1000 /* after a spare could not be made */
};

void spares_random(const struct log *log, void *bytes, size_t size)
{
    if (log->options.random != NULL)
        log->options.random(bytes, size, log->options.random_context);
    else
        CHECK(getrandom(bytes, size, 0) == (ssize_t)size);
}

uint32_t spares_count(const struct log *log)
{
    const struct maintenance *m = &log->maintenance;
    return atomic_load_explicit(&m->spares_made, memory_order_acquire) -
           atomic_load_explicit(&m->spares_taken, memory_order_acquire);
}

bool spares_take(struct log *log, struct spare *spare)
{
    struct maintenance *m = &log->maintenance;
    if (spares_count(log) == 0)
        return false;
    uint32_t taken = atomic_load_explicit(&m->spares_taken, memory_order_relaxed);
    *spare = m->spares[taken % SPARES_MAX];
    atomic_store_explicit(&m->spares_taken, taken + 1, memory_order_release);
    return true;
}

void spares_wake(struct log *log)
{
    if (log->maintenance.threaded)
        sem_post(&log->maintenance.wake);
}

static int lock_file(int fd, const char *path, struct error *error)
{
    for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += LOCK_POLL_MS) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return 0; /* a filesystem without locks */
        if (waited_ms >= LOCK_WAIT_MS)
            return error_set(error, ERROR_LOCKED,
                             "%s is still being read or written by another process: end it", path);
        poll(NULL, 0, LOCK_POLL_MS);
    }
    return 0;
}

/* 1 when the first `size` bytes, as far as the file goes, are zero, else 0; negative when they
 * cannot be read. */
static int is_zero(int fd, uint64_t size)
{
    uint64_t step = size < SOURCE_WINDOW_SIZE ? size : SOURCE_WINDOW_SIZE;
    uint8_t *bytes = file_aligned_buffer(step);
    if (bytes == NULL)
        return -ENOMEM;
    int zero = 1;
    for (uint64_t at = 0; zero == 1 && at < size; at += step) {
        uint64_t part = size - at < step ? size - at : step;
        int64_t got = file_read_at(fd, bytes, part, at);
        zero = got < 0 ? (int)got : bytes_are_zero(bytes, (size_t)got);
    }
    free(bytes);
    return zero;
}

/* A spare is of the right size, and zero where a segment that was begun is not. */
static int check_spare(const struct log *log, int fd, const char *path, struct error *error)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(error, -errno, "cannot look at %s: %s", path, error_text(-errno));
    if ((uint64_t)status.st_size != log->capacity)
        return error_set(error, ERROR_INVALID,
                         "%s is %lld bytes long and a segment of this log %llu; it holds no event: "
                         "remove it",
                         path, (long long)status.st_size, (unsigned long long)log->capacity);
    int zero = is_zero(fd, 2ul * LOG_BLOCK_SIZE);
    if (zero < 0)
        return error_set(error, zero, "cannot read %s: %s", path, error_text(zero));
    return zero ? 0 : error_set(error, ERROR_CONFLICT, "%s is in use already", path);
}

/* Opens and locks a spare and puts it at the end of the ring. */
static int adopt(struct log *log, uint64_t segment_no, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1];
    struct maintenance *m = &log->maintenance;
    bool direct;
    segment_name(name, segment_no);
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    int fd = file_open_direct(path, true, &direct, error);
    if (fd < 0)
        return fd;
    int result = lock_file(fd, path, error);
    if (result == 0)
        result = check_spare(log, fd, path, error);
    if (result < 0) {
        close(fd);
        return result;
    }
    uint32_t made = atomic_load_explicit(&m->spares_made, memory_order_relaxed);
    struct spare *spare = &m->spares[made % SPARES_MAX];
    spare->fd = fd;
    spare->segment_no = segment_no;
    spares_random(log, &spare->salt, sizeof spare->salt);
    m->next_no = segment_no + 1;
    atomic_store_explicit(&m->spares_made, made + 1, memory_order_release);
    return 0;
}

/* Bytes behind a header of zeros: rest of a segment that the disk lost, which must stay, or nothing
 * of the log, in whose place a torn frame would look like a damaged one: then the file goes. */
static int clear_spare(const struct log *log, const char *name, const char *path,
                       struct error *error)
{
    struct source source;
    struct frame_header frame;
    int result = source_open(&source, log->dir, name, log->options.budget, error);
    if (result < 0)
        return result;
    source.sequential = true;
    bool held = scan_find_any(&source, &frame);
    source_close(&source);
    if (held)
        return error_set(error, ERROR_DAMAGED,
                         "%s has no header, but holds a frame with event %llu: nothing was "
                         "changed: run daa-log verify %s",
                         path, (unsigned long long)frame.first_seq, log->dir);
    return unlink(path) < 0
               ? error_set(error, -errno, "cannot remove %s: %s", path, error_text(-errno))
               : 0;
}

/* One that an earlier opening made, all of which is to be looked at: 1 it is zero, or check_spare()
 * says what else it is; 0 it was removed; or negative. */
static int look_at_spare(const struct log *log, const char *name, const char *path,
                         struct error *error)
{
    bool direct;
    int fd = file_open_direct(path, false, &direct, error);
    if (fd < 0)
        return fd;
    int result = lock_file(fd, path, error), front = -1, zero = -1;
    if (result == 0)
        result = front = is_zero(fd, 2ul * LOG_BLOCK_SIZE);
    if (front == 1)
        result = zero = is_zero(fd, log->capacity);
    close(fd);
    if (result < 0)
        return error_set(error, result, "cannot read %s: %s", path, error_text(result));
    return front == 1 && zero == 0 ? clear_spare(log, name, path, error) : 1;
}

/* Makes the next spare, or takes one that an earlier opening of the log made. `is_clean`: recovery
 * has seen that it is zero. */
static int make_spare(struct log *log, bool is_clean, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1];
    struct error what = { 0 };
    segment_name(name, log->maintenance.next_no);
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    int result = access(path, F_OK) < 0 ? 0 : is_clean ? 1 : look_at_spare(log, name, path, &what);
    if (result == 0)
        result = file_make_zeroed(log->dir, name, log->capacity, &what);
    else if (result == 1) /* its maker may have ended between the rename and the sync */
        result = file_sync_dir(log->dir, &what);
    if (result == 0)
        result = adopt(log, log->maintenance.next_no, &what);
    if (result < 0)
        error_wrap(&what, result, "make a spare segment");
    trouble_set(log->maintenance.trouble, &what);
    if (result < 0 && error != NULL)
        *error = what;
    return result;
}

/* Nobody uses it any more: away with its file, and zeros for the next segment. Readers must see
 * that it is not theirs before its bytes change. */
static void clean_image(struct segment *segment)
{
    static const uint8_t nobody[UUID_SIZE];
    image_assign(&segment->image, nobody, 0, 0, 0, 0);
#ifndef __SANITIZE_THREAD__ /* it does not know fences, and sees no other mapping either */
    atomic_thread_fence(memory_order_release);
#endif
    memset(segment->image.bytes + LOG_BLOCK_SIZE, 0, segment->end - LOG_BLOCK_SIZE);
    memset(segment->index, 0xff, segment->image.size / LOG_BLOCK_SIZE * SEALED_ENTRY_SIZE);
    if (segment->fd >= 0)
        close(segment->fd);
    segment->fd = -1;
    atomic_store_explicit(&segment->image_state, IMAGE_CLEAN, memory_order_release);
}

/* Another CHECKPOINT in the place of one that could not be written, with what that one is known to
 * have held: in the slot that is not written next. */
static int make_checkpoint(struct log *log, struct error *error)
{
    struct checkpoints *checkpoint = &log->checkpoint;
    char path[PATH_MAX + sizeof LOG_CHECKPOINT_NAME + 1];
    uint8_t slots[CHECKPOINT_SIZE] = { 0 };
    bool direct;
    if (checkpoint->kept.generation > 0)
        checkpoint_encode(slots + checkpoint->last.generation % 2 * LOG_BLOCK_SIZE,
                          &checkpoint->kept);
    int result = file_replace(log->dir, LOG_CHECKPOINT_NAME, slots, sizeof slots, error);
    if (result < 0)
        return result;
    snprintf(path, sizeof path, "%s/%s", log->dir, LOG_CHECKPOINT_NAME);
    int fd = file_open_direct(path, true, &direct, error);
    if (fd < 0)
        return fd;
    atomic_store(&checkpoint->wanted, false);
    atomic_store(&checkpoint->fresh_fd, fd);
    return 1;
}

int spares_maintain(struct log *log, struct error *error)
{
    struct maintenance *m = &log->maintenance;
    if (atomic_exchange(&m->announce, false)) {
        struct segment *segment = &log->segments[atomic_load(&m->announced)];
        int result = image_announce(&segment->image, log->dir, error);
        return result < 0 ? result : 1;
    }
    for (int i = 0; i < 2; i++) {
        struct segment *segment = &log->segments[i];
        if (atomic_load_explicit(&segment->image_state, memory_order_acquire) == IMAGE_DIRTY) {
            clean_image(segment);
            return 1;
        }
    }
    if (spares_count(log) >= log->options.spares)
        return atomic_load(&log->checkpoint.wanted) ? make_checkpoint(log, error) : 0;
    int result = make_spare(log, false, error);
    return result < 0 ? result : 1;
}

static void *run_thread(void *context)
{
    struct log *log = context;
    struct maintenance *m = &log->maintenance;
    pthread_setname_np(pthread_self(), "daa-spares");
    while (!atomic_load(&m->stop)) {
        struct error error;
        int result = spares_maintain(log, &error);
        if (result > 0)
            continue;
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += RETRY_MS / 1000;
        int waited = result == 0 ? sem_wait(&m->wake) : sem_timedwait(&m->wake, &until);
        (void)waited; /* whatever woke us: look again */
    }
    return NULL;
}

int spares_start_thread(struct log *log)
{
    struct maintenance *m = &log->maintenance;
    int result = -pthread_create(&m->thread, NULL, run_thread, log);
    m->threaded = result == 0;
    return result;
}

void spares_stop_thread(struct log *log)
{
    struct maintenance *m = &log->maintenance;
    if (!m->threaded)
        return;
    atomic_store(&m->stop, true);
    sem_post(&m->wake);
    pthread_join(m->thread, NULL);
    m->threaded = false;
}

int spares_open(struct log *log, const struct log_recovery *recovery, struct error *error)
{
    log->maintenance.next_no = recovery->last_segment_no + 1;
    return make_spare(log, recovery->unclean_no != log->maintenance.next_no, error);
}

void spares_close(struct log *log)
{
    struct spare spare;
    while (spares_take(log, &spare))
        close(spare.fd);
}
