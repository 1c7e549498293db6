/* What is made ahead of time: zeroed segments, and a clean image for the next roll.
 *
 * A spare already has its final name, so a roll needs no change of the directory. Its descriptor
 * holds LOCK_EX, and in-flight writes hold the descriptor: whoever opens the log after this
 * process was killed waits for the lock, and so for the last write to end. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "iouring/file.h"
#include "log/scan.h"
#include "log/second.h"
#include "log/writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LOCK_WAIT_MS = 30000, /* for the last write of a process that was killed */
    LOCK_POLL_MS = 10,
    RETRY_MS = 1000,     /* after a spare could not be made */
    STOP_WAIT_MS = 10000 /* for a thread: more than it takes, but for a device that is silent */
};

void spares_random(const struct log *log, void *bytes, size_t size)
{
    if (log->options.random != NULL)
        log->options.random(bytes, size, log->options.random_context);
    else
        CHECK(getrandom(bytes, size, 0) == (ssize_t)size);
}

/*--- Rings -------------------------------------------------------------------------------------*/

uint32_t spares_count(const struct spare_ring *ring)
{
    return atomic_load_explicit(&ring->made, memory_order_acquire) -
           atomic_load_explicit(&ring->taken, memory_order_acquire);
}

/* The writer takes, and so does maintenance what it makes anew or takes away: whoever moves `taken`
 * has it. An entry is written again only when SPARES_MAX others were made behind it. */
bool spares_pop(struct spare_ring *ring, struct spare *spare)
{
    uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    do {
        if (atomic_load_explicit(&ring->made, memory_order_acquire) == taken)
            return false;
        *spare = ring->spares[taken % SPARES_MAX];
    } while (!atomic_compare_exchange_weak(&ring->taken, &taken, taken + 1));
    return true;
}

bool spares_pop_if(struct spare_ring *ring, uint64_t segment_no, struct spare *spare)
{
    uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    if (atomic_load_explicit(&ring->made, memory_order_acquire) == taken)
        return false;
    *spare = ring->spares[taken % SPARES_MAX];
    return spare->segment_no == segment_no &&
           atomic_compare_exchange_strong(&ring->taken, &taken, taken + 1);
}

void spares_push(struct spare_ring *ring, const struct spare *spare)
{
    uint32_t made = atomic_load_explicit(&ring->made, memory_order_relaxed);
    ring->spares[made % SPARES_MAX] = *spare;
    atomic_store_explicit(&ring->made, made + 1, memory_order_release);
}

uint64_t spares_next_in(const struct spare_ring *ring)
{
    uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_acquire);
    bool any = atomic_load_explicit(&ring->made, memory_order_relaxed) != taken;
    return any ? ring->spares[taken % SPARES_MAX].segment_no : 0;
}

/* Numbers ascend: what lies below one that was taken is of no use. */
static bool take(struct log *log, bool second, struct spare *spare)
{
    struct maintenance *m = &log->maintenance;
    while (spares_pop(second ? &m->second : &m->main, spare)) {
        if (spare->segment_no > atomic_load(&m->floor_no))
            return true;
        close(spare->fd);
    }
    return false;
}

bool spares_take(struct log *log, bool second, struct spare *spare)
{
    if (!take(log, second, spare))
        return false;
    atomic_store(&log->maintenance.floor_no, spare->segment_no);
    return true;
}

bool spares_take_second(struct log *log, struct spare *spares, uint32_t count)
{
    uint32_t got = 0;
    if (spares_count(&log->maintenance.second) < count)
        return false;
    while (got < count && take(log, true, &spares[got]))
        got++;
    if (got == count) {
        atomic_store(&log->maintenance.floor_no, spares[count - 1].segment_no);
        return true;
    }
    /* Maintenance is giving the other one a new number. What was taken is made anew. */
    while (got > 0)
        close(spares[--got].fd);
    return false;
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
                         "remove it and those behind it",
                         path, (long long)status.st_size, (unsigned long long)log->capacity);
    int zero = is_zero(fd, 2ul * LOG_BLOCK_SIZE);
    if (zero < 0)
        return error_set(error, zero, "cannot read %s: %s", path, error_text(zero));
    return zero ? 0 : error_set(error, ERROR_CONFLICT, "%s is in use already", path);
}

int spares_adopt(struct log *log, uint64_t segment_no, bool second, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1];
    struct maintenance *m = &log->maintenance;
    struct spare spare = { .segment_no = segment_no, .second = second };
    bool direct;
    segment_name(name, segment_no);
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    spare.fd = file_open_direct(path, true, &direct, error);
    if (spare.fd < 0)
        return spare.fd;
    int result = lock_file(spare.fd, path, error);
    if (result == 0)
        result = check_spare(log, spare.fd, path, error);
    if (result < 0) {
        close(spare.fd);
        return result;
    }
    spares_random(log, &spare.salt, sizeof spare.salt);
    spares_push(second ? &m->second : &m->main, &spare);
    return 0;
}

