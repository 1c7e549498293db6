/* What is said of anchors that were held against a log. */
#include "tools/log/anchors.h"
#include "tools/log/log.h"

#include <inttypes.h>

static const char *state_name(enum anchor_state state)
{
    static const char *const names[] = {
        [ANCHOR_BEYOND] = "missing", [ANCHOR_BEFORE] = "removed",  [ANCHOR_HOLDS] = "holds",
        [ANCHOR_FORGED] = "forged",  [ANCHOR_STRANGE] = "strange", [ANCHOR_CHANGED] = "changed"
    };
    return names[state];
}

static void describe(const struct anchors_item *item, const struct anchors *anchors,
                     struct text *text)
{
    switch (item->state) {
    case ANCHOR_BEYOND:
        text_printf(text, "the log ends before that event: what was signed is gone");
        break;
    case ANCHOR_BEFORE:
        text_printf(text, "the log begins behind it, with event %" PRIu64 ": it cannot be checked",
                    anchors->first_seq);
        break;
    case ANCHOR_HOLDS:
        text_printf(text, "%s up to that event is as it was signed%s",
                    anchors->damaged ? "but for what is damaged, all" : "all",
                    item->segment_count > 0 ? ", and so are the segments" : "");
        break;
    case ANCHOR_FORGED:
        text_add_string(text, "its signature is wrong: it was changed since it was signed");
        break;
    case ANCHOR_STRANGE:
        text_printf(text, "another key signed it than the one in %s", anchors->trust.path);
        break;
    case ANCHOR_CHANGED:
        text_add_string(text, item->why);
        break;
    }
}

/* The newest that holds; NULL: none does. */
static const struct anchors_item *covering(const struct anchors *anchors)
{
    for (size_t i = anchors->count; i-- > 0;)
        if (anchors->items[i].state == ANCHOR_HOLDS)
            return &anchors->items[i];
    return NULL;
}

static void print_item(const struct anchors_item *item, const struct anchors *anchors,
                       struct text *line)
{
    bool good = item->state == ANCHOR_HOLDS;
    enum command_style style = good                           ? COMMAND_GREEN
                               : item->state == ANCHOR_BEFORE ? COMMAND_YELLOW
                                                              : COMMAND_RED;
    text_clear(line);
    text_json_time(line, NULL, item->signed_ns);
    printf("%s%s%s: anchor %" PRIu64 " of %.*s: events up to %" PRIu64,
           command_style(stdout, style), state_name(item->state),
           command_style(stdout, COMMAND_PLAIN), item->event, (int)line->size - 2, line->bytes + 1,
           item->seq);
    if (item->segment_count > 0)
        printf(", %" PRIu32 " segments", item->segment_count);
    text_clear(line);
    line->comma = false;
    describe(item, anchors, line);
    printf(": %s\n", text_string(line));
}

void anchors_print(const struct anchors *anchors, const struct log_verify_result *result)
{
    struct text line;
    const struct anchors_item *newest = covering(anchors);
    text_init(&line);
    for (size_t i = 0; i < anchors->count; i++)
        print_item(&anchors->items[i], anchors, &line);
    text_clear(&line);
    anchor_trust_to_text(&anchors->trust, &line);
    if (newest == NULL) {
        printf("no anchor holds: nothing shows that events %" PRIu64 " to %" PRIu64
               " are what they were\n",
               result->first_seq, result->last_seq);
    } else {
        printf("covered: events %" PRIu64 " to %" PRIu64 "%s, %s\n", result->first_seq, newest->seq,
               anchors->damaged ? " but for what is damaged" : "", text_string(&line));
        if (newest->seq < result->last_seq)
            printf("not covered: events %" PRIu64 " to %" PRIu64
                   ", behind the newest anchor: they could be changed or cut off, and this would "
                   "not show it\n",
                   newest->seq + 1, result->last_seq);
    }
    text_free(&line);
}

void anchors_print_json(const struct anchors *anchors, struct text *line)
{
    struct text sentence;
    text_init(&sentence);
    for (size_t i = 0; i < anchors->count; i++) {
        const struct anchors_item *item = &anchors->items[i];
        text_clear(&sentence);
        describe(item, anchors, &sentence);
        text_clear(line);
        text_json_open_object(line, NULL);
        text_json_unsigned(line, "anchor", item->event);
        text_json_cstring(line, "state", state_name(item->state));
        text_json_time(line, "signed", item->signed_ns);
        text_json_unsigned(line, "seq", item->seq);
        text_json_unsigned(line, "segments", item->segment_count);
        text_json_unsigned(line, "segments_wrong", item->segments_wrong);
        text_json_string(line, "text", text_span(&sentence));
        text_json_close_object(line);
        printf("%s\n", text_string(line));
    }
    text_clear(line);
    text_free(&sentence);
}

void anchors_to_json(const struct anchors *anchors, const struct log_verify_result *result,
                     struct text *text)
{
    static const char *const keys[] = {
        [TRUST_NOTHING] = "any", [TRUST_MACHINE] = "machine", [TRUST_GIVEN] = "given"
    };
    const struct anchors_item *newest = covering(anchors);
    text_json_open_object(text, "anchors");
    text_json_unsigned(text, "count", anchors->count);
    text_json_unsigned(text, "wrong", anchors->wrong);
    text_json_cstring(text, "key", keys[anchors->trust.kind]);
    text_json_unsigned(text, "covered_up_to", newest != NULL ? newest->seq : 0);
    text_json_unsigned(text, "uncovered",
                       result->last_seq - (newest != NULL ? newest->seq : result->first_seq - 1));
    text_json_close_object(text);
}
