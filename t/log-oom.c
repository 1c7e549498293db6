/* Memory runs out: the n-th allocation fails, for every n until none is left to fail, once alone
 * and once with all that follow, in everything that is done with a log. Each time it either did
 * what it should or answers that there was no memory, in a sentence; it keeps nothing, neither
 * memory nor files; and the log is whole.
 *
 * Plain, every allocation of the process can fail, those of libc and libzstd too. Under a sanitizer
 * it is those of our own code, by the linker's --wrap (GNUmakefile). */
#include "log/backup.h"
#include "log/log.h"
#include "log/read_many.h"
#include "log/reader.h"
#include "log/restore.h"
#include "log/sealing.h"
#include "log/segment.h"
#include "log/verify.h"
#include "log_commands.h"
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { COUNTED = 0 };
#define REAL(name) __real_##name
#define OURS(name) __wrap_##name
#else
enum { COUNTED = 1 };
#define REAL(name) __libc_##name
#define OURS(name) name
#endif

/* So many allocations go well, then one fails, or all do; -1: none does. */
static long countdown = -1;
static bool for_ever;
static unsigned refused;
static long held; /* allocations that were not freed; where COUNTED */

static bool refuses(void)
{
    if (countdown < 0)
        return false;
    if (countdown > 0) {
        countdown--;
        return false;
    }
    if (!for_ever)
        countdown = -1;
    refused++;
    errno = ENOMEM;
    return true;
}

static void *counted(void *memory)
{
    held += memory != NULL;
    return memory;
}

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *memory, size_t size);
void *OURS(malloc)(size_t size);
void *OURS(calloc)(size_t count, size_t size);
void *OURS(realloc)(void *memory, size_t size);
void *OURS(aligned_alloc)(size_t alignment, size_t size);

void *OURS(malloc)(size_t size)
{
    return refuses() ? NULL : counted(REAL(malloc)(size));
}

void *OURS(calloc)(size_t count, size_t size)
{
    return refuses() ? NULL : counted(REAL(calloc)(count, size));
}

void *OURS(realloc)(void *memory, size_t size)
{
    if (refuses())
        return NULL;
    void *grown = REAL(realloc)(memory, size);
    if (memory == NULL)
        counted(grown);
    return grown;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void *__real_aligned_alloc(size_t alignment, size_t size);

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return refuses() ? NULL : __real_aligned_alloc(alignment, size);
}
#else
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

void *aligned_alloc(size_t alignment, size_t size)
{
    return refuses() ? NULL : counted(__libc_memalign(alignment, size));
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *made = aligned_alloc(alignment, size);
    if (made != NULL)
        *memory = made;
    return made != NULL ? 0 : ENOMEM;
}

void free(void *memory)
{
    held -= memory != NULL;
    __libc_free(memory);
}
#endif

enum { COMMANDS = 90 };

static struct budget budget;
static char base[256], damaged[256], died[256], dir[256], target[256], restored[256];
static struct log_commands commands; /* of `base`, and what was appended since */
static size_t commands_base;
static uint64_t acknowledged, last_seq; /* of `dir`; of `base` */
static struct error error;
static bool moved;        /* `dir` is to be known for a copy */
static const char *wrong; /* what was done, without a word, that should not have been */

static int is_wrong(const char *what)
{
    wrong = what;
    return 0;
}

static struct log_options options_for(struct io *io)
{
    return (struct log_options){ .dir = dir,
                                 .io = io,
                                 .budget = &budget,
                                 .segment_size = LOG_SEGMENT_SIZE_MIN,
                                 .sync = LOG_SYNC_DSYNC,
                                 .maintain_inline = true,
                                 .seal = true,
                                 .allow_tmpfs = true,
                                 .start_time_ns = 1700000000000000000u };
}

/* Enough for a roll. */
static int append_some(struct log *log)
{
    for (uint32_t i = 0; i < 5; i++) {
        int result;
        while ((result = log_maintain(log, &error)) == 1)
            continue;
        if (result < 0)
            return result;
        if (!log_commands_append(&commands, log, 1 + i % 3, 30000) || !log_commands_settle(log))
            return error_set(&error, ERROR_UNAVAILABLE, "the log failed");
    }
    return 0;
}

