/* Blocks that the disk cannot read: log_verify() names each of them and no other, what is lost with
 * it, and goes on behind it; it does not ask the disk for them again and again. */
#include "log/sealing.h"
#include "log/verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "iouring/bad_blocks.h"
#include "log_maker.h"
#include "read_fault.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)
#define FINDINGS_MAX 16
#define RAW "log/seg-0000000001.log"
#define SEALED "sealed/seg-0000000001.zlog"

static struct error error;
static uint64_t small_at, large_at, next_at, last_at, seal_at; /* frames of segment 1 */

/* Two segments, the first with frames of one and of many blocks, and a spare. */
static void make_log(const char *dir)
{
    struct log_maker maker;
    static uint8_t noise[20000];
    log_maker_init(&maker, CAPACITY);
    log_maker_open(&maker);
    small_at = log_maker_frame(&maker, 0, 3, 100);
    srand(1);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)rand();
    maker.payload = span_of(noise, sizeof noise);
    large_at = log_maker_frame(&maker, 0, 1, 0);
    next_at = log_maker_frame(&maker, 0, 1, 0);
    for (int i = 0; i < 6; i++)
        last_at = log_maker_frame(&maker, 0, 1, 0);
    maker.payload = (struct span){ .size = 0 };
    seal_at = log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, 0);
    log_maker_frame(&maker, 0, 2, 50);
    log_maker_seal(&maker, FRAME_CLOSE);
    log_maker_write(&maker, dir);
    log_maker_write_spare(dir, 3, CAPACITY);
    log_maker_write_checkpoint(&maker, dir, maker.next_seq - 1);
    log_maker_free(&maker);
}

