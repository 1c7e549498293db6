/* Segments that are over get a sealed form: the same bytes in less room. Whoever reads does not
 * notice; whatever happens on the way, one whole form is there; no changed bit goes unseen. */
#include "log/sealing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "log/reader.h"
#include "log/removal.h"
#include "log/sealed.h"
#include "log/verify.h"
#include "log_backups.h"
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#define FILL 90
#define LOOKS_MAX 60000 /* of a millisecond */

static struct budget budget;
static struct error error;
static uint64_t last_seq;

static const char *path_in(const char *dir, const char *form, unsigned number)
{
    static char path[4][512];
    static unsigned turn;
    char *one = path[turn++ % 4];
    snprintf(one, sizeof path[0], "%s/seg-%010u.%s", dir, number, form);
    return one;
}

static bool is_there(const char *dir, const char *form, unsigned number)
{
    return access(path_in(dir, form, number), F_OK) == 0;
}

/* Segments with SEAL, one with CLOSE, one that a crash ended, and the newest. */
static void make_log(const char *dir)
{
    struct io *io;
    struct log_commands commands = { .count = 0 };
    scratch_remove(dir);
    (void)log_backups_go_on(dir, FILL);
    struct log *log = log_backups_open(dir, &io, &commands.time_ns);
    if (!log_backups_fill(log, &commands, FILL))
        tap_bail_out("the log fails");
    log_backups_abandon(&log, &io);
    log_commands_free(&commands);
    last_seq = log_backups_go_on(dir, FILL);
}

/* Seals what can be: how many were, or the first error. */
static int seal_all(const char *dir)
{
    struct directory directory;
    int count = 0, code = directory_open(&directory, dir, &error);
    struct sealing sealing = { .directory = &directory, .budget = &budget };
    for (size_t i = 0; code >= 0 && i < directory.count; i++) {
        code = sealing_segment(&sealing, i, &error);
        count += code == 1;
    }
    directory_close(&directory);
    return code < 0 ? code : count;
}

static struct log_verify_result verify(const char *dir)
{
    struct log_verify_result result;
    struct log_verify_options options = { .dir = dir };
    error.text[0] = '\0';
    if (log_verify(&options, &result, &error) < 0)
        result.verdict = (enum log_verdict)99;
    return result;
}

static bool same_files(const char *raw, const char *dir, unsigned number)
{
    struct source source;
    unsigned long size;
    const uint8_t *bytes;
    unsigned char *want = scratch_read(path_in(raw, "log", number), &size);
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, number);
    bool same = source_open(&source, dir, name, &budget, &error) == 0 && source.size == size &&
                source_bytes(&source, 0, size, &bytes) == 0 && memcmp(bytes, want, size) == 0;
    source_close(&source);
    free(want);
    return same;
}

static void test_same_bytes(void)
{
    const char *dir = scratch_path("same"), *raw = scratch_path("raw");
    struct stat status;
    unsigned newest = 0, same = 0, smaller = 0, kept = 0;
    make_log(dir);
    scratch_remove(raw);
    scratch_copy(dir, raw);
    struct log_verify_result before = verify(dir);
    int sealed = seal_all(dir);
    ok(sealed > 3, "a log of %d segments: %d are sealed", (int)before.segments, sealed);
    for (unsigned i = 1; i <= before.segments; i++) {
        kept += is_there(dir, "log", i);
        if (is_there(dir, "log", i))
            newest = i;
        same += same_files(raw, dir, i);
        if (stat(path_in(dir, "zlog", i), &status) == 0)
            smaller += status.st_size < (long)LOG_SEGMENT_SIZE_MIN;
    }
    ok(kept == 1 && newest == before.segments, "all but the newest, and their raw files are gone");
    is_int(same, before.segments, "each of them unpacks to the bytes that it was made of");
    is_int(smaller, sealed, "and takes less room, though its payloads are noise");
    struct log_verify_result after = verify(dir);
    ok(after.verdict == LOG_SOUND && after.findings == 0, "verify finds nothing (%s)", error.text);
    is_int(after.sealed, sealed, "and says how many are sealed");
    ok(after.records == before.records && after.last_seq == before.last_seq &&
           memcmp(after.chain, before.chain, SHA256_SIZE) == 0,
       "it has read the same records, with the same chain");
    is_int(seal_all(dir), 0, "there is nothing left to do");
    ok(log_backups_same(raw, dir, last_seq), "a reader finds the same records");
    is_int(budget.used, 0, "nothing is left on the budget");
    last_seq = log_backups_go_on(dir, 3);
    ok(verify(dir).verdict == LOG_SOUND && seal_all(dir) == 1, "a writer goes on behind it");
}

