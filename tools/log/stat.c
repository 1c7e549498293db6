/* daa-log stat. */
#include "log/frame.h"
#include "log/lineage.h"
#include "log/storage.h"
#include "tools/log/beginning.h"
#include "tools/log/log.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define KINDS 65536
#define OPENINGS_SHOWN 1000
#define GROUPS 20 /* of frames, by records: 1, 2 to 3, 4 to 7, ... */

struct kind_count {
    uint64_t events, bytes;
};

struct opening {
    uint64_t seq, time_ns, tail_bytes, events_max;
    uint32_t epoch;
    uint16_t verdict;
    bool clean; /* the one before it ended with CLOSE */
};

struct statistics {
    struct kind_count *kinds; /* KINDS of them */
    struct opening *openings; /* the last OPENINGS_SHOWN */
    uint64_t opening_count, crashes;
    uint64_t events, payload_bytes, frames, frame_bytes, segments;
    uint64_t first_seq, last_seq, first_ns, last_ns;
    uint64_t groups[GROUPS], group_max;
    uint64_t files, file_bytes, disk_bytes;
    bool live, closed;
    uint64_t skipped;
    struct log_lineage lineage;

    struct beginning beginning;
    enum beginning_state begins;

    /* The frame under way. */
    uint64_t segment_no, frame_offset, frame_records, frame_body;
};

static unsigned long long big(uint64_t number)
{
    return number;
}

static void end_frame(struct statistics *s)
{
    unsigned group = 0;
    if (s->frame_records == 0)
        return;
    while (group + 1 < GROUPS && s->frame_records >> (group + 1) != 0)
        group++;
    s->groups[group]++;
    s->frames++;
    s->frame_bytes += (uint64_t)frame_block_count(s->frame_body) * LOG_BLOCK_SIZE;
    if (s->frame_records > s->group_max)
        s->group_max = s->frame_records;
    s->frame_records = s->frame_body = 0;
}

static void count_opening(struct statistics *s, const struct record *record)
{
    struct storage_opened opened;
    if (storage_opened_decode(record->payload, &opened) < 0)
        return;
    bool clean = s->closed || opened.prev_segment_no == 0;
    s->openings[s->opening_count++ % OPENINGS_SHOWN] =
        (struct opening){ .seq = record->seq,
                          .time_ns = record->time_ns,
                          .tail_bytes = opened.tail_bytes,
                          .events_max = opened.events_max,
                          .epoch = opened.epoch,
                          .verdict = opened.verdict,
                          .clean = clean };
    s->crashes += !clean;
}

static void count_record(struct statistics *s, const struct record *record,
                         const struct log_place *place)
{
    if (place->segment_no != s->segment_no || place->frame_offset != s->frame_offset)
        end_frame(s);
    s->segments += place->segment_no != s->segment_no;
    s->segment_no = place->segment_no;
    s->frame_offset = place->frame_offset;
    s->frame_records++;
    s->frame_body += record_size(record->payload.size);
    s->kinds[record->kind].events++;
    s->kinds[record->kind].bytes += record->payload.size;
    s->events++;
    s->payload_bytes += record->payload.size;
    if (s->first_seq == 0) {
        s->first_seq = record->seq;
        s->first_ns = record->time_ns;
    }
    s->last_seq = record->seq;
    s->last_ns = record->time_ns;
    if (record->kind == LOG_KIND_OPENED)
        count_opening(s, record);
    s->closed = record->kind == LOG_KIND_CLOSED;
    beginning_note(&s->beginning, record);
}

static void count_files(struct statistics *s, const char *dir)
{
    char path[PATH_MAX + NAME_MAX + 8];
    struct stat status;
    snprintf(path, sizeof path, "%s/log", dir);
    bool inner = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    DIR *names = opendir(inner ? path : dir);
    struct dirent *entry;
    while (names != NULL && (entry = readdir(names)) != NULL) {
        snprintf(path, sizeof path, "%s/%s%s", dir, inner ? "log/" : "", entry->d_name);
        if (stat(path, &status) < 0 || !S_ISREG(status.st_mode))
            continue;
        s->files++;
        s->file_bytes += (uint64_t)status.st_size;
        s->disk_bytes += (uint64_t)status.st_blocks * 512;
    }
    if (names != NULL)
        closedir(names);
}

