#include "io_power.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/base/check.h"
#include "iouring/io_engine.h"

enum { SECTOR = 512 };

/* A sector that holds more than what is durable. */
struct dirty {
    uint64_t written_at;     /* when, in ops */
    uint8_t durable[SECTOR]; /* what power loss may bring back */
};

/* A file with dirty sectors. */
struct dirty_file {
    struct dirty_file *next;
    dev_t device;
    ino_t inode;
    int fd; /* our own, buffered: the test may close its own before the crash */
    struct dirty **sectors;
    size_t sectors_size; /* of the array */
    size_t dirty_count;
};

struct queued {
    struct io_op *op;
    uint64_t submitted_at;
};

struct power_io {
    struct io io; /* first: a struct io * is a struct power_io * */
    uint64_t random;
    uint64_t now; /* counts submissions and performances: a clock */
    uint64_t performed;
    uint64_t fail_at;          /* in ops performed */
    uint64_t break_at, breaks; /* so many ops fail from then on */
    uint64_t lie_at, lies, lied;
    enum io_power_lie lie;
    void (*written)(const struct io_op *op, void *context);
    void *context;
    bool off;
    struct dirty_file *files;
    struct queued *queue;
    size_t queue_size, queue_capacity;
};

static const struct io_engine power_engine;

static struct power_io *power_of(const struct io *io)
{
    CHECK(io->engine == &power_engine);
    return (struct power_io *)(uintptr_t)io;
}

/* splitmix64 */
static uint64_t random_below(struct power_io *power, uint64_t limit)
{
    uint64_t z = power->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % limit;
}

static int reopen(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

static struct dirty_file *find_file(struct power_io *power, int fd, bool make)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return NULL;
    for (struct dirty_file *file = power->files; file != NULL; file = file->next) {
        if (file->device == status.st_dev && file->inode == status.st_ino)
            return file;
    }
    int own = make ? reopen(fd) : -1;
    if (own < 0)
        return NULL;
    struct dirty_file *file = calloc(1, sizeof *file);
    CHECK(file != NULL);
    *file = (struct dirty_file){
        .next = power->files, .device = status.st_dev, .inode = status.st_ino, .fd = own
    };
    return power->files = file;
}

static void clean(struct dirty_file *file, uint64_t sector)
{
    if (sector < file->sectors_size && file->sectors[sector] != NULL) {
        free(file->sectors[sector]);
        file->sectors[sector] = NULL;
        file->dirty_count--;
    }
}

/* Forgets the files that are all clean, or all of them. */
static void forget_files(struct power_io *power, bool all)
{
    for (struct dirty_file **link = &power->files; *link != NULL;) {
        struct dirty_file *file = *link;
        if (!all && file->dirty_count > 0) {
            link = &file->next;
            continue;
        }
        for (size_t i = 0; i < file->sectors_size; i++)
            clean(file, i);
        *link = file->next;
        close(file->fd);
        free(file->sectors);
        free(file);
    }
}

static void reach(struct dirty_file *file, uint64_t sector)
{
    if (sector < file->sectors_size)
        return;
    size_t size = (size_t)sector * 2 + 64;
    file->sectors = realloc(file->sectors, size * sizeof *file->sectors);
    CHECK(file->sectors != NULL);
    memset(file->sectors + file->sectors_size, 0,
           (size - file->sectors_size) * sizeof *file->sectors);
    file->sectors_size = size;
}

/* Before a write: keeps what its sectors hold, unless something older is kept already. */
static void soil(struct power_io *power, struct dirty_file *file, const struct io_op *op)
{
    uint64_t last = (op->offset + op->size - 1) / SECTOR;
    reach(file, last);
    for (uint64_t sector = op->offset / SECTOR; sector <= last; sector++) {
        struct dirty *dirty = file->sectors[sector];
        if (dirty == NULL) {
            dirty = calloc(1, sizeof *dirty); /* past the end: zeros */
            CHECK(dirty != NULL);
            /* The disk itself: no read_fault.h comes between. */
            struct iovec vector = { dirty->durable, SECTOR };
            CHECK(preadv(file->fd, &vector, 1, (off_t)(sector * SECTOR)) >= 0);
            file->sectors[sector] = dirty;
            file->dirty_count++;
        }
        dirty->written_at = power->now;
    }
}

