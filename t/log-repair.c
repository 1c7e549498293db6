/* log_repair() on logs that are made by hand. */
#include "log/repair.h"
#include "log/verify.h"
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CAPACITY (8u << 20)
#define FRAMES 1200u /* of a block each: every second one is damaged */

static uint64_t offsets[FRAMES];

/* A whole log of one segment that is full of small frames, and a second one behind it. */
static void make_log(const char *dir)
{
    struct log_maker maker;
    log_maker_init(&maker, CAPACITY);
    (void)log_maker_open(&maker);
    for (unsigned i = 0; i < FRAMES; i++)
        offsets[i] = log_maker_frame(&maker, 0, 1, 100);
    (void)log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, 0);
    (void)log_maker_frame(&maker, 0, 1, 100);
    (void)log_maker_seal(&maker, FRAME_CLOSE);
    log_maker_write(&maker, dir);
    log_maker_free(&maker);
}

static void damage(const char *dir, unsigned first)
{
    char path[4096];
    static const uint8_t junk[64] = { 1, 2, 3 };
    (void)snprintf(path, sizeof path, "%s/seg-0000000001.log", dir);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        tap_bail_out("cannot open %s", path);
    for (unsigned i = first; i < FRAMES; i += 2)
        if (pwrite(fd, junk, sizeof junk, (off_t)offsets[i] + 150) != (ssize_t)sizeof junk)
            tap_bail_out("cannot write %s", path);
    close(fd);
}

static void test_many_places(void)
{
    const char *dir = scratch_path("many"), *copy = scratch_path("copy");
    const char *const copies[] = { copy };
    struct log_repair_options options = { .dir = dir, .copies = copies, .copy_count = 1 };
    struct log_repair_result result;
    struct log_verify_result verified;
    struct error error = { 0 };
    make_log(dir);
    make_log(copy);
    damage(dir, 0);
    damage(copy, 1);
    if (!is_int(log_repair(&options, &result, &error), 0, "a segment of many bad places"))
        tap_note("%s", error.text);
    is_int(result.lost, 0, "is mended in each, from a copy that is damaged elsewhere");
    is_int(result.mended, 1, "and is written");
    const struct log_verify_options verify = { .dir = dir };
    ok(log_verify(&verify, &verified, &error) == 0 && verified.verdict == LOG_SOUND,
       "and it is sound");
}

int main(void)
{
    test_many_places();
    return tap_done();
}