static int append(void)
{
    struct io *io;
    struct log *log = NULL;
    int result = io_open_plain(&io);
    if (result < 0)
        return error_set(&error, result, "no engine");
    struct log_options options = options_for(io);
    result = log_open(&log, &options, NULL, &error);
    if (result == 0) {
        result = append_some(log);
        acknowledged = log_durable_seq(log);
        int closed = log_close(&log, result == 0 ? &error : NULL);
        result = result == 0 ? closed : result;
    }
    io_close(io);
    return result;
}

static int recover(void)
{
    struct log_recovery recovery;
    int result = log_recover(dir, NULL, 0, &recovery, &error);
    if (result == 0 && (recovery.last_seq != last_seq || recovery.verdict != LOG_SOUND))
        return is_wrong("another end");
    return result;
}

static int verify(void)
{
    struct log_verify_options options = { .dir = dir };
    struct log_verify_result got;
    int result = log_verify(&options, &got, &error);
    if (result == 0 && (got.verdict != LOG_SOUND || got.last_seq != last_seq))
        return is_wrong("another verdict");
    return result;
}

static int verify_damaged(void)
{
    struct log_verify_options options = { .dir = damaged };
    struct log_verify_result got;
    int result = log_verify(&options, &got, &error);
    if (result == 0 && got.verdict != LOG_DAMAGED)
        return is_wrong("damage was not found");
    return result;
}

static int read_all(void)
{
    struct log_reader_options options = { .dir = dir, .budget = &budget, .verify_chain = true };
    struct log_reader *reader;
    struct record record;
    uint64_t records = 0;
    int result = log_reader_open(&reader, &options, &error);
    if (result < 0)
        return result;
    while ((result = log_reader_next(reader, &record, NULL, &error)) == 1)
        records++;
    if (result == 0 && records != last_seq)
        result = is_wrong("another number of records");
    for (uint64_t seq = 1; result == 0 && seq <= last_seq; seq += 7) {
        result = log_reader_get(reader, seq, &record, NULL, &error);
        if (result == 0)
            result = is_wrong("a record is not there");
        result = result == 1 ? 0 : result;
    }
    log_reader_close(reader);
    return result;
}

struct many_got {
    uint64_t found;
    int result; /* the first error */
};

static void take_one(size_t index, int result, const struct record *record, const struct error *why,
                     void *context)
{
    struct many_got *got = context;
    (void)index;
    (void)record;
    got->found += result == 1;
    if (result == 0)
        is_wrong("a record is not there");
    if (result < 0 && got->result == 0)
        got->result = error_set(&error, result, "%s", why->text);
}

static int read_many_with(bool plain)
{
    struct log_many_options options = {
        .dir = dir, .budget = &budget, .depth = 4, .plain_engine = plain
    };
    struct log_many *many;
    static uint64_t seqs[1000];
    size_t count = 0;
    struct many_got got = { 0, 0 };
    int result = log_many_open(&many, &options, &error);
    if (result < 0)
        return result;
    for (uint64_t seq = 1; seq <= last_seq && count < 1000; seq += 3)
        seqs[count++] = seq;
    result = log_read_many(many, seqs, count, take_one, &got, &error);
    log_many_close(many);
    if (result == 0 && got.result == 0 && got.found != count)
        return is_wrong("some were not answered");
    return result == 0 ? got.result : result;
}

static int read_many_plain(void)
{
    return read_many_with(true);
}

static int read_many_best(void)
{
    return read_many_with(false);
}

static int seal(void)
{
    struct directory directory;
    int result = directory_open(&directory, dir, &error);
    if (result == 0) {
        struct sealing sealing = { .directory = &directory, .budget = &budget };
        result = sealing_segment(&sealing, 1, &error);
        if (result == 0)
            result = is_wrong("it was not sealed");
        result = result == 1 ? 0 : result;
    }
    directory_close(&directory);
    return result;
}

static int copy_and_restore(void)
{
    struct log_backup_options making = { .dir = dir, .target = target };
    struct log_backup_result made;
    struct log_restore_result got;
    const char *backups[] = { target };
    struct log_restore_options options = { .backups = backups, .backup_count = 1, .dir = restored };
    int result = log_backup(&making, &made, &error);
    if (result == 0 && made.last_seq != last_seq)
        return is_wrong("the backup ends elsewhere");
    if (result == 0)
        result = log_restore(&options, &got, &error);
    if (result == 0 && got.last_seq != last_seq)
        return is_wrong("what was restored ends elsewhere");
    return result;
}

