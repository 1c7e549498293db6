/* daa-log ls: what lies in a log's directory, from the headers and ends of its files. */
#include "log/inventory.h"
#include "log/readers.h"
#include "log/second.h"
#include "log/storage.h"
#include "tools/log/log.h"
#include "tools/log/words.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct ls {
    const struct command *command;
    struct inventory inventory;
    bool json, details;
    uint64_t now_ns;
    struct text line;
    int status;
};

static unsigned long long big(uint64_t number)
{
    return number;
}

static void print_line(struct ls *ls)
{
    printf("%s\n", text_string(&ls->line));
    text_clear(&ls->line);
}

static void begin_object(struct ls *ls, const char *type, const char *name)
{
    text_json_open_object(&ls->line, NULL);
    text_json_cstring(&ls->line, "type", type);
    text_json_cstring(&ls->line, "name", name);
}

static void end_object(struct ls *ls)
{
    text_json_close_object(&ls->line);
    print_line(ls);
}

/* What is not known is null. */
static void json_known(struct text *line, const char *key, bool known, uint64_t value)
{
    if (known)
        text_json_unsigned(line, key, value);
    else
        text_json_null(line, key);
}

static void json_time(struct text *line, const char *key, uint64_t time_ns)
{
    if (time_ns != 0)
        text_json_time(line, key, time_ns);
    else
        text_json_null(line, key);
}

/*--- Segments ----------------------------------------------------------------------------------*/

static void segment_to_json(struct ls *ls, const char *name, const struct inventory_segment *s)
{
    struct text *line = &ls->line;
    char uuid[UUID_TEXT_SIZE], target[PATH_MAX];
    bool begun = s->epoch != 0;
    begin_object(ls, "segment", name);
    text_json_unsigned(line, "segment", s->segment_no);
    text_json_cstring(line, "state", inventory_state_name(s->state));
    text_json_cstring(line, "end", s->end == INVENTORY_OPEN ? NULL : inventory_end_name(s->end));
    text_json_cstring(line, "verdict", s->judged ? log_verdict_name((uint16_t)s->verdict) : NULL);
    json_known(line, "first_seq", s->events > 0, s->first_seq);
    json_known(line, "last_seq", s->events > 0, s->last_seq);
    json_time(line, "first_time", s->first_ns);
    json_time(line, "last_time", s->last_ns);
    json_known(line, "events", begun && (s->events > 0 || s->used_bytes > 0), s->events);
    json_known(line, "frames", s->frames_known, s->frames);
    json_known(line, "payload_bytes", s->frames_known, s->payload_bytes);
    json_known(line, "used_bytes", s->used_bytes > 0, s->used_bytes);
    text_json_unsigned(line, "size", s->size);
    text_json_bool(line, "sealed", s->sealed);
    text_json_unsigned(line, "file_size", s->file_size);
    text_json_cstring(line, "lies_in",
                      second_target(ls->inventory.directory.path, name, target) == 1 ? target
                                                                                     : NULL);
    json_known(line, "epoch", begun, s->epoch);
    uuid_to_text(uuid, s->log_uuid);
    text_json_cstring(line, "log", begun ? uuid : NULL);
    text_json_cstring(line, "problem", s->problem[0] != '\0' ? s->problem : NULL);
    end_object(ls);
}

static enum command_style style_of(enum inventory_state state)
{
    static const enum command_style styles[] = {
        [INVENTORY_SPARE] = COMMAND_DIM,    [INVENTORY_ACTIVE] = COMMAND_GREEN,
        [INVENTORY_CLOSED] = COMMAND_PLAIN, [INVENTORY_CRASHED] = COMMAND_YELLOW,
        [INVENTORY_DAMAGED] = COMMAND_RED,  [INVENTORY_FAILED_OVER] = COMMAND_YELLOW,
    };
    return styles[state];
}

static void print_details(const struct inventory_segment *s)
{
    char first[WORDS_SIZE], last[WORDS_SIZE], uuid[UUID_TEXT_SIZE];
    if (s->epoch == 0)
        return;
    uuid_to_text(uuid, s->log_uuid);
    printf("    %s to %s, epoch %u, log %s\n", words_of_time(first, s->first_ns),
           words_of_time(last, s->last_ns), s->epoch, uuid);
    if (s->frames_known)
        printf("    %llu frames, %llu bytes of payload\n", big(s->frames), big(s->payload_bytes));
    else
        printf("    frames and bytes of payload are not counted yet\n");
}

