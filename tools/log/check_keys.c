#include "tools/log/check_keys.h"

#include "log/format.h"

#include <stdio.h>

#define MEMORY_MAX (64u << 20) /* to unpack one event */

static unsigned long long big(uint64_t number)
{
    return number;
}

void check_keys_begin(struct check_keys *checking)
{
    budget_init(&checking->budget, MEMORY_MAX);
    arena_init(&checking->arena, &checking->budget, BUDGET_READERS, 4096);
}

void check_keys_end(struct check_keys *checking)
{
    arena_free(&checking->arena);
    decryption_end(&checking->keys);
}

static bool is_shown(const struct check_keys *checking)
{
    return checking->misfits + checking->unavailable <= KEY_FINDINGS_SHOWN;
}

bool check_keys_record(struct check_keys *checking, const struct record *record)
{
    Daa__Event *event;
    if (checking->keys.keyring == NULL || record->kind <= LOG_KIND_OWN_MAX)
        return false;
    int result = decryption_open(&checking->keys, record, &checking->arena, &event);
    arena_reset(&checking->arena);
    if (result <= DECRYPTION_NONE)
        return false;
    checking->events++;
    checking->opened += result == DECRYPTION_DONE;
    checking->erased += result == DECRYPTION_ERASED;
    checking->misfits += result == DECRYPTION_MISFIT;
    checking->unavailable += result == DECRYPTION_UNAVAILABLE;
    if (result == DECRYPTION_MISFIT)
        (void)snprintf(checking->text, sizeof checking->text,
                       "key %u does not fit event %llu of stream %llu: the keys are of another "
                       "log, or the event was not encrypted with it",
                       record->key_id, big(record->seq), big(record->stream));
    else if (result == DECRYPTION_UNAVAILABLE)
        (void)snprintf(checking->text, sizeof checking->text,
                       "key %u of event %llu, of stream %llu, cannot be read: %s", record->key_id,
                       big(record->seq), big(record->stream), checking->keys.why.text);
    else
        return false;
    return is_shown(checking);
}

void check_keys_finding_to_json(const struct check_keys *checking, const struct record *record,
                                struct text *line)
{
    text_json_open_object(line, NULL);
    text_json_unsigned(line, "key_id", record->key_id);
    text_json_unsigned(line, "seq", record->seq);
    text_json_unsigned(line, "stream", record->stream);
    text_json_cstring(line, "text", checking->text);
    text_json_close_object(line);
}

void check_keys_to_text(const struct check_keys *checking, struct text *line)
{
    text_printf(line, "%llu events are encrypted: %llu can be read", big(checking->events),
                big(checking->opened));
    if (checking->erased > 0)
        text_printf(line, ", %llu were erased", big(checking->erased));
    if (checking->misfits > 0)
        text_printf(line, ", %llu do not fit their keys", big(checking->misfits));
    if (checking->unavailable > 0)
        text_printf(line, ", the keys of %llu cannot be read", big(checking->unavailable));
    if (!is_shown(checking))
        text_printf(line, "; the first %u of these are above", KEY_FINDINGS_SHOWN);
}

void check_keys_to_json(const struct check_keys *checking, struct text *line)
{
    text_json_open_object(line, "encrypted");
    text_json_unsigned(line, "events", checking->events);
    text_json_unsigned(line, "opened", checking->opened);
    text_json_unsigned(line, "erased", checking->erased);
    text_json_unsigned(line, "misfits", checking->misfits);
    text_json_unsigned(line, "unavailable", checking->unavailable);
    text_json_close_object(line);
}
