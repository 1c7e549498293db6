/* A shared object for LD_PRELOAD that makes one chosen change to files go wrong, so that a test can
 * try every one of them with the real programs. t/lib/Fault.pm runs it.
 *
 *   FAULT_DIR=/dir     counts the calls that change a file in there, by path or by descriptor (an
 *                      absolute path without symbolic links); without it nothing is done
 *   FAULT_MATCH=GLOB   only those whose path behind FAULT_DIR matches ("db/ *" without the space)
 *   FAULT_ARM=FILE     counts only while this file exists: made by the test when it wants to begin
 *   FAULT_AT=N         at the N-th of them, from 1, FAULT_DO happens
 *   FAULT_DO=kill      SIGKILL before the call      kill-after   SIGKILL behind it
 *            torn      half a write, then SIGKILL   short        half a write
 *            enospc    ENOSPC instead of it         enospc-from  the same, and for all later ones
 *            eio       EIO instead of it            stall        waits until FAULT_ARM is gone
 *   FAULT_UNREADABLE=FILE:OFFSET   the disk cannot read this block of 4096 bytes of the file that
 *                      has this name when the program begins: EIO for each pread that touches it,
 *                      whatever the file is called later. Not counted, and without FAULT_DIR too.
 *                      What is mapped is read all the same
 *   FAULT_LOG=FILE     gets a line "N CALL SIZE PATH" before each counted call, and "fault N DO"
 *
 * Only the program itself: it is gone from the environment that the program's children get. Only
 * calls that can go wrong so are counted: for torn and short those that write, for enospc all but
 * those that remove a name, since that needs no space.
 *
 * Out of reach: what does not go through a function of libc. That is io_uring ([log] engine =
 * "plain" where the log's writes matter), stores into a mapped file (msync is seen, they are not),
 * stdio's own writes, and the binding of a Unix socket.
 *
 * Threads: any; the counter is atomic, the rest is set once. Memory: none, but for stdio's buffer
 * in msync. It works with ASan (ASAN_OPTIONS=verify_asan_link_order=0) and TSan linked in: its
 * calls go on to theirs. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { NOTHING, KILL, KILL_AFTER, TORN, SHORT, NO_SPACE, NO_SPACE_FROM, IO_ERROR, STALL };

/* What a call does to the file, since not every fault fits every one. */
enum nature { WRITES, CHANGES, REMOVES };

static struct {
    char dir[PATH_MAX], match[PATH_MAX], arm[PATH_MAX];
    size_t dir_size;
    uint64_t at;
    enum action action;
    const char *action_name;
    int log_fd;
    dev_t bad_device; /* the file with an unreadable block */
    ino_t bad_inode;  /* 0: there is none */
    uint64_t bad_offset;
} settings = { .log_fd = -1 };

static atomic_uint_fast64_t counter;

/* A call under way. */
struct call {
    int error;         /* instead of it */
    bool half;         /* only half of what it would write */
    bool killed_after; /* SIGKILL when it is done */
};

/*--- Settings ---------------------------------------------------------------------------------*/

static const char *const action_names[] = { "",       "kill",        "kill-after", "torn", "short",
                                            "enospc", "enospc-from", "eio",        "stall" };

static void take_text(char *target, const char *name)
{
    const char *value = getenv(name);
    if (value != NULL)
        (void)snprintf(target, PATH_MAX, "%s", value);
}

static _Noreturn void give_up(const char *what)
{
    (void)fprintf(stderr, "fault: %s\n", what);
    _exit(125);
}

static void read_unreadable(void)
{
    char path[PATH_MAX] = "";
    struct stat status;
    take_text(path, "FAULT_UNREADABLE");
    char *colon = strrchr(path, ':');
    if (colon == NULL)
        return;
    *colon = '\0';
    if (stat(path, &status) < 0)
        give_up("FAULT_UNREADABLE names no file");
    settings.bad_device = status.st_dev;
    settings.bad_inode = status.st_ino;
    settings.bad_offset = strtoull(colon + 1, NULL, 10);
}