static void seal(const char *dir)
{
    struct directory directory;
    if (directory_open(&directory, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    struct sealing sealing = { .directory = &directory };
    is_int(sealing_segment(&sealing, 0, &error), 1, "a segment is sealed");
    directory_close(&directory);
}

static struct log_finding findings[FINDINGS_MAX];
static unsigned finding_count;
static struct log_verify_result result;

static void take(const struct log_finding *finding, void *context)
{
    (void)context;
    if (finding_count < FINDINGS_MAX)
        findings[finding_count] = *finding;
    finding_count++;
}

static enum log_verdict verify(const char *dir)
{
    struct log_verify_options options = { .dir = dir, .finding = take };
    finding_count = 0;
    if (log_verify(&options, &result, &error) < 0)
        tap_bail_out("%s", error.text);
    return result.verdict;
}

/* True if the findings name exactly this block. */
static bool only_block(uint64_t offset)
{
    unsigned count = 0;
    bool right = true;
    for (unsigned i = 0; i < finding_count; i++)
        for (unsigned k = 0; k < findings[i].unreadable.count; k++, count++)
            right = right && findings[i].unreadable.runs[k].offset == offset &&
                    findings[i].unreadable.runs[k].size == LOG_BLOCK_SIZE;
    return right && count == 1;
}

static void blocks_are_found(const char *dir)
{
    char path[512];
    struct bad_blocks found;
    struct source source;
    char text[64];
    if (source_open(&source, dir, "seg-0000000001.log", NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    snprintf(path, sizeof path, "seg-0000000001.log");
    is_int(bad_blocks_find(&found, source.fd, 0, CAPACITY), 0, "a file is looked through");
    is_int(found.count, 0, "and nothing is wrong with it");
    bad_blocks_describe(&found, text, sizeof text);
    is_str(text, "", "which says nothing");
    read_fault_set(path, 0, ENODATA);
    read_fault_add(8192);
    read_fault_add(12288);
    read_fault_add(CAPACITY - 4096);
    is_int(bad_blocks_find(&found, source.fd, 0, CAPACITY), 0, "one with bad blocks too");
    ok(found.count == 3 && !found.more && found.runs[0].offset == 0 && found.runs[0].size == 4096 &&
           found.runs[1].offset == 8192 && found.runs[1].size == 8192 &&
           found.runs[2].offset == CAPACITY - 4096 && found.runs[2].size == 4096,
       "each run is found, also when the disk gives another reason than EIO");
    bad_blocks_describe(&found, text, sizeof text);
    ok(strstr(text, "4096 bytes at 0x0, 8192 bytes at 0x2000, 4096 bytes at 0x3f0") == text,
       "in words, as far as there is room: %s", text);
    read_fault_set(path, 0, EIO);
    for (unsigned i = 1; i < 40; i++)
        read_fault_add(i * 8192ull);
    is_int(bad_blocks_find(&found, source.fd, 0, CAPACITY), 0, "and one with very many");
    ok(found.count == BAD_BLOCKS_RUNS_MAX && found.more, "of which the first are told");
    read_fault_set(NULL, 0, 0);
    source_close(&source);
}

static void frames_are_lost_alone(const char *dir)
{
    is_int(verify(dir), LOG_SOUND, "the log is sound");
    uint64_t frames = result.frames;
    read_fault_set(RAW, large_at + 8192, EIO);
    is_int(verify(dir), LOG_DAMAGED, "with a block that cannot be read it is damaged");
    ok(finding_count == 1 && findings[0].offset == large_at &&
           findings[0].size == next_at - large_at && findings[0].first_seq == 5 &&
           findings[0].last_seq == 5,
       "one frame is lost, with its event: %s", findings[0].text);
    ok(only_block(large_at + 8192), "its one block is named: %s", findings[0].diagnosis);
    is_int(result.frames, frames - 1, "all else was read");
    ok(read_fault_count() < 40, "and the disk was asked for it %u times", read_fault_count());
    read_fault_add(next_at + 4096);
    read_fault_add(next_at + 8192);
    is_int(verify(dir), LOG_DAMAGED, "of two frames");
    ok(finding_count == 1 && findings[0].unreadable.count == 2 &&
           findings[0].unreadable.runs[1].offset == next_at + 4096 &&
           findings[0].unreadable.runs[1].size == 8192,
       "each block is named: %s", findings[0].diagnosis);
    read_fault_set(RAW, large_at + 4096, EIO);
    read_fault_add(last_at);
    is_int(verify(dir), LOG_DAMAGED, "of two that stand apart");
    ok(finding_count == 2 && findings[1].offset == last_at &&
           findings[1].unreadable.runs[0].offset == last_at,
       "each is found");
    is_int(result.frames, frames - 2, "and all between is read");
    read_fault_set(NULL, 0, 0);
}

/* Whatever block it is. */
static void each_block_is_named(const char *dir, const char *file, uint64_t size, uint64_t from)
{
    unsigned wrong = 0, silent = 0, most = 0;
    for (uint64_t offset = 0; offset < size; offset += LOG_BLOCK_SIZE) {
        read_fault_set(file, offset, EIO);
        silent += verify(dir) == LOG_SOUND;
        if (read_fault_count() > most)
            most = read_fault_count();
        if (offset >= from && !only_block(offset) && wrong++ == 0)
            tap_note("block 0x%llx: %u findings: %s", (unsigned long long)offset, finding_count,
                     finding_count > 0 ? findings[0].text : "");
    }
    read_fault_set(NULL, 0, 0);
    is_int(silent, 0, "%s: no block that cannot be read goes unseen", file);
    is_int(wrong, 0, "and each is named, alone");
    ok(most < 100, "the disk was asked for one %u times at most", most);
}

static void a_sealed_one_too(const char *dir)
{
    struct stat status;
    is_int(verify(dir), LOG_SOUND, "a log with a sealed segment is sound");
    uint64_t records = result.records;
    if (stat(scratch_path(SEALED), &status) < 0)
        tap_bail_out("there is no sealed segment");
    uint64_t size =
        ((uint64_t)status.st_size + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    /* Its front of two blocks is read before it is known what it is. */
    each_block_is_named(dir, SEALED, size, 8192);
    read_fault_set(SEALED, size - LOG_BLOCK_SIZE, EIO);
    is_int(verify(dir), LOG_DAMAGED, "without its index all of it is lost");
    ok(result.records > 0 && result.records < records, "but not the segment behind it");
    ok(read_fault_count() < 100, "and the disk was asked for it %u times", read_fault_count());
    read_fault_set(NULL, 0, 0);
}

int main(void)
{
    const char *dir = scratch_path("log"), *sealed = scratch_path("sealed");
    make_log(dir);
    scratch_copy(dir, sealed);
    seal(sealed);
    blocks_are_found(dir);
    frames_are_lost_alone(dir);
    each_block_is_named(dir, RAW, CAPACITY, 0);
    each_block_is_named(dir, "log/seg-0000000002.log", CAPACITY, 0);
    each_block_is_named(dir, "log/seg-0000000003.log", CAPACITY, 0);
    a_sealed_one_too(sealed);
    return tap_done();
}
