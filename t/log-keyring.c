/* The keyring: what was made is there, what was destroyed is gone for everybody, and what is not as
 * it was written is said, whatever byte it is. What a crash or a failed call does to it is in
 * t/fault-keys.t. */
#include "log/keyring.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "log/keyring_format.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "tap.h"

static struct error error;

/* In the place of libc's: the next read of a slot gives half of another one, or fails. */
static atomic_int tear_next, fail_next;

ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
    int one = 1;
    if (size == KEYRING_SLOT_SIZE && atomic_compare_exchange_strong(&fail_next, &one, 0)) {
        errno = EIO;
        return -1;
    }
    ssize_t got = syscall(SYS_pread64, fd, buffer, size, offset);
    one = 1;
    if (size == KEYRING_SLOT_SIZE && atomic_compare_exchange_strong(&tear_next, &one, 0))
        memset(buffer, 0, 16);
    return got;
}

/* The locks that were asked for, in order, and the syncs of bytes, while one thread is watched:
 * "EX ", "UN ", "SH ", "sync ". */
static char steps[100];
static bool watching;

static void note_step(const char *step)
{
    size_t used = strlen(steps);
    if (watching)
        (void)snprintf(steps + used, sizeof steps - used, "%s ", step);
}

static void watch(void)
{
    steps[0] = '\0';
    watching = true;
}

static const char *watched(void)
{
    watching = false;
    return steps;
}

int flock(int fd, int operation)
{
    note_step(operation == LOCK_EX ? "EX" : operation == LOCK_SH ? "SH" : "UN");
    return (int)syscall(SYS_flock, fd, operation);
}

int fdatasync(int fd)
{
    note_step("sync");
    return (int)syscall(SYS_fdatasync, fd);
}

/* Keys that can be told: the n-th bytes of eight ever drawn are the number n. */
static void draw_numbers(void *bytes, size_t size, void *context)
{
    uint64_t *next = context;
    for (size_t i = 0; i + 8 <= size; i += 8)
        bytes_put_u64((uint8_t *)bytes + i, ++*next);
}

