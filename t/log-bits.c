/* Every bit of every kind of file of a log, flipped: each is found. The figure is printed.
 *
 * All bits with TEST_EXHAUSTIVE=1 (`make check-all`, minutes, on all processors), else a sample
 * whose seed is printed. The logs are as small as they can be, and lie in memory where there is
 * such a filesystem, since every case reads all of one.
 *
 * What a flipped bit does not damage, and is asserted:
 *   PLACE  a hint. It counts as none then, so that a copy is not known for one.
 *   FORK   a wish. That it is there counts still: the log goes on under a new uuid.
 * LOCK, ballast, `image` and the markers of a keyring hold no bytes that count. Readers' files and
 * RESTORED are text without a checksum: they say what may be removed and where a log begins, and no
 * event depends on them. */
#include "log/fork.h"
#include "log/keyring_format.h"
#include "log/manifest.h"
#include "log/place.h"
#include "log/sealing.h"
#include "log/verify.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "log_backups.h"
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY LOG_SEGMENT_SIZE_MIN
#define PATH_SIZE 4400

enum {
    WORKERS_MAX = 8,
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    SAMPLE = 300, /* bits of each file */
#else
    SAMPLE = 3000,
#endif
};

static bool exhaustive;
static unsigned seed;
static struct error error;
static uint64_t all_flipped, all_found;

/* True if the flipped bit in a file of `dir` is found. */
typedef bool find_flip(const char *dir);

static bool verify_finds(const char *dir)
{
    struct log_verify_options options = { .dir = dir };
    struct log_verify_result result;
    return log_verify(&options, &result, &error) < 0 || result.verdict != LOG_SOUND;
}

static bool manifest_is_refused(const char *dir)
{
    struct manifest manifest;
    manifest_init(&manifest);
    int code = manifest_read(&manifest, dir, &error);
    manifest_free(&manifest);
    return code < 0;
}

static bool place_is_no_hint(const char *dir)
{
    static const struct segment_header nobody;
    return !place_is_moved(dir, &nobody);
}

static bool wish_is_for_anything(const char *dir)
{
    struct fork_wish wish;
    return fork_read(dir, &wish, &error) == 0 && wish.exists && !wish.bound;
}

/*--- Each bit of a file ------------------------------------------------------------------------*/

struct tally {
    uint64_t flipped, found, first_missed; /* a bit; valid when fewer are found */
};

static uint64_t next_bit(unsigned *state, uint64_t bit, uint64_t bits, unsigned workers)
{
    uint64_t step = exhaustive || bits <= SAMPLE ? 1 : bits / SAMPLE;
    if (step > 1)
        step = 1 + ((uint64_t)(unsigned)rand_r(state) << 16 ^ (unsigned)rand_r(state)) % (2 * step);
    return bit + step * workers;
}

/* Ends the process when it cannot say: a bit that was not flipped was not found either, and a file
 * that is refused when it is whole again was not refused for its bits. */
static struct tally flip_bits(const char *dir, const char *name, unsigned worker, unsigned workers,
                              find_flip *find)
{
    char path[PATH_SIZE + 64];
    unsigned long size;
    unsigned state = seed + worker;
    struct tally tally = { 0 };
    snprintf(path, sizeof path, "%s/%s", dir, name);
    uint8_t *bytes = scratch_read(path, &size);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    for (uint64_t bit = worker; bit < size * 8; bit = next_bit(&state, bit, size * 8, workers)) {
        uint8_t flipped = bytes[bit / 8] ^ (uint8_t)(1u << bit % 8);
        if (pwrite(fd, &flipped, 1, (off_t)(bit / 8)) != 1)
            _exit(1);
        bool found = find(dir);
        if (!found && tally.found == tally.flipped)
            tally.first_missed = bit;
        tally.found += found;
        tally.flipped++;
        if (pwrite(fd, bytes + bit / 8, 1, (off_t)(bit / 8)) != 1)
            _exit(1);
    }
    if (find(dir))
        _exit(1);
    free(bytes);
    close(fd);
    return tally;
}

