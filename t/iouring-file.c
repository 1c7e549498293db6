/* Files as the event log needs them: iouring/file.h. */
#include "iouring/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scratch.h"
#include "sync_watch.h"
#include "tap.h"

enum { SIZE = 3 * 1024 * 1024 + 4096 };

static int names_in(const char *dir)
{
    char command[4200];
    int count = -1;
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", dir);
    FILE *pipe = popen(command, "r");
    if (pipe == NULL || fscanf(pipe, "%d", &count) != 1)
        tap_bail_out("cannot list %s", dir);
    pclose(pipe);
    return count;
}

static const char *new_dir(const char *name)
{
    const char *dir = scratch_path(name);
    if (mkdir(dir, 0700) < 0)
        tap_bail_out("cannot make %s", dir);
    return dir;
}

static void a_zeroed_file_is_written_and_allocated(void)
{
    struct error error = { 0 };
    const char *dir = new_dir("zeroed");
    char path[4200];
    snprintf(path, sizeof path, "%s/segment", dir);
    if (!ok(file_make_zeroed(dir, "segment", SIZE, &error) == 0, "a zeroed file is made"))
        tap_note("%s", error.text);

    struct stat status;
    ok(stat(path, &status) == 0 && status.st_size == SIZE, "it has its size");
    ok(status.st_blocks * 512 >= SIZE, "every block of it is allocated");
    is_int(status.st_mode & 0777, 0600, "only its owner may read it");
    is_int(names_in(dir), 1, "the temporary name is gone");
    /* A reserved extent that was never written counts as a hole, unless its pages are cached: so
     * this comes before anything reads them. */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    is_int(lseek(fd, 0, SEEK_HOLE), SIZE, "no extent of it is a hole or unwritten");
    close(fd);
    unsigned long size;
    unsigned char *bytes = scratch_read(path, &size);
    unsigned long zeros = 0;
    while (zeros < size && bytes[zeros] == 0)
        zeros++;
    is_int(zeros, SIZE, "every byte of it is zero");
    free(bytes);
}

static void an_existing_name_is_refused(void)
{
    struct error error = { 0 };
    const char *dir = new_dir("existing");
    file_make_zeroed(dir, "segment", 4096, &error);
    char path[4200], byte = 'x';
    snprintf(path, sizeof path, "%s/segment", dir);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    file_write_at(fd, &byte, 1, 7);
    close(fd);

    is_int(file_make_zeroed(dir, "segment", 8192, &error), -EEXIST, "a taken name is -EEXIST");
    ok(strstr(error.text, path) != NULL, "and the sentence names the file");
    unsigned long size;
    unsigned char *bytes = scratch_read(path, &size);
    ok(size == 4096 && bytes[7] == 'x', "the file that has it is untouched");
    free(bytes);
    is_int(names_in(dir), 1, "nothing else is left");
}

static void what_a_crash_left_is_overwritten(void)
{
    struct error error = { 0 };
    const char *dir = new_dir("crashed");
    file_replace(dir, "segment.tmp", "left by a crash", 15, &error);
    is_int(file_make_zeroed(dir, "segment", 4096, &error), 0,
           "a left temporary file is no hindrance");
    is_int(names_in(dir), 1, "and does not stay");
    char path[4200];
    snprintf(path, sizeof path, "%s/segment", dir);
    unsigned long size;
    unsigned char *bytes = scratch_read(path, &size);
    ok(size == 4096 && bytes[0] == 0, "nor do its bytes");
    free(bytes);
}

static void errors_are_sentences(void)
{
    struct error error = { 0 };
    bool direct;
    is_int(file_make_zeroed("/nowhere/at/all", "x", 4096, &error), -ENOENT,
           "no directory: -ENOENT");
    ok(strstr(error.text, "/nowhere/at/all") != NULL, "with its name in the sentence");
    is_int(file_sync_dir("/nowhere/at/all", &error), -ENOENT, "nor can it be synced");
    is_int(file_open_direct("/nowhere/x", false, &direct, &error), -ENOENT, "nor opened in");
    is_int(file_replace("/nowhere", "x", "y", 1, &error), -ENOENT, "nor replaced in");
    struct file_probe probe;
    is_int(file_probe("/nowhere", &probe, &error), -ENOENT, "nor measured");
    ok(strstr(error.text, "/nowhere") != NULL, "with its name in the sentence");
    char name[16];
    is_int(file_system_name("/nowhere", name, sizeof name), -ENOENT, "nor named");
}

/* A file size limit stands for the full disk: the write fails in the middle. */
static void a_disk_that_refuses_leaves_nothing(void)
{
    struct error error = { 0 };
    const char *dir = new_dir("refuses");
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1024 * 1024;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    int zeroed = file_make_zeroed(dir, "segment", SIZE, &error);
    char *big = calloc(1, SIZE);
    struct error second = { 0 };
    int replaced = file_replace(dir, "config", big, SIZE, &second);
    setrlimit(RLIMIT_FSIZE, &before);
    free(big);
    is_int(zeroed, -EFBIG, "a zeroed file that does not fit is an error");
    ok(strstr(error.text, "segment") != NULL, "that names it: %s", error.text);
    is_int(replaced, -EFBIG, "so is a replacement that does not fit");
    is_int(names_in(dir), 0, "neither leaves a file");
}

