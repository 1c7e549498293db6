/* The LMDB environment: transactions whole or not at all, order, growth, errors that stick. */
#include "mmapstore/kv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "tap.h"

static struct kv *open_kv(const char *name, uint64_t size_max, bool read_only)
{
    struct error error = { 0 };
    struct kv_options options = { scratch_path(name), size_max, read_only };
    struct kv *kv;
    if (kv_open(&kv, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    return kv;
}

static struct kv_writer *begin(struct kv *kv)
{
    struct error error = { 0 };
    struct kv_writer *writer;
    if (kv_begin(kv, &writer, &error) < 0)
        tap_bail_out("%s", error.text);
    return writer;
}

static struct kv_reader *open_reader(struct kv *kv)
{
    struct error error = { 0 };
    struct kv_reader *reader;
    if (kv_reader_open(kv, &reader, &error) < 0)
        tap_bail_out("%s", error.text);
    return reader;
}

static void read_begin(struct kv_reader *reader)
{
    struct error error = { 0 };
    if (kv_read_begin(reader, &error) < 0)
        tap_bail_out("%s", error.text);
}

static void put(struct kv_writer *writer, const char *key, const char *value)
{
    kv_put(writer, span_of_text(key), span_of_text(value));
}

static void put_once(struct kv *kv, const char *key, const char *value)
{
    struct error error = { 0 };
    struct kv_writer *writer = begin(kv);
    put(writer, key, value);
    if (kv_commit(writer, &error) < 0)
        tap_bail_out("%s", error.text);
}

/* 1 if `key` has this value, 0 if it is not there, -1 for anything else. */
static int has(struct kv_reader *reader, const char *key, const char *value)
{
    struct span got;
    int found = kv_get(reader, span_of_text(key), &got);
    return found == 1 ? (span_is(got, value) ? 1 : -1) : found;
}

static int64_t count_of(struct kv_reader *reader)
{
    uint64_t count;
    int code = kv_count(reader, &count);
    return code < 0 ? code : (int64_t)count;
}

static void a_transaction_is_seen_whole(void)
{
    struct error error = { 0 };
    struct kv *kv = open_kv("whole", 0, false);
    struct kv_reader *reader = open_reader(kv);
    struct kv_writer *writer = begin(kv);
    put(writer, "a", "1");
    put(writer, "b", "2");
    read_begin(reader);
    is_int(has(reader, "a", "1"), 0, "what is not committed is not seen");
    kv_read_end(reader);
    is_int(kv_commit(writer, &error), 0, "a transaction is committed");
    read_begin(reader);
    ok(has(reader, "a", "1") == 1 && has(reader, "b", "2") == 1, "then all of it is seen");
    put_once(kv, "a", "3");
    is_int(has(reader, "a", "1"), 1, "a reader keeps its snapshot while others commit");
    kv_read_end(reader);
    read_begin(reader);
    is_int(has(reader, "a", "3"), 1, "and sees the newest when it begins again");
    kv_read_end(reader);

    writer = begin(kv);
    kv_delete(writer, span_of_text("a"));
    kv_delete(writer, span_of_text("never there"));
    is_int(kv_commit(writer, &error), 0, "deleting what is not there is fine");
    writer = begin(kv);
    kv_delete(writer, span_of_text("b"));
    kv_abort(writer);
    read_begin(reader);
    is_int(has(reader, "a", ""), 0, "what was deleted is gone");
    is_int(has(reader, "b", "2"), 1, "what was aborted never happened");
    ok(kv_bytes_used(kv) >= 3 * 4096, "it uses some pages");
    kv_read_end(reader);
    kv_reader_close(reader);
    kv_close(kv);
}

static void an_error_sticks(void)
{
    struct error error = { 0 };
    struct kv *kv = open_kv("sticky", 0, false);
    char long_key[KV_KEY_SIZE_MAX + 1];
    memset(long_key, 'k', sizeof long_key);
    struct kv_writer *writer = begin(kv);
    put(writer, "before", "1");
    kv_put(writer, span_of(long_key, sizeof long_key), span_of_text("2"));
    put(writer, "after", "3");
    kv_delete(writer, span_of_text("before"));
    is_int(kv_commit(writer, &error), ERROR_INVALID, "the first error is the commit's");
    ok(strstr(error.text, scratch_path("sticky")) != NULL, "in a sentence: %s", error.text);
    writer = begin(kv);
    put(writer, "", "empty");
    is_int(kv_commit(writer, NULL), ERROR_INVALID, "an empty key is one too");
    writer = begin(kv);
    kv_put(writer, span_of(long_key, KV_KEY_SIZE_MAX), span_of_text("longest"));
    is_int(kv_commit(writer, &error), 0, "the longest key is none, and later commits work");
    struct kv_reader *reader = open_reader(kv);
    struct span key, value;
    read_begin(reader);
    is_int(kv_seek(reader, span_of(NULL, 0), false, &key, &value), 1, "one entry is there");
    is_int(key.size, KV_KEY_SIZE_MAX, "the one with the longest key");
    is_int(kv_next(reader, false, &key, &value), 0, "nothing of the failed transactions is");
    is_int(kv_get(reader, span_of(long_key, sizeof long_key), &value), 0,
           "a key that cannot exist does not");
    kv_read_end(reader);
    kv_reader_close(reader);
    kv_close(kv);
}

/* The keys from `from` on, as one string. */
static const char *walk(struct kv_reader *reader, const char *from, bool backwards)
{
    static char text[256];
    struct span key, value;
    size_t size = 0;
    int more = kv_seek(reader, span_of_text(from), backwards, &key, &value);
    while (more == 1 && size + key.size + 2 < sizeof text) {
        memcpy(text + size, key.bytes, key.size);
        size += key.size;
        text[size++] = ' ';
        more = kv_next(reader, backwards, &key, &value);
    }
    text[size] = '\0';
    return more == 0 ? text : "error";
}

static void entries_come_in_order(void)
{
    struct kv *kv = open_kv("order", 0, false);
    struct kv_reader *reader = open_reader(kv);
    read_begin(reader);
    is_str(walk(reader, "", false), "", "an empty table has nothing in it");
    is_str(walk(reader, "", true), "", "from either end");
    is_str(walk(reader, "x", true), "", "nor from the middle");
    kv_read_end(reader);
    const char *const keys[] = { "d", "b", "bb", "f", "a\xff", "c" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        put_once(kv, keys[i], keys[i]);
    read_begin(reader);
    is_str(walk(reader, "", false), "a\xff b bb c d f ", "forwards, by byte");
    is_str(walk(reader, "", true), "f d c bb b a\xff ", "backwards the same");
    is_str(walk(reader, "bb", false), "bb c d f ", "forwards the key itself is the first");
    is_str(walk(reader, "bc", false), "c d f ", "or the next one");
    is_str(walk(reader, "bb", true), "b a\xff ", "backwards it is the one before");
    is_str(walk(reader, "e", true), "d c bb b a\xff ", "or the one below");
    is_str(walk(reader, "z", false), "", "there is nothing behind the last");
    is_str(walk(reader, "z", true), "f d c bb b a\xff ", "but everything below it");
    is_str(walk(reader, "a", true), "", "and nothing before the first");
    kv_read_end(reader);
    kv_reader_close(reader);
    kv_close(kv);
}

static _Atomic bool stop_reading;
static _Atomic int read_errors;

static void *read_all_the_time(void *argument)
{
    struct kv_reader *reader = open_reader(argument);
    while (!atomic_load(&stop_reading)) {
        struct error error;
        if (kv_read_begin(reader, &error) < 0) {
            atomic_fetch_add(&read_errors, 1);
            continue;
        }
        struct span key, value;
        int more = kv_seek(reader, span_of(NULL, 0), false, &key, &value);
        while (more == 1) {
            if (value.size != 10000 || value.bytes[0] != value.bytes[9999])
                atomic_fetch_add(&read_errors, 1);
            more = kv_next(reader, false, &key, &value);
        }
        if (more < 0)
            atomic_fetch_add(&read_errors, 1);
        kv_read_end(reader);
    }
    kv_reader_close(reader);
    return NULL;
}

static void a_full_map_grows(void)
{
    enum { COUNT = 800, EACH = 10000 };
    struct kv *kv = open_kv("growth", 1024 * 1024, false);
    static char value[EACH];
    int full = 0, other = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, read_all_the_time, kv);
    for (int i = 0; i < COUNT; i += 10) {
        int code = ERROR_FULL;
        while (code == ERROR_FULL) { /* the caller repeats the whole transaction */
            struct kv_writer *writer = begin(kv);
            for (int k = i; k < i + 10; k++) {
                memset(value, 'a' + k % 26, EACH);
                kv_put(writer, span_of(&k, sizeof k), span_of(value, EACH));
            }
            code = kv_commit(writer, NULL);
            full += code == ERROR_FULL;
            other += code < 0 && code != ERROR_FULL;
        }
    }
    atomic_store(&stop_reading, true);
    pthread_join(thread, NULL);
    ok(full >= 3 && full <= 5, "8 MB in a map of 1 MiB: it was full %d times", full);
    is_int(other, 0, "that was the only error");
    is_int(atomic_load(&read_errors), 0, "a reader beside it never saw one");
    ok(kv_bytes_used(kv) > (uint64_t)COUNT * EACH, "more is used than was put in");
    kv_close(kv);
    kv = open_kv("growth", 1024 * 1024, false);
    struct kv_reader *reader = open_reader(kv);
    int there = 0;
    read_begin(reader);
    for (int i = 0; i < COUNT; i++) {
        struct span got;
        there += kv_get(reader, span_of(&i, sizeof i), &got) == 1 && got.size == EACH;
    }
    kv_read_end(reader);
    kv_reader_close(reader);
    is_int(there, COUNT, "all of it is there when it is opened with the small size again");
    kv_close(kv);
}

/* Commits 1, 2, 3... each in a transaction of three keys, telling each number through the pipe. */
static _Noreturn void write_until_killed(int pipe_fd)
{
    struct kv *kv = open_kv("killed", 0, false);
    for (uint64_t i = 1;; i++) {
        struct kv_writer *writer = begin(kv);
        kv_put(writer, span_of_text("x"), span_of(&i, sizeof i));
        kv_put(writer, span_of_text("y"), span_of(&i, sizeof i));
        kv_put(writer, span_of(&i, sizeof i), span_of(&i, sizeof i));
        if (kv_commit(writer, NULL) < 0 || write(pipe_fd, &i, sizeof i) != sizeof i)
            _exit(1);
    }
}

static void a_killed_writer_loses_nothing(void)
{
    int pipes[2], ended;
    uint64_t last = 0, x = 0, y = 0;
    scratch_dir(); /* ours, not the child's */
    if (pipe2(pipes, O_CLOEXEC) < 0)
        tap_bail_out("no pipe");
    pid_t pid = fork();
    if (pid == 0)
        write_until_killed(pipes[1]);
    close(pipes[1]);
    while (last < 20 && read(pipes[0], &last, sizeof last) == sizeof last)
        ;
    kill(pid, SIGKILL);
    while (read(pipes[0], &last, sizeof last) == sizeof last)
        ;
    waitpid(pid, &ended, 0);
    close(pipes[0]);
    ok(WIFSIGNALED(ended) && last >= 20, "a writer is killed after %lu commits",
       (unsigned long)last);

    struct kv *kv = open_kv("killed", 0, false);
    struct kv_reader *reader = open_reader(kv);
    struct span got = { 0 };
    read_begin(reader);
    if (kv_get(reader, span_of_text("x"), &got) == 1 && got.size == sizeof x)
        memcpy(&x, got.bytes, sizeof x);
    if (kv_get(reader, span_of_text("y"), &got) == 1 && got.size == sizeof y)
        memcpy(&y, got.bytes, sizeof y);
    ok(x >= last, "every commit that it told of is there (%lu of %lu)", (unsigned long)x,
       (unsigned long)last);
    is_int(x, y, "and the last one is whole");
    uint64_t there = 0;
    for (uint64_t i = 1; i <= x; i++)
        there += kv_get(reader, span_of(&i, sizeof i), &got) == 1;
    is_int(there, x, "with all before it");
    kv_read_end(reader);
    kv_reader_close(reader);
    put_once(kv, "z", "after");
    ok(true, "and it can be written again");
    kv_close(kv);
}

static void reading_makes_nothing(void)
{
    struct error error = { 0 };
    struct kv *kv;
    struct kv_options missing = { scratch_path("missing"), 0, true };
    is_int(kv_open(&kv, &missing, &error), ERROR_NOT_FOUND, "what is not there is not found");
    ok(strstr(error.text, missing.dir) != NULL, "and named: %s", error.text);
    ok(access(missing.dir, F_OK) < 0, "nor is it made");
    mkdir(missing.dir, 0700);
    is_int(kv_open(&kv, &missing, &error), ERROR_NOT_FOUND, "nor found in an empty directory");
    ok(rmdir(missing.dir) == 0, "which stays empty");

    struct stat status;
    kv = open_kv("copied", 0, false);
    put_once(kv, "a", "1");
    kv_close(kv);
    ok(stat(scratch_path("copied"), &status) == 0 && (status.st_mode & 0777) == 0700,
       "only its owner may look into it");
    unlink(scratch_path("copied/lock.mdb"));
    kv = open_kv("copied", 0, true);
    struct kv_reader *reader = open_reader(kv);
    read_begin(reader);
    is_int(has(reader, "a", "1"), 1, "a copy without its lock file is readable");
    kv_read_end(reader);
    kv_reader_close(reader);
    kv_close(kv);
    ok(access(scratch_path("copied/lock.mdb"), F_OK) < 0, "and gets none by that");
}

static void what_is_no_environment_is_refused(void)
{
    struct error error = { 0 };
    struct kv *kv;
    struct kv_options options = { scratch_path("broken"), 0, false };
    mkdir(options.dir, 0700);
    int fd = open(scratch_path("broken/data.mdb"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    static char noise[16384];
    memset(noise, 'n', sizeof noise);
    ok(write(fd, noise, sizeof noise) == (ssize_t)sizeof noise, "a file full of noise");
    close(fd);
    is_int(kv_open(&kv, &options, &error), ERROR_DAMAGED, "is no environment");
    ok(strstr(error.text, options.dir) != NULL, "which a sentence says: %s", error.text);
    options.dir = "/proc/nowhere";
    ok(kv_open(&kv, &options, &error) < 0 && kv == NULL, "nor is one made where none can be");
}

static void write_bytes(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        tap_bail_out("%s cannot be written", path);
    close(fd);
}

/* LMDB's first write, two pages, was cut short or is zeros. */
static void one_that_was_never_begun_is_begun_anew(void)
{
    static uint8_t pages[8192];
    static const uint8_t zeros[sizeof pages];
    struct kv_options options = { scratch_path("unbegun"), 0, false };
    struct kv_options reading = { options.dir, 0, true };
    struct error error = { 0 };
    struct kv *kv = open_kv("unbegun", 0, false);
    kv_close(kv);
    int fd = open(scratch_path("unbegun/data.mdb"), O_RDONLY | O_CLOEXEC);
    is_int(read(fd, pages, sizeof pages), sizeof pages, "(two pages, as LMDB begins)");
    close(fd);
    static const size_t sizes[] = { 1, 4096, 4200, sizeof pages };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        const char *path = scratch_path("unbegun/data.mdb");
        write_bytes(path, size == sizeof pages ? zeros : pages, size);
        is_int(kv_open(&kv, &reading, &error), ERROR_DAMAGED, "%zu bytes are nothing to read",
               size);
        is_int(kv_open(&kv, &options, &error), 0, "and are begun anew");
        put_once(kv, "a", "1");
        kv_close(kv);
        kv = open_kv("unbegun", 0, true);
        struct kv_reader *reader = open_reader(kv);
        read_begin(reader);
        is_int(has(reader, "a", "1"), 1, "for good");
        kv_read_end(reader);
        kv_reader_close(reader);
        kv_close(kv);
    }
}

static void a_file_that_was_cut_is_damaged(void)
{
    static uint8_t value[100000];
    struct kv_options reading = { scratch_path("short"), 0, true };
    struct error error = { 0 };
    struct stat status;
    struct span got;
    struct kv *kv = open_kv("short", 0, false);
    struct kv_writer *writer = begin(kv);
    kv_put(writer, span_of_text("a"), span_of(value, sizeof value));
    is_int(kv_commit(writer, &error), 0, "(a large value)");
    kv_close(kv);
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path("short/data.mdb"));
    if (truncate(path, 16384) < 0)
        tap_bail_out("%s", path);
    is_int(kv_open(&kv, &reading, &error), ERROR_DAMAGED, "a file that was cut is not read: %s",
           error.text);
    ok(stat(path, &status) == 0 && status.st_size == 16384, "nor changed by whoever only reads");
    kv = open_kv("short", 0, false);
    ok(stat(path, &status) == 0 && status.st_size > 100000, "its end is a hole for who may write");
    struct kv_reader *reader = open_reader(kv);
    read_begin(reader);
    ok(kv_get(reader, span_of_text("a"), &got) != 0, "which kills nobody");
    kv_read_end(reader);
    kv_reader_close(reader);
    kv_close(kv);
}

static void a_damaged_page_is_an_error(void)
{
    static const uint8_t zeros[65536];
    struct error error = { 0 };
    struct span key, value;
    struct kv *kv = open_kv("zeros", 0, false);
    put_once(kv, "a", "1");
    kv_close(kv);
    int fd = open(scratch_path("zeros/data.mdb"), O_WRONLY | O_CLOEXEC);
    ok(pwrite(fd, zeros, sizeof zeros, 8192) == sizeof zeros, "(zeros behind the meta pages)");
    close(fd);
    kv = open_kv("zeros", 0, false);
    struct kv_reader *reader = open_reader(kv);
    read_begin(reader);
    is_int(kv_get(reader, span_of_text("a"), &value), ERROR_DAMAGED, "a page of zeros is damaged");
    is_int(kv_seek(reader, span_of(NULL, 0), false, &key, &value), ERROR_DAMAGED, "so is all else");
    ok(count_of(reader) < 0, "of that read");
    kv_read_end(reader);
    kv_reader_close(reader);
    struct kv_writer *writer = begin(kv);
    kv_clear(writer);
    put(writer, "a", "2");
    ok(kv_commit(writer, &error) < 0, "nor can it be written: %s", error.text);
    kv_close(kv);
}

/* LMDB's writes of a meta page, the only ones so small, fail while this is set. */
static _Atomic bool meta_pages_fail;

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (!atomic_load(&meta_pages_fail) || size >= 4096)
        return syscall(SYS_pwrite64, fd, bytes, size, offset);
    errno = EIO;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    return pwrite(fd, bytes, size, offset);
}

/* Puts and deletes what is the same each time, in a few transactions. 0 or the first error. */
static int churn(struct kv *kv, int rounds, uint64_t seed)
{
    static char value[3000];
    int code = 0;
    for (uint64_t n = 1, end = (uint64_t)rounds * 20; code == 0 && n < end;) {
        struct kv_writer *writer;
        code = kv_begin(kv, &writer, NULL);
        for (int i = 0; i < 20 && code == 0; i++, n++) {
            uint64_t random = (n + seed * 1000) * 0x9e3779b97f4a7c15ull >> 20;
            uint16_t key = (uint16_t)(random % 500);
            if (random % 3 > 0)
                kv_put(writer, span_of(&key, sizeof key), span_of(value, random % sizeof value));
            else
                kv_delete(writer, span_of(&key, sizeof key));
        }
        if (code == 0)
            code = kv_commit(writer, NULL);
    }
    return code;
}

/* What one that writes makes of it: 0, 1 an error, -1 it died. */
static int written_on(const char *dir, uint64_t seed)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct kv *kv;
        _exit(kv_open(&kv, &(struct kv_options){ .dir = dir }, NULL) < 0 || churn(kv, 6, seed) < 0);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void writing_on_damage_is_an_error(void)
{
    static char bytes[4 << 20];
    const char *dir = scratch_path("rotten");
    char path[512];
    int died = 0, errors = 0;
    struct kv *kv = open_kv("rotten", 0, false);
    is_int(churn(kv, 150, 0), 0, "(an environment with free pages)");
    kv_close(kv);
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ssize_t size = pread(fd, bytes, sizeof bytes, 0);
    for (ssize_t at = 2 * 4096; at < size; at += 4096) {
        static const char zeros[4096];
        if (pwrite(fd, bytes, (size_t)size, 0) != size || pwrite(fd, zeros, 4096, at) != 4096)
            tap_bail_out("cannot damage %s", path);
        int code = written_on(dir, (uint64_t)at);
        died += code < 0;
        errors += code > 0;
    }
    close(fd);
    ok(errors > 0, "of %d pages that are zeros %d are noticed by one that writes",
       (int)(size / 4096), errors);
    is_int(died, 0, "as errors");
}

static void *read_on(void *argument)
{
    struct kv_reader *reader = argument;
    for (int i = 0; i < 2000; i++) {
        struct error error = { 0 };
        if (kv_read_begin(reader, &error) < 0)
            return NULL;
        int found = has(reader, "a", "1");
        kv_read_end(reader);
        if (found != 1)
            return NULL;
    }
    return argument;
}

static void a_failed_meta_page_is_got_over(void)
{
    struct error error = { 0 };
    struct kv *kv = open_kv("meta", 0, false);
    put_once(kv, "a", "1");
    struct kv_reader *reader = open_reader(kv), *other = open_reader(kv);
    pthread_t thread;
    pthread_create(&thread, NULL, read_on, other);
    for (int i = 0; i < 3; i++) {
        struct kv_writer *writer = begin(kv);
        put(writer, "b", "2");
        atomic_store(&meta_pages_fail, true);
        ok(kv_commit(writer, &error) < 0, "a meta page cannot be written: %s", error.text);
        atomic_store(&meta_pages_fail, false);
        read_begin(reader);
        is_int(has(reader, "a", "1"), 1, "what was committed is read on");
        is_int(has(reader, "b", ""), 0, "what was not is not there");
        kv_read_end(reader);
    }
    put_once(kv, "b", "3");
    read_begin(reader);
    is_int(has(reader, "b", "3"), 1, "and later ones are written again");
    kv_read_end(reader);
    void *good;
    pthread_join(thread, &good);
    ok(good != NULL, "another thread has read on all the while");
    kv_reader_close(reader);
    kv_reader_close(other);
    kv_close(kv);
    kv = open_kv("meta", 0, false);
    reader = open_reader(kv);
    read_begin(reader);
    ok(has(reader, "a", "1") == 1 && has(reader, "b", "3") == 1, "for good");
    kv_read_end(reader);
    kv_reader_close(reader);
    kv_close(kv);
}

/* A file size limit stands for the full disk. */
static void a_full_disk_is_an_error(void)
{
    struct kv *kv = open_kv("disk", 0, false);
    put_once(kv, "a", "1");
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 256 * 1024;
    signal(SIGXFSZ, SIG_IGN);
    static char value[1024 * 1024];
    setrlimit(RLIMIT_FSIZE, &small);
    struct error error = { 0 };
    struct kv_writer *writer = begin(kv);
    kv_put(writer, span_of_text("big"), span_of(value, sizeof value));
    put(writer, "b", "2");
    int code = kv_commit(writer, &error);
    setrlimit(RLIMIT_FSIZE, &before);
    ok(code == -EFBIG || code == -EIO || code == -ENOSPC, "a commit that does not fit: %s",
       error.text);
    struct kv_reader *reader = open_reader(kv);
    read_begin(reader);
    is_int(has(reader, "a", "1"), 1, "what was there is");
    is_int(has(reader, "b", "2"), 0, "what failed is not");
    kv_read_end(reader);
    kv_reader_close(reader);
    put_once(kv, "b", "3");
    ok(true, "and when there is room again, commits work again");
    kv_close(kv);
}

/* What appends promises: the same as put, for keys in order only. */
static void appended_and_cleared(void)
{
    struct kv *kv = open_kv("append", 0, false);
    struct kv_writer *writer = begin(kv);
    for (uint8_t i = 1; i <= 200; i++)
        kv_append(writer, span_of(&i, 1), span_of_text("value"));
    is_int(kv_commit(writer, NULL), 0, "keys in order can be appended");
    writer = begin(kv);
    kv_append(writer, span_of_text("A"), span_of_text("1"));
    is_int(kv_commit(writer, NULL), ERROR_INVALID, "one that is out of order cannot");
    struct kv_reader *reader = open_reader(kv);
    read_begin(reader);
    is_int(count_of(reader), 200, "they are counted");
    writer = begin(kv);
    kv_clear(writer);
    put(writer, "left", "1");
    is_int(kv_commit(writer, NULL), 0, "all are deleted at once");
    is_int(count_of(reader), 200, "who reads still sees them");
    kv_read_end(reader);
    read_begin(reader);
    is_int(count_of(reader), 1, "and then only what was put behind that");
    is_int(has(reader, "left", "1"), 1, "which is there");
    kv_read_end(reader);
    kv_reader_close(reader);
    kv_close(kv);
}

static void *grow_it(void *argument)
{
    struct kv *kv = argument;
    static char value[2 * 1024 * 1024];
    struct kv_writer *writer = begin(kv);
    kv_put(writer, span_of_text("big"), span_of(value, sizeof value));
    return (void *)(intptr_t)kv_commit(writer, NULL);
}

static void a_long_read_makes_way(void)
{
    struct kv *kv = open_kv("way", 1024 * 1024, false);
    struct kv_reader *reader = open_reader(kv);
    pthread_t thread;
    void *code;
    read_begin(reader);
    ok(!kv_wants_to_grow(kv), "nobody wants to grow the map at first");
    pthread_create(&thread, NULL, grow_it, kv);
    while (!kv_wants_to_grow(kv))
        sched_yield();
    ok(true, "a commit that has to wait for a read says so");
    kv_read_end(reader);
    pthread_join(thread, &code);
    is_int((intptr_t)code, ERROR_FULL, "and goes on when the read has ended");
    ok(!kv_wants_to_grow(kv), "and then nobody waits");
    kv_reader_close(reader);
    kv_close(kv);
}

/* Sanitizers take so much address space themselves that a limit cannot be set. */
static void little_address_space_will_do(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    ok(true, "(no limit of address space under a sanitizer)");
#else
    const char *dir = scratch_path("little");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = { 2ull << 30, 2ull << 30 };
        struct kv *kv;
        struct kv_options options = { .dir = dir };
        if (setrlimit(RLIMIT_AS, &limit) < 0 || kv_open(&kv, &options, NULL) < 0)
            _exit(1);
        put_once(kv, "a", "1");
        kv_close(kv);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "2 GiB of address space are enough");
#endif
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* In a child of little address space: puts until a commit fails with another error than that the
 * map was full, with readers open; what was committed before has to be there, and more to fit once
 * the limit is gone. */
static _Noreturn void outgrow_the_limit(const char *dir)
{
    static char value[1 << 20];
    struct rlimit limit = { 512ull << 20, RLIM_INFINITY };
    struct kv *kv;
    struct kv_reader *reader, *other;
    struct kv_options options = { .dir = dir, .size_max = 64ull << 20 };
    int code = 0, count = 0;
    if (setrlimit(RLIMIT_AS, &limit) < 0 || kv_open(&kv, &options, NULL) < 0 ||
        kv_reader_open(kv, &reader, NULL) < 0 || kv_reader_open(kv, &other, NULL) < 0)
        _exit(1);
    for (; code == 0 || code == ERROR_FULL; count += code == 0) {
        struct kv_writer *writer = begin(kv);
        kv_put(writer, span_of(&count, sizeof count), span_of(value, sizeof value));
        code = kv_commit(writer, NULL);
    }
    read_begin(reader);
    int64_t there = count_of(reader);
    kv_read_end(reader);
    kv_reader_close(other);
    if (code != -ENOMEM || there != count)
        _exit(2);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_AS, &limit);
    for (int i = 0; i < 2; i++) { /* full, and grown */
        struct kv_writer *writer = begin(kv);
        kv_put(writer, span_of(&count, sizeof count), span_of(value, sizeof value));
        code = kv_commit(writer, NULL);
    }
    kv_reader_close(reader);
    kv_close(kv);
    _exit(code == 0 ? 0 : 3);
}
#endif

static void no_room_to_grow_is_an_error(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    ok(true, "(no limit of address space under a sanitizer)");
#else
    const char *dir = scratch_path("outgrown");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        outgrow_the_limit(dir);
    int status;
    waitpid(child, &status, 0);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
       "a map that cannot grow is an error, reads and later writes go on (status %x)", status);
#endif
}

int main(void)
{
    no_room_to_grow_is_an_error();
    little_address_space_will_do();
    appended_and_cleared();
    a_long_read_makes_way();
    a_killed_writer_loses_nothing();
    a_transaction_is_seen_whole();
    an_error_sticks();
    entries_come_in_order();
    a_full_map_grows();
    reading_makes_nothing();
    what_is_no_environment_is_refused();
    one_that_was_never_begun_is_begun_anew();
    a_file_that_was_cut_is_damaged();
    a_damaged_page_is_an_error();
    writing_on_damage_is_an_error();
    a_failed_meta_page_is_got_over();
    a_full_disk_is_an_error();
    return tap_done();
}
