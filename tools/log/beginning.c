#include "tools/log/beginning.h"

#include "core/base/arena.h"
#include "core/base/bytes.h"
#include "core/event/event.h"
#include "log/restore.h"
#include "log/segment.h"
#include "log/storage.h"
#include "tools/log/words.h"

#include <limits.h>
#include <stdio.h>

#define MEMORY_MAX (1u << 20) /* to unpack one event */
#define BACKUP_NAME "BACKUP"  /* what a backup says of itself (daa-log backup) */

static unsigned long long big(uint64_t number)
{
    return number;
}

static void note_removed(struct beginning *beginning, const struct record *record)
{
    struct budget budget;
    struct arena arena;
    Daa__Event *event;
    budget_init(&budget, MEMORY_MAX);
    arena_init(&arena, &budget, BUDGET_READERS, 1024);
    if (event_unpack(record->kind, record->payload, &arena, &event) == 0 &&
        event->storage_removed->has_last_seq) {
        beginning->removed_event = record->seq;
        beginning->removed_time_ns = record->time_ns;
        beginning->removed_last_seq = event->storage_removed->last_seq;
    }
    arena_free(&arena);
}

void beginning_note(struct beginning *beginning, const struct record *record)
{
    struct storage_opened opened;
    if (beginning->first_seq == 0) {
        beginning->first_seq = record->seq;
        if (record->kind == LOG_KIND_OPENED &&
            storage_opened_decode(record->payload, &opened) == 0 && opened.prev_segment_no == 0 &&
            !bytes_are_zero(opened.parent_uuid, UUID_SIZE))
            beginning->parent_seq = opened.parent_seq;
    }
    if (record->kind == DAA__EVENT__BODY_STORAGE_REMOVED)
        note_removed(beginning, record);
}

/* The event that BACKUP (log/manifest.h) or RESTORED says is the first; 0: it says nothing. */
static uint64_t first_in(const char *dir, const char *name)
{
    char path[PATH_MAX], line[512];
    unsigned long long first_seq = 0;
    FILE *file = snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path
                     ? fopen(path, "re")
                     : NULL;
    if (file == NULL)
        return 0;
    while (first_seq == 0 && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "segment %*31s %*u %*u %llu", &first_seq) != 1)
            (void)sscanf(line, "first_seq %llu", &first_seq);
    (void)fclose(file);
    return first_seq;
}

/* What the log's directory says of a beginning there. A backup, or what was restored of one, that
 * lost its first segments begins elsewhere. */
static enum beginning_state state_by_files(const char *dir, uint64_t first_seq)
{
    char inner[PATH_MAX];
    const char *const dirs[] = { dir, inner };
    bool fits = snprintf(inner, sizeof inner, "%s/log", dir) < (int)sizeof inner;
    for (int i = 0; i < 1 + fits; i++) {
        if (first_in(dirs[i], BACKUP_NAME) == first_seq)
            return BEGINNING_BACKUP;
        if (first_in(dirs[i], LOG_RESTORED_NAME) == first_seq)
            return BEGINNING_RESTORED;
    }
    return BEGINNING_MISSING;
}

enum beginning_state beginning_state(const struct beginning *beginning, uint64_t first_seq,
                                     const char *dir)
{
    if (first_seq <= 1)
        return BEGINNING_WHOLE;
    if (beginning->removed_event != 0 && beginning->removed_last_seq >= first_seq - 1)
        return BEGINNING_REMOVED;
    if (beginning->first_seq == first_seq && beginning->parent_seq == first_seq - 1)
        return BEGINNING_FORKED;
    return state_by_files(dir, first_seq);
}

const char *beginning_name(enum beginning_state state)
{
    static const char *const names[] = {
        [BEGINNING_WHOLE] = "whole",       [BEGINNING_REMOVED] = "removed",
        [BEGINNING_FORKED] = "forked",     [BEGINNING_BACKUP] = "backup",
        [BEGINNING_RESTORED] = "restored", [BEGINNING_MISSING] = "missing"
    };
    return names[state];
}

static void describe_removed(const struct beginning *beginning, uint64_t first_seq,
                             struct text *text)
{
    char time[WORDS_SIZE];
    text_printf(text, "events 1 to %llu were removed by retention (event %llu, ",
                big(first_seq - 1), big(beginning->removed_event));
    text_add_string(text, words_of_time(time, beginning->removed_time_ns));
    text_add_string(text, ")");
    if (beginning->removed_last_seq >= first_seq)
        text_printf(text, ", and those up to %llu are to follow", big(beginning->removed_last_seq));
}

void beginning_describe(const struct beginning *beginning, enum beginning_state state,
                        uint64_t first_seq, struct text *text)
{
    switch (state) {
    case BEGINNING_WHOLE:
        break;
    case BEGINNING_REMOVED:
        describe_removed(beginning, first_seq, text);
        break;
    case BEGINNING_FORKED:
        text_printf(text, "the log was forked from another one behind event %llu",
                    big(first_seq - 1));
        break;
    case BEGINNING_BACKUP:
        text_printf(text, "a backup of the events from %llu on", big(first_seq));
        break;
    case BEGINNING_RESTORED:
        text_printf(text, "restored from a backup that begins with event %llu", big(first_seq));
        break;
    case BEGINNING_MISSING:
        text_printf(text,
                    "the beginning is missing and no event says that it was removed: events "
                    "%llu to %llu",
                    big(beginning->removed_last_seq + 1), big(first_seq - 1));
        break;
    }
}

void beginning_to_json(const struct beginning *beginning, enum beginning_state state,
                       uint64_t first_seq, struct text *text)
{
    text_json_cstring(text, "beginning", beginning_name(state));
    if (beginning->removed_event == 0)
        return;
    uint64_t gone = first_seq > 0 ? first_seq - 1 : 0;
    text_json_open_object(text, "removed");
    text_json_unsigned(text, "last_seq",
                       gone < beginning->removed_last_seq ? gone : beginning->removed_last_seq);
    text_json_unsigned(text, "event", beginning->removed_event);
    text_json_time(text, "time", beginning->removed_time_ns);
    text_json_unsigned(text, "given_up_seq", beginning->removed_last_seq);
    text_json_close_object(text);
}

bool beginning_is_damage(const struct beginning *beginning, enum beginning_state state,
                         struct log_verify_result *result, struct log_finding *finding)
{
    struct text text;
    if (state != BEGINNING_MISSING || result->shortened || !result->begins_late)
        return false;
    *finding = (struct log_finding){ .verdict = LOG_DAMAGED,
                                     .first_seq = beginning->removed_last_seq + 1,
                                     .last_seq = result->first_seq - 1 };
    text_init(&text);
    beginning_describe(beginning, state, result->first_seq, &text);
    segment_name(finding->file, result->first_segment_no);
    (void)snprintf(finding->text, sizeof finding->text, "%s: put its segments back from a copy",
                   text_string(&text));
    text_free(&text);
    result->verdict = LOG_DAMAGED;
    result->findings++;
    return true;
}
