/* RocksDB as a peer of the log, by its C API: what others would append events to and scan them in.
 *
 *   append  so many threads, each with a write under way, of one event or of a batch of them;
 *           `sync` on, so a write ends when its WAL is synced. RocksDB joins the writes of threads
 *           that wait into one (its group commit). Keys are ascending, 8 bytes.
 *   scan    a database of the events of a log (byte for byte, the key is the sequence number), in
 *           the form that reads fastest: compacted, read once before. Each block's checksum is
 *           verified, and nothing is kept in the block cache.
 *
 * Prints one JSON object. Syncs are counted where the library makes them. */
#include "log/reader.h"
#include "payload.h"

#include <rocksdb/c.h>

#include <endian.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    THREADS_MAX = 4096,
    WRITES_MAX = 8 * 1000 * 1000,
    STACK_SIZE = 256 * 1024,
    READAHEAD = 2 << 20
};

struct run {
    const char *dir, *log, *compression;
    unsigned size, threads, batch;
    double seconds;

    char path[4096];
    rocksdb_options_t *options;
    rocksdb_t *db;
    rocksdb_writeoptions_t *durably;
    char *payloads;
    _Atomic uint64_t next_seq, writes;
    uint64_t began_ns, stop_ns;
    uint32_t *latencies_ns; /* of writes */
};

static _Atomic uint64_t syncs;

int fdatasync(int fd)
{
    atomic_fetch_add_explicit(&syncs, 1, memory_order_relaxed);
    return (int)syscall(SYS_fdatasync, fd);
}

static _Noreturn void fail(const char *text)
{
    fprintf(stderr, "rocksdb: %s\n", text);
    exit(1);
}