__attribute__((constructor)) static void read_settings(void)
{
    const char *at = getenv("FAULT_AT"), *action = getenv("FAULT_DO"), *log = getenv("FAULT_LOG");
    char dir[PATH_MAX] = "";
    take_text(dir, "FAULT_DIR");
    take_text(settings.match, "FAULT_MATCH");
    take_text(settings.arm, "FAULT_ARM");
    settings.at = at != NULL ? strtoull(at, NULL, 10) : 0;
    for (size_t i = 1; action != NULL && i < sizeof action_names / sizeof *action_names; i++)
        if (strcmp(action, action_names[i]) == 0)
            settings.action = (enum action)i;
    if (action != NULL && settings.action == NOTHING)
        give_up("FAULT_DO is none of kill kill-after torn short enospc enospc-from eio stall");
    settings.action_name = action_names[settings.action];
    /* Out of the way of a program that counts its descriptors from below. */
    int fd = log != NULL ? open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    settings.log_fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 900) : -1;
    if (fd >= 0)
        close(fd);
    if (log != NULL && settings.log_fd < 0)
        give_up("FAULT_LOG cannot be opened");
    static const char *const ours[] = {
        "LD_PRELOAD", "FAULT_DIR", "FAULT_MATCH", "FAULT_ARM",
        "FAULT_AT",   "FAULT_DO",  "FAULT_LOG",   "FAULT_UNREADABLE"
    };
    read_unreadable();
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        unsetenv(ours[i]);
    memcpy(settings.dir, dir, sizeof dir);
    settings.dir_size = strlen(dir); /* last: from here on calls count */
}

/*--- Which calls count ------------------------------------------------------------------------*/

static void note(const char *line, int size)
{
    if (settings.log_fd >= 0 && size > 0)
        (void)!syscall(SYS_write, settings.log_fd, line, (size_t)size);
}

static bool is_inside(const char *path)
{
    size_t size = settings.dir_size;
    return size > 0 && strncmp(path, settings.dir, size) == 0 &&
           (path[size] == '/' || path[size] == '\0');
}

static bool is_counted(const char *path)
{
    if (!is_inside(path))
        return false;
    const char *rest = path + settings.dir_size;
    if (settings.match[0] != '\0' && fnmatch(settings.match, rest + (*rest == '/'), 0) != 0)
        return false;
    return settings.arm[0] == '\0' || access(settings.arm, F_OK) == 0;
}

static void path_of_link(char path[PATH_MAX], const char *link)
{
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    path[size > 0 ? size : 0] = '\0';
}

static void path_of_fd(char path[PATH_MAX], int fd)
{
    char link[64];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    path_of_link(path, link);
}

static void path_of_name(char path[PATH_MAX], int dir_fd, const char *name)
{
    path[0] = '\0';
    if (name[0] != '/' && dir_fd == AT_FDCWD)
        path_of_link(path, "/proc/self/cwd");
    else if (name[0] != '/')
        path_of_fd(path, dir_fd);
    size_t used = strlen(path);
    (void)snprintf(path + used, PATH_MAX - used, "%s%s", used > 0 ? "/" : "", name);
}

/* The file that is mapped there. */
static void path_of_address(char path[PATH_MAX], const void *address)
{
    char line[PATH_MAX + 100];
    uintptr_t begin, end, place = (uintptr_t)address;
    path[0] = '\0';
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        const char *name = strchr(line, '/');
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &begin, &end) == 2 && name != NULL &&
            begin <= place && place < end)
            (void)snprintf(path, PATH_MAX, "%.*s", (int)strcspn(name, "\n"), name);
    }
    if (maps != NULL)
        (void)fclose(maps);
}

/*--- What happens at one ----------------------------------------------------------------------*/

static _Noreturn void end_here(void)
{
    for (;;)
        kill(getpid(), SIGKILL);
}

/* Whether what is to happen can happen to a call of this nature. */
static bool can_happen(enum nature nature)
{
    switch (settings.action) {
    case TORN:
    case SHORT:
        return nature == WRITES;
    case NO_SPACE:
    case NO_SPACE_FROM:
        return nature != REMOVES;
    case NOTHING:
    case KILL:
    case KILL_AFTER:
    case IO_ERROR:
    case STALL:
        break;
    }
    return true;
}

static struct call happen(void)
{
    struct call call = { .error = 0 };
    switch (settings.action) {
    case KILL:
        end_here();
    case KILL_AFTER:
        call.killed_after = true;
        break;
    case TORN:
        call.half = call.killed_after = true;
        break;
    case SHORT:
        call.half = true;
        break;
    case NO_SPACE:
    case NO_SPACE_FROM:
        call.error = ENOSPC;
        break;
    case IO_ERROR:
        call.error = EIO;
        break;
    case STALL:
        while (access(settings.arm, F_OK) == 0)
            (void)poll(NULL, 0, 5);
        break;
    case NOTHING:
        break;
    }
    return call;
}