static void print_segment(const struct ls *ls, const char *name, const struct inventory_segment *s)
{
    char used[WORDS_SIZE], size[WORDS_SIZE], range[64] = "no event", target[PATH_MAX];
    bool in_order = s->end == INVENTORY_SEAL || s->end == INVENTORY_CLOSE;
    const char *end = in_order ? inventory_end_name(s->end) : "";
    if (s->events > 0)
        snprintf(range, sizeof range, "events %llu to %llu", big(s->first_seq), big(s->last_seq));
    printf("%-19s %s%-11s%s %-5s  %-28s %9s of %s", name, command_style(stdout, style_of(s->state)),
           inventory_state_name(s->state), command_style(stdout, COMMAND_PLAIN), end,
           s->state == INVENTORY_SPARE ? "" : range, words_of_bytes(used, s->used_bytes),
           words_of_bytes(size, s->size));
    if (s->sealed)
        printf(", sealed in %s", words_of_bytes(size, s->file_size));
    if (s->verdict == LOG_TORN || s->verdict == LOG_UNPROVEN)
        printf(", its end is %s", log_verdict_name((uint16_t)s->verdict));
    putchar('\n');
    if (second_target(ls->inventory.directory.path, name, target) == 1)
        printf("    it lies in the second directory: %s\n", target);
    if (s->problem[0] != '\0')
        printf("    %s\n", s->problem);
    if (ls->details)
        print_details(s);
}

static void list_segments(struct ls *ls)
{
    struct inventory *inventory = &ls->inventory;
    struct inventory_segment segment;
    for (size_t i = 0; i < inventory->directory.count; i++) {
        char name[LOG_SEGMENT_NAME_SIZE];
        struct error error;
        int code = inventory_segment(inventory, i, &segment, &error);
        if (code == -ENOENT)
            continue; /* removed since the names were read */
        (void)inventory_file_name(&inventory->directory, inventory->directory.segments[i], name);
        if (code < 0) {
            segment.state = INVENTORY_DAMAGED;
            snprintf(segment.problem, sizeof segment.problem, "%.500s", error.text);
        }
        if (segment.state == INVENTORY_DAMAGED)
            ls->status = COMMAND_FAILED;
        if (ls->json)
            segment_to_json(ls, name, &segment);
        else
            print_segment(ls, name, &segment);
    }
}

/*--- What else there is ------------------------------------------------------------------------*/

static void list_checkpoint(struct ls *ls)
{
    struct inventory *inventory = &ls->inventory;
    struct checkpoint checkpoint;
    char time[WORDS_SIZE];
    unsigned bad;
    int found = directory_checkpoint(&inventory->directory, &inventory->probe, &checkpoint, &bad);
    if (found == 1 && ls->json) {
        begin_object(ls, "checkpoint", LOG_CHECKPOINT_NAME);
        text_json_unsigned(&ls->line, "durable_seq", checkpoint.durable_seq);
        text_json_unsigned(&ls->line, "segment", checkpoint.segment_no);
        text_json_unsigned(&ls->line, "end_offset", checkpoint.end_offset);
        json_time(&ls->line, "time", checkpoint.time_ns);
        text_json_hex(&ls->line, "chain", span_of(checkpoint.chain, SHA256_SIZE));
        text_json_unsigned(&ls->line, "damaged_slots", bad);
        end_object(ls);
    } else if (found == 1) {
        printf("%-18s  events up to %llu were durable at %s%s\n", LOG_CHECKPOINT_NAME,
               big(checkpoint.durable_seq), words_of_time(time, checkpoint.time_ns),
               bad > 0 ? "; its other block is damaged" : "");
    } else if (found < 0 || bad > 0) {
        ls->status =
            command_failed(ls->command, "%s is damaged: run daa-log verify", LOG_CHECKPOINT_NAME);
    }
}

static void print_reader(struct ls *ls, const struct log_reader_position *position)
{
    char seen[WORDS_SIZE];
    uint64_t ago_ns = ls->now_ns > position->time_ns ? ls->now_ns - position->time_ns : 0;
    if (ls->json) {
        begin_object(ls, "reader", position->name);
        text_json_unsigned(&ls->line, "seq", position->seq);
        text_json_unsigned(&ls->line, "flushed_seq", position->flushed_seq);
        text_json_unsigned(&ls->line, "pid", position->pid);
        json_time(&ls->line, "time", position->time_ns);
        text_json_bool(&ls->line, "required", position->required);
        text_json_cstring(&ls->line, "problem",
                          position->problem[0] != '\0' ? position->problem : NULL);
        end_object(ls);
    } else if (position->problem[0] != '\0') {
        printf("readers/%-10s  says nothing: %s\n", position->name, position->problem);
    } else {
        printf("readers/%-10s  has taken event %llu, keeps what is behind %llu, seen %s ago%s\n",
               position->name, big(position->seq), big(position->flushed_seq),
               words_of_duration(seen, ago_ns), position->required ? ", required" : "");
    }
}

