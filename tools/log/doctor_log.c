/* The log in the directory: what it has ready, and what its newest opening chose. */
#include "log/ballast.h"
#include "log/directory.h"
#include "log/format.h"
#include "log/reader.h"
#include "log/second.h"
#include "log/storage.h"
#include "tools/log/doctor.h"
#include "tools/log/words.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define SPARES_WANTED 2u
#define FREE_SEGMENTS_MIN 16u /* below it the disk is all but full */

/* What is known from the headers. */
struct seen {
    struct directory directory;
    struct source probe;
    ptrdiff_t newest; /* begun; -1: none */
    struct segment_header header;
    uint64_t spares;
    uint64_t second, second_spares; /* in the second directory, in all and spares */
    struct error missing;           /* one of them is not there */
    char second_file[PATH_MAX];     /* one of them */
};

static unsigned long long big(uint64_t number)
{
    return number;
}

static void find_newest(struct seen *seen)
{
    struct error what;
    seen->newest = (ptrdiff_t)seen->directory.count - 1;
    for (; seen->newest >= 0; seen->newest--) {
        int state = directory_segment(&seen->directory, (size_t)seen->newest, &seen->probe,
                                      &seen->header, &what);
        bool linked = directory_is_linked(&seen->directory, (size_t)seen->newest);
        if (state == SEGMENT_BEGUN)
            return;
        seen->spares += state == SEGMENT_SPARE && !linked;
        seen->second_spares += state == SEGMENT_SPARE && linked;
    }
}

static void find_second(struct seen *seen)
{
    struct source source = { .fd = -1 };
    for (size_t i = 0; i < seen->directory.count; i++) {
        char name[LOG_SEGMENT_NAME_SIZE];
        struct segment_header header;
        struct error what = { 0 };
        if (!directory_is_linked(&seen->directory, i))
            continue;
        segment_name(name, seen->directory.segments[i]);
        seen->second += second_target(seen->directory.path, name, seen->second_file) == 1;
        if (directory_segment(&seen->directory, i, &source, &header, &what) == -ENXIO)
            seen->missing = what;
    }
    source_close(&source);
}

/* What a log writes there says that it has one: the configuration is the agent's. */
static void see_second(struct findings *findings, struct seen *seen)
{
    struct stat own, other;
    find_second(seen);
    findings_number(findings, "segments", seen->second);
    findings_number(findings, "spares", seen->second_spares);
    char *slash = strrchr(seen->second_file, '/');
    if (slash != NULL)
        *slash = '\0';
    findings_text(findings, "directory", slash != NULL ? seen->second_file : NULL);
    if (seen->missing.code < 0)
        findings_add(findings, FINDING_PROBLEM, "second-directory",
                     "mount the device before the agent starts", "%s", seen->missing.text);
    else if (seen->second == 0)
        findings_add(findings, FINDING_NOTE, "second-directory",
                     "[log] second_dir on another device lets the log go on when this one stalls",
                     "there is none");
    else if (stat(seen->directory.path, &own) == 0 && stat(seen->second_file, &other) == 0 &&
             own.st_dev == other.st_dev)
        findings_add(findings, FINDING_WARNING, "second-directory", "choose one on another device",
                     "%s is on the device of the log", seen->second_file);
    else
        findings_add(findings, FINDING_OK, "second-directory", NULL,
                     "%s holds %llu segments of the log, %llu of them filled ahead of time",
                     seen->second_file, big(seen->second), big(seen->second_spares));
}