static void a_replaced_file_is_old_or_new(void)
{
    struct error error = { 0 };
    const char *dir = new_dir("replaced");
    char path[4200];
    snprintf(path, sizeof path, "%s/CHECKPOINT", dir);
    is_int(file_replace(dir, "CHECKPOINT", "one", 3, &error), 0, "a small file is written");
    int old = open(path, O_RDONLY | O_CLOEXEC);
    is_int(file_replace(dir, "CHECKPOINT", "two!", 4, &error), 0, "and replaced");
    char bytes[8] = "";
    is_int(file_read_at(old, bytes, sizeof bytes, 0), 3, "who had the old one open");
    is_str(bytes, "one", "still reads the old one");
    close(old);
    unsigned long size;
    unsigned char *now = scratch_read(path, &size);
    ok(size == 4 && memcmp(now, "two!", 4) == 0, "who opens it now reads the new one");
    free(now);
    is_int(names_in(dir), 1, "no temporary file is left");
}

static void a_direct_file_reads_in_blocks(void)
{
    struct error error = { 0 };
    bool direct = false;
    const char *dir = new_dir("direct");
    char path[4200];
    snprintf(path, sizeof path, "%s/odd", dir);
    unsigned char *buffer = file_aligned_buffer(3 * FILE_BLOCK_SIZE);
    is_int((uintptr_t)buffer % FILE_BLOCK_SIZE, 0, "a buffer is aligned to the block");
    memset(buffer, 'a', 2 * FILE_BLOCK_SIZE);
    file_replace(dir, "odd", buffer, FILE_BLOCK_SIZE + 100, &error);

    int fd = file_open_direct(path, true, &direct, &error);
    ok(fd >= 0, "a file is opened");
    memset(buffer, 0, 3 * FILE_BLOCK_SIZE);
    is_int(file_read_at(fd, buffer, (size_t)3 * FILE_BLOCK_SIZE, 0), FILE_BLOCK_SIZE + 100,
           "a read past the end gives what there is");
    ok(buffer[FILE_BLOCK_SIZE + 99] == 'a' && buffer[FILE_BLOCK_SIZE + 100] == 0, "and no more");
    is_int(file_read_at(fd, buffer, FILE_BLOCK_SIZE, 8 * FILE_BLOCK_SIZE), 0,
           "a read behind the end gives nothing");
    if (direct)
        is_int(file_write_at(fd, buffer + 1, FILE_BLOCK_SIZE, 0), -EINVAL,
               "O_DIRECT is what it says: a misaligned write is refused");
    else
        tap_skip(1, "no O_DIRECT on the filesystem of %s", dir);
    close(fd);
    is_int(file_read_at(fd, buffer, FILE_BLOCK_SIZE, 0), -EBADF, "a closed descriptor is -EBADF");
    free(buffer);

    fd = file_open_direct(path, false, &direct, &error);
    ok(fcntl(fd, F_GETFD) & FD_CLOEXEC, "no program that we start inherits it");
    is_int(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY, "a reader cannot write");
    close(fd);
}

static void the_probe_measures(void)
{
    struct error error = { 0 };
    struct file_probe probe = { 0 };
    const char *dir = new_dir("probe");
    is_int(file_probe(dir, &probe, &error), 0, "the device is measured");
    ok(probe.dsync_p50_ns > 0, "RWF_DSYNC takes time");
    ok(probe.fdatasync_p50_ns > 0, "fdatasync takes time");
    tap_note("dsync %lu us, fdatasync %lu us", (unsigned long)probe.dsync_p50_ns / 1000,
             (unsigned long)probe.fdatasync_p50_ns / 1000);
    is_int(names_in(dir), 0, "and nothing is left of it");
    char name[32] = "", little[2];
    is_int(file_system_name(dir, name, sizeof name), 0, "the filesystem has a name: %s", name);
    ok(name[0] != '\0', "which is not empty");
    is_int(file_system_name("/proc", name, sizeof name), 0, "an unknown one has one too");
    is_str(name, "0x9fa0", "its number");
    is_int(file_system_name(dir, little, sizeof little), -ENAMETOOLONG, "which must have room");
}

static void a_directory_is_made_durable(void)
{
    struct error error = { 0 };
    const char *dir = new_dir("outer");
    char path[4200], file[4300];
    struct stat status;
    snprintf(path, sizeof path, "%s/inner", dir);
    sync_watch_begin(dir);
    is_int(file_make_dir(path, &error), 0, "a directory is made");
    ok(stat(path, &status) == 0 && (status.st_mode & 07777) == 0700, "for its owner only");
    is_int(sync_watch_count(), 1, "and its name is durable");
    is_int(file_make_dir(path, &error), 0, "one that is there is taken");
    is_int(sync_watch_count(), 2, "and its name is made durable too: its maker may have died");
    snprintf(file, sizeof file, "%s/file", path);
    if (close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0)
        tap_bail_out("cannot make %s", file);
    is_int(file_make_dir(file, &error), -ENOTDIR, "a file is none: %s", error.text);
}

int main(void)
{
    a_zeroed_file_is_written_and_allocated();
    an_existing_name_is_refused();
    what_a_crash_left_is_overwritten();
    errors_are_sentences();
    a_disk_that_refuses_leaves_nothing();
    a_replaced_file_is_old_or_new();
    a_direct_file_reads_in_blocks();
    a_directory_is_made_durable();
    the_probe_measures();
    return tap_done();
}
