/* daa-log diff: whether two logs hold the same history, and where they part. The chains of their
 * frames are compared at events that both hold: equal ones prove that all before is equal, so the
 * place is found by halving. */
#include "tools/log/diff.h"
#include "core/base/bytes.h"

#include <string.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

/*--- Sides -------------------------------------------------------------------------------------*/

/* Behind a damaged end there were events: what is compared without them is not the log. */
static int check_end(const struct diff_side *side, const struct command *command,
                     struct error *error)
{
    struct log_recovery recovery;
    if (log_reader_live(side->reader))
        return 0;
    int code = log_recover(side->dir, NULL, 0, &recovery, error);
    if (code < 0)
        return code == ERROR_LOCKED ? 0 : code;
    if (recovery.exists && recovery.verdict == LOG_DAMAGED)
        return error_set(error, ERROR_DAMAGED, "%s: %s", side->dir, recovery.reason);
    if (recovery.exists && recovery.verdict != LOG_SOUND)
        (void)command_failed(command, "%s: %s", side->dir, recovery.reason);
    return 0;
}

static int open_side(struct diff_side *side, const struct command *command, const char *dir,
                     struct error *error)
{
    side->dir = dir;
    side->reader = open_reader(command, dir, true);
    if (side->reader == NULL)
        return error_set(error, ERROR_NOT_FOUND, "%s cannot be read as a log", dir);
    side->first_seq = log_reader_first_seq(side->reader);
    side->last_seq = log_reader_durable_seq(side->reader);
    memcpy(side->log_uuid, log_reader_uuid(side->reader), UUID_SIZE);
    int code = check_end(side, command, error);
    return code < 0 ? code : log_lineage_read(&side->lineage, dir, error);
}

static void close_side(struct diff_side *side)
{
    if (side->reader != NULL)
        log_reader_close(side->reader);
    log_lineage_free(&side->lineage);
    decryption_end(&side->keys);
}

static int get(struct diff_side *side, uint64_t seq, struct record *record, struct log_place *place,
               struct error *error)
{
    int found = log_reader_get(side->reader, seq, record, place, error);
    if (found == 1)
        return 0;
    if (found < 0)
        return error_wrap(error, found, "%s", side->dir);
    return error_set(error, ERROR_DAMAGED,
                     "event %llu of %s cannot be read: run daa-log verify %s, or daa-log explain "
                     "%llu %s",
                     big(seq), side->dir, side->dir, big(seq), side->dir);
}

/*--- Where they part ---------------------------------------------------------------------------*/

/* 1 the history up to this event is the same, 0 it is not, negative. */
static int is_same_at(struct diff *diff, uint64_t seq, struct error *error)
{
    struct record record;
    struct log_place places[2];
    for (int i = 0; i < 2; i++) {
        int code = get(&diff->sides[i], seq, &record, &places[i], error);
        if (code < 0)
            return code;
        diff->reads++;
    }
    diff->chained = !bytes_are_zero(places[0].frame_chain, SHA256_SIZE) &&
                    !bytes_are_zero(places[1].frame_chain, SHA256_SIZE);
    bool same = places[0].frame_last_seq == places[1].frame_last_seq &&
                memcmp(places[0].frame_chain, places[1].frame_chain, SHA256_SIZE) == 0;
    if (same)
        memcpy(diff->chain, places[0].frame_chain, SHA256_SIZE);
    return same;
}

/* The last event of those that both hold up to which all is the same; 0: not even the first. */
static int find_parting(struct diff *diff, struct error *error)
{
    uint64_t low = diff->common_first, high = diff->common_last + 1;
    int same = is_same_at(diff, diff->common_last, error);
    if (same < 0 || !diff->chained)
        return same < 0 ? same : 0;
    if (same == 1)
        low = high;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        same = is_same_at(diff, middle, error);
        if (same < 0)
            return same;
        if (same)
            low = middle + 1;
        else
            high = middle;
    }
    diff->last_same = low > diff->common_first ? low - 1 : 0;
    return 0;
}

/*--- Event by event ----------------------------------------------------------------------------*/

bool diff_records_equal(const struct record *a, const struct record *b)
{
    return a->seq == b->seq && a->stream == b->stream && a->time_ns == b->time_ns &&
           a->cause == b->cause && a->stream_prev_seq == b->stream_prev_seq &&
           a->key_id == b->key_id && a->kind == b->kind && a->flags == b->flags &&
           span_equal(a->payload, b->payload);
}

/* The next event up to the end of what both hold: 1, 0 no more, negative. A gap is damage. */
static int next(struct diff *diff, struct diff_side *side, uint64_t seq, struct record *record,
                struct error *error)
{
    if (seq > diff->common_last)
        return 0;
    int code = log_reader_next(side->reader, record, NULL, error);
    if (code == 1 && record->seq == seq)
        return 1;
    if (code < 0)
        return error_wrap(error, code, "%s", side->dir);
    return get(side, seq, record, NULL, error) < 0 ? error->code : 1;
}

