#include "mmapstore/image.h"

#include "core/base/check.h"
#include "mmapstore/futex.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3; some systems refuse a memfd without it */
#endif

enum {
    SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE,
    CONTROL_PAGE = 4096,
    ANNOUNCEMENT_SIZE_MAX = 256,
    ATTEMPTS_MAX = 3
};

_Static_assert(sizeof(struct image_control) <= CONTROL_PAGE, "the control page is one page");
_Static_assert(sizeof(struct image_control) == 80, "other processes know where each field is");

/* What `<dir>/image` says. */
struct announcement {
    long pid;
    unsigned long long start_time; /* of the process: pids are used again */
    int fd;
    unsigned long long pid_namespace;
    unsigned long long generation;
};

static void wake_readers(struct image_control *control)
{
    atomic_fetch_add_explicit(&control->wake, 1, memory_order_release);
    futex_wake_all(&control->wake);
}

/* Mapped and in memory before the seals: they forbid every later writable mapping, ours too. */
static int fill(struct image *image, uint64_t size)
{
    if (ftruncate(image->fd, (off_t)size) < 0)
        return -errno;
    void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, image->fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    image->bytes = bytes;
    image->control = bytes;
    image->size = size;
    while (madvise(bytes, size, MADV_POPULATE_WRITE) < 0) {
        if (errno == EINTR || errno == EAGAIN)
            continue;
        return errno == EFAULT ? -ENOMEM : -errno;
    }
    return fcntl(image->fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0 ? -errno : 0;
}

int image_create(struct image *image, uint64_t size, struct error *error)
{
    CHECK(size > CONTROL_PAGE);
    CHECK(size % CONTROL_PAGE == 0);
    *image = (struct image){ .fd = -1 };
    image->fd = memfd_create("daa-image", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (image->fd < 0 && errno == EINVAL)
        image->fd = memfd_create("daa-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int code = image->fd < 0 ? -errno : fill(image, size);
    if (code == 0)
        return 0;
    image_close(image);
    return error_set(error, code, "cannot make an image of %llu bytes in memory: %s",
                     (unsigned long long)size, error_text(code));
}

void image_assign(struct image *image, const uint8_t log_uuid[16], uint64_t segment_no,
                  uint64_t salt, uint64_t durable_seq, uint64_t durable_end)
{
    struct image_control *control = image->control;
    CHECK(durable_end <= image->size);
    /* Acquire: nothing below may be seen before the generation is odd. */
    uint64_t old = atomic_fetch_add_explicit(&control->generation, 1, memory_order_acq_rel);
    CHECK(old % 2 == 0);
    memcpy(control->magic, IMAGE_MAGIC, sizeof control->magic);
    memcpy(control->log_uuid, log_uuid, sizeof control->log_uuid);
    control->segment_no = segment_no;
    control->salt = salt;
    control->capacity = image->size;
    atomic_store_explicit(&control->ended, 0, memory_order_relaxed);
    atomic_store_explicit(&control->durable_end, durable_end, memory_order_relaxed);
    atomic_store_explicit(&control->durable_seq, durable_seq, memory_order_relaxed);
    atomic_fetch_add_explicit(&control->generation, 1, memory_order_release);
    wake_readers(control);
}

void image_publish(struct image *image, uint64_t durable_seq, uint64_t durable_end)
{
    struct image_control *control = image->control;
    CHECK(durable_end <= image->size);
    atomic_store_explicit(&control->durable_end, durable_end, memory_order_release);
    atomic_store_explicit(&control->durable_seq, durable_seq, memory_order_release);
    wake_readers(control);
}

void image_end(struct image *image)
{
    atomic_store_explicit(&image->control->ended, 1, memory_order_release);
    wake_readers(image->control);
}

/* The 22nd field of /proc/PID/stat. The 2nd is the program's name in brackets, which may hold
 * spaces and brackets. */
static int read_start_time(long pid, unsigned long long *start_time)
{
    char path[64], line[2048];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERROR_NOT_FOUND : -errno;
    ssize_t size = read(fd, line, sizeof line - 1);
    int code = size < 0 ? -errno : 0;
    close(fd);
    if (code < 0)
        return code == -ESRCH ? ERROR_NOT_FOUND : code;
    line[size] = '\0';
    const char *field = strrchr(line, ')'); /* the end of the 2nd */
    for (int number = 2; field != NULL && number < 22; number++)
        field = strchr(field + 1, ' ');
    return field != NULL && sscanf(field, " %llu", start_time) == 1 ? 0 : ERROR_NOT_FOUND;
}

static int read_pid_namespace(unsigned long long *inode)
{
    struct stat status;
    if (stat("/proc/self/ns/pid", &status) < 0)
        return -errno;
    *inode = status.st_ino;
    return 0;
}

static int write_announcement(const char *path, const struct announcement *announcement)
{
    char line[ANNOUNCEMENT_SIZE_MAX];
    int size = snprintf(line, sizeof line, "%ld %llu %d %llu %llu\n", announcement->pid,
                        announcement->start_time, announcement->fd, announcement->pid_namespace,
                        announcement->generation);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    ssize_t written = write(fd, line, (size_t)size);
    int code = written == size ? 0 : written < 0 ? -errno : -ENOSPC;
    close(fd);
    return code;
}

int image_announce(const struct image *image, const char *dir, struct error *error)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    struct announcement announcement = {
        .pid = getpid(),
        .fd = image->fd,
        .generation = atomic_load_explicit(&image->control->generation, memory_order_acquire),
    };
    int code = read_start_time(announcement.pid, &announcement.start_time);
    if (code == 0)
        code = read_pid_namespace(&announcement.pid_namespace);
    if (code == 0 && (snprintf(path, sizeof path, "%s/image", dir) >= PATH_MAX ||
                      snprintf(temporary, sizeof temporary, "%s/image.tmp", dir) >= PATH_MAX))
        code = -ENAMETOOLONG;
    if (code == 0)
        code = write_announcement(temporary, &announcement);
    if (code == 0 && rename(temporary, path) < 0)
        code = -errno;
    if (code < 0)
        return error_set(error, code, "cannot announce the image in %s/image: %s", dir,
                         error_text(code));
    return 0;
}

void image_withdraw(const char *dir)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/image", dir) < PATH_MAX)
        (void)unlink(path); /* what stays names a process that is gone, and is refused */
}

static int read_announcement(const char *dir, struct announcement *announcement,
                             struct error *error)
{
    char path[PATH_MAX], line[ANNOUNCEMENT_SIZE_MAX];
    if (snprintf(path, sizeof path, "%s/image", dir) >= PATH_MAX)
        return error_set(error, -ENAMETOOLONG, "the name of %s/image is too long", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return error_set(error, ERROR_NOT_FOUND, "no process announces an image in %s", path);
    ssize_t size = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    int code = size < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    if (code < 0)
        return error_set(error, code, "cannot read %s: %s", path, error_text(code));
    line[size] = '\0';
    if (sscanf(line, "%ld %llu %d %llu %llu", &announcement->pid, &announcement->start_time,
               &announcement->fd, &announcement->pid_namespace, &announcement->generation) != 5 ||
        announcement->pid <= 0 || announcement->fd < 0)
        return error_set(error, ERROR_MISMATCH, "%s does not announce an image", path);
    return 0;
}

/* A pid means something only in its namespace, and only until it is used again. */
static int check_process(const struct announcement *announcement, struct error *error)
{
    unsigned long long own_namespace, start_time;
    int code = read_pid_namespace(&own_namespace);
    if (code < 0)
        return error_set(error, code, "cannot read /proc/self/ns/pid: %s", error_text(code));
    if (own_namespace != announcement->pid_namespace)
        return error_set(error, ERROR_NOT_FOUND,
                         "the image belongs to process %ld of another pid namespace",
                         announcement->pid);
    code = read_start_time(announcement->pid, &start_time);
    if (code == 0 && start_time != announcement->start_time)
        code = ERROR_NOT_FOUND;
    if (code < 0)
        return error_set(error, code, "the image belongs to process %ld, which is gone",
                         announcement->pid);
    return 0;
}

static int open_of_process(const struct announcement *announcement, struct error *error)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/fd/%d", announcement->pid, announcement->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    int code = errno == ENOENT ? ERROR_NOT_FOUND : errno == EPERM ? -EACCES : -errno;
    return error_set(error, code, "cannot open the image of process %ld (%s): %s",
                     announcement->pid, path,
                     code == -EACCES ? "only its user may" : error_text(code));
}

static int check_identity(const struct image *image, const struct announcement *announcement,
                          struct error *error)
{
    const struct image_control *control = image->control;
    const char *wrong = NULL;
    uint64_t generation = atomic_load_explicit(&control->generation, memory_order_acquire);
    if (generation % 2 != 0 || generation != announcement->generation)
        wrong = "it has been given to another segment";
    else if (memcmp(control->magic, IMAGE_MAGIC, sizeof control->magic) != 0)
        wrong = "it does not begin as one";
    else if (control->capacity != image->size)
        wrong = "it has another size than it says";
    if (wrong != NULL)
        return error_set(error, ERROR_MISMATCH,
                         "descriptor %d of process %ld is no image of use: %s", announcement->fd,
                         announcement->pid, wrong);
    return 0;
}

/* Only a memfd that cannot shrink is mapped: anything else could be cut under us, a SIGBUS. */
static int map_read_only(struct image *image, const struct announcement *announcement,
                         struct error *error)
{
    struct stat status;
    int seals = fcntl(image->fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(image->fd, &status) < 0 ||
        status.st_size <= CONTROL_PAGE)
        return error_set(error, ERROR_MISMATCH, "descriptor %d of process %ld is no sealed image",
                         announcement->fd, announcement->pid);
    void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, image->fd, 0);
    if (bytes == MAP_FAILED) {
        int code = -errno;
        return error_set(error, code, "cannot map the image of process %ld: %s", announcement->pid,
                         error_text(code));
    }
    image->bytes = bytes;
    image->control = bytes;
    image->size = (uint64_t)status.st_size;
    return 0;
}