/* The first segment of the newest one's epoch, in which its opening stands. Epochs only grow. */
static uint64_t opening_seq(struct seen *seen)
{
    ptrdiff_t low = 0, high = seen->newest;
    struct segment_header header, first = seen->header;
    struct error ignored;
    while (low < high) {
        ptrdiff_t middle = low + (high - low) / 2;
        if (directory_segment(&seen->directory, (size_t)middle, &seen->probe, &header, &ignored) !=
            SEGMENT_BEGUN)
            return 0;
        if (header.epoch == seen->header.epoch) {
            first = header;
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return first.first_seq;
}

static void tell_opening(struct findings *findings, const struct record *record)
{
    struct storage_opened opened;
    char time[WORDS_SIZE];
    if (record->kind != LOG_KIND_OPENED || storage_opened_decode(record->payload, &opened) < 0)
        return;
    const char *engine = opened.engine == 1 ? "ring" : opened.engine == 2 ? "plain" : "another";
    const char *sync = opened.sync_mode == 1 ? "dsync" : "fdatasync";
    findings_number(findings, "seq", record->seq);
    findings_number(findings, "epoch", opened.epoch);
    findings_text(findings, "sync", sync);
    findings_text(findings, "engine", engine);
    findings_add(findings, opened.engine == 2 ? FINDING_NOTE : FINDING_OK, "opening",
                 opened.engine == 2 ? "see io_uring above, and [log] engine in the configuration"
                                    : NULL,
                 "epoch %u (event %llu, %s) uses %s through the %s engine", opened.epoch,
                 big(record->seq), words_of_time(time, record->time_ns),
                 opened.sync_mode == 1 ? "RWF_DSYNC" : "write and fdatasync", engine);
}

static void see_opening(struct findings *findings, struct seen *seen)
{
    struct log_reader *reader;
    struct record record;
    struct error error;
    uint64_t seq = opening_seq(seen);
    struct log_reader_options options = { .dir = seen->directory.path };
    if (seq == 0 || log_reader_open(&reader, &options, &error) < 0)
        return;
    if (log_reader_get(reader, seq, &record, NULL, &error) == 1)
        tell_opening(findings, &record);
    log_reader_close(reader);
}

static void see_spares(struct findings *findings, struct seen *seen)
{
    bool live = directory_writer(&seen->directory) != 0;
    bool few = live && seen->spares < SPARES_WANTED;
    findings_number(findings, "spares", seen->spares);
    findings_add(findings, few ? FINDING_WARNING : FINDING_OK, "spares",
                 few ? "look again in a moment; if it stays so, the writer says on stderr and in "
                       "/status why it cannot make one, mostly for want of space"
                     : NULL,
                 "%llu segments are filled ahead of time%s", big(seen->spares),
                 live ? ", and a writer runs" : "");
}

static void see_ballast(struct findings *findings, const struct seen *seen)
{
    char words[WORDS_SIZE];
    uint64_t bytes = ballast_bytes(seen->directory.path);
    findings_number(findings, "bytes", bytes);
    if (bytes > 0)
        findings_add(findings, FINDING_OK, "ballast", NULL,
                     "%s are set aside for the day when the disk is full",
                     words_of_bytes(words, bytes));
    else
        findings_add(findings, FINDING_NOTE, "ballast",
                     "an agent makes it when it starts, where there is room ([log] ballast)",
                     "nothing is set aside for the day when the disk is full");
}

static void see_space(struct findings *findings, const char *dir, uint64_t capacity,
                      uint64_t spares)
{
    struct statvfs status;
    char free_words[WORDS_SIZE], all_words[WORDS_SIZE];
    if (statvfs(dir, &status) < 0)
        return;
    uint64_t unit = status.f_frsize;
    uint64_t free_bytes = status.f_bavail * unit, all_bytes = status.f_blocks * unit;
    uint64_t segments = free_bytes / capacity;
    findings_number(findings, "free", free_bytes);
    findings_number(findings, "size", all_bytes);
    findings_number(findings, "segments", segments);
    enum finding_level level = segments + spares < SPARES_WANTED ? FINDING_PROBLEM
                               : segments < FREE_SEGMENTS_MIN    ? FINDING_WARNING
                                                                 : FINDING_OK;
    findings_add(findings, level, "space",
                 level == FINDING_OK ? NULL
                                     : "make room, or give [retention] a limit, before the log "
                                       "cannot be written",
                 "%s of %s are free, room for %llu more segments",
                 words_of_bytes(free_words, free_bytes), words_of_bytes(all_words, all_bytes),
                 big(segments));
}

void doctor_log(struct findings *findings, const char *dir)
{
    struct seen seen = { .probe = { .fd = -1 } };
    struct error error;
    if (directory_open(&seen.directory, dir, &error) < 0) {
        findings_add(findings, FINDING_PROBLEM, "log", NULL, "%s", error.text);
        return;
    }
    find_newest(&seen);
    if (seen.newest < 0) {
        findings_add(findings, FINDING_NOTE, "log", NULL, "there is no log in %s yet", dir);
        see_space(findings, dir, LOG_SEGMENT_SIZE, seen.spares);
    } else {
        see_spares(findings, &seen);
        see_second(findings, &seen);
        see_ballast(findings, &seen);
        see_space(findings, dir, seen.header.capacity, seen.spares);
        see_opening(findings, &seen);
    }
    source_close(&seen.probe);
    directory_close(&seen.directory);
}