static int perform_write(struct power_io *power, const struct io_op *op)
{
    struct dirty_file *file = find_file(power, op->fd, !op->dsync);
    struct io_op plain = *op;
    plain.dsync = false; /* the model says what is durable */
    if (file != NULL && !op->dsync)
        soil(power, file, op);
    int result = io_perform(&power->io, &plain, op->size);
    if (file != NULL && op->dsync) {
        for (uint64_t s = op->offset / SECTOR; s <= (op->offset + op->size - 1) / SECTOR; s++)
            clean(file, s);
    }
    return result;
}

static int perform_sync(struct power_io *power, const struct queued *queued)
{
    if (fcntl(queued->op->fd, F_GETFD) < 0)
        return -errno;
    struct dirty_file *file = find_file(power, queued->op->fd, false);
    for (size_t i = 0; file != NULL && i < file->sectors_size; i++) {
        if (file->sectors[i] != NULL && file->sectors[i]->written_at < queued->submitted_at)
            clean(file, i);
    }
    return 0;
}

/* Which sectors of a run survive: often none, all, the first or the last ones, else any. */
struct survival {
    uint64_t way, from;
};

static bool survives(struct power_io *power, struct survival survival, uint64_t sector)
{
    switch (survival.way) {
    case 0:
        return false;
    case 1:
        return true;
    case 2:
        return sector < survival.from;
    case 3:
        return sector >= survival.from;
    default:
        return random_below(power, 2) == 0;
    }
}

static struct survival choose(struct power_io *power, uint64_t first, uint64_t count)
{
    return (struct survival){ random_below(power, 6), first + random_below(power, count + 1) };
}

/* A write that was under way: some of its sectors arrive. */
static void tear(struct power_io *power, const struct io_op *op)
{
    int fd = op->kind == IO_WRITE ? reopen(op->fd) : -1;
    if (fd < 0)
        return;
    uint64_t end = op->offset + op->size, at = op->offset;
    struct survival survival = choose(power, at / SECTOR, (end - at) / SECTOR + 1);
    while (at < end) {
        uint64_t sector_end = (at / SECTOR + 1) * SECTOR;
        uint64_t part_end = sector_end < end ? sector_end : end;
        const char *bytes = (const char *)op->buffer + (at - op->offset);
        if (survives(power, survival, at / SECTOR))
            CHECK(pwrite(fd, bytes, part_end - at, (off_t)at) == (ssize_t)(part_end - at));
        at = part_end;
    }
    close(fd);
}

/* An op that ends with an error, or a write that stops in the middle. */
static int perform_broken(struct power_io *power, const struct queued *queued)
{
    const struct io_op *op = queued->op;
    struct io_op plain = *op;
    plain.dsync = false;
    power->breaks--;
    if (op->kind == IO_WRITE && random_below(power, 4) == 0) {
        plain.size = (uint32_t)random_below(power, op->size / SECTOR) * SECTOR;
        return plain.size > 0 ? perform_write(power, &plain) : 0;
    }
    if (op->kind == IO_WRITE && random_below(power, 2) == 0)
        (void)perform_write(power, &plain);
    else
        tear(power, op);
    return random_below(power, 4) == 0 ? -ENOSPC : -EIO;
}

/* A file of the directory of `fd` that takes a write of `size` bytes, perhaps `fd` itself: its
 * descriptor, and its size. */