/* Each worker flips its share of the bits in a copy of its own. */
static void start_worker(const char *dir, const char *name, unsigned worker, unsigned workers,
                         find_flip *find, int to)
{
    char copy[PATH_SIZE];
    snprintf(copy, sizeof copy, "%s.%u", dir, worker);
    scratch_remove(copy);
    scratch_copy(dir, copy);
    if (fork() != 0)
        return;
    struct tally tally = flip_bits(copy, name, worker, workers, find);
    _exit(write(to, &tally, sizeof tally) != sizeof tally);
}

static void add(const char *what, uint64_t flipped, uint64_t found)
{
    ok(flipped > 0 && found == flipped, "%s: %llu of %llu flipped bits detected", what,
       (unsigned long long)found, (unsigned long long)flipped);
    all_flipped += flipped;
    all_found += found;
}

static void flip_file(const char *what, const char *dir, const char *name, find_flip *find)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned workers = processors < 1             ? 1
                       : processors > WORKERS_MAX ? WORKERS_MAX
                                                  : (unsigned)processors;
    int ends[2];
    struct tally sum = { 0 }, one;
    ok(!find(dir), "%s: %s is whole", what, name);
    if (pipe(ends) < 0)
        tap_bail_out("no pipe");
    fflush(stdout);
    for (unsigned i = 0; i < workers; i++)
        start_worker(dir, name, i, workers, find, ends[1]);
    close(ends[1]);
    unsigned answers = 0;
    for (; read(ends[0], &one, sizeof one) == sizeof one; answers++) {
        if (one.found < one.flipped)
            tap_note("bit %llu of byte %llu of %s is missed",
                     (unsigned long long)one.first_missed % 8,
                     (unsigned long long)one.first_missed / 8, name);
        sum.flipped += one.flipped;
        sum.found += one.found;
    }
    close(ends[0]);
    while (wait(NULL) > 0)
        continue;
    is_int(answers, workers, "%s: every worker came to its end", what);
    add(what, sum.flipped, sum.found);
}

/*--- The files ---------------------------------------------------------------------------------*/

static const char *new_dir(const char *name)
{
    static char paths[8][PATH_SIZE];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, PATH_SIZE, "%s/%s", scratch_memory_dir(), name);
    return path;
}

static void begin(struct log_maker *maker)
{
    log_maker_init(maker, CAPACITY);
    log_maker_open(maker);
    log_maker_frame(maker, 0, 3, 20);
    log_maker_frame(maker, FRAME_TXN | FRAME_TXN_BEGIN, 2, 1500);
    log_maker_frame(maker, FRAME_TXN | FRAME_TXN_END, 1, 40);
    maker->durable_seq = maker->next_seq - 1;
}

static void raw_segments(void)
{
    struct log_maker maker;
    const char *dir = new_dir("closed");
    begin(&maker);
    log_maker_seal(&maker, FRAME_CLOSE);
    log_maker_write(&maker, dir);
    log_maker_write_checkpoint(&maker, dir, maker.next_seq - 1);
    flip_file("a segment with CLOSE", dir, "seg-0000000001.log", verify_finds);
    flip_file("CHECKPOINT", dir, "CHECKPOINT", verify_finds);
    log_maker_write_spare(dir, 2, CAPACITY);
    flip_file("a spare", dir, "seg-0000000002.log", verify_finds);
    log_maker_free(&maker);

    dir = new_dir("crashed");
    begin(&maker);
    log_maker_write(&maker, dir);
    flip_file("a segment of a crash", dir, "seg-0000000001.log", verify_finds);
    log_maker_free(&maker);
}