static struct call begin(const char *name, enum nature nature, const char *path, uint64_t size)
{
    char line[PATH_MAX + 100];
    if (!can_happen(nature) || !is_counted(path))
        return (struct call){ .error = 0 };
    uint64_t number = atomic_fetch_add(&counter, 1) + 1;
    int length =
        snprintf(line, sizeof line, "%" PRIu64 " %s %" PRIu64 " %s\n", number, name, size, path);
    note(line, length < (int)sizeof line ? length : (int)sizeof line - 1);
    if (settings.action == NOTHING || settings.at == 0 || number < settings.at ||
        (number > settings.at && settings.action != NO_SPACE_FROM))
        return (struct call){ .error = 0 };
    if (number == settings.at)
        note(line,
             snprintf(line, sizeof line, "fault %" PRIu64 " %s\n", number, settings.action_name));
    return happen();
}

static struct call begin_fd(const char *name, enum nature nature, int fd, uint64_t size)
{
    char path[PATH_MAX];
    if (settings.dir_size == 0 || fd == settings.log_fd)
        return (struct call){ .error = 0 };
    path_of_fd(path, fd);
    return begin(name, nature, path, size);
}

static struct call begin_name(const char *name, enum nature nature, int dir_fd, const char *file)
{
    char path[PATH_MAX];
    if (settings.dir_size == 0)
        return (struct call){ .error = 0 };
    path_of_name(path, dir_fd, file);
    return begin(name, nature, path, 0);
}

/* A name that moves: what counts is where to, or where from when it leaves. */
static struct call begin_move(const char *name, int from_fd, const char *from, int to_fd,
                              const char *to)
{
    char path[PATH_MAX];
    if (settings.dir_size == 0)
        return (struct call){ .error = 0 };
    path_of_name(path, to_fd, to);
    if (!is_counted(path))
        path_of_name(path, from_fd, from);
    return begin(name, CHANGES, path, 0);
}

/* Half of a write, in whole sectors where it has some: O_DIRECT takes nothing else. */
static size_t size_of(const struct call *call, size_t size)
{
    if (!call->half)
        return size;
    return size >= 1024 ? size / 2 & ~(size_t)511 : size / 2;
}

static void *real(atomic_uintptr_t *known, const char *name)
{
    uintptr_t found = atomic_load_explicit(known, memory_order_relaxed);
    if (found == 0) {
        found = (uintptr_t)dlsym(RTLD_NEXT, name);
        if (found == 0)
            give_up("libc lacks a function");
        atomic_store_explicit(known, found, memory_order_relaxed);
    }
    return (void *)found;
}