static int other_file(struct power_io *power, int fd, uint64_t size, uint64_t *file_size)
{
    char link[64], path[PATH_MAX];
    struct dirent **names;
    struct stat status;
    int other = -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    CHECK(length > 0);
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int count = scandir(path, &names, NULL, alphasort);
    CHECK(dir >= 0 && count > 0);
    while (other < 0) {
        const char *name = names[random_below(power, (uint64_t)count)]->d_name;
        if (fstatat(dir, name, &status, 0) == 0 && S_ISREG(status.st_mode) &&
            (uint64_t)status.st_size >= size)
            other = openat(dir, name, O_RDWR | O_CLOEXEC);
    }
    *file_size = (uint64_t)status.st_size;
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
    close(dir);
    return other;
}

/* Writes the op somewhere else: mostly where a block begins. */
static void misplace(struct power_io *power, const struct io_op *op)
{
    struct stat status;
    CHECK(fstat(op->fd, &status) == 0);
    uint64_t size = (uint64_t)status.st_size;
    int fd = power->lie == IO_POWER_MISPLACED ? reopen(op->fd)
                                              : other_file(power, op->fd, op->size, &size);
    uint64_t grain = random_below(power, 4) == 0 ? SECTOR : 8 * SECTOR;
    uint64_t offset = random_below(power, (size - op->size) / grain + 1) * grain;
    CHECK(fd >= 0 && pwrite(fd, op->buffer, op->size, (off_t)offset) == (ssize_t)op->size);
    struct dirty_file *file = find_file(power, fd, false);
    for (uint64_t s = offset / SECTOR; file != NULL && s <= (offset + op->size - 1) / SECTOR; s++)
        clean(file, s);
    close(fd);
}

/* A write of which the disk says that it was done. */
static int perform_lie(struct power_io *power, const struct io_op *op)
{
    power->lies--;
    power->lied++;
    if (power->lie != IO_POWER_LOST)
        misplace(power, op);
    return (int)op->size;
}

static int perform_as_it_should(struct power_io *power, const struct queued *queued)
{
    const struct io_op *op = queued->op;
    bool lies = power->lies > 0 && power->performed > power->lie_at;
    if (op->kind == IO_READ)
        return io_perform(&power->io, op, op->size);
    if (op->kind == IO_SYNC)
        return perform_sync(power, queued);
    int result = lies ? perform_lie(power, op) : perform_write(power, op);
    if (power->written != NULL && result == (int)op->size)
        power->written(op, power->context);
    return result;
}

static int perform(struct power_io *power, const struct queued *queued)
{
    power->now++;
    power->performed++;
    bool breaks =
        power->breaks > 0 && power->performed > power->break_at && queued->op->kind != IO_READ;
    int result = breaks ? perform_broken(power, queued) : perform_as_it_should(power, queued);
    forget_files(power, false);
    return result;
}

static void restore(struct dirty_file *file, uint64_t sector)
{
    struct stat status;
    CHECK(fstat(file->fd, &status) == 0);
    uint64_t at = sector * SECTOR, end = (uint64_t)status.st_size;
    size_t size = at >= end ? 0 : end - at < SECTOR ? (size_t)(end - at) : SECTOR;
    CHECK(pwrite(file->fd, file->sectors[sector]->durable, size, (off_t)at) == (ssize_t)size);
}

/* Writes that were done and not synced: some of their sectors are lost. */
static void lose(struct power_io *power, struct dirty_file *file)
{
    struct survival survival = { 0, 0 };
    bool in_run = false;
    for (uint64_t sector = 0; sector < file->sectors_size; sector++) {
        struct dirty *dirty = file->sectors[sector];
        if (dirty != NULL && !in_run)
            survival = choose(power, sector, file->dirty_count);
        in_run = dirty != NULL;
        if (dirty != NULL && !survives(power, survival, sector))
            restore(file, sector);
    }
}

