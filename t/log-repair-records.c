/* Frames that are built anew out of their records: with their headers and without, one and several,
 * and nothing where the chain says otherwise. */
#include "core/base/bytes.h"
#include "log/repair.h"
#include "log/verify.h"
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CAPACITY (1u << 20)
enum { SEGMENTS = 3, FRAMES_MAX = 128, RECORDS_MAX = 2048 };

/* A log as it was written, and where everything of it stands. */
static struct made {
    uint8_t *segments[SEGMENTS];
    uint64_t frames[SEGMENTS][FRAMES_MAX], ends[SEGMENTS][FRAMES_MAX];
    unsigned frame_count[SEGMENTS];
    struct span records[RECORDS_MAX];
    uint64_t last_seq;
} made;

/* What the callback does. */
static struct {
    uint64_t known, changed, asked;
    int fails;
    uint8_t buffer[1 << 20];
} other;

static void note_frame(unsigned segment, const uint8_t *bytes, uint64_t offset)
{
    struct frame_header frame;
    struct record record;
    uint32_t at = 0, before = 0;
    if (frame_header_decode(bytes + offset, &frame) < 0)
        tap_bail_out("a made frame does not decode");
    for (; frame_next_record(bytes + offset, &frame, &at, &record); before = at)
        made.records[record.seq] =
            span_of(bytes + offset + FRAME_HEADER_SIZE + before, at - before);
    made.last_seq = frame_last_seq(&frame);
    made.frames[segment][made.frame_count[segment]] = offset;
    made.ends[segment][made.frame_count[segment]++] =
        offset + (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
}

/* Keeps the segment under way as it is. */
static void keep_segment(const struct log_maker *maker, unsigned segment)
{
    struct frame_header frame;
    uint8_t *bytes = malloc(CAPACITY);
    if (bytes == NULL)
        tap_bail_out("no memory");
    memcpy(bytes, maker->bytes, CAPACITY);
    made.segments[segment] = bytes;
    for (uint64_t at = LOG_BLOCK_SIZE; at < maker->offset;
         at += (uint64_t)frame.block_count * LOG_BLOCK_SIZE) {
        note_frame(segment, bytes, at);
        (void)frame_header_decode(bytes + at, &frame);
    }
}

/* As the writer would: it knows of the end of the frame before the last one. */
static void add_frames(struct log_maker *maker, unsigned count)
{
    uint64_t before = maker->next_seq - 1;
    for (unsigned i = 0; i < count; i++) {
        uint64_t end = maker->next_seq - 1;
        maker->durable_seq = i % 5 == 0 ? end : before;
        (void)log_maker_frame(maker, 0, 1 + i % 7, 60 + i * 37 % 900);
        before = end;
    }
    maker->durable_seq = maker->next_seq - 1;
}

static void add_run(struct log_maker *maker)
{
    (void)log_maker_frame(maker, FRAME_TXN | FRAME_TXN_BEGIN, 3, 500);
    (void)log_maker_frame(maker, FRAME_TXN, 2, 700);
    (void)log_maker_frame(maker, FRAME_TXN | FRAME_TXN_END, 1, 100);
    maker->durable_seq = maker->next_seq - 1;
}

/* A segment that is sealed, one that ended in a crash, and the newest, which CHECKPOINT knows. */
static const char *make_log(const char *name)
{
    const char *dir = scratch_path(name);
    struct log_maker maker;
    bool first = made.last_seq == 0;
    log_maker_init(&maker, CAPACITY);
    for (unsigned i = 0; i < SEGMENTS; i++) {
        (void)log_maker_open(&maker);
        maker.durable_seq = maker.next_seq - 1;
        add_frames(&maker, 20);
        add_run(&maker);
        add_frames(&maker, 10);
        if (i == 0)
            (void)log_maker_seal(&maker, FRAME_SEAL);
        log_maker_write(&maker, dir);
        if (first)
            keep_segment(&maker, i);
        if (i == SEGMENTS - 1)
            log_maker_write_checkpoint(&maker, dir, maker.next_seq - 1);
        else
            log_maker_next(&maker, 1);
    }
    log_maker_free(&maker);
    return dir;
}

/*--- Damage ------------------------------------------------------------------------------------*/

static void path_of(char path[4096], const char *dir, unsigned segment)
{
    (void)snprintf(path, 4096, "%s/seg-%010u.log", dir, segment + 1);
}

static void spoil(const char *dir, unsigned segment, uint64_t from, uint64_t end, int with)
{
    static uint8_t bytes[CAPACITY];
    char path[4096];
    path_of(path, dir, segment);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    for (uint64_t i = 0; i < end - from; i++)
        bytes[i] = (uint8_t)(with == 0 ? 0 : with + (int)(i * 7 % 13));
    if (fd < 0 || pwrite(fd, bytes, end - from, (off_t)from) != (ssize_t)(end - from))
        tap_bail_out("cannot write %s", path);
    close(fd);
}

static bool is_as_made(const char *dir, unsigned segment)
{
    static uint8_t bytes[CAPACITY];
    char path[4096];
    path_of(path, dir, segment);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool same = fd >= 0 && read(fd, bytes, CAPACITY) == (ssize_t)CAPACITY &&
                memcmp(bytes, made.segments[segment], CAPACITY) == 0;
    if (fd >= 0)
        close(fd);
    return same;
}

/*--- The other place ---------------------------------------------------------------------------*/

static int give_record(void *context, const uint8_t log_uuid[UUID_SIZE], uint64_t seq,
                       struct span *record, struct error *error)
{
    struct record changed;
    size_t size;
    (void)context;
    other.asked++;
    if (memcmp(log_uuid, "a log by hand...", UUID_SIZE) != 0)
        return error_set(error, ERROR_NOT_FOUND, "it has no such log");
    if (other.fails != 0)
        return error_set(error, other.fails, "the line is dead");
    if (seq > other.known || seq > made.last_seq)
        return error_set(error, ERROR_NOT_FOUND, "it has no event %llu", (unsigned long long)seq);
    *record = made.records[seq];
    if (seq != other.changed)
        return 0;
    (void)record_decode(*record, &changed, &size);
    changed.cause++;
    record_encode(other.buffer, &changed);
    *record = span_of(other.buffer, size);
    return 0;
}

static int give_last_seq(void *context, const uint8_t log_uuid[UUID_SIZE], uint64_t *seq,
                         struct error *error)
{
    (void)context;
    (void)log_uuid;
    (void)error;
    *seq = other.known < made.last_seq ? other.known : made.last_seq;
    return 0;
}

static char last_text[512];
static unsigned built;

static void note_step(const struct log_repair_step *step, void *context)
{
    (void)context;
    built += step->kind == LOG_REPAIR_BUILD;
    (void)snprintf(last_text, sizeof last_text, "%s", step->text);
}

static int mend(const char *dir, struct log_repair_result *result, struct error *error)
{
    static const struct log_repair_records records = { .name = "the other place",
                                                       .record = give_record,
                                                       .last_seq = give_last_seq };
    const struct log_repair_options options = { .dir = dir,
                                                .records = &records,
                                                .step = note_step };
    built = 0;
    last_text[0] = '\0';
    other.asked = 0;
    return log_repair(&options, result, error);
}

static void all_known(void)
{
    other.known = UINT64_MAX;
    other.changed = 0;
    other.fails = 0;
}

/*--- Claims ------------------------------------------------------------------------------------*/

static bool is_mended(const char *dir, unsigned segment, const char *name)
{
    struct log_repair_result result;
    struct error error = { 0 };
    int code = mend(dir, &result, &error);
    bool good = ok(code == 0 && result.lost == 0 && built > 0, "%s: it is built anew", name);
    if (!good)
        tap_note("%d %s %s", code, error.text, last_text);
    return ok(is_as_made(dir, segment), "%s: as it was, bit by bit", name) && good;
}

/* A place of frames first to last, of which bytes are spoiled, counted from the first one; `to` 0:
 * all of them. */
struct damage {
    const char *name;
    unsigned segment, first, last;
    uint64_t from, to;
    int with;
};

static void test_damage(void)
{
    static const struct damage cases[] = {
        { "a payload", 0, 4, 4, 200, 230, 'x' },
        { "a record's header", 0, 6, 6, 130, 190, 'x' },
        { "a size of a record", 0, 6, 6, 128, 136, 0 },
        { "a frame's header", 0, 5, 5, 8, 96, 'x' },
        { "a frame's header with its chain", 0, 5, 5, 0, 128, 'x' },
        { "header and records", 0, 7, 7, 0, 0, 'x' },
        { "the same, zero", 1, 7, 7, 0, 0, 0 },
        { "the first frame of all", 0, 0, 0, 0, 0, 'x' },
        { "the first frame of a segment", 1, 0, 0, 0, 0, 0 },
        { "two frames", 1, 5, 6, 0, 0, 0 },
        { "six frames of a sealed segment", 0, 8, 13, 0, 0, 0 },
        { "three frames of one that ended in a crash", 1, 8, 10, 0, 0, 'y' },
        { "frames of a command", 0, 21, 23, 0, 0, 0 },
        { "the first of them", 1, 21, 21, 0, 0, 0 },
        { "the last of them", 1, 23, 23, 0, 0, 0 },
        { "the last frame of a crash", 1, 33, 33, 0, 0, 0 },
        { "the last two of the newest", 2, 32, 33, 0, 0, 'z' },
        { "half of a sealed segment", 0, 4, 20, 0, 0, 0 },
        { "the seal", 0, 34, 34, 0, 0, 0 },
        { "the seal and two before it", 0, 32, 34, 0, 0, 'z' },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct damage *one = &cases[i];
        char name[32];
        (void)snprintf(name, sizeof name, "damage-%zu", i);
        const char *dir = make_log(name);
        uint64_t at = made.frames[one->segment][one->first];
        uint64_t end = one->to == 0 ? made.ends[one->segment][one->last] : at + one->to;
        all_known();
        spoil(dir, one->segment, at + one->from, end, one->with);
        (void)is_mended(dir, one->segment, one->name);
    }
}

static void test_padding(void)
{
    const char *dir = make_log("padding");
    uint64_t end = made.ends[1][3];
    all_known();
    spoil(dir, 1, end - 40, end, 'p');
    (void)is_mended(dir, 1, "padding");
    is_int(other.asked, 0, "whose records are whole: none is asked for");
}

static void test_neighbours(void)
{
    const char *dir = make_log("neighbours");
    all_known();
    spoil(dir, 0, made.frames[0][9], made.frames[0][9] + 300, 'x'); /* no header, and behind */
    spoil(dir, 0, made.frames[0][10] + 130, made.ends[0][10], 'x'); /* a header alone */
    spoil(dir, 0, made.frames[0][12] + 200, made.ends[0][12], 'x'); /* and another place */
    spoil(dir, 1, made.frames[1][2], made.frames[1][2] + 128, 0);
    (void)is_mended(dir, 0, "frames side by side, each damaged otherwise");
    ok(is_as_made(dir, 1), "and the next segment in the same run");
}

/* Nothing is written, and it is said why. */
static void is_refused(const char *dir, unsigned segment, const char *why, const char *name)
{
    struct log_repair_result result;
    struct error error = { 0 };
    char path[4096];
    struct stat before, after;
    path_of(path, dir, segment);
    (void)stat(path, &before);
    int code = mend(dir, &result, &error);
    (void)stat(path, &after);
    ok(code == 0 && result.lost == 1 && built == 0, "%s: it stays lost", name);
    ok(before.st_ino == after.st_ino, "%s: and as it is", name);
    if (!ok(strstr(last_text, why) != NULL, "%s: which is said", name))
        tap_note("%s", last_text);
}

static void test_refusals(void)
{
    struct frame_header frame;
    all_known();
    const char *dir = make_log("changed");
    (void)frame_header_decode(made.segments[0] + made.frames[0][6], &frame);
    other.changed = frame.first_seq;
    spoil(dir, 0, made.frames[0][6] + 128, made.ends[0][6], 'x');
    is_refused(dir, 0, "are not those that were written here", "a record that was changed there");
    dir = make_log("changed-bare");
    spoil(dir, 0, made.frames[0][6], made.ends[0][6], 0);
    is_refused(dir, 0, "do not give the chain", "the same without a header");
    all_known();
    other.known = frame.first_seq;
    dir = make_log("behind");
    spoil(dir, 0, made.frames[0][8], made.ends[0][8], 0);
    is_refused(dir, 0, "it has no event", "records that are not there yet");
    other.known = UINT64_MAX;
    dir = make_log("no-witness");
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/CHECKPOINT", dir);
    (void)unlink(path);
    spoil(dir, 2, made.frames[2][33], made.ends[2][33], 0);
    is_refused(dir, 2, "nothing that is whole says", "an end of which nothing here knows");
}

static void test_failure(void)
{
    const char *dir = make_log("failure");
    struct log_repair_result result;
    struct error error = { 0 };
    all_known();
    other.fails = ERROR_UNAVAILABLE;
    spoil(dir, 0, made.frames[0][6] + 128, made.ends[0][6], 'x');
    is_int(mend(dir, &result, &error), ERROR_UNAVAILABLE, "a place that fails ends the repair");
    ok(strstr(error.text, "the line is dead") != NULL, "with its own words");
    all_known();
    (void)is_mended(dir, 0, "which goes on when it is back");
}

/* The chain of the frame's own place is enough, where its neighbours are gone for good. */
static void test_own_chain(void)
{
    const char *dir = make_log("own-chain");
    char path[4096];
    all_known();
    (void)snprintf(path, sizeof path, "%s/CHECKPOINT", dir);
    (void)unlink(path);
    spoil(dir, 2, made.frames[2][33] + 8, made.frames[2][33] + 60, 'x');
    (void)is_mended(dir, 2, "a last frame whose chain still stands there");
}

int main(void)
{
    test_damage();
    test_padding();
    test_neighbours();
    test_refusals();
    test_failure();
    test_own_chain();
    for (unsigned i = 0; i < SEGMENTS; i++)
        free(made.segments[i]);
    return tap_done();
}