static const char *time_text(uint64_t time_ns)
{
    static char text[2][32];
    static int turn;
    char *target = text[turn++ % 2];
    time_t seconds = (time_t)(time_ns / 1000000000u);
    struct tm tm;
    strftime(target, sizeof text[0], "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
    return target;
}

static void print_openings(const struct statistics *s)
{
    uint64_t first = s->opening_count > OPENINGS_SHOWN ? s->opening_count - OPENINGS_SHOWN : 0;
    printf("\nopened %llu times, %llu of them after a crash\n", big(s->opening_count),
           big(s->crashes));
    for (uint64_t i = first; i < s->opening_count; i++) {
        const struct opening *opening = &s->openings[i % OPENINGS_SHOWN];
        printf("  epoch %-4u event %-10llu %s  %s", opening->epoch, big(opening->seq),
               time_text(opening->time_ns),
               opening->clean ? "after a clean stop or as a new log" : "after a crash");
        if (!opening->clean)
            printf(", its end %s", log_verdict_name(opening->verdict));
        if (opening->tail_bytes > 0)
            printf(": %llu bytes left out, at most %llu events", big(opening->tail_bytes),
                   big(opening->events_max));
        putchar('\n');
    }
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static void print_beginning(const struct statistics *s)
{
    struct text text;
    text_init(&text);
    beginning_describe(&s->beginning, s->begins, s->first_seq, &text);
    if (s->begins != BEGINNING_WHOLE)
        printf("beginning  %s\n", text_string(&text));
    text_free(&text);
}

static void print_names(const struct log_lineage *lineage)
{
    char uuid[UUID_TEXT_SIZE];
    if (lineage->count == 0)
        return;
    uuid_to_text(uuid, lineage->names[lineage->count - 1].log_uuid);
    printf("log        %s\n", uuid);
    for (size_t i = lineage->count; i-- > 0;) {
        const struct log_name *name = &lineage->names[i];
        if (!name->forked)
            continue;
        uuid_to_text(uuid, name->parent_uuid);
        printf("forked     from %s behind event %llu\n", uuid, big(name->parent_seq));
    }
    printf("format     %u.%u", LOG_VERSION_MAJOR, lineage->minor_min);
    if (lineage->minor_max != lineage->minor_min)
        printf(" to %u.%u", LOG_VERSION_MAJOR, lineage->minor_max);
    printf(", events of schema %u at most\n", lineage->event_schema);
}

static void print_text(const struct statistics *s)
{
    print_names(&s->lineage);
    printf("events     %llu, %llu to %llu%s\n", big(s->events), big(s->first_seq), big(s->last_seq),
           s->live ? ", a writer is running" : "");
    print_beginning(s);
    printf("time       %s to %s\n", time_text(s->first_ns), time_text(s->last_ns));
    printf("payload    %llu bytes\n", big(s->payload_bytes));
    printf("frames     %llu, %llu bytes; %.1f %% is headers and padding\n", big(s->frames),
           big(s->frame_bytes), percent(s->frame_bytes - s->payload_bytes, s->frame_bytes));
    printf("segments   %llu with events\n", big(s->segments));
    printf("disk       %llu files, %llu bytes, %llu of them allocated\n", big(s->files),
           big(s->file_bytes), big(s->disk_bytes));
    if (s->skipped > 0)
        printf("damage     %llu ranges left out: run daa-log verify\n", big(s->skipped));
    printf("\n%-28s %12s %16s\n", "kind", "events", "payload bytes");
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (s->kinds[kind].events > 0)
            printf("%-28s %12llu %16llu\n", kind_name((uint16_t)kind), big(s->kinds[kind].events),
                   big(s->kinds[kind].bytes));
    printf("\nevents in a frame (group commit), at most %llu\n", big(s->group_max));
    for (unsigned group = 0; group < GROUPS; group++)
        if (s->groups[group] > 0)
            printf("  %8llu and more %12llu frames\n", 1ull << group, big(s->groups[group]));
    print_openings(s);
}

static void json_kinds(const struct statistics *s, struct text *text)
{
    text_json_open_object(text, "kinds");
    for (unsigned kind = 0; kind < KINDS; kind++) {
        if (s->kinds[kind].events == 0)
            continue;
        text_json_open_object(text, kind_name((uint16_t)kind));
        text_json_unsigned(text, "events", s->kinds[kind].events);
        text_json_unsigned(text, "payload_bytes", s->kinds[kind].bytes);
        text_json_close_object(text);
    }
    text_json_close_object(text);
    text_json_open_object(text, "events_in_frame");
    for (unsigned group = 0; group < GROUPS; group++) {
        char key[24];
        snprintf(key, sizeof key, "%llu", 1ull << group);
        if (s->groups[group] > 0)
            text_json_unsigned(text, key, s->groups[group]);
    }
    text_json_close_object(text);
}

static void json_openings(const struct statistics *s, struct text *text)
{
    uint64_t first = s->opening_count > OPENINGS_SHOWN ? s->opening_count - OPENINGS_SHOWN : 0;
    text_json_open_array(text, "openings");
    for (uint64_t i = first; i < s->opening_count; i++) {
        const struct opening *opening = &s->openings[i % OPENINGS_SHOWN];
        text_json_open_object(text, NULL);
        text_json_unsigned(text, "epoch", opening->epoch);
        text_json_unsigned(text, "seq", opening->seq);
        text_json_time(text, "time", opening->time_ns);
        text_json_bool(text, "clean", opening->clean);
        text_json_cstring(text, "verdict", log_verdict_name(opening->verdict));
        text_json_unsigned(text, "tail_bytes", opening->tail_bytes);
        text_json_unsigned(text, "events_max", opening->events_max);
        text_json_close_object(text);
    }
    text_json_close_array(text);
}

static void json_format(struct text *text, const char *key, uint16_t minor)
{
    char version[16];
    snprintf(version, sizeof version, "%u.%u", LOG_VERSION_MAJOR, minor);
    text_json_cstring(text, key, version);
}

static void json_names(const struct log_lineage *lineage, struct text *text)
{
    char uuid[UUID_TEXT_SIZE];
    if (lineage->count > 0) {
        uuid_to_text(uuid, lineage->names[lineage->count - 1].log_uuid);
        text_json_cstring(text, "log", uuid);
        json_format(text, "format_min", lineage->minor_min);
        json_format(text, "format_max", lineage->minor_max);
        text_json_unsigned(text, "event_schema", lineage->event_schema);
    }
    text_json_open_array(text, "forks");
    for (size_t i = 0; i < lineage->count; i++) {
        const struct log_name *name = &lineage->names[i];
        if (!name->forked)
            continue;
        text_json_open_object(text, NULL);
        uuid_to_text(uuid, name->log_uuid);
        text_json_cstring(text, "log", uuid);
        uuid_to_text(uuid, name->parent_uuid);
        text_json_cstring(text, "parent", uuid);
        text_json_unsigned(text, "parent_seq", name->parent_seq);
        text_json_close_object(text);
    }
    text_json_close_array(text);
}

static void print_json(const struct statistics *s)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_unsigned(&text, "events", s->events);
    text_json_unsigned(&text, "first_seq", s->first_seq);
    text_json_unsigned(&text, "last_seq", s->last_seq);
    text_json_time(&text, "first_time", s->first_ns);
    text_json_time(&text, "last_time", s->last_ns);
    text_json_unsigned(&text, "payload_bytes", s->payload_bytes);
    text_json_unsigned(&text, "frames", s->frames);
    text_json_unsigned(&text, "frame_bytes", s->frame_bytes);
    text_json_unsigned(&text, "segments", s->segments);
    text_json_unsigned(&text, "files", s->files);
    text_json_unsigned(&text, "file_bytes", s->file_bytes);
    text_json_unsigned(&text, "disk_bytes", s->disk_bytes);
    text_json_unsigned(&text, "crashes", s->crashes);
    text_json_unsigned(&text, "skipped", s->skipped);
    text_json_bool(&text, "live", s->live);
    beginning_to_json(&s->beginning, s->begins, s->first_seq, &text);
    json_names(&s->lineage, &text);
    json_kinds(s, &text);
    json_openings(s, &text);
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

static int count_all(struct statistics *s, const struct command *command, const char *dir)
{
    struct log_reader *reader = open_reader(command, dir, true);
    struct record record;
    struct log_place place;
    struct error error;
    if (reader == NULL)
        return COMMAND_FAILED;
    int code = log_lineage_read(&s->lineage, dir, &error);
    if (code < 0) {
        log_reader_close(reader);
        return command_failed_error(command, &error);
    }
    s->live = log_reader_live(reader);
    uint64_t end = log_reader_durable_seq(reader);
    while ((code = log_reader_next(reader, &record, &place, &error)) == 1 ||
           code == ERROR_NOT_FOUND) {
        if (code == ERROR_NOT_FOUND) { /* removed meanwhile */
            (void)log_reader_seek(reader, log_reader_first_seq(reader), &error);
            continue;
        }
        count_record(s, &record, &place);
        if (record.seq >= end)
            break; /* a live log may grow for ever */
    }
    end_frame(s);
    s->skipped = log_reader_skipped(reader);
    log_reader_close(reader);
    return code < 0 ? command_failed_error(command, &error) : COMMAND_GOOD;
}

int log_stat(int argc, char **argv)
{
    bool json = false;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &json, "print one JSON object" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log stat",
        .purpose = "Count what a log holds: events by kind, frames, openings and crashes, disk.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    struct statistics statistics = { .kinds = calloc(KINDS, sizeof *statistics.kinds),
                                     .openings =
                                         calloc(OPENINGS_SHOWN, sizeof *statistics.openings) };
    if (statistics.kinds == NULL || statistics.openings == NULL)
        status = command_failed(&command, "no memory");
    else
        status = count_all(&statistics, &command, argv[first]);
    if (status == COMMAND_GOOD) {
        count_files(&statistics, argv[first]);
        statistics.begins =
            beginning_state(&statistics.beginning, statistics.first_seq, argv[first]);
        begin_paging(json);
        if (json)
            print_json(&statistics);
        else
            print_text(&statistics);
        status = statistics.skipped > 0 ? COMMAND_FAILED : COMMAND_GOOD;
    }
    log_lineage_free(&statistics.lineage);
    free(statistics.kinds);
    free(statistics.openings);
    return status;
}