static void power_off(struct power_io *power)
{
    if (power->off)
        return;
    power->off = true;
    for (struct dirty_file *file = power->files; file != NULL; file = file->next)
        lose(power, file);
    forget_files(power, true);
    for (size_t i = 0; i < power->queue_size; i++)
        tear(power, power->queue[i].op);
    /* The caller may have died before it heard of what was done last. */
    uint64_t heard = 0;
    for (struct io_op *op = power->io.finished_first; op != NULL; op = op->next)
        heard++;
    heard = random_below(power, heard + 1);
    for (struct io_op *op = power->io.finished_first; op != NULL; op = op->next)
        op->result = heard > 0 ? (heard--, op->result) : -EIO;
}

static void start(struct io *io, struct io_op *op)
{
    struct power_io *power = power_of(io);
    if (power->off) {
        io_finished(io, op, -EIO);
        return;
    }
    if (power->queue_size == power->queue_capacity) {
        power->queue_capacity = power->queue_capacity * 2 + 64;
        power->queue = realloc(power->queue, power->queue_capacity * sizeof *power->queue);
        CHECK(power->queue != NULL);
    }
    power->queue[power->queue_size++] = (struct queued){ op, ++power->now };
}

static int flush(struct io *io)
{
    (void)io;
    return 0;
}

static struct queued take_any(struct power_io *power)
{
    size_t index = (size_t)random_below(power, power->queue_size);
    struct queued queued = power->queue[index];
    power->queue[index] = power->queue[--power->queue_size];
    return queued;
}

static int wait_for_some(struct io *io, int wake_fd, uint64_t timeout_ns)
{
    struct power_io *power = power_of(io);
    if (power->queue_size == 0)
        return io_wait_for_wake(io, wake_fd, timeout_ns);
    size_t least = timeout_ns == 0 ? 0 : 1;
    size_t count = least + (size_t)random_below(power, power->queue_size - least + 1);
    while (!power->off && count-- > 0) {
        struct queued queued = take_any(power);
        io_finished(io, queued.op, perform(power, &queued));
        if (power->performed >= power->fail_at)
            power_off(power);
    }
    while (power->off && power->queue_size > 0)
        io_finished(io, take_any(power).op, -EIO);
    return 0;
}

static void close_engine(struct io *io)
{
    struct power_io *power = power_of(io);
    forget_files(power, true);
    free(power->queue);
    free(power);
}

static const struct io_engine power_engine = {
    .name = "power",
    .start = start,
    .flush = flush,
    .wait = wait_for_some,
    .close = close_engine,
};

int io_open_power(struct io **io, uint64_t seed)
{
    struct power_io *power = calloc(1, sizeof *power);
    if (power == NULL)
        return -ENOMEM;
    io_init(&power->io, &power_engine);
    power->random = seed;
    power->fail_at = UINT64_MAX;
    *io = &power->io;
    return 0;
}

void io_power_fail_after(struct io *io, uint64_t ops)
{
    struct power_io *power = power_of(io);
    power->fail_at = power->performed + ops;
    if (ops == 0)
        power_off(power);
}

void io_power_break_after(struct io *io, uint64_t ops, uint64_t count)
{
    struct power_io *power = power_of(io);
    power->break_at = power->performed + ops;
    power->breaks = count;
}

void io_power_lie_after(struct io *io, uint64_t ops, uint64_t count, enum io_power_lie lie)
{
    struct power_io *power = power_of(io);
    power->lie_at = power->performed + ops;
    power->lies = count;
    power->lie = lie;
}

uint64_t io_power_lies(const struct io *io)
{
    return power_of(io)->lied;
}

void io_power_watch(struct io *io, void (*written)(const struct io_op *op, void *context),
                    void *context)
{
    power_of(io)->written = written;
    power_of(io)->context = context;
}

void io_power_crash(struct io *io)
{
    power_off(power_of(io));
}

bool io_power_is_off(const struct io *io)
{
    return power_of(io)->off;
}

uint64_t io_power_performed(const struct io *io)
{
    return power_of(io)->performed;
}
