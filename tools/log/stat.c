/* daa-log stat. */
#include "core/event/private.h"
#include "log/format.h"
#include "log/storage.h"
#include "tools/command/progress.h"
#include "tools/log/listing.h"
#include "tools/log/statistics.h"
#include "tools/log/words.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define TOP_SHOWN 5
#define BAR_WIDTH 30

#define MEMORY_MAX (64u << 20) /* to unpack one event */

struct stat_run {
    struct statistics statistics;
    struct progress progress;
    struct decryption keys;
    struct budget budget;
    struct arena arena;
};

static unsigned long long big(uint64_t number)
{
    return number;
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

static void print_openings(const struct statistics *s)
{
    char time[WORDS_SIZE];
    uint64_t first = s->opening_count > OPENINGS_SHOWN ? s->opening_count - OPENINGS_SHOWN : 0;
    printf("\nopened %llu times, %llu of them after a crash\n", big(s->opening_count),
           big(s->crashes));
    for (uint64_t i = first; i < s->opening_count; i++) {
        const struct opening *opening = &s->openings[i % OPENINGS_SHOWN];
        printf("  epoch %-4u event %-10llu %s  %s", opening->epoch, big(opening->seq),
               words_of_time(time, opening->time_ns),
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

/* "########" for the share of `part` in `most`. */
static const char *bar_of(uint64_t part, uint64_t most)
{
    static const char full[] = "##############################";
    uint64_t width = most == 0 ? 0 : (part * BAR_WIDTH + most - 1) / most;
    return full + BAR_WIDTH - (width > BAR_WIDTH ? BAR_WIDTH : width);
}

typedef const char *words_function(char text[WORDS_SIZE], uint64_t value);

static const char *words_of_number(char text[WORDS_SIZE], uint64_t number)
{
    snprintf(text, WORDS_SIZE, "%llu", big(number));
    return text;
}

/* One line a group, from the first to the last that has any. */
static void print_spread(const char *title, const struct spread *spread, words_function *words)
{
    char least[WORDS_SIZE], most[WORDS_SIZE], mean[WORDS_SIZE];
    uint64_t largest = 0;
    unsigned first = SPREAD_GROUPS, last = 0;
    for (unsigned group = 0; group < SPREAD_GROUPS; group++)
        if (spread->groups[group] > 0) {
            first = first < group ? first : group;
            last = group;
            largest = spread->groups[group] > largest ? spread->groups[group] : largest;
        }
    if (spread->count == 0)
        return;
    printf("\n%s, %s on average, at most %s\n", title, words(mean, spread->sum / spread->count),
           words(most, spread->max));
    for (unsigned group = first; group <= last; group++)
        printf("  %10s and more %12llu  %s\n", words(least, spread_least(group)),
               big(spread->groups[group]), bar_of(spread->groups[group], largest));
}

static void print_rate(const struct rate *rate)
{
    static const char levels[] = "▁▂▃▄▅▆▇█"; /* three bytes each */
    char width[WORDS_SIZE];
    uint64_t most = 0;
    for (unsigned i = 0; i < rate->used; i++)
        most = rate->events[i] > most ? rate->events[i] : most;
    if (most == 0)
        return;
    printf("\nevents over time, %s each, at most %.4g events/s\n  ",
           words_of_duration(width, rate->width_ns), (double)most * 1e9 / (double)rate->width_ns);
    for (unsigned i = 0; i < rate->used; i++) {
        uint64_t level = (rate->events[i] * 8 + most - 1) / most; /* 0: none, 8: the most */
        printf("%.3s", level == 0 ? " " : levels + 3 * (level - 1));
    }
    putchar('\n');
}

static void print_top(const char *title, const struct top *top, words_function *words)
{
    struct top_entry largest[TOP_SHOWN];
    char text[WORDS_SIZE];
    uint32_t count = top_largest(top, largest, TOP_SHOWN);
    if (count == 0)
        return;
    printf("\nstreams with the most %s", title);
    if (top->error > 0)
        printf(", each at most %s more", words(text, top->error));
    putchar('\n');
    for (uint32_t i = 0; i < count; i++)
        printf("  stream %-12llu %14s  %s\n", big(largest[i].key), words(text, largest[i].weight),
               bar_of(largest[i].weight, largest[0].weight));
}

static void print_kinds(const struct statistics *s)
{
    uint64_t most = 0;
    for (unsigned kind = 0; kind < KINDS; kind++)
        most = s->kinds[kind].bytes > most ? s->kinds[kind].bytes : most;
    printf("\n%-28s %12s %16s\n", "kind", "events", "payload bytes");
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (s->kinds[kind].events > 0)
            printf("%-28s %12llu %16llu  %s\n", kind_name((uint16_t)kind),
                   big(s->kinds[kind].events), big(s->kinds[kind].bytes),
                   bar_of(s->kinds[kind].bytes, most));
}

static void print_encrypted(const struct encrypted *encrypted)
{
    char bytes[WORDS_SIZE];
    if (encrypted->streams == 0 && encrypted->events == 0)
        return;
    printf("encrypted  %llu events, %s of them, in %llu streams", big(encrypted->events),
           words_of_bytes(bytes, encrypted->bytes), big(encrypted->streams));
    if (encrypted->keys)
        printf(", %llu of which were erased", big(encrypted->erased));
    putchar('\n');
}

static void print_text(const struct statistics *s)
{
    char first[WORDS_SIZE], last[WORDS_SIZE];
    print_names(&s->lineage);
    printf("events     %llu, %llu to %llu%s\n", big(s->events), big(s->first_seq), big(s->last_seq),
           s->live ? ", a writer is running" : "");
    print_beginning(s);
    printf("time       %s to %s\n", words_of_time(first, s->first_ns),
           words_of_time(last, s->last_ns));
    printf("payload    %llu bytes\n", big(s->payload_bytes));
    print_encrypted(&s->encrypted);
    printf("frames     %llu, %llu bytes: %.1f %% payload, %.1f %% headers, %.1f %% padding\n",
           big(s->frame_sizes.count), big(s->frame_bytes),
           percent(s->payload_bytes, s->frame_bytes), percent(s->header_bytes, s->frame_bytes),
           percent(statistics_padding(s), s->frame_bytes));
    printf("segments   %llu with events\n", big(s->segments));
    printf("disk       %llu files, %llu bytes, %llu of them allocated\n", big(s->files),
           big(s->file_bytes), big(s->disk_bytes));
    if (s->skipped > 0)
        printf("damage     %llu ranges left out: run daa-log verify\n", big(s->skipped));
    print_kinds(s);
    print_rate(&s->rate);
    print_spread("events in a frame (group commit)", &s->frame_records, words_of_number);
    print_spread("size of a frame", &s->frame_sizes, words_of_bytes);
    print_spread("size of a payload", &s->payload_sizes, words_of_bytes);
    print_spread("commit latency while frames overlapped", &s->commits.latency_ns,
                 words_of_duration);
    print_spread("time from one frame to the next", &s->frame_gaps_ns, words_of_duration);
    print_top("events", &s->stream_events, words_of_number);
    print_top("bytes of payload", &s->stream_bytes, words_of_bytes);
    print_openings(s);
}

static void print(struct statistics *s, bool json)
{
    struct text text;
    begin_paging(json);
    if (!json) {
        print_text(s);
        return;
    }
    text_init(&text);
    statistics_to_json(s, &text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

static void count_encrypted(struct stat_run *run, const struct record *record)
{
    struct encrypted *encrypted = &run->statistics.encrypted;
    uint8_t key[KEYRING_KEY_SIZE];
    Daa__Event *event;
    if (event_unpack(record->kind, record->payload, &run->arena, &event) == 0 &&
        event_is_withheld(event)) {
        encrypted->events++;
        encrypted->bytes += event->encrypted.len;
    }
    arena_reset(&run->arena);
    if (record->stream_prev_seq >= run->statistics.first_seq)
        return;
    encrypted->streams++;
    struct keyring *keyring = decryption_keyring(&run->keys);
    encrypted->keys = keyring != NULL;
    if (keyring != NULL && keyring_get(keyring, record->key_id, key, NULL) == ERROR_NOT_FOUND)
        encrypted->erased++;
    explicit_bzero(key, sizeof key);
}

static int count(const struct record *record, const struct log_place *place, void *context)
{
    struct stat_run *run = context;
    statistics_add(&run->statistics, record, place);
    if (record->key_id != 0)
        count_encrypted(run, record);
    if (record->seq % 4096 == 0)
        progress_update(&run->progress, record->seq);
    return 1;
}

static int count_all(struct stat_run *run, struct listing *listing)
{
    struct statistics *s = &run->statistics;
    struct error error;
    progress_begin(&run->progress, "counting", PROGRESS_ITEMS, 0);
    listing->show = count;
    listing->context = run;
    listing->bounded = true;
    int status = listing_run(listing, UINT64_MAX);
    progress_end(&run->progress);
    statistics_finish(s);
    s->skipped = listing->skipped;
    s->live = listing->live;
    if (status == COMMAND_USAGE || listing->reader == NULL) /* which is said */
        return status;
    if (log_lineage_read(&s->lineage, listing->dir, &error) < 0)
        status = command_failed_error(listing->command, &error);
    count_files(s, listing->dir);
    s->begins = beginning_state(&s->beginning, s->first_seq, listing->dir);
    return status;
}

int log_stat(int argc, char **argv)
{
    static struct stat_run run;
    struct listing listing = { .follow = false };
    bool json = false;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &json, "print one JSON object" },
        KEYS_OPTIONS(run.keys),
        RANGE_OPTIONS(listing.filter),
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log stat",
        .purpose = "Count what a log holds: events by kind, stream and time, frames and what they\n"
                   "cost, openings and crashes, disk.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    listing.command = &command;
    listing.dir = argv[first];
    status = decryption_begin(&run.keys, &command, listing.dir);
    if (status != COMMAND_GO_ON)
        return status;
    if (!statistics_init(&run.statistics))
        return command_failed(&command, "no memory");
    budget_init(&run.budget, MEMORY_MAX);
    arena_init(&run.arena, &run.budget, BUDGET_READERS, 4096);
    status = count_all(&run, &listing);
    if (status != COMMAND_USAGE && (run.statistics.events > 0 || status == COMMAND_GOOD))
        print(&run.statistics, json);
    statistics_free(&run.statistics);
    arena_free(&run.arena);
    decryption_end(&run.keys);
    return status;
}