static void list_readers(struct ls *ls)
{
    struct log_reader_position *positions = NULL;
    struct error error;
    size_t count = 0;
    if (log_reader_positions(ls->inventory.directory.path, &positions, &count, &error) < 0)
        ls->status = command_failed_error(ls->command, &error);
    for (size_t i = 0; i < count; i++)
        print_reader(ls, &positions[i]);
    free(positions);
}

/* What a file is by its name; NULL: it is listed elsewhere, or none of ours. */
static const char *meaning_of(const char *name)
{
    static const char *const meanings[][2] = {
        { LOG_LOCK_NAME, "held by the writer while it runs" },
        { LOG_PLACE_NAME, "where the log was written, so that a copy is known for one" },
        { LOG_FORK_NAME, "the next opening goes on under another uuid" },
        { "image", "where a running writer's memory can be read" },
        { "BACKUP", "this is a backup: what it holds" },
        { "RESTORED", "the log was restored from a backup of later events" },
    };
    size_t size = strlen(name);
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (strcmp(name, meanings[i][0]) == 0)
            return meanings[i][1];
    if (size > 4 && strcmp(name + size - 4, ".tmp") == 0)
        return "unfinished; left by a process that ended, unless one runs";
    return NULL;
}

static void print_file(struct ls *ls, const char *type, const char *name, uint64_t size,
                       const char *meaning)
{
    char text[WORDS_SIZE];
    if (ls->json) {
        begin_object(ls, type, name);
        text_json_unsigned(&ls->line, "size", size);
        end_object(ls);
    } else {
        printf("%-18s  %s, %s\n", name, meaning, words_of_bytes(text, size));
    }
}

static int is_other_file(const struct dirent *entry)
{
    return meaning_of(entry->d_name) != NULL;
}

static int is_snapshot(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);
    return size == strlen("snap-.zst") + 20 && memcmp(entry->d_name, "snap-", 5) == 0 &&
           strcmp(entry->d_name + size - 4, ".zst") == 0;
}

/* The files of `dir` that `chosen` chooses, by name. */
static void list_files(struct ls *ls, const char *dir, const char *type,
                       int (*chosen)(const struct dirent *))
{
    struct dirent **entries;
    int count = scandir(dir, &entries, chosen, alphasort);
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX + NAME_MAX + 2], meaning[64];
        const char *name = entries[i]->d_name, *known = meaning_of(name);
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", dir, name);
        snprintf(meaning, sizeof meaning, "the state as of event %llu",
                 known == NULL ? strtoull(name + 5, NULL, 10) : 0);
        if (stat(path, &status) == 0)
            print_file(ls, type, name, (uint64_t)status.st_size, known != NULL ? known : meaning);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/*--- The command -------------------------------------------------------------------------------*/

static int list(struct ls *ls, const char *dir)
{
    char snapshots[PATH_MAX + 16];
    struct error error;
    if (inventory_open(&ls->inventory, dir, &error) < 0)
        return command_failed_error(ls->command, &error);
    text_init(&ls->line);
    if (ls->inventory.directory.count == 0)
        ls->status = command_failed(ls->command, "%s holds no segment of a log", dir);
    list_segments(ls);
    list_checkpoint(ls);
    list_files(ls, ls->inventory.directory.path, "file", is_other_file);
    list_readers(ls);
    /* In a data directory they lie beside the log, in a backup in it. */
    snprintf(snapshots, sizeof snapshots, "%s/snapshots", dir);
    list_files(ls, snapshots, "snapshot", is_snapshot);
    text_free(&ls->line);
    inventory_close(&ls->inventory);
    return ls->status;
}

int log_ls(int argc, char **argv)
{
    struct ls ls = { .now_ns = wall_clock_ns() };
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &ls.json, "print one JSON object for each file" },
        { "long", 'l', NULL, COMMAND_FLAG, &ls.details,
          "with times, epoch, uuid and counts of each segment" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log ls",
        .purpose = "List the files of a log with what they hold, from their headers and ends.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
        .notes = "What lies between a segment's header and its end is not read: see verify.\n"
                 "Exit status: 1 when what was read is damaged.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    ls.command = &command;
    begin_paging(ls.json);
    return list(&ls, argv[first]);
}
