/* Every engine keeps the contract of iouring/io.h; and the two that fail do so as they say. */
#include "iouring/io.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/fiemap.h>
#include <linux/fs.h>

#include "io_fault.h"
#include "io_power.h"
#include "iouring/file.h"
#include "scratch.h"
#include "tap.h"

/* ThreadSanitizer cannot see what the kernel reads and writes for a ring. */
#ifdef __SANITIZE_THREAD__
enum { RING_IS_VISIBLE = 0 };
#else
enum { RING_IS_VISIBLE = 1 };
#endif

enum { OPS_MAX = 64, BLOCK = FILE_BLOCK_SIZE, SECTOR = 512 };

struct request {
    struct io_op op;
    struct io *io;
    int again; /* submit this many more times from `done` */
    int ran;
    int result;
    pthread_t thread;
};

static void request_done(struct io_op *op, int result)
{
    struct request *request = (struct request *)op; /* op is first */
    request->ran++;
    request->result = result;
    request->thread = pthread_self();
    if (request->again-- > 0)
        io_submit(request->io, op);
}

static struct request request_of(enum io_kind kind, int fd, void *buffer, uint32_t size,
                                 uint64_t offset)
{
    return (struct request){ .op = { .kind = kind,
                                     .fd = fd,
                                     .buffer = buffer,
                                     .size = size,
                                     .offset = offset,
                                     .done = request_done } };
}

static int run_all(struct io *io)
{
    int ran = 0;
    for (int more; (more = io_run(io)) != 0; ran += more) {
        if (more < 0)
            return more;
    }
    return ran;
}

static int run_one(struct io *io, struct request *request)
{
    io_submit(io, &request->op);
    int ran = run_all(io);
    return ran < 0 ? ran : request->result;
}