static int attach_once(struct image *image, const char *dir, struct error *error)
{
    struct announcement announcement;
    int code = read_announcement(dir, &announcement, error);
    if (code == 0)
        code = check_process(&announcement, error);
    if (code == 0) {
        image->fd = open_of_process(&announcement, error);
        code = image->fd < 0 ? image->fd : 0;
    }
    if (code == 0) /* the pid may have changed hands before the descriptor was open */
        code = check_process(&announcement, error);
    if (code == 0)
        code = map_read_only(image, &announcement, error);
    if (code == 0)
        code = check_identity(image, &announcement, error);
    if (code < 0)
        image_close(image);
    return code;
}

int image_attach(struct image *image, const char *dir, struct error *error)
{
    int code = ERROR_MISMATCH;
    *image = (struct image){ .fd = -1 };
    /* Between a roll and its announcement, an image is not what the old one says. */
    for (int attempt = 0; code == ERROR_MISMATCH && attempt < ATTEMPTS_MAX; attempt++)
        code = attach_once(image, dir, error);
    return code;
}

void image_close(struct image *image)
{
    if (image->bytes != NULL)
        munmap(image->bytes, image->size);
    if (image->fd >= 0)
        close(image->fd);
    *image = (struct image){ .fd = -1 };
}

bool image_wait(const struct image *image, uint32_t seen, uint64_t timeout_ns,
                struct interrupt *interrupt)
{
    struct image_control *control = image->control;
    struct timespec time;
    const struct timespec *deadline = futex_deadline(&time, timeout_ns);
    const struct futex_word words[] = { { &control->wake, seen },
                                        { interrupt != NULL ? &interrupt->word : NULL, 0 } };
    while (atomic_load_explicit(&control->wake, memory_order_acquire) == seen &&
           (interrupt == NULL || !atomic_load(&interrupt->is_raised)) &&
           futex_sleep(words, interrupt == NULL ? 1 : 2, deadline))
        continue;
    return atomic_load_explicit(&control->wake, memory_order_acquire) != seen;
}