/* A backup is not needed for it. */
static int restore_copy(void)
{
    const char *copies[] = { dir };
    struct log_restore_options options = { .backups = copies, .backup_count = 1, .dir = restored };
    struct log_restore_result got;
    int result = log_restore(&options, &got, &error);
    if (result == 0 && (got.last_seq != last_seq || got.missing_first != 0))
        return is_wrong("what was restored of a copy ends elsewhere");
    return result;
}

/* Of an opening that died: what it left out must be told. */
static int recover_died(void)
{
    struct log_recovery recovery;
    int result = log_recover(died, NULL, 0, &recovery, &error);
    if (result == 0 && (recovery.verdict != LOG_TORN || recovery.last_seq != 1))
        return is_wrong("what was left out is not told");
    return result;
}

/* The writer's own opening and closing do not fail here. */
static int read_live(void)
{
    long kept = countdown;
    struct io *io;
    struct log *log;
    struct record record;
    struct log_reader_options options = { .dir = dir, .budget = &budget };
    struct log_reader *reader;
    countdown = -1;
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log_options writing = options_for(io);
    if (log_open(&log, &writing, NULL, &error) < 0 || append_some(log) < 0)
        tap_bail_out("%s", error.text);
    while (log_maintain(log, NULL) == 1) /* makes the image known */
        continue;
    acknowledged = log_durable_seq(log);
    countdown = kept;
    uint64_t seq = 0;
    int result = log_reader_open(&reader, &options, &error);
    if (result == 0) {
        while ((result = log_reader_next(reader, &record, NULL, &error)) == 1)
            seq = record.seq;
        if (result == 0 && seq != acknowledged)
            result = is_wrong("not all that is durable was read");
        log_reader_close(reader);
    }
    kept = countdown;
    countdown = -1;
    log_abandon(&log);
    io_close(io);
    countdown = kept;
    return result;
}

static unsigned count_files(void)
{
    unsigned count = 0;
    DIR *names = opendir("/proc/self/fd");
    while (names != NULL && readdir(names) != NULL)
        count++;
    if (names != NULL)
        closedir(names);
    return count;
}

static void remove_place(const char *path)
{
    char name[400];
    snprintf(name, sizeof name, "%s/%s", path, LOG_PLACE_NAME);
    (void)unlink(name);
}

static void prepare(void)
{
    scratch_remove(dir);
    scratch_remove(target);
    scratch_remove(restored);
    scratch_copy(base, dir);
    if (!moved)
        remove_place(dir);
    commands.count = commands_base;
    acknowledged = last_seq;
    error = (struct error){ .code = 0 };
    wrong = NULL;
}

static bool whole(const char *path)
{
    struct log_verify_options options = { .dir = path };
    struct log_verify_result got;
    struct log_replay replay;
    struct error why = { 0 };
    if (log_verify(&options, &got, &why) < 0 || got.verdict == LOG_DAMAGED) {
        tap_note("%s", why.text[0] != '\0' ? why.text : "the log is damaged");
        return false;
    }
    return log_commands_match(&commands, path, acknowledged, &replay);
}

/* One run: what is wrong with it, or NULL. */
static const char *try_one(int (*action)(void), long n)
{
    static char text[1400];
    prepare();
    unsigned files = count_files();
    long before = held;
    refused = 0;
    countdown = n;
    int result = action();
    countdown = -1;
    if (wrong != NULL && result == 0)
        return wrong;
    if (result < 0 && error.text[0] == '\0')
        return "an error without a sentence";
    snprintf(text, sizeof text, "answer %d: %s", result, error.text);
    if (result < 0 && (refused == 0 || (result != -ENOMEM && result != ERROR_BUDGET)))
        return text;
    if (atomic_load(&budget.used) != 0)
        return "the budget is in use";
    if (COUNTED && held > before)
        return "memory was kept";
    if (count_files() != files)
        return "a file was kept open";
    return whole(dir) ? NULL : "the log is not whole";
}