/* Walks both from where they part, and gives each pair that differs to `show`, up to `limit`. */
static int walk(struct diff *diff, struct error *error)
{
    struct record records[2];
    uint64_t seq = diff->last_same + 1;
    if (seq < diff->common_first)
        seq = diff->common_first;
    for (int i = 0; i < 2; i++)
        if (log_reader_seek(diff->sides[i].reader, seq, error) < 0)
            return error->code;
    for (; diff->different < diff->limit || diff->limit == 0; seq++) {
        int code = 1;
        for (int i = 0; i < 2 && code == 1; i++)
            code = next(diff, &diff->sides[i], seq, &records[i], error);
        if (code <= 0)
            return code;
        progress_update(&diff->progress, seq);
        if (diff_records_equal(&records[0], &records[1])) {
            diff->equal++;
            continue;
        }
        if (diff->different++ == 0)
            diff->first_different = seq;
        diff_show(diff, &records[0], &records[1]);
    }
    diff->more = seq <= diff->common_last;
    return 0;
}

/* Which side, if any, was forked from the other's log: index + 1. */
static int find_fork(struct diff *diff)
{
    for (int i = 0; i < 2; i++) {
        const struct log_lineage *lineage = &diff->sides[i].lineage;
        const uint8_t *other = diff->sides[!i].log_uuid;
        for (size_t n = 0; n < lineage->count; n++)
            if (lineage->names[n].forked &&
                memcmp(lineage->names[n].parent_uuid, other, UUID_SIZE) == 0) {
                diff->fork_seq = lineage->names[n].parent_seq;
                return i + 1;
            }
    }
    return 0;
}

static int compare(struct diff *diff, struct error *error)
{
    const struct diff_side *a = &diff->sides[0], *b = &diff->sides[1];
    diff->fork = find_fork(diff);
    diff->common_first = a->first_seq > b->first_seq ? a->first_seq : b->first_seq;
    diff->common_last = a->last_seq < b->last_seq ? a->last_seq : b->last_seq;
    bool common = diff->common_first <= diff->common_last && diff->common_first > 0;
    if (!common) {
        diff->verdict = DIFF_APART;
        return 0;
    }
    int code = find_parting(diff, error);
    if (code < 0)
        return code;
    diff->parted = diff->last_same != diff->common_last;
    if (diff->parted)
        code = walk(diff, error);
    if (code < 0)
        return code;
    bool as_long = a->first_seq == b->first_seq && a->last_seq == b->last_seq;
    /* Without a chain equal events are all that can be asked for. */
    if (diff->different > 0 || (diff->parted && diff->chained))
        diff->verdict = DIFF_DIFFERENT;
    else
        diff->verdict = as_long ? DIFF_SAME : DIFF_LONGER;
    return 0;
}

/* Keys that are named are those of both sides; else each may have its own beside it. */
static int begin_keys(struct diff *diff, const struct command *command, char *const *dirs)
{
    int status = COMMAND_GO_ON;
    diff->sides[1].keys = diff->sides[0].keys;
    for (int i = 0; i < 2 && status == COMMAND_GO_ON; i++)
        status = decryption_begin(&diff->sides[i].keys, command, dirs[i]);
    return status;
}

/*--- The command -------------------------------------------------------------------------------*/

int log_diff(int argc, char **argv)
{
    static struct diff diff = { .limit = 10 };
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &diff.json,
          "print JSON: an object for each event that differs, the result last" },
        { "limit", 'n', "COUNT", COMMAND_NUMBER, &diff.limit,
          "show COUNT events that differ (10; 0: all)" },
        KEYS_OPTIONS(diff.sides[0].keys),
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log diff",
        .purpose = "Say whether two logs hold the same history, and where they part.",
        .arguments = "DIR1 DIR2",
        .arguments_min = 2,
        .arguments_max = 2,
        .options = options,
        .shared = log_options,
        .notes = "The chains of frames are compared; whether the bytes are whole is for verify.\n"
                 "Exit status: 0 the same events, 1 not, 2 wrong usage, or one cannot be read.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    struct error error = { 0 };
    if (status != COMMAND_GO_ON)
        return status;
    status = begin_keys(&diff, &command, argv + first);
    if (status != COMMAND_GO_ON)
        return COMMAND_USAGE;
    int code = open_side(&diff.sides[0], &command, argv[first], &error);
    if (code == 0)
        code = open_side(&diff.sides[1], &command, argv[first + 1], &error);
    if (code == 0) {
        begin_paging(diff.json);
        diff_begin(&diff);
        progress_begin(&diff.progress, "comparing", PROGRESS_ITEMS, 0);
        code = compare(&diff, &error);
        progress_end(&diff.progress);
        diff_end(&diff, code);
    }
    if (code < 0)
        (void)command_failed_error(&command, &error);
    close_side(&diff.sides[0]);
    close_side(&diff.sides[1]);
    if (code < 0)
        return COMMAND_USAGE;
    return diff.verdict == DIFF_SAME ? COMMAND_GOOD : COMMAND_FAILED;
}
