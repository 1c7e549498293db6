/* Why a log does not begin with event 1: what the tools make of its events. */
#include "tools/log/beginning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/event/event.h"
#include "log/storage.h"
#include "scratch.h"
#include "tap.h"

static struct beginning beginning;

static void note_plain(uint64_t seq)
{
    struct record record = { .seq = seq, .kind = 999, .payload = span_of("x", 1) };
    beginning_note(&beginning, &record);
}

/* An opening, of a log that was forked from another one behind `parent_seq` unless that is 0. */
static void note_opened(uint64_t seq, uint64_t parent_seq)
{
    static uint8_t payload[2048];
    struct storage_opened opened = { .epoch = 1, .parent_seq = parent_seq };
    memset(opened.parent_uuid, parent_seq > 0 ? 7 : 0, UUID_SIZE);
    storage_opened_encode(payload, &opened);
    struct record record = { .seq = seq,
                             .kind = LOG_KIND_OPENED,
                             .payload = span_of(payload, storage_opened_size(&opened)) };
    beginning_note(&beginning, &record);
}

static void note_removed(uint64_t seq, uint64_t last_seq)
{
    uint8_t payload[200];
    Daa__StorageRemoved body = DAA__STORAGE_REMOVED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    event.has_schema = true;
    event.schema = EVENT_SCHEMA;
    event.body_case = DAA__EVENT__BODY_STORAGE_REMOVED;
    event.storage_removed = &body;
    body.has_last_seq = true;
    body.last_seq = last_seq;
    event_pack(&event, payload);
    struct record record = { .seq = seq,
                             .time_ns = 1790000000000000000,
                             .kind = event_kind(&event),
                             .payload = span_of(payload, event_size(&event)) };
    beginning_note(&beginning, &record);
}

static void is_state(uint64_t first_seq, enum beginning_state want, const char *words,
                     const char *name)
{
    struct text text;
    enum beginning_state state = beginning_state(&beginning, first_seq, scratch_dir());
    text_init(&text);
    is_str(beginning_name(state), beginning_name(want), "%s", name);
    beginning_describe(&beginning, state, first_seq, &text);
    is_str(text_string(&text), words, "in words");
    text_free(&text);
    beginning = (struct beginning){ .first_seq = 0 };
}

static void write_file(const char *name, const char *words)
{
    FILE *file = fopen(scratch_path(name), "w");
    if (file == NULL || fputs(words, file) == EOF || fclose(file) != 0)
        tap_bail_out("cannot write %s", name);
}

int main(void)
{
    note_plain(1);
    is_state(1, BEGINNING_WHOLE, "", "event 1 is there");
    note_removed(1, 0);
    is_state(1, BEGINNING_WHOLE, "", "also when some are to go");
    is_state(0, BEGINNING_WHOLE, "", "a log without events misses none");
    note_plain(41);
    is_state(41, BEGINNING_MISSING,
             "the beginning is missing and no event says that it was removed: events 1 to 40",
             "no event says anything");
    note_plain(41);
    note_removed(55, 40);
    is_state(41, BEGINNING_REMOVED,
             "events 1 to 40 were removed by retention (event 55, 2026-09-21T14:13:20Z)",
             "an event says just that");
    note_plain(41);
    note_removed(55, 40);
    note_removed(99, 80);
    is_state(41, BEGINNING_REMOVED,
             "events 1 to 40 were removed by retention (event 99, 2026-09-21T14:13:20Z), and those "
             "up to 80 are to follow",
             "the newest says more");
    note_plain(41);
    note_removed(55, 30);
    is_state(41, BEGINNING_MISSING,
             "the beginning is missing and no event says that it was removed: events 31 to 40",
             "it says less");
    note_opened(41, 40);
    is_state(41, BEGINNING_FORKED, "the log was forked from another one behind event 40",
             "the log is a fork");
    note_opened(41, 30);
    is_state(41, BEGINNING_MISSING,
             "the beginning is missing and no event says that it was removed: events 1 to 40",
             "but not one from there");
    note_opened(41, 0);
    is_state(41, BEGINNING_MISSING,
             "the beginning is missing and no event says that it was removed: events 1 to 40",
             "an opening alone says nothing");
    write_file("BACKUP", "segment seg-0000000002.log 8192 8192 41 60 open\n");
    note_plain(60);
    is_state(60, BEGINNING_MISSING,
             "the beginning is missing and no event says that it was removed: events 1 to 59",
             "a backup that begins earlier");
    note_plain(41);
    is_state(41, BEGINNING_BACKUP, "a backup of the events from 41 on", "it is a backup");
    write_file("BACKUP", "");
    write_file("RESTORED", "restored from a backup that begins with\nfirst_seq 41\n");
    note_plain(41);
    is_state(41, BEGINNING_RESTORED, "restored from a backup that begins with event 41",
             "it is made of one");
    note_plain(61);
    is_state(61, BEGINNING_MISSING,
             "the beginning is missing and no event says that it was removed: events 1 to 60",
             "and lost its first segment then");
    note_plain(61);
    note_removed(99, 60);
    is_state(61, BEGINNING_REMOVED,
             "events 1 to 60 were removed by retention (event 99, 2026-09-21T14:13:20Z)",
             "or it was removed");
    struct record broken = { .seq = 50,
                             .kind = DAA__EVENT__BODY_STORAGE_REMOVED,
                             .payload = span_of("\xff\xff", 2) };
    beginning_note(&beginning, &broken);
    is_int(beginning.removed_event, 0, "an event that cannot be decoded says nothing");
    return tap_done();
}