static void test(const char *name, int (*action)(void))
{
    unsigned faults = 0, failures = 0;
    long runs = 0;
    (void)try_one(action, -1); /* what libc makes once, it keeps */
    const char *without = try_one(action, -1);
    is_str(without != NULL ? without : "", "", "%s works", name);
    for (int way = 0; way < 2; way++) {
        for_ever = way == 1;
        for (long n = 0; faults < 5; n++, runs++) {
            const char *fault = try_one(action, n);
            if (refused == 0 && fault == NULL)
                break;
            failures += error.code < 0;
            if (fault != NULL) {
                tap_note("%s, allocation %ld%s: %s", name, n, for_ever ? " and on" : "", fault);
                faults++;
            }
        }
    }
    ok(faults == 0, "%s: %ld allocations failed, %u of them with an error, and nothing else did",
       name, runs, failures);
}

static void make_base(void)
{
    struct io *io;
    struct log *log;
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log_options options = options_for(io);
    options.dir = base;
    options.seal = false;
    commands.time_ns = 1700000000000000000u;
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    for (uint32_t i = 0; i < COMMANDS; i++)
        if (!log_commands_append(&commands, log, 1 + i % 4, i % 9 == 5 ? 20000 : 600) ||
            !log_commands_settle(log))
            tap_bail_out("the log fails");
    if (log_close(&log, &error) < 0)
        tap_bail_out("%s", error.text);
    io_close(io);
    struct log_replay replay;
    if (!log_commands_match(&commands, base, 0, &replay))
        tap_bail_out("the log is not whole");
    tap_note("%llu segments", (unsigned long long)replay.segments);
    last_seq = replay.last_seq;
    commands_base = commands.count;
    struct directory directory;
    struct sealing sealing = { .directory = &directory };
    if (directory_open(&directory, base, &error) < 0 || sealing_segment(&sealing, 0, &error) != 1)
        tap_bail_out("%s", error.text);
    directory_close(&directory);
}

static void make_damaged(void)
{
    char path[400], name[LOG_SEGMENT_NAME_SIZE];
    scratch_copy(base, damaged);
    segment_name(name, 2);
    snprintf(path, sizeof path, "%s/%s", damaged, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;
    if (fd < 0 || pread(fd, &byte, 1, 3 * LOG_BLOCK_SIZE + 200) != 1 ||
        (byte ^= 4, pwrite(fd, &byte, 1, 3 * LOG_BLOCK_SIZE + 200)) != 1)
        tap_bail_out("cannot damage %s", path);
    close(fd);
}

/* A frame is torn; the next opening writes its header and dies. */
static void make_died(void)
{
    struct log_maker maker, before;
    log_maker_init(&maker, LOG_SEGMENT_SIZE_MIN);
    log_maker_open(&maker);
    maker.durable_seq = maker.next_seq - 1;
    before = maker;
    uint64_t frame = log_maker_frame(&maker, 0, 1, 5000);
    memset(maker.bytes + frame + LOG_BLOCK_SIZE, 0, LOG_BLOCK_SIZE);
    log_maker_write(&maker, died);
    before.bytes = maker.bytes;
    maker = before; /* it counts OPEN alone */
    log_maker_next(&maker, 1);
    log_maker_write(&maker, died);
    log_maker_free(&maker);
}

int main(void)
{
    budget_init(&budget, 1ull << 30);
    snprintf(base, sizeof base, "%s/base", scratch_memory_dir());
    snprintf(damaged, sizeof damaged, "%s/damaged", scratch_memory_dir());
    snprintf(died, sizeof died, "%s/died", scratch_memory_dir());
    snprintf(dir, sizeof dir, "%s/log", scratch_memory_dir());
    snprintf(target, sizeof target, "%s/backup", scratch_memory_dir());
    snprintf(restored, sizeof restored, "%s/restored", scratch_memory_dir());
    make_base();
    make_damaged();
    make_died();
    test("opening, appending and closing", append);
    test("recovery", recover);
    test("verifying", verify);
    test("verifying a damaged log", verify_damaged);
    test("reading", read_all);
    test("reading many", read_many_plain);
    test("reading many with the best engine", read_many_best);
    test("sealing", seal);
    test("backup and restore", copy_and_restore);
    test("restoring a plain copy", restore_copy);
    test("recovery behind an opening that died", recover_died);
    test("reading a log that is being written", read_live);
    moved = true;
    test("opening a copy", append);
    test("verifying a copy", verify);
    scratch_remove(dir);
    log_commands_free(&commands);
    return tap_done();
}
