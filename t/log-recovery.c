/* log_recover(): where a log ends, and the verdict on what lies behind. The logs are made by hand
 * and then broken. */
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "log/recovery.h"
#include "log/tail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)

static struct log_maker maker;
static const char *dir;
static struct log_recovery got;
static struct error error;

/* A log with OPEN and three frames of five events: 1, 2..6, 7..11, 12..16. */
static void begin(void)
{
    dir = scratch_path("log");
    scratch_remove(dir);
    log_maker_init(&maker, CAPACITY);
    log_maker_open(&maker);
    for (int i = 0; i < 3; i++) {
        maker.durable_seq = maker.next_seq - 1;
        log_maker_frame(&maker, 0, 5, 700);
    }
}

static int recover(void)
{
    log_maker_write(&maker, dir);
    return log_recover(dir, NULL, 0, &got, &error);
}

static void end(void)
{
    log_maker_free(&maker);
    scratch_remove(dir);
}

static bool is_verdict(enum log_verdict verdict, uint64_t last_seq, const char *name)
{
    bool held = ok(got.verdict == verdict && got.last_seq == last_seq, "%s", name);
    if (!held || getenv("TEST_VERBOSE") != NULL)
        tap_note("%s (last event %llu, witness %llu by %s, tail %llu bytes, at most %llu events)",
                 got.reason, (unsigned long long)got.last_seq, (unsigned long long)got.witness_seq,
                 got.witness, (unsigned long long)got.tail_bytes,
                 (unsigned long long)got.events_max);
    return held;
}

static void test_ends(void)
{
    begin();
    is_int(recover(), 0, "a log that ends in zeros is recovered");
    is_verdict(LOG_SOUND, 16, "zeros behind the last frame are a clean end");
    is_int(got.end_offset, maker.offset, "its end is that of the last frame");
    is_int(got.prev_link, maker.link, "the link is the last frame's");
    is_mem(got.chain, maker.chain, SHA256_SIZE, "the chain is the last frame's");
    is_int(got.tail_bytes, 0, "nothing lies behind it");
    is_int(got.last_time_ns, maker.last_time_ns, "the time is that of the last record");
    ok(!got.clean, "without CLOSE it is not a clean stop");
    log_maker_seal(&maker, FRAME_CLOSE);
    recover();
    is_verdict(LOG_SOUND, 17, "CLOSE ends it");
    ok(got.clean, "with CLOSE it is a clean stop");
    end();
}

int main(void)
{
    test_ends();
    return tap_done();
}