static struct keyring *open_keyring(const char *dir, enum keyring_mode mode)
{
    static uint64_t next;
    struct keyring *keyring;
    const struct keyring_options options = {
        .dir = dir, .mode = mode, .random = draw_numbers, .random_context = &next
    };
    next = 0;
    if (keyring_open(&keyring, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    return keyring;
}

static struct keyring *make_keyring(const char *name, uint32_t next_id)
{
    struct keyring *keyring = open_keyring(scratch_path(name), KEYRING_WRITE);
    if (keyring_prepare(keyring, next_id, &error) < 0)
        tap_bail_out("%s", error.text);
    return keyring;
}

static const char *path_in(const char *dir, const char *name)
{
    static char path[600];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static bool is_there(const char *dir, const char *name)
{
    struct stat status;
    return lstat(path_in(dir, name), &status) == 0;
}

static void patch(const char *dir, const char *name, uint32_t offset, const void *bytes,
                  size_t size)
{
    int fd = open(path_in(dir, name), O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || pwrite(fd, bytes, size, offset) != (ssize_t)size)
        tap_bail_out("cannot write %s/%s", dir, name);
    close(fd);
}

static void read_bytes(const char *dir, const char *name, uint32_t offset, void *bytes, size_t size)
{
    int fd = open(path_in(dir, name), O_RDONLY);
    if (fd < 0 || syscall(SYS_pread64, fd, bytes, size, (off_t)offset) != (ssize_t)size)
        tap_bail_out("cannot read %s/%s", dir, name);
    close(fd);
}

/* By a reader that has nothing open yet. */
static int get_anew(const char *dir, uint32_t id)
{
    uint8_t key[KEYRING_KEY_SIZE];
    struct keyring *keyring = open_keyring(dir, KEYRING_READ);
    int code = keyring_get(keyring, id, key, &error);
    keyring_close(keyring);
    if (code < 0 && !bytes_are_zero(key, sizeof key))
        return 1;
    return code;
}

#define FIRST "keys-0000000000"
#define SECOND "keys-0000000001"

static void test_making(void)
{
    uint8_t key[KEYRING_KEY_SIZE], slot[KEYRING_SLOT_SIZE];
    struct stat status;
    char dir[500];
    (void)snprintf(dir, sizeof dir, "%s", scratch_path("making"));
    struct keyring *keyring = open_keyring(dir, KEYRING_WRITE);
    ok(stat(dir, &status) == 0 && (status.st_mode & 07777) == 0700,
       "a writer makes the directory, for its owner alone");
    is_int(keyring_get(keyring, 1, key, &error), ERROR_UNAVAILABLE, "no key is there at first");
    patch(dir, FIRST ".tmp", 0, "half", 4);
    patch(dir, "keys-0000000077.tmp", 0, "half", 4);
    patch(dir, "other.tmp", 0, "whole", 5);
    error = (struct error){ 0 };
    is_int(keyring_prepare(keyring, 1, &error), 0, "keys are made");
    ok(error.code == 0 && error.text[0] == '\0', "and nothing is said of files that were missing");
    ok(!is_there(dir, FIRST ".tmp") && !is_there(dir, "keys-0000000077.tmp"),
       "what a crash left goes");
    ok(is_there(dir, "other.tmp"), "what is somebody else's stays");
    ok(stat(path_in(dir, FIRST), &status) == 0 && (status.st_mode & 07777) == 0600 &&
           status.st_size == KEYRING_FILE_SIZE,
       "a file is its owner's alone");
    bool right = true;
    for (uint32_t id = 1; id < 2 * KEYRING_FILE_KEYS; id++) {
        int code = keyring_get(keyring, id, key, &error);
        right = right && code == 0 && bytes_get_u64(key) == (uint64_t)id * 4 + 1 &&
                bytes_get_u64(key + 24) == (uint64_t)id * 4 + 4;
    }
    ok(right, "each key is what was drawn for it, whole, in both files");
    is_int(keyring_get(keyring, 2 * KEYRING_FILE_KEYS, key, &error), ERROR_UNAVAILABLE,
           "there are no more than that");
    is_int(keyring_get(keyring, 0, key, &error), ERROR_NOT_FOUND, "and 0 is none of them");
    is_int(get_anew(dir, 65536), 0, "another reader has them too");
    read_bytes(dir, FIRST, 4096 + 64, slot, sizeof slot);
    keyring_get(keyring, 1, key, &error);
    is_mem(slot, key, sizeof key, "the bytes are where the format says");
    keyring_close(keyring);
}

static void test_going_on(void)
{
    struct stat before, after;
    char dir[500];
    (void)snprintf(dir, sizeof dir, "%s", scratch_path("going-on"));
    struct keyring *keyring = make_keyring("going-on", 1);
    stat(path_in(dir, FIRST), &before);
    is_int(keyring_prepare(keyring, 65535, &error), 0, "while enough are left");
    ok(!is_there(dir, "keys-0000000002"), "no more are made");
    keyring_close(keyring);
    keyring = open_keyring(dir, KEYRING_WRITE);
    is_int(keyring_prepare(keyring, 65537, &error), 0, "a later writer goes on");
    ok(is_there(dir, "keys-0000000002") && !is_there(dir, "keys-0000000003"),
       "with the next file alone");
    stat(path_in(dir, FIRST), &after);
    ok(before.st_ino == after.st_ino && before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
           before.st_mtim.tv_nsec == after.st_mtim.tv_nsec,
       "those that are there stay as they are");
    keyring_close(keyring);
    scratch_remove(dir);

    keyring = make_keyring("going-on", 0xffff0000);
    ok(is_there(dir, "keys-0000065535"), "the last file can be made");
    is_int(get_anew(dir, UINT32_MAX), 0, "with the last key there is");
    is_int(keyring_prepare(keyring, UINT32_MAX, &error), 0, "and there is nothing behind it");
    keyring_close(keyring);
    scratch_remove(dir);
}

static void test_lost_file(void)
{
    uint8_t key[KEYRING_KEY_SIZE];
    char dir[500], away[600];
    (void)snprintf(dir, sizeof dir, "%s", scratch_path("lost"));
    struct keyring *keyring = make_keyring("lost", 1);
    is_int(keyring_get(keyring, 5, key, &error), 0, "(a key is there)");
    (void)snprintf(away, sizeof away, "%s", path_in(dir, "away"));
    scratch_copy(dir, scratch_path("lost-copy"));
    unlink(path_in(dir, FIRST));
    is_int(keyring_get(keyring, 5, key, &error), ERROR_UNAVAILABLE,
           "a file that is removed is missed at once");
    ok(strstr(error.text, dir) != NULL && strstr(error.text, "/" FIRST " is missing") != NULL &&
           strstr(error.text, "put it back") != NULL,
       "by name, with advice");
    is_int(keyring_destroy(keyring, 5, &error), ERROR_UNAVAILABLE,
           "none of its keys is called destroyed");
    keyring_close(keyring);
    keyring = open_keyring(dir, KEYRING_WRITE);
    is_int(keyring_prepare(keyring, 6, &error), ERROR_UNAVAILABLE,
           "keys that were given out are not made anew");
    ok(!is_there(dir, FIRST) && strstr(error.text, FIRST) != NULL, "the file is named instead");
    is_int(rename(scratch_path("lost-copy/" FIRST), path_in(dir, FIRST)), 0, "(a copy is there)");
    is_int(keyring_prepare(keyring, 6, &error), 0, "with a copy of it all is well");
    is_int(keyring_get(keyring, 5, key, &error), 0, "and the key is there again");
    is_int(keyring_get(keyring, 65536, key, &error), 0, "(one of another file)");
    unlink(path_in(dir, SECOND));
    is_int(rename(scratch_path("lost-copy/" SECOND), path_in(dir, SECOND)), 0, "(replaced)");
    is_int(keyring_destroy(keyring, 65536, &error), 0, "a key is destroyed in the copy of a file");
    is_int(keyring_get(keyring, 65536, key, &error), ERROR_NOT_FOUND,
           "and not found in the one before it, which is still open");
    keyring_close(keyring);
    scratch_remove(dir);
    scratch_remove(scratch_path("lost-copy"));
}

static void flip(const char *dir, const char *name, uint32_t offset, uint8_t bits)
{
    uint8_t byte;
    read_bytes(dir, name, offset, &byte, 1);
    byte ^= bits;
    patch(dir, name, offset, &byte, 1);
}

static void test_flips(const char *dir)
{
    unsigned missed = 0;
    for (uint32_t at = 0; at < LOG_BLOCK_SIZE; at++) {
        uint8_t bits = (uint8_t)(1u << at % 8);
        flip(dir, FIRST, at, bits);
        missed += get_anew(dir, 9) != ERROR_DAMAGED || strstr(error.text, "offset 0: ") == NULL ||
                  strstr(error.text, FIRST) == NULL;
        flip(dir, FIRST, at, bits);
    }
    is_int(missed, 0, "each byte of the header is checked, and an error names file and offset");
    uint8_t key[KEYRING_KEY_SIZE];
    struct keyring *keyring = open_keyring(dir, KEYRING_READ);
    const uint32_t ids[] = { 9, 10 }; /* ready and destroyed */
    missed = 0;
    for (unsigned i = 0; i < 2 * KEYRING_SLOT_SIZE * 8; i++) {
        uint32_t id = ids[i % 2], at = keyring_slot_offset(id) + i / 16;
        char place[40];
        (void)snprintf(place, sizeof place, "offset %u: key %u ", keyring_slot_offset(id), id);
        flip(dir, FIRST, at, (uint8_t)(1u << i / 2 % 8));
        missed += keyring_get(keyring, id, key, &error) != ERROR_DAMAGED ||
                  strstr(error.text, place) == NULL || strstr(error.text, FIRST) == NULL ||
                  !bytes_are_zero(key, sizeof key);
        flip(dir, FIRST, at, (uint8_t)(1u << i / 2 % 8));
    }
    is_int(missed, 0, "each bit of a slot is checked, and an error names file and offset");
    is_int(keyring_get(keyring, 9, key, &error), 0, "(the key is as it was)");
    keyring_close(keyring);
}

static void test_identity(void)
{
    uint8_t uuid[UUID_SIZE], other[UUID_SIZE], later[UUID_SIZE];
    char dir[500], pid[32];
    (void)snprintf(dir, sizeof dir, "%s", scratch_path("identity"));
    struct keyring *keyring = open_keyring(dir, KEYRING_WRITE), *second;
    ok(!keyring_uuid(keyring, uuid), "a keyring without files is none yet");
    const struct keyring_options options = { .dir = dir, .mode = KEYRING_WRITE };
    (void)snprintf(pid, sizeof pid, "pid %ld:", (long)getpid());
    is_int(keyring_open(&second, &options, &error), ERROR_LOCKED, "it has one writer");
    ok(strstr(error.text, pid) != NULL, "which is named to another");
    is_int(keyring_prepare(keyring, 1, &error), 0, "(keys are made)");
    ok(keyring_uuid(keyring, uuid), "with its first keys it gets its uuid");
    keyring_close(keyring);
    keyring = open_keyring(dir, KEYRING_WRITE);
    is_int(keyring_prepare(keyring, 65537, &error), 0, "(more are made, by another writer)");
    ok(keyring_uuid(keyring, later) && memcmp(uuid, later, UUID_SIZE) == 0, "and keeps it");
    keyring_close(keyring);
    keyring = make_keyring("another", 65536);
    ok(keyring_uuid(keyring, other) && memcmp(uuid, other, UUID_SIZE) != 0, "another has another");
    keyring_close(keyring);
    char from[500];
    (void)snprintf(from, sizeof from, "%s", path_in(scratch_path("another"), SECOND));
    is_int(rename(from, path_in(dir, SECOND)), 0, "(a file of that one comes into this one)");
    is_int(get_anew(dir, 65536), ERROR_DAMAGED, "a file of another keyring is not used");
    is_int(get_anew(dir, 1), 0, "those of its own are");
    flip(dir, FIRST, 0, 1);
    is_int(unlink(path_in(dir, SECOND)) | unlink(path_in(dir, "keys-0000000002")), 0, "(lost)");
    is_int(keyring_open(&second, &options, &error), ERROR_DAMAGED,
           "where no file says which keyring it is, there is no writer");
    scratch_remove(dir);
    scratch_remove(scratch_path("another"));
}

/* A header with a change that its checksum covers. */
static int get_with_header(const char *dir, uint32_t at, uint32_t value)
{
    uint8_t before[LOG_BLOCK_SIZE], header[LOG_BLOCK_SIZE];
    read_bytes(dir, FIRST, 0, before, sizeof before);
    memcpy(header, before, sizeof header);
    bytes_put_u32(header + at, value);
    bytes_put_u32(header + KEYRING_AT_CRC,
                  crc32c_more(crc32c(header, KEYRING_AT_CRC), header + 16, LOG_BLOCK_SIZE - 16));
    patch(dir, FIRST, 0, header, sizeof header);
    int code = get_anew(dir, 9);
    patch(dir, FIRST, 0, before, sizeof before);
    return code;
}

/* The same for a slot. */
static int get_with_slot(const char *dir, uint32_t at, uint32_t value)
{
    uint8_t before[KEYRING_SLOT_SIZE], slot[4 + KEYRING_SLOT_SIZE], *fields = slot + 4;
    read_bytes(dir, FIRST, keyring_slot_offset(9), before, sizeof before);
    memcpy(fields, before, sizeof before);
    bytes_put_u32(slot, 9);
    bytes_put_u32(fields + at, value);
    bytes_put_u32(fields + KEYRING_SLOT_AT_CRC, crc32c_more(crc32c(slot, 4 + 36), fields + 40, 24));
    patch(dir, FIRST, keyring_slot_offset(9), fields, KEYRING_SLOT_SIZE);
    int code = get_anew(dir, 9);
    patch(dir, FIRST, keyring_slot_offset(9), before, sizeof before);
    return code;
}

static void test_contents(const char *dir)
{
    uint8_t slot[KEYRING_SLOT_SIZE], other[KEYRING_SLOT_SIZE];
    is_int(get_with_header(dir, KEYRING_AT_VERSION, 1), 0, "(a checksum made here is right)");
    is_int(get_with_header(dir, KEYRING_AT_VERSION, 2), ERROR_NEWER,
           "a file of a newer version is told");
    is_int(get_with_header(dir, KEYRING_AT_FIRST_ID, 65536), ERROR_DAMAGED,
           "a file with other keys than its name says is refused");
    is_int(get_with_header(dir, KEYRING_AT_COUNT, 65535), ERROR_DAMAGED, "and one with fewer");
    is_int(get_with_header(dir, KEYRING_END_OF_FIELDS, 1), ERROR_DAMAGED,
           "and one whose reserved bytes are used");
    is_int(get_with_slot(dir, KEYRING_SLOT_AT_STATE, KEYRING_READY), 0,
           "(a checksum made here is right)");
    is_int(get_with_slot(dir, KEYRING_SLOT_AT_STATE, 3), ERROR_DAMAGED, "a state has to be known");
    is_int(get_with_slot(dir, KEYRING_SLOT_AT_STATE, KEYRING_DESTROYED), ERROR_DAMAGED,
           "a key that is destroyed has no bytes left");
    is_int(get_with_slot(dir, KEYRING_SLOT_AT_RESERVED, 1), ERROR_DAMAGED,
           "reserved bytes of a slot are zero");
    read_bytes(dir, FIRST, keyring_slot_offset(9), slot, sizeof slot);
    read_bytes(dir, FIRST, keyring_slot_offset(11), other, sizeof other);
    patch(dir, FIRST, keyring_slot_offset(9), other, sizeof other);
    is_int(get_anew(dir, 9), ERROR_DAMAGED, "a slot in another's place is no key");
    patch(dir, FIRST, keyring_slot_offset(9), slot, sizeof slot);
}

static void test_files(const char *dir)
{
    char copy[500], target[600];
    (void)snprintf(copy, sizeof copy, "%s", scratch_path("files"));
    scratch_copy(dir, copy);
    for (unsigned long size = 0; size <= KEYRING_FILE_SIZE + 64; size += 419840 + 16)
        if (truncate(path_in(copy, SECOND), (off_t)size) < 0 ||
            get_anew(copy, 131071) != ERROR_DAMAGED || strstr(error.text, "bytes long") == NULL)
            ok(false, "a file of %lu bytes is damaged", size);
    uint8_t key[KEYRING_KEY_SIZE];
    struct keyring *keyring = open_keyring(copy, KEYRING_WRITE);
    is_int(keyring_prepare(keyring, 1, &error), ERROR_DAMAGED, "a file that was cut is not used");
    is_int(keyring_destroy(keyring, 131071, &error), ERROR_DAMAGED, "nor written to");
    is_int(keyring_get(keyring, 100, key, &error), 0, "(another is open)");
    if (truncate(path_in(copy, FIRST), 4096 + 100 * 64 + 10) < 0)
        tap_bail_out("cannot cut");
    is_int(keyring_get(keyring, 100, key, &error), ERROR_DAMAGED,
           "one that is cut while it is open is noticed");
    (void)snprintf(target, sizeof target, "%s", path_in(dir, SECOND));
    unlink(path_in(copy, SECOND));
    is_int(symlink(target, path_in(copy, SECOND)), 0, "(a symbolic link)");
    is_int(get_anew(copy, 131071), -ELOOP, "a symbolic link is not followed");
    is_int(keyring_destroy(keyring, 131071, &error), -ELOOP, "nor written through");
    is_int(keyring_prepare(keyring, 65537, &error), -ELOOP, "nor taken for a file of keys");
    unlink(path_in(copy, SECOND));
    is_int(mkfifo(path_in(copy, SECOND), 0600), 0, "(a pipe)");
    is_int(get_anew(copy, 131071), ERROR_DAMAGED, "a pipe is not waited for");
    unlink(path_in(copy, SECOND));
    is_int(mkdir(path_in(copy, SECOND), 0700), 0, "(a directory)");
    is_int(get_anew(copy, 131071), ERROR_DAMAGED, "a directory is no file of keys");
    rmdir(path_in(copy, SECOND));
    keyring_close(keyring);
    scratch_remove(copy);
}

static void test_damage(void)
{
    char dir[500];
    (void)snprintf(dir, sizeof dir, "%s", scratch_path("damage"));
    struct keyring *keyring = make_keyring("damage", 1);
    is_int(keyring_destroy(keyring, 10, &error), 0, "(a key is destroyed)");
    keyring_close(keyring);
    test_flips(dir);
    test_contents(dir);
    test_files(dir);
    scratch_remove(dir);
}

static void test_opening(void)
{
    struct keyring *keyring;
    struct keyring_options options = { .dir = scratch_path("opening"), .mode = KEYRING_READ };
    is_int(keyring_open(&keyring, &options, &error), ERROR_NOT_FOUND,
           "a reader of a directory that is not there is told");
    ok(keyring == NULL && strstr(error.text, "/opening") != NULL, "by its name");
    ok(!is_there(scratch_dir(), "opening"), "and makes none");
    keyring_close(keyring);
    const int modes[] = { 0701, 0710, 0704, 0755, 0770 };
    options.mode = KEYRING_WRITE;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        (void)mkdir(options.dir, 0700);
        chmod(options.dir, (mode_t)modes[i]);
        ok(keyring_open(&keyring, &options, &error) == ERROR_INVALID &&
               strstr(error.text, "chmod 700 ") != NULL,
           "a writer refuses a directory of mode %04o", modes[i]);
    }
    options.mode = KEYRING_READ;
    is_int(keyring_open(&keyring, &options, &error), 0, "which a reader may read");
    keyring_close(keyring);
    rmdir(options.dir);
    patch(scratch_dir(), "opening", 0, "x", 1);
    is_int(keyring_open(&keyring, &options, &error), -ENOTDIR, "a file is no directory of keys");
    options.mode = KEYRING_WRITE;
    is_int(keyring_open(&keyring, &options, &error), -ENOTDIR, "for a writer neither");
    unlink(options.dir);
    options.dir = scratch_path("none/opening");
    is_int(keyring_open(&keyring, &options, &error), -ENOENT, "one directory is made, not two");
}

static int note_marker(uint32_t id, uint64_t stream, void *context, struct error *said)
{
    char *list = context;
    (void)said;
    size_t used = strlen(list);
    (void)snprintf(list + used, 200 - used, "%u:%" PRIu64 " ", id, stream);
    return 0;
}

static const char *markers_of(struct keyring *keyring)
{
    static char list[200];
    list[0] = '\0';
    if (keyring_condemned(keyring, note_marker, list, &error) < 0)
        return error.text;
    return list;
}

static int destroy_each(uint32_t id, uint64_t stream, void *context, struct error *said)
{
    (void)stream;
    return keyring_destroy(context, id, said);
}

static int stop_there(uint32_t id, uint64_t stream, void *context, struct error *said)
{
    (void)id, (void)stream;
    ++*(int *)context;
    return error_set(said, ERROR_CONFLICT, "enough");
}

static void test_erasure(void)
{
    uint8_t key[KEYRING_KEY_SIZE], slot[KEYRING_SLOT_SIZE];
    char dir[500];
    int calls = 0;
    (void)snprintf(dir, sizeof dir, "%s", scratch_path("erasure"));
    struct keyring *keyring = make_keyring("erasure", 1);
    is_str(markers_of(keyring), "", "nothing is condemned at first");
    is_int(keyring_condemn(keyring, 70000, UINT64_MAX, &error), 0, "a key is condemned");
    is_int(keyring_condemn(keyring, 7, 17, &error), 0, "and another");
    is_int(keyring_condemn(keyring, 7, 17, &error), 0, "again");
    is_int(keyring_condemn(keyring, 7, 3, &error), 0, "for another stream, too");
    is_str(markers_of(keyring), "7:3 7:17 70000:18446744073709551615 ", "each is listed once");
    ok(is_there(dir, "erase-7-17"), "as a file");
    is_int(keyring_get(keyring, 7, key, &error), 0, "a key that is condemned can be read");
    patch(dir, "erase-07-17", 0, "", 0);
    patch(dir, "erase-0-17", 0, "", 0);
    patch(dir, "erase-8-17.old", 0, "", 0);
    patch(dir, "erase-4294967297-17", 0, "", 0);
    is_str(markers_of(keyring), "7:3 7:17 70000:18446744073709551615 ", "other names are no such");
    is_int(keyring_condemned(keyring, stop_there, &calls, &error), ERROR_CONFLICT,
           "the list ends where its taker says");
    ok(calls == 1 && strcmp(error.text, "enough") == 0, "with its error");
    is_int(keyring_spare(keyring, 7, 3, &error), 0, "a key is spared");
    is_int(keyring_spare(keyring, 7, 3, &error), 0, "again");
    is_str(markers_of(keyring), "7:17 70000:18446744073709551615 ", "its marker is gone");

    watch();
    is_int(keyring_destroy(keyring, 7, &error), 0, "a key is destroyed");
    is_str(watched(), "EX UN sync ", "synced, without readers waiting for that");
    is_str(markers_of(keyring), "70000:18446744073709551615 ", "and its marker is gone");
    is_int(keyring_get(keyring, 7, key, &error), ERROR_NOT_FOUND, "it is not found then");
    ok(strstr(error.text, "key 7 was destroyed") != NULL && bytes_are_zero(key, sizeof key),
       "and this is said");
    is_int(keyring_get(keyring, 6, key, &error) | keyring_get(keyring, 8, key, &error), 0,
           "those beside it are");
    read_bytes(dir, FIRST, keyring_slot_offset(7), slot, sizeof slot);
    ok(bytes_are_zero(slot, KEYRING_KEY_SIZE), "its bytes are gone from the file");
    watch();
    is_int(keyring_destroy(keyring, 7, &error), 0, "it may be destroyed again");
    is_str(watched(), "EX UN sync ", "which is written and synced again");
    flip(dir, FIRST, keyring_slot_offset(20) + 3, 1);
    is_int(keyring_destroy(keyring, 20, &error), 0, "a damaged one can be destroyed, too");
    is_int(keyring_get(keyring, 20, key, &error), ERROR_NOT_FOUND, "and is");
    is_int(keyring_condemned(keyring, destroy_each, keyring, &error), 0,
           "a start destroys what is left over");
    is_str(markers_of(keyring), "", "and then there is nothing");
    is_int(keyring_get(keyring, 70000, key, &error), ERROR_NOT_FOUND, "but what it destroyed");
    is_int(keyring_condemn(keyring, 0, 1, &error), ERROR_INVALID, "0 cannot be condemned");
    is_int(keyring_destroy(keyring, 0, &error), ERROR_INVALID, "nor destroyed");
    keyring_close(keyring);
    scratch_remove(dir);
}

static void test_two_processes(void)
{
    uint8_t key[KEYRING_KEY_SIZE];
    struct keyring *keyring = make_keyring("two", 1), *reader;
    reader = open_keyring(scratch_path("two"), KEYRING_READ);
    is_int(keyring_get(reader, 40, key, &error), 0, "(a reader has read a key)");
    is_int(keyring_get(keyring, 40, key, &error), 0, "(the writer too)");
    pid_t child = fork();
    if (child == 0)
        _exit(keyring_destroy(keyring, 40, &error) == 0 ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    is_int(status, 0, "(another process destroyed it)");
    is_int(keyring_get(reader, 40, key, &error), ERROR_NOT_FOUND, "it is destroyed for the reader");
    is_int(keyring_get(keyring, 40, key, &error), ERROR_NOT_FOUND, "and for the writer");
    keyring_close(reader);
    keyring_close(keyring);
}

static void test_torn_read(void)
{
    uint8_t key[KEYRING_KEY_SIZE];
    struct keyring *keyring = open_keyring(scratch_path("two"), KEYRING_READ);
    watch();
    tear_next = 1;
    is_int(keyring_get(keyring, 50, key, &error), 0, "a read beside a write is no damage");
    is_str(watched(), "SH ", "it is read again while nobody writes");
    tear_next = 1;
    is_int(keyring_get(keyring, 40, key, &error), ERROR_NOT_FOUND, "nor is one of a destroyed key");
    fail_next = 1;
    is_int(keyring_get(keyring, 50, key, &error), -EIO, "what the disk cannot read is told so");
    ok(strstr(error.text, FIRST) != NULL && bytes_are_zero(key, sizeof key), "with the file");
    keyring_close(keyring);
}

static void test_counts(void)
{
    struct keyring_counts counts;
    char dir[500];
    (void)snprintf(dir, sizeof dir, "%s", scratch_path("counts"));
    struct keyring *keyring = open_keyring(dir, KEYRING_WRITE);
    is_int(keyring_count(keyring, &counts, &error), 0, "nothing can be counted");
    is_mem(&counts, &(struct keyring_counts){ .files = 0 }, sizeof counts, "as nothing");
    if (keyring_prepare(keyring, 1, &error) < 0 || keyring_destroy(keyring, 5, &error) < 0 ||
        keyring_destroy(keyring, 131071, &error) < 0 || keyring_condemn(keyring, 6, 9, &error) < 0)
        tap_bail_out("%s", error.text);
    is_int(keyring_count(keyring, &counts, &error), 0, "all is counted");
    const struct keyring_counts want = {
        .files = 2, .keys = 131071, .destroyed = 2, .condemned = 1
    };
    is_mem(&counts, &want, sizeof counts, "files, keys, those destroyed, and markers");
    tear_next = 1;
    flip(dir, SECOND, keyring_slot_offset(70000), 1);
    flip(dir, SECOND, keyring_slot_offset(80000) + 63, 1);
    is_int(keyring_count(keyring, &counts, &error), ERROR_DAMAGED, "damaged keys are found");
    ok(counts.damaged == 2 && counts.keys == 131071 && strstr(error.text, "key 70000 ") != NULL,
       "all are counted, the first is named");
    unlink(path_in(dir, FIRST));
    is_int(keyring_count(keyring, &counts, &error), ERROR_UNAVAILABLE, "a missing file is found");
    ok(counts.missing == 1 && counts.files == 1 && counts.damaged == 2, "and the rest is counted");
    flip(dir, SECOND, 20, 1);
    keyring_count(keyring, &counts, NULL);
    ok(counts.files == 1 && counts.damaged == 65536, "a file that is none has no whole keys");
    tear_next = 0;
    keyring_close(keyring);
    scratch_remove(dir);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *names = opendir("/proc/self/fd");
    while (names != NULL && readdir(names) != NULL)
        count++;
    closedir(names);
    return count;
}

enum { MANY_FILES = 150 };

/* With holes where nobody reads. */
static void make_many(const char *dir)
{
    uint8_t header[LOG_BLOCK_SIZE], slot[KEYRING_SLOT_SIZE], key[KEYRING_KEY_SIZE] = { 1 };
    static const uint8_t uuid[UUID_SIZE] = { 1 };
    char name[KEYRING_NAME_SIZE];
    (void)mkdir(dir, 0700);
    for (uint32_t file_no = 0; file_no < MANY_FILES; file_no++) {
        uint32_t id = file_no * KEYRING_FILE_KEYS + 1;
        bytes_put_u32(key + 8, id);
        keyring_file_name(name, file_no);
        keyring_header_encode(header, file_no, uuid);
        keyring_slot_encode(slot, id, key);
        patch(dir, name, 0, header, sizeof header);
        patch(dir, name, keyring_slot_offset(id), slot, sizeof slot);
        if (truncate(path_in(dir, name), KEYRING_FILE_SIZE) < 0)
            tap_bail_out("cannot make %s", name);
    }
}

static void test_many_files(void)
{
    uint8_t key[KEYRING_KEY_SIZE];
    make_many(scratch_path("many"));
    struct keyring *keyring = open_keyring(scratch_path("many"), KEYRING_READ);
    unsigned before = open_descriptors();
    bool right = true;
    for (uint32_t i = 0; i < 3 * MANY_FILES; i++) {
        uint32_t id = i * 7 % MANY_FILES * KEYRING_FILE_KEYS + 1;
        int code = keyring_get(keyring, id, key, &error);
        right = right && code == 0 && bytes_get_u32(key + 8) == id;
    }
    ok(right, "keys of many files are read");
    is_int(open_descriptors() - before, 64, "with a bounded number of descriptors");
    keyring_close(keyring);
    scratch_remove(scratch_path("many"));
}

/* Keys are read by threads while others are made and destroyed. */

enum { THREADS = 4, DESTROYED = 600 };

static struct {
    struct keyring *keyring;
    atomic_uint destroyed, begun; /* ids 1 to this one are; ids up to this one may be */
    atomic_bool over;
    atomic_uint wrong, reads;
} race;

static void *read_on(void *context)
{
    uint32_t turn = (uint32_t)(uintptr_t)context;
    struct error said;
    while (!race.over) {
        uint8_t key[KEYRING_KEY_SIZE];
        uint32_t id = 1 + turn++ * 7919 % (2 * DESTROYED);
        if (turn % 16 == 0)
            id += KEYRING_FILE_KEYS;
        unsigned destroyed = race.destroyed;
        int code = keyring_get(race.keyring, id, key, &said);
        bool good = code == 0 && id > destroyed && bytes_get_u64(key) == (uint64_t)id * 4 + 1;
        bool gone = code == ERROR_NOT_FOUND && id <= race.begun;
        race.wrong += !good && !gone;
        race.reads++;
    }
    return NULL;
}

static void test_threads(void)
{
    pthread_t threads[THREADS];
    race.keyring = make_keyring("threads", 1);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, read_on, (void *)(i * 1000)) != 0)
            tap_bail_out("no thread");
    int code = 0;
    for (uint32_t id = 1; id <= DESTROYED && code == 0; id++) {
        race.begun = id;
        code = keyring_destroy(race.keyring, id, &error);
        race.destroyed = id;
        if (id % 200 == 0 && code == 0)
            code = keyring_prepare(race.keyring, id / 200 * KEYRING_FILE_KEYS + 1, &error);
    }
    while (race.reads < 1000)
        sched_yield();
    race.over = true;
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    is_int(code, 0, "keys are made and destroyed while threads read");
    is_int(race.wrong, 0, "each of %u reads gives the key until it is destroyed, and never after",
           race.reads);
    keyring_close(race.keyring);
    scratch_remove(scratch_path("threads"));
}

static void test_own_randomness(void)
{
    uint8_t first[KEYRING_KEY_SIZE], second[KEYRING_KEY_SIZE];
    struct keyring *keyring;
    const struct keyring_options options = { .dir = scratch_path("random"), .mode = KEYRING_WRITE };
    if (keyring_open(&keyring, &options, &error) < 0 || keyring_prepare(keyring, 1, &error) < 0)
        tap_bail_out("%s", error.text);
    is_int(keyring_get(keyring, 1, first, &error) | keyring_get(keyring, 2, second, &error), 0,
           "keys of the system's randomness");
    ok(memcmp(first, second, sizeof first) != 0, "differ");
    keyring_close(keyring);
}

int main(void)
{
    test_opening();
    test_making();
    test_identity();
    test_going_on();
    test_lost_file();
    test_damage();
    test_erasure();
    test_two_processes();
    test_torn_read();
    test_counts();
    test_many_files();
    test_threads();
    test_own_randomness();
    return tap_done();
}