int spares_give_up(const struct log *log, uint64_t segment_no)
{
    char name[LOG_SEGMENT_NAME_SIZE], target[PATH_MAX];
    char path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1], temporary[sizeof path + 4];
    struct error ignored;
    segment_name(name, segment_no);
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    int linked = second_target(log->dir, name, target), result = linked < 0 ? linked : 0;
    if (linked == 0 && rename(path, temporary) < 0)
        result = -errno;
    int fd = result == 0 ? open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (result == 0 && fd < 0)
        result = -errno;
    if (result == 0)
        result = file_sync_dir(log->dir, &ignored);
    if (result == 0) /* its blocks may as well be free */
        (void)!ftruncate(fd, 0);
    if (fd >= 0)
        close(fd);
    if (result == 0 && linked == 1)
        result = second_remove(log->dir, name);
    return result == 0 && linked == 1 ? file_sync_dir(log->dir, &ignored) : result;
}

/* Bytes behind a header of zeros: rest of a segment that the disk lost, which must stay, or nothing
 * of the log, in whose place a torn frame would look like a damaged one: then it is made anew. */
static int clear_spare(const struct log *log, uint64_t segment_no, const char *name,
                       const char *path, struct error *error)
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
    result = spares_give_up(log, segment_no);
    return result < 0 ? error_set(error, result, "cannot remove %s: %s", path, error_text(result))
                      : 0;
}

int spares_look_at(const struct log *log, uint64_t segment_no, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1];
    bool direct;
    segment_name(name, segment_no);
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
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
    return front == 1 && zero == 0 ? clear_spare(log, segment_no, name, path, error) : 1;
}

/*--- The log's own directory -------------------------------------------------------------------*/

/* The next number is that of a spare of the second directory, which moves up: another file gets
 * its name, at once, so that no number is ever missing. 1: the writer was faster, and has it. */
static int make_in_place(struct log *log, struct error *error)
{
    static const char name[] = "spare.tmp";
    char path[PATH_MAX + sizeof name + 1];
    struct spare spare;
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    (void)unlink(path); /* of a crash */
    int result = file_make_zeroed(log->dir, name, log->capacity, error);
    if (result < 0)
        return result;
    bool ours = spares_pop_if(&log->maintenance.second, log->maintenance.next_no, &spare);
    if (ours)
        result = spares_move_up(log, &spare, path, error);
    if (!ours || result < 0)
        (void)unlink(path);
    return ours ? result : 1;
}

/* 0, 1 when the next number is not to be had, or negative. */
static int make_file(struct log *log, const char *name, bool is_clean, struct error *error)
{
    char target[PATH_MAX], path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1];
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    int linked = second_target(log->dir, name, target);
    if (linked < 0)
        return error_set(error, linked, "cannot look at %s: %s", path, error_text(linked));
    if (linked == 1)
        return make_in_place(log, error);
    bool there = access(path, F_OK) == 0;
    int result = !there ? 0 : is_clean ? 1 : spares_look_at(log, log->maintenance.next_no, error);
    if (result < 0)
        return result;
    if (result == 1) /* its maker may have ended between the rename and the sync */
        return file_sync_dir(log->dir, error);
    return file_make_zeroed(log->dir, name, log->capacity, error);
}

/* Makes the next spare, or takes one that an earlier opening of the log made. `clean_no`: recovery
 * has seen that this one is zero. */
static int make_spare(struct log *log, uint64_t clean_no, struct error *error)
{
    struct maintenance *m = &log->maintenance;
    char name[LOG_SEGMENT_NAME_SIZE];
    struct error what = { 0 };
    uint64_t floor_no = atomic_load(&m->floor_no);
    if (m->next_no <= floor_no)
        m->next_no = floor_no + 1;
    segment_name(name, m->next_no);
    int result = make_file(log, name, clean_no == m->next_no, &what);
    if (result == 0)
        result = spares_adopt(log, m->next_no, false, &what);
    if (result >= 0 && m->top_no < m->next_no)
        m->top_no = m->next_no;
    if (result >= 0)
        m->next_no++;
    if (result < 0)
        error_wrap(&what, result, "make a spare segment");
    trouble_set(m->trouble, &what);
    if (result < 0 && error != NULL)
        *error = what;
    return result < 0 ? result : 0;
}

