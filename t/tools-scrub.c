/* What a scrub knows of damage, when one that follows does not come to its end. */
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/scrub.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CAPACITY (256u << 10)

static struct budget budget;
static char *data_dir, *log_dir, *away, *broken;

static void make_log(void)
{
    struct log_maker maker;
    log_maker_init(&maker, CAPACITY);
    for (int segment = 1; segment <= 3; segment++) {
        log_maker_open(&maker);
        for (int i = 0; i < 4; i++) {
            log_maker_frame(&maker, 0, 3, 900);
            maker.durable_seq = maker.next_seq - 1;
        }
        if (segment < 3)
            log_maker_seal(&maker, FRAME_SEAL);
        log_maker_write(&maker, log_dir);
        if (segment < 3)
            log_maker_next(&maker, 0);
    }
    log_maker_free(&maker);
}

static void flip_byte(const char *path, off_t offset)
{
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, &byte, 1, offset) != 1)
        tap_bail_out("cannot read %s", path);
    byte ^= 4;
    if (pwrite(fd, &byte, 1, offset) != 1 || close(fd) != 0)
        tap_bail_out("cannot write %s", path);
}

static struct scrub *begin(void)
{
    struct scrub *scrub;
    struct error error;
    struct scrub_options options = { .data_dir = data_dir, .log_dir = log_dir, .budget = &budget };
    if (scrub_open(&scrub, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    return scrub;
}

static void read_through(struct scrub *scrub, struct scrub_report *report)
{
    (void)scrub_begin(scrub);
    do {
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        scrub_report_get(scrub, report);
    } while (report->under_way);
}

static void trouble_forgets_nothing(void)
{
    static struct scrub_report report;
    static char sentence[600];
    (void)mkdir(data_dir, 0700);
    make_log();
    struct scrub *scrub = begin();
    read_through(scrub, &report);
    ok(report.trouble.code == 0 && report.damage_count == 0, "a sound log is read through: %s",
       report.damages[0].sentence);
    flip_byte(broken, 13100);
    read_through(scrub, &report);
    is_int(report.damage_count, 1, "damage is found");
    rename(log_dir, away);
    read_through(scrub, &report);
    ok(report.trouble.code < 0, "one that cannot read the log says so: %s", report.trouble.text);
    is_int(report.damage_count, 1, "and what was known of it stays known");
    ok(strcmp(report.damages[0].file, "seg-0000000002.log") == 0, "in its place");
    ok(scrub_is_degraded(scrub, sentence, sizeof sentence), "the agent stays degraded: %s",
       sentence);
    read_through(scrub, &report);
    is_int(report.damage_count, 1, "also when that happens again");
    scrub_close(scrub);
    scrub = begin();
    scrub_report_get(scrub, &report);
    is_int(report.damage_count, 1, "and over a restart");
    rename(away, log_dir);
    read_through(scrub, &report);
    ok(report.trouble.code == 0 && report.damage_count == 1, "it is found again, once");
    flip_byte(broken, 13100);
    read_through(scrub, &report);
    is_int(report.damage_count, 0, "and gone when it was mended");
    scrub_close(scrub);
}

int main(void)
{
    budget_init(&budget, 1u << 28);
    data_dir = strdup(scratch_path("data"));
    log_dir = strdup(scratch_path("data/log"));
    away = strdup(scratch_path("away"));
    broken = strdup(scratch_path("data/log/seg-0000000002.log"));
    trouble_forgets_nothing();
    free(data_dir);
    free(log_dir);
    free(away);
    free(broken);
    return tap_done();
}
