/* A file that cannot be read for want of memory, or for a bad sector, says nothing of what is in
 * it: it is neither damage to the end, nor the end of the log, nor removed, nor of another name. */
#include "log/directory.h"
#include "log/fork.h"
#include "log/log.h"
#include "log/reader.h"
#include "log/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log_maker.h"
#include "read_fault.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)
#define FIRST "log/seg-0000000001.log"
#define SECOND "log/seg-0000000002.log"

static struct error error;
static char dir[4096];
static uint64_t small_at, next_at; /* frames of segment 1 */

static void write_closed(struct log_maker *maker)
{
    log_maker_seal(maker, FRAME_CLOSE);
    log_maker_write(maker, dir);
}

static void begin_anew(struct log_maker *maker)
{
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    scratch_remove(dir);
    log_maker_init(maker, CAPACITY);
    log_maker_open(maker);
    small_at = log_maker_frame(maker, 0, 3, 100);
    next_at = log_maker_frame(maker, 0, 3, 5000);
    for (int i = 0; i < 3; i++)
        log_maker_frame(maker, 0, 3, 100);
}

/* Two segments; the log was closed. */
static void make_log(struct log_maker *maker)
{
    begin_anew(maker);
    log_maker_seal(maker, FRAME_SEAL);
    log_maker_write(maker, dir);
    log_maker_next(maker, 0);
    log_maker_frame(maker, 0, 2, 50);
    write_closed(maker);
}

static void flip_byte(const char *name, uint64_t offset)
{
    char path[4200];
    uint8_t byte;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 0) < 0 || lseek(fd, (off_t)offset, SEEK_SET) < 0 ||
        read(fd, &byte, 1) != 1)
        tap_bail_out("cannot read %s", path);
    byte ^= 4;
    if (lseek(fd, (off_t)offset, SEEK_SET) < 0 || write(fd, &byte, 1) != 1 || close(fd) < 0)
        tap_bail_out("cannot write %s", path);
}

/* The first segment, up to its damaged frame. */
static void behind_damage(void)
{
    struct log_maker maker;
    struct directory directory;
    struct source source = { .fd = -1 };
    struct segment_header header;
    struct frame_header frame;
    struct scan scan;
    const uint8_t *bytes;
    uint64_t offset;
    make_log(&maker);
    flip_byte("seg-0000000001.log", small_at + 200);
    if (directory_open(&directory, dir, &error) < 0 ||
        directory_segment(&directory, 0, &source, &header, &error) != SEGMENT_BEGUN)
        tap_bail_out("%s", error.text);
    scan_begin(&scan, &source, &header);
    while (scan_next(&scan, &frame, &bytes) == SCAN_FRAME)
        continue;
    read_fault_set(FIRST, next_at, ENOMEM);
    source_forget(&source);
    is_int(scan_find_resume(&scan, &frame, &offset), -ENOMEM,
           "what is behind damage and cannot be read now is not said to be lost");
    read_fault_set(FIRST, next_at + 4096, ENOMEM);
    source_forget(&source);
    is_int(scan_find_resume(&scan, &frame, &offset), -ENOMEM, "nor when it begins well");
    read_fault_set(FIRST, next_at, EIO);
    source_forget(&source);
    is_int(scan_find_resume(&scan, &frame, &offset), 0, "a bad sector is");
    ok(offset > next_at, "and what is behind that is found");
    read_fault_set(NULL, 0, 0);
    source_forget(&source);
    is_int(scan_find_resume(&scan, &frame, &offset), 0, "later");
    ok(offset == next_at, "all of it");
    source_close(&source);
    directory_close(&directory);
    log_maker_free(&maker);
}

static struct log_reader *open_reader(bool skip_damage)
{
    struct log_reader *reader;
    struct log_reader_options options = { .dir = dir, .skip_damage = skip_damage };
    if (log_reader_open(&reader, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    return reader;
}

static void at_the_beginning(void)
{
    struct log_maker maker;
    struct record record;
    make_log(&maker);
    for (int skip = 0; skip < 2; skip++) {
        struct log_reader *reader = open_reader(skip != 0);
        is_int(log_reader_durable_seq(reader), maker.next_seq - 1, "(where a log ends is known)");
        read_fault_set(FIRST, 0, ENOMEM);
        is_int(log_reader_seek(reader, 2, &error), -ENOMEM,
               "an event whose segment cannot be read now was not removed: %s", error.text);
        read_fault_set(NULL, 0, 0);
        is_int(log_reader_seek(reader, 2, &error), 0, "and is there later");
        is_int(log_reader_next(reader, &record, NULL, &error), 1, "and read");
        log_reader_close(reader);
    }
    log_maker_free(&maker);
}

static void at_the_end(void)
{
    struct log_maker maker;
    struct record record;
    static const int numbers[] = { EIO, ENOMEM };
    for (int i = 0; i < 2; i++) {
        begin_anew(&maker);
        write_closed(&maker);
        struct log_reader *reader = open_reader(false);
        while (log_reader_next(reader, &record, NULL, &error) == 1)
            continue;
        log_maker_next(&maker, 1);
        log_maker_open(&maker);
        write_closed(&maker);
        read_fault_set(SECOND, 0, numbers[i]);
        is_int(log_reader_next(reader, &record, NULL, &error), -numbers[i],
               "a segment behind the end that cannot be read is not nothing: %s", error.text);
        read_fault_set(NULL, 0, 0);
        is_int(log_reader_seek(reader, maker.next_seq - 1, &error), 0, "(later)");
        is_int(log_reader_next(reader, &record, NULL, &error), 1, "and what it holds is read then");
        log_reader_close(reader);
        log_maker_free(&maker);
    }
}

static void of_a_wish(void)
{
    struct log_maker maker;
    struct fork_wish wish;
    make_log(&maker);
    is_int(log_fork_request(dir, &error), 0, "a fork is asked for");
    is_int(fork_read(dir, &wish, &error), 0, "(%s)", error.text);
    ok(wish.bound, "of the name that the newest segment has");
    read_fault_set(SECOND, 0, ENOMEM);
    is_int(log_fork_request(dir, &error), 0, "and again, while that cannot be read");
    read_fault_set(NULL, 0, 0);
    is_int(fork_read(dir, &wish, &error), 0, "(%s)", error.text);
    ok(!wish.bound, "then of whatever there is: an older segment may have a name that was left");
    log_maker_free(&maker);
}

int main(void)
{
    behind_damage();
    at_the_beginning();
    at_the_end();
    of_a_wish();
    return tap_done();
}