static void check(const char *error)
{
    if (error != NULL)
        fail(error);
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

static void open_database(struct run *run)
{
    char *error = NULL;
    snprintf(run->path, sizeof run->path, "%s/rocksdb-%ld", run->dir, (long)getpid());
    run->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(run->options, 1);
    /* On two processors twice as fast as threads that insert into the memtable side by side. */
    rocksdb_options_set_allow_concurrent_memtable_write(run->options, 0);
    if (strcmp(run->compression, "none") == 0)
        rocksdb_options_set_compression(run->options, rocksdb_no_compression);
    run->db = rocksdb_open(run->options, run->path, &error);
    check(error);
}

static void remove_database(struct run *run)
{
    char *error = NULL;
    rocksdb_close(run->db);
    rocksdb_destroy_db(run->options, run->path, &error);
    check(error);
    rocksdb_options_destroy(run->options);
}

/*--- append ----------------------------------------------------------------------------------*/

static void fill(struct run *run, rocksdb_writebatch_t *batch, uint64_t first)
{
    rocksdb_writebatch_clear(batch);
    for (uint64_t seq = first; seq < first + run->batch; seq++) {
        uint64_t key = htobe64(seq); /* bytes are in the order of numbers */
        rocksdb_writebatch_put(batch, (const char *)&key, sizeof key,
                               run->payloads + seq % PAYLOADS * run->size, run->size);
    }
}

static void *append_some(void *context)
{
    struct run *run = context;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    uint64_t now_ns = monotonic_ns();
    while (now_ns < run->stop_ns) {
        char *error = NULL;
        uint64_t begun_ns = now_ns;
        fill(run, batch, atomic_fetch_add(&run->next_seq, run->batch));
        rocksdb_write(run->db, run->durably, batch, &error);
        check(error);
        now_ns = monotonic_ns();
        uint64_t place = atomic_fetch_add(&run->writes, 1);
        if (place >= WRITES_MAX)
            fail("too many writes; fewer seconds");
        run->latencies_ns[place] = (uint32_t)(now_ns - begun_ns);
    }
    rocksdb_writebatch_destroy(batch);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static void print_append(struct run *run, double seconds, double cpu)
{
    uint64_t writes = run->writes, events = writes * run->batch;
    qsort(run->latencies_ns, writes, sizeof *run->latencies_ns, compare);
    printf("{\"size\":%u,\"threads\":%u,\"batch\":%u,\"events\":%" PRIu64
           ",\"seconds\":%.3f,\"events_per_second\":%.0f,\"p50_ns\":%" PRIu32 ",\"p99_ns\":%" PRIu32
           ",\"events_per_sync\":%.1f,\"cpu_seconds\":%.3f}\n",
           run->size, run->threads, run->batch, events, seconds, (double)events / seconds,
           run->latencies_ns[writes / 2], run->latencies_ns[writes * 99 / 100],
           (double)events / (double)syncs, cpu);
}

static void append(struct run *run)
{
    static pthread_t threads[THREADS_MAX];
    pthread_attr_t attributes;
    open_database(run);
    run->durably = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(run->durably, 1);
    run->payloads = payloads_make(run->size);
    run->latencies_ns = malloc(sizeof *run->latencies_ns * WRITES_MAX);
    if (run->latencies_ns == NULL)
        fail("no memory");
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    syncs = 0;
    double cpu = cpu_seconds();
    run->began_ns = monotonic_ns();
    run->stop_ns = run->began_ns + (uint64_t)(run->seconds * 1e9);
    for (unsigned i = 0; i < run->threads; i++)
        if (pthread_create(&threads[i], &attributes, append_some, run) != 0)
            fail("cannot start a thread");
    for (unsigned i = 0; i < run->threads; i++)
        pthread_join(threads[i], NULL);
    double seconds = (double)(monotonic_ns() - run->began_ns) / 1e9;
    print_append(run, seconds, cpu_seconds() - cpu);
    remove_database(run);
}

/*--- scan ------------------------------------------------------------------------------------*/

/* Every record of the log, in order. */
static uint64_t load(struct run *run)
{
    struct log_reader_options options = { .dir = run->log };
    struct error what = { 0 };
    struct log_reader *reader;
    struct record record;
    struct log_place place;
    uint64_t count = 0;
    char *error = NULL;
    int code;
    rocksdb_writeoptions_t *quickly = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(quickly, 1);
    if (log_reader_open(&reader, &options, &what) < 0)
        fail(what.text);
    while ((code = log_reader_next(reader, &record, &place, &what)) == 1) {
        uint64_t key = htobe64(record.seq);
        rocksdb_put(run->db, quickly, (const char *)&key, sizeof key,
                    (const char *)record.payload.bytes, record.payload.size, &error);
        check(error);
        count++;
    }
    if (code < 0)
        fail(what.text);
    log_reader_close(reader);
    rocksdb_writeoptions_destroy(quickly);
    return count;
}

/* Into files, and these into as few levels as there can be. */
static void settle(struct run *run)
{
    char *error = NULL;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flush(run->db, options, &error);
    check(error);
    rocksdb_flushoptions_destroy(options);
    rocksdb_compact_range(run->db, NULL, 0, NULL, 0);
}

/* Bytes of keys and values; *count is checked. */
static uint64_t read_all(struct run *run, uint64_t count)
{
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    uint64_t bytes = 0, seen = 0;
    char *error = NULL;
    rocksdb_readoptions_set_verify_checksums(options, 1);
    rocksdb_readoptions_set_fill_cache(options, 0);
    rocksdb_readoptions_set_readahead_size(options, READAHEAD);
    rocksdb_iterator_t *iterator = rocksdb_create_iterator(run->db, options);
    for (rocksdb_iter_seek_to_first(iterator); rocksdb_iter_valid(iterator);
         rocksdb_iter_next(iterator), seen++) {
        size_t key_size, value_size;
        (void)rocksdb_iter_key(iterator, &key_size);
        (void)rocksdb_iter_value(iterator, &value_size);
        bytes += key_size + value_size;
    }
    rocksdb_iter_get_error(iterator, &error);
    check(error);
    if (seen != count)
        fail("not every event is found");
    rocksdb_iter_destroy(iterator);
    rocksdb_readoptions_destroy(options);
    return bytes;
}

static void scan(struct run *run)
{
    uint64_t file_bytes = 0;
    open_database(run);
    uint64_t count = load(run);
    settle(run);
    (void)read_all(run, count); /* into the page cache */
    if (rocksdb_property_int(run->db, "rocksdb.total-sst-files-size", &file_bytes) != 0)
        fail("the size of its files is not known");
    double cpu = cpu_seconds();
    uint64_t begun_ns = monotonic_ns();
    uint64_t bytes = read_all(run, count);
    double seconds = (double)(monotonic_ns() - begun_ns) / 1e9;
    cpu = cpu_seconds() - cpu;
    printf("{\"compression\":\"%s\",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64
           ",\"file_bytes\":%" PRIu64
           ",\"seconds\":%.4f,\"records_per_second\":%.0f,\"records_per_cpu_second\":%.0f}\n",
           run->compression, count, bytes, file_bytes, seconds, (double)count / seconds,
           (double)count / cpu);
    remove_database(run);
}

/*---------------------------------------------------------------------------------------------*/

static _Noreturn void usage(int status)
{
    fputs("usage: rocksdb append [--dir DIR] [--size BYTES] [--threads T] [--batch B] "
          "[--seconds S]\n"
          "       rocksdb scan --log LOG [--dir DIR] [--compression default|none]\n"
          "append: T (1) threads write B (1) events of BYTES (200) at a time for S seconds (3).\n"
          "scan: reads the events of LOG, copied into a database in DIR.\n",
          status == 0 ? stdout : stderr);
    exit(status);
}

static bool set(struct run *run, int option)
{
    if (option == 'd')
        run->dir = optarg;
    else if (option == 'l')
        run->log = optarg;
    else if (option == 'c')
        run->compression = optarg;
    else if (option == 's')
        run->size = (unsigned)strtoul(optarg, NULL, 10);
    else if (option == 'n')
        run->threads = (unsigned)strtoul(optarg, NULL, 10);
    else if (option == 'b')
        run->batch = (unsigned)strtoul(optarg, NULL, 10);
    else if (option == 't')
        run->seconds = strtod(optarg, NULL);
    else
        return false;
    return true;
}

static bool is_valid(const struct run *run)
{
    return run->size >= 8 && run->size <= 65536 && run->threads >= 1 &&
           run->threads <= THREADS_MAX && run->batch >= 1 && run->batch <= 65536 &&
           run->seconds > 0 &&
           (strcmp(run->compression, "default") == 0 || strcmp(run->compression, "none") == 0);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
                                             { "log", required_argument, NULL, 'l' },
                                             { "compression", required_argument, NULL, 'c' },
                                             { "size", required_argument, NULL, 's' },
                                             { "threads", required_argument, NULL, 'n' },
                                             { "batch", required_argument, NULL, 'b' },
                                             { "seconds", required_argument, NULL, 't' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    static struct run run = { .dir = ".",
                              .compression = "default",
                              .size = 200,
                              .threads = 1,
                              .batch = 1,
                              .seconds = 3,
                              .next_seq = 1 };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (!set(&run, option))
            usage(option == 'h' ? 0 : 2);
    if (optind + 1 != argc || !is_valid(&run))
        usage(2);
    if (strcmp(argv[optind], "append") == 0)
        append(&run);
    else if (strcmp(argv[optind], "scan") == 0 && run.log != NULL)
        scan(&run);
    else
        usage(2);
    return 0;
}