static int new_file(const char *name, uint64_t size)
{
    int fd = open(scratch_path(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        tap_bail_out("cannot make a file: %s", strerror(errno));
    return fd;
}

static void a_write_is_what_a_read_sees(struct io *io)
{
    const char *name = io_name(io);
    int fd = new_file("hello", 0);
    char written[] = "hello", seen[8] = "";
    struct request write = request_of(IO_WRITE, fd, written, 5, 3);
    struct request read = request_of(IO_READ, fd, seen, 5, 3);

    io_submit(io, &write.op);
    is_int(write.ran, 0, "%s: done does not run inside io_submit()", name);
    is_int(io_underway(io), 1, "%s: the op is under way", name);
    is_int(io_flush(io), 0, "%s: it can be handed on without waiting", name);
    is_int(write.ran, 0, "%s: done does not run inside io_flush() either", name);
    is_int(io_run(io), 1, "%s: io_run() runs it", name);
    is_int(write.ran, 1, "%s: once", name);
    is_int(write.result, 5, "%s: and gives it the byte count", name);
    is_int(io_underway(io), 0, "%s: then nothing is under way", name);
    is_int(io_run(io), 0, "%s: and io_run() does not wait", name);
    is_int(run_one(io, &read), 5, "%s: a read gives its byte count", name);
    is_str(seen, "hello", "%s: what was written is read", name);

    struct request sync = request_of(IO_SYNC, fd, NULL, 0, 0);
    is_int(run_one(io, &sync), 0, "%s: a sync gives 0", name);
    struct request durable = request_of(IO_WRITE, fd, written, 5, 8);
    durable.op.dsync = true;
    is_int(run_one(io, &durable), 5, "%s: a durable write gives its byte count", name);
    close(fd);
}

static void a_read_at_the_end_is_short(struct io *io)
{
    const char *name = io_name(io);
    int fd = new_file("short", 100);
    char buffer[64];
    struct request part = request_of(IO_READ, fd, buffer, 64, 90);
    struct request none = request_of(IO_READ, fd, buffer, 64, 100);
    struct request far = request_of(IO_READ, fd, buffer, 64, (uint64_t)1 << 40);
    is_int(run_one(io, &part), 10, "%s: a read across the end gives what there is", name);
    is_int(run_one(io, &none), 0, "%s: a read at the end gives 0", name);
    is_int(run_one(io, &far), 0, "%s: a read far behind it gives 0", name);
    close(fd);
}

static void an_error_is_a_negative_errno(struct io *io)
{
    const char *name = io_name(io);
    bool direct;
    struct error error;
    char *buffer = file_aligned_buffer((size_t)2 * BLOCK);
    int plain_fd = new_file("errors", 0); /* written: a hole may be read misaligned */
    file_write_at(plain_fd, buffer, (size_t)2 * BLOCK, 0);
    close(plain_fd);
    int fd = file_open_direct(scratch_path("errors"), true, &direct, &error);
    struct request bad_read = request_of(IO_READ, -1, buffer, BLOCK, 0);
    struct request bad_write = request_of(IO_WRITE, 999, buffer, BLOCK, 0);
    struct request bad_sync = request_of(IO_SYNC, -1, NULL, 0, 0);
    struct request bad_offset = request_of(IO_READ, fd, buffer, BLOCK, UINT64_MAX);
    is_int(run_one(io, &bad_read), -EBADF, "%s: a read of a bad descriptor is -EBADF", name);
    is_int(run_one(io, &bad_write), -EBADF, "%s: so is a write", name);
    is_int(run_one(io, &bad_sync), -EBADF, "%s: and a sync", name);
    is_int(run_one(io, &bad_offset), -EINVAL, "%s: an offset beyond int64 is -EINVAL", name);
    if (direct) {
        struct request odd_memory = request_of(IO_WRITE, fd, buffer + 1, BLOCK, 0);
        struct request odd_offset = request_of(IO_READ, fd, buffer, BLOCK, 7);
        is_int(run_one(io, &odd_memory), -EINVAL, "%s: misaligned memory is -EINVAL", name);
        is_int(run_one(io, &odd_offset), -EINVAL, "%s: a misaligned offset too", name);
    } else {
        tap_skip(2, "no O_DIRECT on the filesystem of %s", scratch_dir());
    }
    close(fd);
    fd = open(scratch_path("errors"), O_RDONLY | O_CLOEXEC);
    struct request forbidden = request_of(IO_WRITE, fd, buffer, BLOCK, 0);
    is_int(run_one(io, &forbidden), -EBADF, "%s: a write without the right is -EBADF", name);
    close(fd);
    free(buffer);
}

static void done_may_submit_again(struct io *io)
{
    const char *name = io_name(io);
    int fd = new_file("chain", 1);
    char buffer[1];
    struct request chain = request_of(IO_READ, fd, buffer, 1, 0);
    chain.io = io;
    chain.again = 999;
    io_submit(io, &chain.op);
    int most = 0, turns = 0;
    for (int ran; (ran = io_run(io)) > 0; turns++)
        most = ran > most ? ran : most;
    is_int(chain.ran, 1000, "%s: a thousand ops, each from the done before it", name);
    is_int(turns, 1000, "%s: each in a turn of its own", name);
    is_int(most, 1, "%s: so that done never recurses", name);
    close(fd);
}

/* Ops under way together may end in any order, so only their sum is claimed. */
static void many_are_under_way_at_once(struct io *io)
{
    const char *name = io_name(io);
    int fd = new_file("many", 0);
    static unsigned char bytes[OPS_MAX][BLOCK], seen[OPS_MAX][BLOCK];
    static struct request requests[OPS_MAX];
    for (int i = 0; i < OPS_MAX; i++) {
        memset(bytes[i], i + 1, BLOCK);
        requests[i] = request_of(IO_WRITE, fd, bytes[i], BLOCK, (uint64_t)i * BLOCK);
        io_submit(io, &requests[i].op);
    }
    is_int(io_underway(io), OPS_MAX, "%s: ops_max may be under way", name);
    is_int(run_all(io), OPS_MAX, "%s: each is run once", name);
    for (int i = 0; i < OPS_MAX; i++) {
        requests[i] = request_of(IO_READ, fd, seen[i], BLOCK, (uint64_t)i * BLOCK);
        io_submit(io, &requests[i].op);
    }
    int ran = run_all(io), whole = 0;
    for (int i = 0; i < OPS_MAX; i++)
        whole += requests[i].result == BLOCK && requests[i].ran == 1;
    is_int(ran, OPS_MAX, "%s: and so with as many reads", name);
    is_int(whole, OPS_MAX, "%s: all of them whole", name);
    is_mem(seen, bytes, sizeof bytes, "%s: every block is where it belongs", name);
    close(fd);
}

static void waiting_ends_by_itself_and_by_others(struct io *io)
{
    const char *name = io_name(io);
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uint64_t one = 1;
    is_int(io_wait(io, wake_fd, 0), 0, "%s: timeout 0 only looks", name);
    is_int(io_wait(io, wake_fd, 2000000), 0, "%s: a timeout ends the wait", name);
    ok(write(wake_fd, &one, 8) == 8 && io_wait(io, wake_fd, UINT64_MAX) == 0,
       "%s: a readable wake_fd ends it", name);
    is_int(io_wait(io, wake_fd, UINT64_MAX), 0, "%s: and again until it was read", name);
    ok(read(wake_fd, &one, 8) == 8, "%s: which is the caller's to do", name);
    is_int(io_wait(io, wake_fd, 0), 0, "%s: after that it only looks again", name);
    for (int i = 0; i < 50; i++) {
        if (write(wake_fd, &one, 8) != 8 || io_wait(io, wake_fd, UINT64_MAX) != 0 ||
            read(wake_fd, &one, 8) != 8)
            tap_bail_out("%s: wake %d", name, i);
    }
    ok(true, "%s: fifty times", name);

    int fd = new_file("wait", 1);
    char byte;
    struct request request = request_of(IO_READ, fd, &byte, 1, 0);
    io_submit(io, &request.op);
    int ran = 0;
    while (ran == 0) /* a turn may end early, with nothing */
        ran = io_wait(io, wake_fd, UINT64_MAX);
    is_int(ran, 1, "%s: a finished op ends the wait", name);
    io_submit(io, &request.op);
    while (request.ran < 2)
        if (io_wait(io, wake_fd, 0) < 0)
            break;
    is_int(request.ran, 2, "%s: looking runs what has finished", name);
    close(fd);
    /* wake_fd stays open: an io has the same one for life. */
}

struct waker {
    int fd;
    pthread_t target;
};

static void *wake_later(void *argument)
{
    struct waker *waker = argument;
    uint64_t one = 1;
    pthread_kill(waker->target, SIGUSR1);
    if (write(waker->fd, &one, 8) != 8)
        tap_bail_out("cannot write to an eventfd");
    return NULL;
}

static void nothing_at_all(int signal)
{
    (void)signal;
}

static void another_thread_wakes_it(struct io *io)
{
    const char *name = io_name(io);
    struct waker waker = { eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), pthread_self() };
    struct sigaction action = { .sa_handler = nothing_at_all };
    sigaction(SIGUSR1, &action, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, wake_later, &waker);
    uint64_t value = 0;
    int result = 0;
    while (result == 0 && read(waker.fd, &value, 8) != 8)
        result = io_wait(io, waker.fd, UINT64_MAX);
    pthread_join(thread, NULL);
    ok(result == 0 && value == 1, "%s: another thread wakes it, and a signal is no error", name);
}

/* True while bytes that were written have no place on the device yet: filesystems that delay the
 * choice (ext4, xfs, btrfs, ...) make it when they write back. */
static bool is_delayed(int fd)
{
    static union {
        struct fiemap map;
        char room[sizeof(struct fiemap) + 8 * sizeof(struct fiemap_extent)];
    } all;
    memset(&all, 0, sizeof all);
    all.map.fm_length = FIEMAP_MAX_OFFSET;
    all.map.fm_extent_count = 8;
    bool delayed = false;
    if (ioctl(fd, FS_IOC_FIEMAP, &all.map) == 0) {
        for (unsigned i = 0; i < all.map.fm_mapped_extents; i++)
            delayed |= (all.map.fm_extents[i].fe_flags & FIEMAP_EXTENT_DELALLOC) != 0;
    }
    return delayed;
}

static void durable_is_on_the_device(struct io *io)
{
    const char *name = io_name(io);
    static char bytes[BLOCK];
    int plain = new_file("not-durable", 0), durable = new_file("durable", 0);
    struct request write = request_of(IO_WRITE, plain, bytes, BLOCK, 0);
    struct request dsync = request_of(IO_WRITE, durable, bytes, BLOCK, 0);
    struct request sync = request_of(IO_SYNC, plain, NULL, 0, 0);
    dsync.op.dsync = true;
    run_one(io, &write);
    bool can_tell = is_delayed(plain);
    run_one(io, &dsync);
    bool dsync_delayed = is_delayed(durable);
    run_one(io, &sync);
    if (!can_tell)
        tap_note("%s: this filesystem does not show what is not written back", name);
    ok(!dsync_delayed, "%s: a durable write is on the device when it is done", name);
    ok(!is_delayed(plain), "%s: and so is another one after a sync", name);
    close(plain);
    close(durable);
}

static void counts_are_true(struct io *io)
{
    const char *name = io_name(io);
    int fd = new_file("counts", 0);
    char bytes[8] = "bytes";
    struct io_counts before, after;
    struct request write = request_of(IO_WRITE, fd, bytes, 8, 0);
    struct request durable = request_of(IO_WRITE, fd, bytes, 8, 0);
    struct request sync = request_of(IO_SYNC, fd, NULL, 0, 0);
    durable.op.dsync = true;
    io_counts_get(io, &before);
    run_one(io, &write);
    run_one(io, &durable);
    run_one(io, &sync);
    io_counts_get(io, &after);
    is_int(after.submitted - before.submitted, 3, "%s: three ops were submitted", name);
    is_int(after.syncs - before.syncs, 2, "%s: two of them make durable", name);
    if (strcmp(name, "power") == 0) /* it syncs nothing */
        ok(after.syscalls > before.syscalls, "%s: some system calls were made", name);
    else
        is_int(after.syscalls - before.syscalls, 3, "%s: each took one system call", name);
    close(fd);
}

/* Opened here, run there: what io.h allows once. */
static void *keep_the_contract(void *argument)
{
    struct io *io = argument;
    a_write_is_what_a_read_sees(io);
    a_read_at_the_end_is_short(io);
    an_error_is_a_negative_errno(io);
    done_may_submit_again(io);
    many_are_under_way_at_once(io);
    counts_are_true(io);
    if (strcmp(io_name(io), "power") != 0) /* it only pretends */
        durable_is_on_the_device(io);
    waiting_ends_by_itself_and_by_others(io);
    is_int(io_underway(io), 0, "%s: nothing is left under way", io_name(io));
    io_close(io);
    return NULL;
}

static int open_engine(const char *name, struct io **io)
{
    static struct io_fault no_fault = { .countdown = -1 };
    if (strcmp(name, "plain") == 0)
        return io_open_plain(io);
    if (strcmp(name, "ring") == 0)
        return io_open_ring(io, OPS_MAX);
    if (strcmp(name, "fault") == 0)
        return io_open_fault(io, &no_fault);
    return io_open_power(io, 1);
}

static void an_engine_keeps_the_contract(const char *name)
{
    struct io *io;
    int result = open_engine(name, &io);
    if (result < 0) {
        tap_skip(1, "%s: %s", name, strerror(-result));
        return;
    }
    is_str(io_name(io), name, "the %s engine has its name", name);
    pthread_t thread;
    pthread_create(&thread, NULL, keep_the_contract, io);
    pthread_join(thread, NULL);
    if (open_engine(name, &io) == 0) {
        another_thread_wakes_it(io);
        io_close(io);
    }
}

/* As many turns of four writes each: not one system call more. */
static void a_turn_of_the_ring_is_one_syscall(void)
{
    struct io *io;
    int fd = new_file("turns", 0);
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    char byte = 'x';
    struct request requests[4];
    struct io_counts before, after;
    if (io_open_ring(&io, 4) < 0) {
        tap_skip(1, "no io_uring");
        close(fd);
        return;
    }
    io_wait(io, wake_fd, 0);
    io_counts_get(io, &before);
    int turns = 0;
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 4; k++) {
            requests[k] = request_of(IO_WRITE, fd, &byte, 1, (uint64_t)k);
            io_submit(io, &requests[k].op);
        }
        for (; io_underway(io) > 0; turns++)
            io_wait(io, wake_fd, i % 2 ? UINT64_MAX : 1000000000);
    }
    io_counts_get(io, &after);
    is_int(after.syscalls - before.syscalls, turns, "ring: one system call a turn");
    io_close(io);
    close(fd);
    close(wake_fd);
}

