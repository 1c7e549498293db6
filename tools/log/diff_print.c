#include "core/base/bytes.h"
#include "tools/log/diff.h"

static unsigned long long big(uint64_t number)
{
    return number;
}

void diff_begin(struct diff *diff)
{
    printer_begin(&diff->printer, diff->json, NULL);
    text_init(&diff->line);
    diff->line.size_max = diff->printer.line.size_max;
}

/* With the keys of its own side. */
static const char *line_of(struct diff *diff, int side, const struct record *record)
{
    diff->printer.decryption = &diff->sides[side].keys;
    return printer_line(&diff->printer, record);
}

static void show_side(struct diff *diff, int side, const struct record *record)
{
    printf("%s%s%s %s\n", command_style(stdout, side == 0 ? COMMAND_RED : COMMAND_GREEN),
           side == 0 ? "<" : ">", command_style(stdout, COMMAND_PLAIN),
           line_of(diff, side, record));
}

void diff_show(struct diff *diff, const struct record *a, const struct record *b)
{
    struct text *line = &diff->line;
    if (!diff->json) {
        progress_clear(&diff->progress);
        show_side(diff, 0, a);
        show_side(diff, 1, b);
        return;
    }
    text_clear(line);
    text_json_open_object(line, NULL);
    text_json_cstring(line, "type", "event");
    text_json_unsigned(line, "seq", a->seq);
    text_json_raw(line, "first", span_of_text(line_of(diff, 0, a)));
    text_json_raw(line, "second", span_of_text(line_of(diff, 1, b)));
    text_json_close_object(line);
    printf("%s\n", text_string(line));
}

/*--- JSON --------------------------------------------------------------------------------------*/

static void json_range(struct text *line, const char *key, uint64_t first, uint64_t last)
{
    if (first > last) {
        text_json_null(line, key);
        return;
    }
    text_json_open_object(line, key);
    text_json_unsigned(line, "first_seq", first);
    text_json_unsigned(line, "last_seq", last);
    text_json_close_object(line);
}

static void json_side(struct diff *diff, int i, const char *key)
{
    const struct diff_side *side = &diff->sides[i], *other = &diff->sides[!i];
    struct text *line = &diff->line;
    char uuid[UUID_TEXT_SIZE];
    uuid_to_text(uuid, side->log_uuid);
    text_json_open_object(line, key);
    text_json_cstring(line, "dir", side->dir);
    text_json_cstring(line, "log", uuid);
    text_json_unsigned(line, "first_seq", side->first_seq);
    text_json_unsigned(line, "last_seq", side->last_seq);
    json_range(line, "only_before", side->first_seq,
               other->first_seq - 1 < side->last_seq ? other->first_seq - 1 : side->last_seq);
    json_range(line, "only_behind",
               other->last_seq + 1 > side->first_seq ? other->last_seq + 1 : side->first_seq,
               side->last_seq);
    text_json_close_object(line);
}

static const char *verdict_name(enum diff_verdict verdict)
{
    static const char *const names[] = {
        [DIFF_SAME] = "same",
        [DIFF_LONGER] = "longer",
        [DIFF_DIFFERENT] = "different",
        [DIFF_APART] = "apart",
    };
    return names[verdict];
}

static void json_end(struct diff *diff)
{
    struct text *line = &diff->line;
    text_clear(line);
    text_json_open_object(line, NULL);
    text_json_cstring(line, "type", "result");
    text_json_cstring(line, "verdict", verdict_name(diff->verdict));
    json_side(diff, 0, "first");
    json_side(diff, 1, "second");
    json_range(line, "common", diff->common_first, diff->common_last);
    text_json_unsigned(line, "last_same_seq", diff->last_same);
    if (diff->last_same != 0)
        text_json_hex(line, "chain", span_of(diff->chain, SHA256_SIZE));
    text_json_unsigned(line, "first_different_seq", diff->first_different);
    text_json_unsigned(line, "different", diff->different);
    text_json_bool(line, "more", diff->more);
    text_json_unsigned(line, "reads", diff->reads);
    if (diff->fork != 0) {
        text_json_open_object(line, "fork");
        text_json_cstring(line, "side", diff->fork == 1 ? "first" : "second");
        text_json_unsigned(line, "parent_seq", diff->fork_seq);
        text_json_close_object(line);
    } else {
        text_json_null(line, "fork");
    }
    text_json_close_object(line);
    printf("%s\n", text_string(line));
}

/*--- Words -------------------------------------------------------------------------------------*/

static void print_extent(const struct diff *diff, int i)
{
    const struct diff_side *side = &diff->sides[i], *other = &diff->sides[!i];
    if (side->first_seq < other->first_seq && side->first_seq <= side->last_seq)
        printf("only %s has events %llu to %llu, before the other begins\n", side->dir,
               big(side->first_seq),
               big(other->first_seq - 1 < side->last_seq ? other->first_seq - 1 : side->last_seq));
    if (side->last_seq > other->last_seq)
        printf("only %s has events %llu to %llu, behind the other's end\n", side->dir,
               big(other->last_seq + 1 > side->first_seq ? other->last_seq + 1 : side->first_seq),
               big(side->last_seq));
}

static void print_parting(const struct diff *diff)
{
    char chain[2 * SHA256_SIZE + 1];
    bytes_to_hex(chain, diff->chain, SHA256_SIZE);
    if (!diff->chained)
        printf("one of them has no chain: %llu events were compared one by one\n",
               big(diff->equal + diff->different));
    else if (diff->last_same != 0)
        printf("the same from event %llu to %llu, chain %s\n", big(diff->common_first),
               big(diff->last_same), chain);
    else
        printf("different from the first event on that both have, %llu\n", big(diff->common_first));
    if (diff->first_different != 0)
        printf("the first event that differs is %llu; %s%llu differ\n", big(diff->first_different),
               diff->more ? "at least " : "", big(diff->different));
    else if (diff->parted && diff->chained)
        printf("behind that the events are the same, but not the frames that hold them, or what "
               "came before\n");
}

static void print_end(const struct diff *diff)
{
    static const char *const sentences[] = {
        [DIFF_SAME] = "the same history",
        [DIFF_LONGER] = "the same history, as far as both hold it",
        [DIFF_DIFFERENT] = "different histories",
        [DIFF_APART] = "no event is in both",
    };
    static const enum command_style styles[] = {
        [DIFF_SAME] = COMMAND_GREEN,
        [DIFF_LONGER] = COMMAND_YELLOW,
        [DIFF_DIFFERENT] = COMMAND_RED,
        [DIFF_APART] = COMMAND_RED,
    };
    if (diff->verdict != DIFF_APART)
        print_parting(diff);
    for (int i = 0; i < 2; i++)
        print_extent(diff, i);
    if (diff->fork != 0)
        printf("%s was forked from the log in %s behind event %llu\n",
               diff->sides[diff->fork - 1].dir, diff->sides[diff->fork % 2].dir,
               big(diff->fork_seq));
    printf("%s%s%s\n", command_style(stdout, styles[diff->verdict]), sentences[diff->verdict],
           command_style(stdout, COMMAND_PLAIN));
}

void diff_end(struct diff *diff, int code)
{
    if (code == 0 && diff->json)
        json_end(diff);
    else if (code == 0)
        print_end(diff);
    printer_end(&diff->printer);
    text_free(&diff->line);
}
