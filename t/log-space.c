/* How much room the log has: when a state begins and ends, what a filesystem's size makes of the
 * limits, and the ballast's real blocks. */
#include "log/ballast.h"
#include "log/space.h"
#include "log/storage.h"
#include "scratch.h"
#include "tap.h"

#include "core/base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MB (1ull << 20)

static const struct space_limits limits = { 1000 * MB, 200 * MB, 50 * MB };

/* With the ballast in place. */
static enum space_state next(enum space_state now, uint64_t free_mb)
{
    struct space_look look = { .free_bytes = free_mb * MB, .ballast_bytes = 50 * MB, .spares = 2 };
    return space_next(now, &limits, &look);
}

static void states(void)
{
    is_int(next(SPACE_OK, 1000), SPACE_OK, "with as much as the limit it is ok");
    is_int(next(SPACE_OK, 999), SPACE_LOW, "with less it is low");
    is_int(next(SPACE_OK, 199), SPACE_CRITICAL, "with much less it is critical at once");
    is_int(next(SPACE_LOW, 1249), SPACE_LOW, "it stays low until there is a quarter more");
    is_int(next(SPACE_LOW, 1250), SPACE_OK, "and then is ok");
    is_int(next(SPACE_CRITICAL, 249), SPACE_CRITICAL, "so with critical");
    is_int(next(SPACE_CRITICAL, 250), SPACE_LOW, "which leads to low");
    is_int(next(SPACE_CRITICAL, 1249), SPACE_LOW, "as long as there is not enough for ok");
    is_int(next(SPACE_CRITICAL, 5000), SPACE_OK, "or to ok at once");
}

static void spares(void)
{
    struct space_look look = { .free_bytes = 5000 * MB, .ballast_bytes = 50 * MB, .spares = 1 };
    look.refused = true;
    is_int(space_next(SPACE_OK, &limits, &look), SPACE_CRITICAL,
           "whatever is free, without room for a spare it is critical: a quota, perhaps");
    look.spares = 0;
    is_int(space_next(SPACE_CRITICAL, &limits, &look), SPACE_FULL,
           "and without a spare it is full");
    look.refused = false;
    is_int(space_next(SPACE_FULL, &limits, &look), SPACE_OK, "which ends as it began");
    look.free_bytes = 1 * MB;
    is_int(space_next(SPACE_FULL, &limits, &look), SPACE_CRITICAL, "step by step");
}

/* The ballast is given up at critical, and made again behind it. */
static void ballast_changes_nothing(void)
{
    struct space_look look = { .free_bytes = 199 * MB, .ballast_bytes = 50 * MB, .spares = 2 };
    enum space_state state = space_next(SPACE_LOW, &limits, &look);
    is_int(state, SPACE_CRITICAL, "with the ballast it is critical");
    look.free_bytes += look.ballast_bytes;
    look.ballast_bytes = 0;
    is_int(space_next(state, &limits, &look), SPACE_CRITICAL, "without it, it still is");
    is_int((intmax_t)(space_bytes_to_leave(state, &limits, &look) / MB), 300,
           "what has to be free then has room for it");
    look.free_bytes = space_bytes_to_leave(state, &limits, &look);
    state = space_next(state, &limits, &look);
    is_int(state, SPACE_LOW, "with that it is left");
    look.free_bytes -= 50 * MB;
    look.ballast_bytes = 50 * MB;
    is_int(space_next(state, &limits, &look), SPACE_LOW, "and stays so when the ballast is back");
    is_int(space_next(state, &limits, &look), SPACE_LOW, "for good");
}

/* Whatever the numbers: with more room it is never worse, and what is free may move by a tenth
 * without a change. */
static void never_worse(void)
{
    bool worse = false, flaps = false;
    for (int now = SPACE_OK; now <= SPACE_FULL; now++)
        for (uint64_t free_mb = 0; free_mb < 2000; free_mb += 7) {
            enum space_state state = next((enum space_state)now, free_mb);
            worse = worse || next((enum space_state)now, free_mb + 7) > state;
            flaps = flaps || (next(state, free_mb * 11 / 10) != state &&
                              next(next(state, free_mb * 11 / 10), free_mb) == state);
        }
    ok(!worse, "more room is never worse");
    ok(!flaps, "no state comes and goes with a tenth");
}