/* Opens rings and writes with them as a user who may lock 8 MiB. 0 if all went well. */
static int use_rings_unprivileged(int fd)
{
    enum { RINGS = 4, NOBODY = 65534 };
    struct rlimit locked = { 8 << 20, 8 << 20 };
    struct io *rings[RINGS];
    char byte = 'x';
    setrlimit(RLIMIT_MEMLOCK, &locked);
    if (getuid() == 0 && (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
        return 1;
    for (int i = 0; i < RINGS; i++) {
        if (io_open_ring(&rings[i], 256) < 0)
            return 2;
    }
    for (int i = 0; i < RINGS; i++) {
        struct request write = request_of(IO_WRITE, fd, &byte, 1, (uint64_t)i);
        if (run_one(rings[i], &write) != 1)
            return 3;
        io_close(rings[i]);
    }
    return 0;
}

static void an_ordinary_user_has_the_ring_too(void)
{
    int fd = new_file("ordinary", 0), status = -1;
    struct io *io;
    if (io_open_ring(&io, 1) < 0) {
        tap_skip(1, "no io_uring");
        close(fd);
        return;
    }
    io_close(io);
    pid_t child = fork();
    if (child == 0)
        _exit(use_rings_unprivileged(fd));
    waitpid(child, &status, 0);
    is_int(status, 0, "ring: several of 256 ops, as a user who may lock 8 MiB");
    close(fd);
}

static void the_best_engine_is_there(void)
{
    struct io *io;
    is_int(io_open_best(&io, 8), 0, "there is always an engine");
    ok(strcmp(io_name(io), "ring") == 0 || strcmp(io_name(io), "plain") == 0, "it is the %s one",
       io_name(io));
    io_close(io);
}

static void the_fault_engine_fails_when_told(void)
{
    struct io_fault fault = { .countdown = 2, .result = -EIO };
    struct io *io;
    char bytes[8] = "abcdefg", seen[9] = "";
    int fd = new_file("fault", 8), results[4];
    io_open_fault(&io, &fault);
    for (int i = 0; i < 4; i++) {
        struct request write = request_of(IO_WRITE, fd, bytes, 1, (uint64_t)i);
        results[i] = run_one(io, &write);
    }
    ok(results[0] == 1 && results[1] == 1 && results[2] == -EIO && results[3] == 1,
       "fault: the third op fails, the others do not");
    is_int(fault.failed, 1, "fault: it says how many it failed");
    is_int(fault.started, 4, "fault: and how many it saw");

    fault = (struct io_fault){ .countdown = 0, .result = 3, .for_ever = true };
    for (int i = 0; i < 2; i++) {
        struct request write = request_of(IO_WRITE, fd, bytes, 8, 0);
        results[i] = run_one(io, &write);
    }
    ok(results[0] == 3 && results[1] == 3, "fault: a short write is short, for ever if so told");
    is_int(file_read_at(fd, seen, 8, 0), 8, "fault: the file is readable");
    is_mem(seen, "abca\0\0\0\0", 8, "fault: and has the first part of it");

    fault = (struct io_fault){ .countdown = 0, .result = -EIO, .kinds = { [IO_SYNC] = true } };
    struct request write = request_of(IO_WRITE, fd, bytes, 8, 0);
    struct request sync = request_of(IO_SYNC, fd, NULL, 0, 0);
    is_int(run_one(io, &write), 8, "fault: a write is not meant when syncs are");
    is_int(run_one(io, &sync), -EIO, "fault: a sync is");
    io_close(io);
    close(fd);
}

/* Two durable writes, one synced, one not, and one that is still queued; then power fails. */
static void lose_power_once(uint64_t seed, unsigned char after[5 * BLOCK], int results[5])
{
    static unsigned char bytes[BLOCK];
    struct io *io;
    int fd = new_file("power", 5 * BLOCK);
    memset(bytes, 'n', BLOCK);
    io_open_power(&io, seed);
    struct request requests[5], sync = request_of(IO_SYNC, fd, NULL, 0, 0);
    for (int i = 0; i < 5; i++) {
        requests[i] = request_of(IO_WRITE, fd, bytes, BLOCK, (uint64_t)i * BLOCK);
        requests[i].op.dsync = i < 2;
        io_submit(io, &requests[i].op);
        if (i == 2) {
            run_all(io);
            io_submit(io, &sync.op);
        }
        if (i != 4)
            run_all(io);
    }
    io_power_crash(io);
    ok(io_power_is_off(io), "power: it is off");
    run_all(io);
    for (int i = 0; i < 5; i++)
        results[i] = requests[i].result;
    struct request late = request_of(IO_WRITE, fd, bytes, BLOCK, 0);
    results[0] = results[0] == BLOCK && run_one(io, &late) == -EIO ? BLOCK : -1;
    io_close(io);
    if (file_read_at(fd, after, (size_t)5 * BLOCK, 0) != (int64_t)5 * BLOCK)
        tap_bail_out("the file has lost its size");
    close(fd);
}

static int sectors_of(const unsigned char *block, unsigned char want)
{
    int count = 0;
    for (int i = 0; i < BLOCK / SECTOR; i++) {
        const unsigned char *sector = block + (ptrdiff_t)i * SECTOR;
        count += sector[0] == want && memcmp(sector, sector + 1, SECTOR - 1) == 0;
    }
    return count;
}

static void the_power_engine_loses_what_is_not_durable(void)
{
    static unsigned char after[5 * BLOCK], again[5 * BLOCK];
    int results[5], whole = 0, torn[2] = { 0 }, lost[2] = { 0 }, kept[2] = { 0 }, sectors = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        lose_power_once(seed, after, results);
        whole += results[0] == BLOCK && results[1] == BLOCK && results[2] == BLOCK &&
                 results[3] == BLOCK && results[4] == -EIO;
        for (int i = 0; i < 3; i++)
            sectors += sectors_of(after + (ptrdiff_t)i * BLOCK, 'n') == BLOCK / SECTOR;
        for (int i = 0; i < 2; i++) {
            int new = sectors_of(after + (ptrdiff_t)(3 + i) * BLOCK, 'n');
            int old = sectors_of(after + (ptrdiff_t)(3 + i) * BLOCK, 0);
            if (new + old != BLOCK / SECTOR)
                tap_bail_out("power: a sector of seed %lu is neither old nor new",
                             (unsigned long)seed);
            torn[i] += new > 0 && old > 0;
            lost[i] += new == 0;
            kept[i] += old == 0;
        }
    }
    is_int(whole, 100, "power: ops tell the truth until it fails, and -EIO after");
    is_int(sectors, 300, "power: what was durable is there, every time");
    ok(torn[0] > 0 && lost[0] > 0 && kept[0] > 0,
       "power: what was not synced is torn, lost or kept (%d, %d, %d)", torn[0], lost[0], kept[0]);
    ok(torn[1] > 0 && lost[1] > 0 && kept[1] > 0, "power: so is what was queued (%d, %d, %d)",
       torn[1], lost[1], kept[1]);
    lose_power_once(77, after, results);
    lose_power_once(77, again, results);
    is_mem(after, again, sizeof after, "power: the same seed gives the same bytes");
}

static void power_fails_after_the_nth_op(void)
{
    enum { OPS = 8 };
    static unsigned char bytes[BLOCK], after[OPS * BLOCK];
    memset(bytes, 'n', BLOCK);
    int right = 0, unheard = 0;
    for (unsigned n = 0; n <= OPS; n++) {
        struct io *io;
        struct request requests[OPS];
        int fd = new_file("nth", OPS * BLOCK), acked = 0, there = 0, missing = 0;
        io_open_power(&io, n + 1);
        io_power_fail_after(io, n);
        for (int i = 0; i < OPS; i++) {
            requests[i] = request_of(IO_WRITE, fd, bytes, BLOCK, (uint64_t)i * BLOCK);
            requests[i].op.dsync = true;
            io_submit(io, &requests[i].op);
        }
        run_all(io);
        io_power_crash(io); /* n == OPS: it has failed already */
        file_read_at(fd, after, sizeof after, 0);
        for (int i = 0; i < OPS; i++) {
            bool whole = sectors_of(after + (ptrdiff_t)i * BLOCK, 'n') == BLOCK / SECTOR;
            acked += requests[i].result == BLOCK;
            there += whole;
            missing += requests[i].result == BLOCK && !whole;
        }
        right += io_power_performed(io) == n && acked <= (int)n && missing == 0;
        unheard += there > acked;
        io_close(io);
        close(fd);
    }
    is_int(right, OPS + 1, "power: it fails after the n-th op, and no acknowledged one is missing");
    ok(unheard > 0, "power: some are there that nobody heard of (%d)", unheard);
}

int main(void)
{
    an_engine_keeps_the_contract("plain");
    an_engine_keeps_the_contract("fault");
    an_engine_keeps_the_contract("power");
    if (RING_IS_VISIBLE) {
        an_engine_keeps_the_contract("ring");
        a_turn_of_the_ring_is_one_syscall();
        an_ordinary_user_has_the_ring_too();
    }
    the_best_engine_is_there();
    the_fault_engine_fails_when_told();
    the_power_engine_loses_what_is_not_durable();
    power_fails_after_the_nth_op();
    return tap_done();
}