/* The function of this name that would have been called without us. */
#define REAL(name)                                                                                 \
    ({                                                                                             \
        static atomic_uintptr_t known;                                                             \
        (__typeof__(&(name)))real(&known, #name);                                                  \
    })

/* Does what was decided about `call`, around `expression`. */
#define GO_ON(call, expression)                                                                    \
    do {                                                                                           \
        if ((call).error != 0) {                                                                   \
            errno = (call).error;                                                                  \
            return -1;                                                                             \
        }                                                                                          \
        __auto_type value = (expression);                                                          \
        if ((call).killed_after)                                                                   \
            end_here();                                                                            \
        return value;                                                                              \
    } while (0)

/*--- Reading ----------------------------------------------------------------------------------*/

static bool is_unreadable(int fd, size_t size, off_t offset)
{
    struct stat status;
    if (settings.bad_inode == 0 || (uint64_t)offset >= settings.bad_offset + 4096 ||
        settings.bad_offset >= (uint64_t)offset + size || fstat(fd, &status) < 0)
        return false;
    return status.st_ino == settings.bad_inode && status.st_dev == settings.bad_device;
}

#define PREAD(name)                                                                                \
    ssize_t name(int fd, void *buffer, size_t size, off_t offset)                                  \
    {                                                                                              \
        if (is_unreadable(fd, size, offset)) {                                                     \
            errno = EIO;                                                                           \
            return -1;                                                                             \
        }                                                                                          \
        return REAL(name)(fd, buffer, size, offset);                                               \
    }
PREAD(pread)
PREAD(pread64)

/*--- Making files -----------------------------------------------------------------------------*/

static struct call begin_open(int dir_fd, const char *path, int flags)
{
    if ((flags & (O_CREAT | O_TRUNC)) == 0 && (flags & O_TMPFILE) != O_TMPFILE)
        return (struct call){ .error = 0 };
    return begin_name("open", CHANGES, dir_fd, path);
}

#define MODE_OF(flags)                                                                             \
    ({                                                                                             \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode_t mode = (flags) & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;             \
        va_end(arguments);                                                                         \
        mode;                                                                                      \
    })

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        mode_t mode_given = MODE_OF(flags);                                                        \
        struct call call = begin_open(AT_FDCWD, path, flags);                                      \
        GO_ON(call, REAL(name)(path, flags, mode_given));                                          \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                               \
    int name(int dir_fd, const char *path, int flags, ...)                                         \
    {                                                                                              \
        mode_t mode_given = MODE_OF(flags);                                                        \
        struct call call = begin_open(dir_fd, path, flags);                                        \
        GO_ON(call, REAL(name)(dir_fd, path, flags, mode_given));                                  \
    }
OPENAT(openat)
OPENAT(openat64)

#define CREAT(name)                                                                                \
    int name(const char *path, mode_t mode)                                                        \
    {                                                                                              \
        struct call call = begin_name("creat", CHANGES, AT_FDCWD, path);                           \
        GO_ON(call, REAL(name)(path, mode));                                                       \
    }
CREAT(creat)
CREAT(creat64)

int mkdir(const char *path, mode_t mode)
{
    struct call call = begin_name("mkdir", CHANGES, AT_FDCWD, path);
    GO_ON(call, REAL(mkdir)(path, mode));
}

int mkdirat(int dir_fd, const char *path, mode_t mode)
{
    struct call call = begin_name("mkdir", CHANGES, dir_fd, path);
    GO_ON(call, REAL(mkdirat)(dir_fd, path, mode));
}

/*--- Names ------------------------------------------------------------------------------------*/

int rename(const char *from, const char *to)
{
    struct call call = begin_move("rename", AT_FDCWD, from, AT_FDCWD, to);
    GO_ON(call, REAL(rename)(from, to));
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    struct call call = begin_move("rename", from_fd, from, to_fd, to);
    GO_ON(call, REAL(renameat)(from_fd, from, to_fd, to));
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    struct call call = begin_move("rename", from_fd, from, to_fd, to);
    GO_ON(call, REAL(renameat2)(from_fd, from, to_fd, to, flags));
}

int link(const char *from, const char *to)
{
    struct call call = begin_name("link", CHANGES, AT_FDCWD, to);
    GO_ON(call, REAL(link)(from, to));
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    struct call call = begin_name("link", CHANGES, to_fd, to);
    GO_ON(call, REAL(linkat)(from_fd, from, to_fd, to, flags));
}

int symlink(const char *from, const char *to)
{
    struct call call = begin_name("symlink", CHANGES, AT_FDCWD, to);
    GO_ON(call, REAL(symlink)(from, to));
}

int unlink(const char *path)
{
    struct call call = begin_name("unlink", REMOVES, AT_FDCWD, path);
    GO_ON(call, REAL(unlink)(path));
}

int unlinkat(int dir_fd, const char *path, int flags)
{
    struct call call = begin_name("unlink", REMOVES, dir_fd, path);
    GO_ON(call, REAL(unlinkat)(dir_fd, path, flags));
}

int remove(const char *path)
{
    struct call call = begin_name("unlink", REMOVES, AT_FDCWD, path);
    GO_ON(call, REAL(remove)(path));
}

int rmdir(const char *path)
{
    struct call call = begin_name("rmdir", REMOVES, AT_FDCWD, path);
    GO_ON(call, REAL(rmdir)(path));
}

/*--- Bytes ------------------------------------------------------------------------------------*/

ssize_t write(int fd, const void *bytes, size_t size)
{
    struct call call = begin_fd("write", WRITES, fd, size);
    GO_ON(call, REAL(write)(fd, bytes, size_of(&call, size)));
}

#define PWRITE(name)                                                                               \
    ssize_t name(int fd, const void *bytes, size_t size, off_t offset)                             \
    {                                                                                              \
        struct call call = begin_fd("pwrite", WRITES, fd, size);                                   \
        GO_ON(call, REAL(name)(fd, bytes, size_of(&call, size), offset));                          \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

static size_t size_of_parts(const struct iovec *parts, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    return size;
}

/* The parts that make up the first `size` bytes, in `taken`. Returns their number. */
static int take_parts(struct iovec *taken, const struct iovec *parts, int count, size_t size)
{
    int number = 0;
    for (; number < count && number < IOV_MAX && size > 0; number++) {
        taken[number] = parts[number];
        if (taken[number].iov_len > size)
            taken[number].iov_len = size;
        size -= taken[number].iov_len;
    }
    return number;
}

/* Puts the parts that are to be written in place of `parts` and `count`. */
#define HALVE_PARTS(call, parts, count)                                                            \
    struct iovec taken[IOV_MAX];                                                                   \
    if ((call).half) {                                                                             \
        size_t size = size_of_parts(parts, count);                                                 \
        (count) = take_parts(taken, parts, count, size_of(&(call), size));                         \
        (parts) = taken;                                                                           \
    }

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct call call = begin_fd("writev", WRITES, fd, size_of_parts(parts, count));
    HALVE_PARTS(call, parts, count)
    GO_ON(call, REAL(writev)(fd, parts, count));
}

#define PWRITEV(name)                                                                              \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t offset)                       \
    {                                                                                              \
        struct call call = begin_fd("pwritev", WRITES, fd, size_of_parts(parts, count));           \
        HALVE_PARTS(call, parts, count)                                                            \
        GO_ON(call, REAL(name)(fd, parts, count, offset));                                         \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define PWRITEV2(name)                                                                             \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t offset, int flags)            \
    {                                                                                              \
        struct call call = begin_fd("pwritev2", WRITES, fd, size_of_parts(parts, count));          \
        HALVE_PARTS(call, parts, count)                                                            \
        GO_ON(call, REAL(name)(fd, parts, count, offset, flags));                                  \
    }
PWRITEV2(pwritev2)
PWRITEV2(pwritev64v2)

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size,
                        unsigned flags)
{
    struct call call = begin_fd("copy_file_range", WRITES, to, size);
    GO_ON(call,
          REAL(copy_file_range)(from, from_offset, to, to_offset, size_of(&call, size), flags));
}

