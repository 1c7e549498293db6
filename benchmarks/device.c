/* What the device can do: a bare loop of durable writes through io_uring, with nothing of ours in
 * it but the making of the file. Every speed of the log is a ratio to this, in the same run.
 *
 * The file is filled with zeros and synced first, opened with O_DIRECT, and written in sequence,
 * from its start again when its end is reached: as the log writes a segment. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <liburing.h>

#include "iouring/file.h"

enum { FILE_SIZE = 64 * 1024 * 1024, IN_FLIGHT_MAX = 256, WRITES_MAX = 8 * 1000 * 1000 };

struct run {
    const char *dir;
    unsigned size;      /* bytes of a write */
    unsigned in_flight; /* writes under way at once */
    double seconds;     /* how long new ones are begun */

    struct io_uring uring;
    int fd;
    uint8_t *buffers;                   /* one for each write under way */
    uint64_t started_ns[IN_FLIGHT_MAX]; /* of the write in that place */
    uint64_t next_offset;
    uint32_t *latencies_ns;
    size_t count;
    uint64_t began_ns, ended_ns;
    double cpu_before;
};

static _Noreturn void fail(const char *what, int code)
{
    fprintf(stderr, "device: %s: %s\n", what, strerror(-code));
    exit(1);
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void begin_write(struct run *run, unsigned place)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&run->uring);
    uint8_t *buffer = run->buffers + (size_t)place * run->size;
    io_uring_prep_write(sqe, run->fd, buffer, run->size, run->next_offset);
    sqe->rw_flags = RWF_DSYNC;
    io_uring_sqe_set_data64(sqe, place);
    run->next_offset = (run->next_offset + run->size) % FILE_SIZE;
    run->started_ns[place] = monotonic_ns();
}

static void end_write(struct run *run, unsigned place, int result, uint64_t now_ns)
{
    if (result != (int)run->size)
        fail("a durable write", result < 0 ? result : -EIO);
    uint64_t took_ns = now_ns - run->started_ns[place];
    run->latencies_ns[run->count++] = took_ns < UINT32_MAX ? (uint32_t)took_ns : UINT32_MAX;
    run->ended_ns = now_ns;
}

static void write_for_a_while(struct run *run)
{
    unsigned under_way = run->in_flight;
    run->cpu_before = cpu_seconds();
    run->began_ns = monotonic_ns();
    uint64_t stop_ns = run->began_ns + (uint64_t)(run->seconds * 1e9);
    for (unsigned place = 0; place < run->in_flight; place++)
        begin_write(run, place);
    while (under_way > 0) {
        int result = io_uring_submit_and_wait(&run->uring, 1);
        if (result < 0 && result != -EINTR)
            fail("io_uring_enter", result);
        struct io_uring_cqe *cqe;
        unsigned head, seen = 0;
        uint64_t now_ns = monotonic_ns();
        io_uring_for_each_cqe(&run->uring, head, cqe)
        {
            unsigned place = (unsigned)io_uring_cqe_get_data64(cqe);
            end_write(run, place, cqe->res, now_ns);
            if (now_ns < stop_ns && run->count + under_way < WRITES_MAX)
                begin_write(run, place);
            else
                under_way--;
            seen++;
        }
        io_uring_cq_advance(&run->uring, seen);
    }
}

static void prepare(struct run *run)
{
    char name[64], path[PATH_MAX];
    struct error error;
    bool direct;
    snprintf(name, sizeof name, "device-%ld", (long)getpid());
    snprintf(path, sizeof path, "%s/%s", run->dir, name);
    if (file_make_zeroed(run->dir, name, FILE_SIZE, &error) < 0) {
        fprintf(stderr, "device: %s\n", error.text);
        exit(1);
    }
    run->fd = file_open_direct(path, true, &direct, &error);
    unlink(path);
    if (run->fd < 0 || !direct)
        fail("O_DIRECT", run->fd < 0 ? run->fd : -EINVAL);
    run->buffers = file_aligned_buffer((size_t)run->size * run->in_flight);
    run->latencies_ns = malloc(sizeof *run->latencies_ns * WRITES_MAX);
    if (run->buffers == NULL || run->latencies_ns == NULL)
        fail("memory", -ENOMEM);
    memset(run->buffers, 0xda, (size_t)run->size * run->in_flight);
    int result = io_uring_queue_init(run->in_flight, &run->uring,
                                     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (result == -EINVAL)
        result = io_uring_queue_init(run->in_flight, &run->uring, 0);
    if (result < 0)
        fail("io_uring_setup", result);
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static void print(struct run *run)
{
    double cpu = cpu_seconds() - run->cpu_before;
    double seconds = (double)(run->ended_ns - run->began_ns) / 1e9;
    double per_second = (double)run->count / seconds;
    qsort(run->latencies_ns, run->count, sizeof *run->latencies_ns, compare);
    printf("{\"size\":%u,\"in_flight\":%u,\"writes\":%zu,\"seconds\":%.3f,\"p50_ns\":%" PRIu32
           ",\"p99_ns\":%" PRIu32 ",\"max_ns\":%" PRIu32 ",\"per_second\":%.0f,"
           "\"bytes_per_second\":%.0f,\"cpu_seconds\":%.3f}\n",
           run->size, run->in_flight, run->count, seconds, run->latencies_ns[run->count / 2],
           run->latencies_ns[run->count * 99 / 100], run->latencies_ns[run->count - 1], per_second,
           per_second * run->size, cpu);
}

static _Noreturn void usage(int status)
{
    fputs("usage: device [--dir DIR] [--size BYTES] [--in-flight N] [--seconds S]\n"
          "Writes durably in sequence for S seconds (3) and prints one JSON object.\n"
          "BYTES (4096): a divisor of 64 MiB and multiple of 4096; N (1): 1 to 256.\n",
          status == 0 ? stdout : stderr);
    exit(status);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
                                             { "size", required_argument, NULL, 's' },
                                             { "in-flight", required_argument, NULL, 'n' },
                                             { "seconds", required_argument, NULL, 't' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    static struct run run = { .dir = ".", .size = 4096, .in_flight = 1, .seconds = 3 };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'd')
            run.dir = optarg;
        else if (option == 's')
            run.size = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'n')
            run.in_flight = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 't')
            run.seconds = strtod(optarg, NULL);
        else
            usage(option == 'h' ? 0 : 2);
    }
    if (optind != argc || run.size < FILE_BLOCK_SIZE || run.size % FILE_BLOCK_SIZE != 0 ||
        FILE_SIZE % run.size != 0 || run.in_flight < 1 || run.in_flight > IN_FLIGHT_MAX ||
        !(run.seconds > 0))
        usage(2);
    prepare(&run);
    write_for_a_while(&run);
    print(&run);
    io_uring_queue_exit(&run.uring);
    close(run.fd);
    free(run.buffers);
    free(run.latencies_ns);
    return 0;
}