static void test_points(void)
{
    const char *dir = scratch_path("same");
    struct log_reader_options options = { .dir = dir, .budget = &budget };
    struct log_reader *reader;
    struct record record;
    struct log_place place;
    uint64_t found = 0;
    if (log_reader_open(&reader, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    for (uint64_t i = 0, seq = 1; i < last_seq; i++, seq = (seq + 7919) % last_seq + 1)
        found += log_reader_get(reader, seq, &record, &place, &error) == 1 && record.seq == seq;
    is_int(found, last_seq, "each record is found by its number, in no order");
    log_reader_close(reader);
    is_int(budget.used, 0, "nothing is left on the budget");
}

/* A reader that is under way. */
static void test_beside_a_reader(void)
{
    const char *dir = scratch_path("beside");
    struct log_reader_options options = { .dir = dir, .budget = &budget, .verify_chain = true };
    struct log_reader *reader;
    struct record record;
    struct log_place place;
    struct directory directory;
    uint64_t seq = 0;
    make_log(dir);
    if (log_reader_open(&reader, &options, &error) < 0 ||
        directory_open(&directory, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    struct sealing sealing = { .directory = &directory, .budget = &budget };
    int sealed = 0;
    size_t next = 0;
    while (log_reader_next(reader, &record, &place, &error) == 1 && record.seq == seq + 1) {
        seq++;
        if (seq % 20 == 0 && next < directory.count)
            sealed += sealing_segment(&sealing, next++, &error) == 1;
    }
    ok(sealed > 3, "%d segments are sealed while they are read", sealed);
    is_int(seq, last_seq, "the reader comes to the end");
    log_reader_close(reader);
    directory_close(&directory);
}

static void change(const char *path, unsigned long at, unsigned char bits)
{
    FILE *file = fopen(path, "r+");
    if (file == NULL)
        tap_bail_out("%s", path);
    (void)fseek(file, (long)at, SEEK_SET);
    int byte = fgetc(file);
    (void)fseek(file, (long)at, SEEK_SET);
    (void)fputc(byte ^ bits, file);
    (void)fclose(file);
}

/* What a reader of the raw bytes gets: true if all of it, and right. */
static bool reads_right(const char *dir, unsigned number, const unsigned char *want)
{
    struct source source;
    const uint8_t *bytes;
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, number);
    int code = source_open(&source, dir, name, NULL, &error);
    uint64_t size = code == 0 ? source.size : 0;
    if (code == 0)
        code = source_bytes(&source, 0, size, &bytes);
    bool right = code == 0 && memcmp(bytes, want, size) == 0;
    source_close(&source);
    return right;
}

/* How many of the pieces that are asked for, in order or here and there, are wrong. */
static unsigned wrong_pieces(struct source *source, const unsigned char *want, bool in_order)
{
    unsigned wrong = 0;
    uint64_t at = 0;
    for (unsigned i = 0; i < 600 && at < source->size; i++) {
        const uint8_t *bytes;
        uint64_t size = (1 + (uint64_t)rand() % 25) * LOG_BLOCK_SIZE;
        if (size > source->size - at)
            size = source->size - at;
        wrong += source_bytes(source, at, size, &bytes) < 0 || memcmp(bytes, want + at, size) != 0;
        at = in_order ? at + size
                      : (uint64_t)rand() % (source->size / LOG_BLOCK_SIZE) * LOG_BLOCK_SIZE;
    }
    return wrong;
}

/* What one window has unpacked, the next one keeps. */
static void test_windows(void)
{
    enum { CAPACITY = 8u << 20 };
    const char *dir = scratch_path("windows");
    struct log_maker maker;
    struct source source;
    unsigned long size;
    scratch_remove(dir);
    log_maker_init(&maker, CAPACITY);
    log_maker_open(&maker);
    while (maker.offset < CAPACITY - (1u << 20))
        log_maker_frame(&maker, 0, 20, 1500 + maker.frames % 700);
    log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, 0);
    log_maker_frame(&maker, 0, 3, 100);
    log_maker_write(&maker, dir);
    log_maker_free(&maker);
    unsigned char *want = scratch_read(path_in(dir, "log", 1), &size);
    is_int(seal_all(dir), 1, "one of many windows is sealed");
    if (source_open(&source, dir, "seg-0000000001.log", &budget, &error) < 0)
        tap_bail_out("%s", error.text);
    source.sequential = true;
    srand(1);
    is_int(wrong_pieces(&source, want, true), 0, "read through, it is what it was");
    is_int(wrong_pieces(&source, want, false), 0, "and here and there");
    source_close(&source);
    free(want);
}

/* A small one: one frame in a segment, and one bit of each byte, or of every byte each. */
static void test_bits(void)
{
    const char *dir = scratch_path("bits");
    struct log_maker maker;
    struct stat status;
    unsigned long unseen = 0, tried = 0, size;
    bool all = getenv("TEST_EXHAUSTIVE") != NULL;
    scratch_remove(dir);
    log_maker_init(&maker, LOG_SEGMENT_SIZE_MIN);
    log_maker_open(&maker);
    log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, 0);
    log_maker_frame(&maker, 0, 3, 100);
    log_maker_write(&maker, dir);
    log_maker_free(&maker);
    unsigned char *want = scratch_read(path_in(dir, "log", 1), &size);
    is_int(seal_all(dir), 1, "a small one is sealed");
    const char *path = path_in(dir, "zlog", 1);
    if (stat(path, &status) < 0)
        tap_bail_out("%s", path);
    ok(reads_right(dir, 1, want), "(it reads right)");
    for (unsigned long at = 0; at < (unsigned long)status.st_size; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            if (!all && bit != at % 8)
                continue;
            change(path, at, (unsigned char)(1u << bit));
            /* The header that the front repeats is read from there. */
            unseen += reads_right(dir, 1, want) && verify(dir).verdict == LOG_SOUND;
            change(path, at, (unsigned char)(1u << bit));
            tried++;
        }
    is_int(unseen, 0, "%lu of its %lu bits changed, one at a time: each is seen", tried,
           (unsigned long)status.st_size * 8);
    change(path, (unsigned long)status.st_size - 100, 1);
    struct log_verify_result result = verify(dir);
    ok(result.verdict == LOG_DAMAGED, "verify calls it damaged");
    ok(log_remove_before(dir, 2, NULL, &error) == 0 && !is_there(dir, "zlog", 1),
       "retention removes a sealed segment");
    free(want);
}

/* A front that is whole in itself, but with the root of other records. */
static void test_root(void)
{
    const char *dir = scratch_path("root");
    struct sealed_front front;
    struct log_verify_options quick = { .dir = dir, .no_chain = true };
    struct log_verify_result result;
    unsigned long size;
    make_log(dir);
    if (seal_all(dir) < 1)
        tap_bail_out("%s", error.text);
    const char *path = path_in(dir, "zlog", 2);
    unsigned char *bytes = scratch_read(path, &size);
    if (sealed_front_decode(bytes, &front, &error) < 0)
        tap_bail_out("%s", error.text);
    ok(!bytes_are_zero(front.merkle_root, SHA256_SIZE), "the front holds a Merkle root");
    front.merkle_root[5] ^= 1;
    sealed_front_encode(bytes, &front);
    int fd = open(path, O_WRONLY);
    if (fd < 0 || pwrite(fd, bytes, SEALED_FRONT_SIZE, 0) != SEALED_FRONT_SIZE || close(fd) < 0)
        tap_bail_out("%s", path);
    result = verify(dir);
    ok(result.verdict == LOG_DAMAGED && result.findings == 1,
       "another one than its records have is found");
    is_int(log_verify(&quick, &result, &error), 0, "(without the chain)");
    ok(result.verdict == LOG_SOUND, "but not looked for when the chain is left out");
    free(bytes);
}

static void test_cuts(void)
{
    const char *dir = scratch_path("cuts");
    struct stat status;
    unsigned long unseen = 0;
    make_log(dir);
    if (seal_all(dir) < 1)
        tap_bail_out("%s", error.text);
    const char *path = path_in(dir, "zlog", 1);
    if (stat(path, &status) < 0)
        tap_bail_out("%s", path);
    unsigned long step = (unsigned long)status.st_size / 61 + 1, tried = 0;
    for (unsigned long size = (unsigned long)status.st_size - 1; size > step; size -= step, tried++)
        unseen += truncate(path, (off_t)size) < 0 || verify(dir).verdict != LOG_DAMAGED;
    unseen += truncate(path, 0) < 0 || verify(dir).verdict != LOG_DAMAGED;
    is_int(unseen, 0, "cut at %lu lengths: each is seen", tried);
    struct log_verify_result result = verify(dir);
    ok(result.records > 0 && result.last_seq == last_seq, "and the rest is still read");
}

/* Whatever is wrong with the raw file: it stays, and nothing is made. */
static void test_damaged(void)
{
    const char *dir = scratch_path("damaged");
    make_log(dir);
    change(path_in(dir, "log", 2), 8192 + 300, 4);
    struct directory directory;
    if (directory_open(&directory, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    struct sealing sealing = { .directory = &directory };
    is_int(sealing_segment(&sealing, 0, &error), 1, "the segment before is sealed");
    is_int(sealing_segment(&sealing, 1, &error), ERROR_DAMAGED, "a damaged one is not");
    ok(strstr(error.text, "seg-0000000002.log is not sealed: at offset ") != NULL &&
           strstr(error.text, "daa-log verify") != NULL,
       "it says which, where, and what to do: %s", error.text);
    ok(is_there(dir, "log", 2) && !is_there(dir, "zlog", 2), "it stays as it is");
    change(path_in(dir, "log", 1 + 2), LOG_SEGMENT_SIZE_MIN - 5, 1);
    is_int(sealing_segment(&sealing, 2, &error), ERROR_DAMAGED,
           "nor one with something behind its end");
    directory_close(&directory);
}

/* One that cannot be sealed keeps none behind it from that, and is told of. */
static void test_passed_over(void)
{
    const char *dir = scratch_path("over");
    struct log_stats stats;
    struct io *io;
    struct log *log;
    make_log(dir);
    if (truncate(path_in(dir, "log", 2), LOG_SEGMENT_SIZE_MIN - LOG_BLOCK_SIZE) < 0 ||
        io_open_plain(&io) < 0)
        tap_bail_out("truncate");
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .sync = LOG_SYNC_DSYNC,
                                   .allow_tmpfs = true,
                                   .maintain_inline = true,
                                   .seal = true,
                                   .start_time_ns = BACKUP_START_NS };
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    while (log_maintain(log, NULL) == 1)
        ;
    log_stats_get(log, &stats);
    ok(!is_there(dir, "zlog", 2) && is_there(dir, "zlog", 1) && is_there(dir, "zlog", 3),
       "a file that was cut is passed over, and those around it are sealed");
    ok(strstr(stats.seal_error, "seg-0000000002.log is not sealed: at offset ") != NULL &&
           strstr(stats.seal_error, "ends before") != NULL,
       "which is told: %s", stats.seal_error);
    log_backups_close(&log, &io);
}

/* A crash between the name and the removal: the raw file is there again. */
static void test_both(void)
{
    const char *dir = scratch_path("both"), *raw = scratch_path("both-raw");
    make_log(dir);
    scratch_remove(raw);
    scratch_copy(dir, raw);
    if (seal_all(dir) < 3)
        tap_bail_out("%s", error.text);
    for (unsigned i = 1; i <= 3; i++)
        if (link(path_in(raw, "log", i), path_in(dir, "log", i)) < 0)
            tap_bail_out("link: %s", strerror(errno));
    change(path_in(dir, "zlog", 2), 9000, 1);
    if (truncate(path_in(dir, "zlog", 3), 100) < 0)
        tap_bail_out("truncate");
    ok(verify(dir).verdict == LOG_SOUND, "while both are there, the raw ones are read");
    is_int(seal_all(dir), 3, "all three are sealed again, one of them by a look");
    unsigned same = 0;
    for (unsigned i = 1; i <= 3; i++)
        same += !is_there(dir, "log", i) && same_files(raw, dir, i);
    is_int(same, 3, "a sealed file that was not whole was made anew");
    ok(verify(dir).verdict == LOG_SOUND, "verify finds nothing");
}

static void test_leftovers(void)
{
    const char *dir = scratch_path("both");
    char path[600];
    snprintf(path, sizeof path, "%s.tmp", path_in(dir, "zlog", 9));
    FILE *file = fopen(path, "w");
    if (file == NULL)
        tap_bail_out("%s", path);
    (void)fclose(file);
    sealing_remove_leftovers(dir);
    ok(access(path, F_OK) < 0, "what a crash left half made is removed");
    ok(is_there(dir, "zlog", 2), "and nothing else");
}

/* The writer's own thread. */
static void test_writer(void)
{
    const char *dir = scratch_path("writer");
    struct io *io;
    struct log *log;
    struct log_stats stats;
    struct log_commands commands = { .time_ns = BACKUP_START_NS };
    scratch_remove(dir);
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = LOG_SEGMENT_SIZE_MIN,
                                   .sync = LOG_SYNC_DSYNC,
                                   .allow_tmpfs = true,
                                   .seal = true,
                                   .start_time_ns = BACKUP_START_NS };
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    bool filled = log_backups_fill(log, &commands, 200);
    int looks = 0;
    do {
        if (log_wait(log, -1, 1000000) < 0 || ++looks == LOOKS_MAX)
            tap_bail_out("the sealer does not come to its end: %s", log_failure(log));
        log_stats_get(log, &stats);
    } while (stats.unsealed > 0);
    ok(filled && stats.sealed == stats.segment_no - 1 && stats.sealed > 3,
       "a writer seals what is over: %d segments", (int)stats.sealed);
    ok(stats.sealed_packed_bytes > 0 && stats.sealed_packed_bytes < stats.sealed_raw_bytes,
       "and counts what that saved");
    is_str(stats.seal_error, "", "without trouble");
    ok(verify(dir).verdict == LOG_SOUND && verify(dir).live, "beside it, verify finds nothing");
    last_seq = log_durable_seq(log) + 1;
    log_backups_close(&log, &io);
    log_commands_free(&commands);
    ok(log_backups_sound(dir, last_seq), "nor when it has ended");
    is_int(budget.used, 0, "nothing is left on the budget");
}

static void test_backup(void)
{
    const char *dir = scratch_path("writer"), *target = scratch_path("backup");
    const char *copy = scratch_path("restored");
    struct log_backup_result made;
    struct log_restore_result result;
    scratch_remove(target);
    scratch_remove(copy);
    is_int(log_backups_make(dir, target, 0, &made), 0, "a log with sealed segments is backed up");
    is_int(log_backups_restore(&target, 1, copy, &result), 0, "and restored");
    char inside[600];
    snprintf(inside, sizeof inside, "%s/log", copy);
    ok(log_backups_same(dir, inside, last_seq), "with the same records");
}

int main(void)
{
    budget_init(&budget, UINT64_MAX);
    test_same_bytes();
    test_points();
    test_beside_a_reader();
    test_windows();
    test_bits();
    test_root();
    test_cuts();
    test_damaged();
    test_passed_over();
    test_both();
    test_leftovers();
    test_writer();
    test_backup();
    return tap_done();
}