/*--- Sizes ------------------------------------------------------------------------------------*/

#define FTRUNCATE(name)                                                                            \
    int name(int fd, off_t size)                                                                   \
    {                                                                                              \
        struct call call = begin_fd("ftruncate", CHANGES, fd, (uint64_t)size);                     \
        GO_ON(call, REAL(name)(fd, size));                                                         \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define TRUNCATE(name)                                                                             \
    int name(const char *path, off_t size)                                                         \
    {                                                                                              \
        struct call call = begin_name("truncate", CHANGES, AT_FDCWD, path);                        \
        GO_ON(call, REAL(name)(path, size));                                                       \
    }
TRUNCATE(truncate)
TRUNCATE(truncate64)

#define FALLOCATE(name)                                                                            \
    int name(int fd, int mode, off_t offset, off_t size)                                           \
    {                                                                                              \
        struct call call = begin_fd("fallocate", CHANGES, fd, (uint64_t)size);                     \
        GO_ON(call, REAL(name)(fd, mode, offset, size));                                           \
    }
FALLOCATE(fallocate)
FALLOCATE(fallocate64)

/* It returns its error. */
#define POSIX_FALLOCATE(name)                                                                      \
    int name(int fd, off_t offset, off_t size)                                                     \
    {                                                                                              \
        struct call call = begin_fd("posix_fallocate", CHANGES, fd, (uint64_t)size);               \
        int error = call.error != 0 ? call.error : REAL(name)(fd, offset, size);                   \
        if (call.killed_after)                                                                     \
            end_here();                                                                            \
        return error;                                                                              \
    }
POSIX_FALLOCATE(posix_fallocate)
POSIX_FALLOCATE(posix_fallocate64)

/*--- Syncs ------------------------------------------------------------------------------------*/

int fsync(int fd)
{
    struct call call = begin_fd("fsync", CHANGES, fd, 0);
    GO_ON(call, REAL(fsync)(fd));
}

int fdatasync(int fd)
{
    struct call call = begin_fd("fdatasync", CHANGES, fd, 0);
    GO_ON(call, REAL(fdatasync)(fd));
}

int sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags)
{
    struct call call = begin_fd("sync_file_range", CHANGES, fd, (uint64_t)size);
    GO_ON(call, REAL(sync_file_range)(fd, offset, size, flags));
}

int syncfs(int fd)
{
    struct call call = begin_fd("syncfs", CHANGES, fd, 0);
    GO_ON(call, REAL(syncfs)(fd));
}

int msync(void *address, size_t size, int flags)
{
    char path[PATH_MAX] = "";
    if (settings.dir_size > 0)
        path_of_address(path, address);
    struct call call = begin("msync", CHANGES, path, size);
    GO_ON(call, REAL(msync)(address, size, flags));
}