/* Spares that the log passed over. */
static bool drop_below(struct spare_ring *ring, uint64_t floor_no)
{
    struct spare spare;
    uint64_t next_no = spares_next_in(ring);
    if (next_no == 0 || next_no > floor_no || !spares_pop(ring, &spare))
        return false;
    close(spare.fd);
    return true;
}

/*--- Images ------------------------------------------------------------------------------------*/

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

/* One image: true if there was one to clean. */
static bool clean_next(struct log *log)
{
    for (uint32_t i = 0; i < log->segment_count; i++) {
        struct segment *segment = &log->segments[i];
        if (atomic_load_explicit(&segment->image_state, memory_order_acquire) == IMAGE_DIRTY) {
            clean_image(segment);
            sealer_wake(log); /* nobody writes to that file any more */
            return true;
        }
    }
    return false;
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

/* What a device that does not answer would only hold up waits. */
static int maintain_files(struct log *log, struct error *error)
{
    struct maintenance *m = &log->maintenance;
    uint64_t floor_no = atomic_load(&m->floor_no);
    if (atomic_load(&m->stuck))
        return 0;
    if (drop_below(&m->main, floor_no) || drop_below(&m->second, floor_no))
        return 1;
    if (atomic_load(&m->sweep)) {
        int swept = spares_sweep(log, error);
        if (swept == 0) {
            atomic_store(&m->sweep, false);
            sealer_wake(log);
        }
        return swept < 0 ? swept : 1;
    }
    if (spares_count(&m->main) < log->options.spares) {
        int made = make_spare(log, 0, error);
        return made < 0 ? made : 1;
    }
    int second = spares_maintain_second(log, error);
    return second != 0 || !atomic_load(&log->checkpoint.wanted) ? second
                                                                : make_checkpoint(log, error);
}

int spares_maintain(struct log *log, struct error *error)
{
    struct maintenance *m = &log->maintenance;
    if (clean_next(log))
        return 1;
    if (atomic_exchange(&m->announce, false)) {
        struct segment *segment = &log->segments[atomic_load(&m->announced)];
        int result = image_announce(&segment->image, log->dir, error);
        return result < 0 ? result : 1;
    }
    return maintain_files(log, error);
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
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += RETRY_MS / 1000;
        int waited =
            result == 0 ? sem_wait(&m->wake) : sem_clockwait(&m->wake, CLOCK_MONOTONIC, &until);
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

bool spares_join(pthread_t thread)
{
    /* Not pthread_timedjoin_np(), which goes by the wall clock, that somebody may set. */
    for (int waited_ms = 0; pthread_tryjoin_np(thread, NULL) != 0; waited_ms++) {
        if (waited_ms >= STOP_WAIT_MS)
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

bool spares_stop_thread(struct log *log)
{
    struct maintenance *m = &log->maintenance;
    if (!m->threaded)
        return true;
    atomic_store(&m->stop, true);
    sem_post(&m->wake);
    m->threaded = !spares_join(m->thread);
    return !m->threaded;
}

/* Spares that were not finished, and files that were given up, of numbers behind which the log has
 * gone on, or that are there by now; make_spare() makes what is missing of the others. */
static void sweep(const struct log *log, uint64_t last_segment_no)
{
    DIR *names = opendir(log->dir);
    struct dirent *entry;
    uint64_t segment_no;
    while (names != NULL && (entry = readdir(names)) != NULL) {
        char name[LOG_SEGMENT_NAME_SIZE];
        size_t length = strlen(entry->d_name);
        if (length < 4 || length - 4 >= sizeof name ||
            strcmp(entry->d_name + length - 4, ".tmp") != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(length - 4), entry->d_name);
        if (segment_no_of_name(name, &segment_no) &&
            (segment_no <= last_segment_no ||
             faccessat(dirfd(names), name, F_OK, AT_SYMLINK_NOFOLLOW) == 0))
            (void)unlinkat(dirfd(names), entry->d_name, 0);
    }
    if (names != NULL)
        closedir(names);
}

int spares_open(struct log *log, const struct log_recovery *recovery, struct error *error)
{
    sweep(log, recovery->last_segment_no);
    spares_close(log); /* of an opening that has to look again */
    uint64_t behind_no = recovery->last_segment_no + 1;
    uint64_t clean_no = recovery->unclean_no == behind_no ? 0 : behind_no;
    int result = spares_find(log, recovery, clean_no, error);
    while (result == 0 && spares_count(&log->maintenance.main) == 0)
        result = make_spare(log, clean_no, error);
    return result;
}

void spares_close(struct log *log)
{
    struct spare spare;
    while (spares_pop(&log->maintenance.main, &spare) ||
           spares_pop(&log->maintenance.second, &spare))
        close(spare.fd);
}