static void sealed_segment(void)
{
    struct log_maker maker;
    struct directory directory;
    const char *dir = new_dir("sealed");
    begin(&maker);
    log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, 0);
    log_maker_frame(&maker, 0, 1, 0);
    log_maker_seal(&maker, FRAME_CLOSE);
    log_maker_write(&maker, dir);
    log_maker_free(&maker);
    if (directory_open(&directory, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    struct sealing sealing = { .directory = &directory };
    is_int(sealing_segment(&sealing, 0, &error), 1, "a segment is sealed");
    directory_close(&directory);
    flip_file("a sealed segment", dir, "seg-0000000001.zlog", verify_finds);
}

static void backup_and_hints(void)
{
    struct log_backup_result result;
    struct fork_wish wish = { .bound = true, .why = "a test wants it" };
    const char *dir = new_dir("log"), *backup = new_dir("backup"), *copy = new_dir("copy");
    log_backups_go_on(dir, 3);
    if (log_backups_make(dir, backup, 0, &result) < 0)
        tap_bail_out("%s", log_backups_error.text);
    flip_file("BACKUP", backup, MANIFEST_NAME, manifest_is_refused);
    scratch_copy(dir, copy); /* another LOCK */
    flip_file("PLACE, which counts as none then,", copy, LOG_PLACE_NAME, place_is_no_hint);
    memset(wish.from, 0x5a, sizeof wish.from);
    if (fork_write(copy, &wish, &error) < 0)
        tap_bail_out("%s", error.text);
    flip_file("FORK, which is a wish all the same,", copy, LOG_FORK_NAME, wish_is_for_anything);
}

/*--- Keys --------------------------------------------------------------------------------------*/

static void some_bytes(void *bytes, size_t size, void *context)
{
    (void)context;
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)rand_r(&seed);
}

static void flip_header(uint8_t *bytes)
{
    uint64_t found = 0, flipped = 0;
    uint8_t uuid[UUID_SIZE];
    const char *what;
    is_int(keyring_header_decode(bytes, 0, uuid, &what), 0, "its header is whole");
    for (uint32_t bit = 0; bit < LOG_BLOCK_SIZE * 8; bit++, flipped++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        found += keyring_header_decode(bytes, 0, uuid, &what) < 0;
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    add("the header of a file of keys", flipped, found);
}

static void flip_slots(uint8_t *bytes)
{
    uint64_t found = 0, flipped = 0, whole = 0, slots = 0;
    uint32_t step = exhaustive ? 1 : 1 + (unsigned)rand_r(&seed) % 61;
    for (uint32_t id = 0; id < KEYRING_FILE_KEYS; id += id < 3 ? 1 : step, slots++) {
        uint8_t *slot = bytes + keyring_slot_offset(id);
        whole += keyring_slot_decode(slot, id) ==
                 (id == 0 || id == 2 ? KEYRING_DESTROYED : KEYRING_READY);
        for (uint32_t bit = 0; bit < KEYRING_SLOT_SIZE * 8; bit++, flipped++) {
            slot[bit / 8] ^= (uint8_t)(1u << bit % 8);
            found += keyring_slot_decode(slot, id) == ERROR_DAMAGED;
            slot[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    is_int(whole, slots, "all keys are what they are");
    add("the slots of a file of keys", flipped, found);
}

static void keys(void)
{
    char path[PATH_SIZE];
    const char *dir = scratch_path("keys");
    unsigned long size;
    struct keyring *keyring;
    struct keyring_options options = { .dir = dir, .mode = KEYRING_WRITE, .random = some_bytes };
    if (keyring_open(&keyring, &options, &error) < 0 || keyring_prepare(keyring, 1, &error) < 0 ||
        keyring_destroy(keyring, 2, &error) < 0)
        tap_bail_out("%s", error.text);
    keyring_close(keyring);
    snprintf(path, sizeof path, "%s/keys-0000000000", dir);
    uint8_t *bytes = scratch_read(path, &size);
    if (!is_int(size, KEYRING_FILE_SIZE, "a file of keys"))
        tap_bail_out("no keys");
    flip_header(bytes);
    flip_slots(bytes);
    free(bytes);
}

int main(void)
{
    const char *text = getenv("TEST_SEED");
    seed = text != NULL ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
    exhaustive = getenv("TEST_EXHAUSTIVE") != NULL;
    /* Buffers come and go with every case; fresh pages for each would take most of the time. */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    tap_note("TEST_SEED=%u%s", seed, exhaustive ? ", every bit" : "");
    raw_segments();
    sealed_segment();
    backup_and_hints();
    keys();
    tap_note("%llu of %llu flipped bits detected", (unsigned long long)all_found,
             (unsigned long long)all_flipped);
    return tap_done();
}