static void limits_follow_the_size(void)
{
    struct space_limits wish = { 1024 * MB, 256 * MB, 256 * MB };
    struct space_limits got = space_limits_for(&wish, 1000000 * MB, 64 * MB);
    ok(got.low_bytes == wish.low_bytes && got.critical_bytes == wish.critical_bytes &&
           got.ballast_bytes == wish.ballast_bytes,
       "a large filesystem gets what is wished for");
    got = space_limits_for(&wish, 4000 * MB, MB);
    ok(got.low_bytes == 400 * MB && got.critical_bytes == 100 * MB && got.ballast_bytes == 40 * MB,
       "a small one its part");
    got = space_limits_for(&wish, 1000 * MB, 64 * MB);
    ok(got.low_bytes == 256 * MB && got.critical_bytes == 128 * MB,
       "but there is always room for segments");
}

static void ballast(void)
{
    const char *dir = scratch_path("ballast");
    char path[300];
    struct error error = { 0 };
    struct stat status;
    mkdir(dir, 0700);
    snprintf(path, sizeof path, "%s/%s", dir, LOG_BALLAST_NAME);
    is_int(ballast_release(dir, &error), 0, "where there is none, none is given up");
    is_int(ballast_make(dir, 3 * MB + 5, &error), 0, "a ballast is made: %s", error.text);
    ok(stat(path, &status) == 0 && status.st_size == 3 * MB, "of whole blocks");
    ok(ballast_bytes(dir) >= 3 * MB, "which are there");
    is_int(ballast_make(dir, MB, &error), 0, "another takes its place");
    ok(ballast_bytes(dir) >= MB && ballast_bytes(dir) < 2 * MB, "with its size");
    is_int(ballast_release(dir, &error), 1, "it is given up");
    is_int((intmax_t)ballast_bytes(dir), 0, "and gone");
    ok(ballast_make(dir, 1ull << 55, &error) < 0 && access(path, F_OK) < 0,
       "one that does not fit leaves nothing: %s", error.text);
}

/* Whoever looks whether it is there must find what was made: else it is made anew for ever. */
static void the_ballast_wished_for_can_be_made(void)
{
    static const uint64_t odd[] = { 3 * MB + 5, 5000000, 4097, 4095, 1, 0 };
    const char *dir = scratch_path("ballast");
    bool there = true;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct space_limits wish = { .ballast_bytes = odd[i] };
        struct space_limits got = space_limits_for(&wish, 1000000 * MB, MB);
        struct error error = { 0 };
        there = there && ballast_make(dir, got.ballast_bytes, &error) == 0 &&
                ballast_bytes(dir) >= got.ballast_bytes && got.ballast_bytes + 4096 > odd[i] &&
                ballast_release(dir, &error) >= 0;
    }
    ok(there, "what is wished for is what can be made, whatever its size");
    struct space_limits part = space_limits_for(&limits, 2000 * MB + 12345, MB);
    is_int(part.ballast_bytes % 4096, 0, "as is a part of a small filesystem");
}

static void record(void)
{
    uint8_t bytes[SPACE_SIZE];
    struct storage_space in = { SPACE_LOW, SPACE_CRITICAL, 1, 2, 3, 4 }, out;
    struct text text;
    storage_space_encode(bytes, &in);
    is_int(storage_space_decode(span_of(bytes, sizeof bytes), &out), 0, "storage.space comes back");
    ok(memcmp(&in, &out, sizeof in) == 0, "with all its fields");
    text_init(&text);
    text_json_open_object(&text, NULL);
    is_int(storage_to_json(LOG_KIND_SPACE, span_of(bytes, sizeof bytes), &text), 0, "as JSON too");
    text_json_close_object(&text);
    is_str(text_string(&text),
           "{\"state\":\"critical\",\"before\":\"low\",\"free_bytes\":1,\"total_bytes\":2,"
           "\"ballast_bytes\":3,\"spares\":4}",
           "which says it");
    text_free(&text);
    is_int(storage_space_decode(span_of(bytes, sizeof bytes - 1), &out), ERROR_DAMAGED,
           "one that is too short is refused");
    bytes[SPACE_AT_STATE] = 4;
    is_int(storage_space_decode(span_of(bytes, sizeof bytes), &out), ERROR_DAMAGED,
           "so is an unknown state");
}

int main(void)
{
    states();
    spares();
    ballast_changes_nothing();
    never_worse();
    limits_follow_the_size();
    ballast();
    the_ballast_wished_for_can_be_made();
    record();
    return tap_done();
}
