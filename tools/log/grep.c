/* daa-log grep: the events whose JSON text matches a pattern. */
#include "tools/log/listing.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT_MAX 1000u

struct grep {
    const char *pattern;
    bool json, fixed, ignore_case, invert, count;
    uint64_t limit, after, before, around; /* around: both, unless they are given */
    regex_t regex;

    struct decryption keys;
    struct printer matching; /* what the pattern is held against: JSON */
    struct printer shown;
    /* The last events that were not shown, for context: read again when they are wanted. */
    struct log_reader *again;
    uint64_t *kept, kept_count;
    uint64_t matches, after_left;
    uint64_t passed, shown_at; /* events seen, and at which of them one was shown last */
};

static bool matches(const struct grep *grep, const char *line)
{
    bool found;
    if (!grep->fixed)
        found = regexec(&grep->regex, line, 0, NULL, 0) == 0;
    else if (grep->ignore_case)
        found = strcasestr(line, grep->pattern) != NULL;
    else
        found = strstr(line, grep->pattern) != NULL;
    return found != grep->invert;
}

/* As grep does: a line between groups of events that do not follow each other. */
static int separate(struct grep *grep, uint64_t at)
{
    bool context = grep->before > 0 || grep->after > 0;
    bool gap = context && !grep->json && grep->shown_at != 0 && grep->shown_at + 1 != at;
    grep->shown_at = at;
    return gap && puts("--") == EOF ? -EPIPE : 0;
}

static int show(struct grep *grep, const struct record *record, uint64_t at)
{
    int code = separate(grep, at);
    return code < 0 ? code : printer_event(&grep->shown, record);
}

/* The events before a match that were kept, oldest first. What was removed meanwhile is left out.
 */
static int show_kept(struct grep *grep)
{
    uint64_t count = grep->kept_count < grep->before ? grep->kept_count : grep->before;
    uint64_t not_shown = grep->passed - 1 - grep->shown_at;
    struct record record;
    struct error ignored;
    if (count > not_shown)
        count = not_shown;
    for (uint64_t i = count; i > 0; i--) {
        uint64_t seq = grep->kept[(grep->kept_count - i) % grep->before];
        if (log_reader_get(grep->again, seq, &record, NULL, &ignored) != 1)
            continue;
        int code = show(grep, &record, grep->passed - i);
        if (code < 0)
            return code;
    }
    grep->kept_count = 0;
    return 0;
}

static int take_match(struct grep *grep, const struct record *record)
{
    int code = 0;
    grep->matches++;
    if (!grep->count && grep->before > 0)
        code = show_kept(grep);
    if (!grep->count && code == 0)
        code = show(grep, record, grep->passed);
    grep->after_left = grep->after;
    return code;
}

static int take_other(struct grep *grep, const struct record *record)
{
    if (grep->after_left > 0 && !grep->count) {
        grep->after_left--;
        return show(grep, record, grep->passed);
    }
    if (grep->before > 0)
        grep->kept[grep->kept_count++ % grep->before] = record->seq;
    return 0;
}

static int take(const struct record *record, const struct log_place *place, void *context)
{
    struct grep *grep = context;
    (void)place;
    bool enough = grep->limit != 0 && grep->matches >= grep->limit;
    if (enough && (grep->after_left == 0 || grep->count))
        return 0;
    grep->passed++;
    bool found = !enough && matches(grep, printer_line(&grep->matching, record));
    int code = found ? take_match(grep, record) : take_other(grep, record);
    return code < 0 ? code : 1;
}

static int run(struct listing *listing, struct grep *grep)
{
    printer_begin(&grep->matching, true, &grep->keys);
    printer_begin(&grep->shown, grep->json, &grep->keys);
    listing->show = take;
    listing->context = grep;
    int status = listing_run(listing, UINT64_MAX);
    if (grep->count && status != COMMAND_USAGE && grep->json)
        printf("{\"matches\":%llu}\n", (unsigned long long)grep->matches);
    else if (grep->count && status != COMMAND_USAGE)
        printf("%llu\n", (unsigned long long)grep->matches);
    printer_end(&grep->matching);
    printer_end(&grep->shown);
    return status == COMMAND_GOOD && grep->matches == 0 ? COMMAND_FAILED : status;
}

static int begin(struct grep *grep, const struct command *command, const char *dir)
{
    char why[256];
    grep->before = grep->before > 0 ? grep->before : grep->around;
    grep->after = grep->after > 0 ? grep->after : grep->around;
    if (grep->before > CONTEXT_MAX)
        return command_misused(command, "--before: at most %u events are kept", CONTEXT_MAX);
    int flags = REG_EXTENDED | REG_NOSUB | (grep->ignore_case ? REG_ICASE : 0);
    int code = grep->fixed ? 0 : regcomp(&grep->regex, grep->pattern, flags);
    if (code != 0) {
        regerror(code, &grep->regex, why, sizeof why);
        return command_misused(command, "'%s' is not a regular expression: %s", grep->pattern, why);
    }
    if (grep->before == 0)
        return COMMAND_GO_ON;
    grep->kept = calloc(grep->before, sizeof *grep->kept);
    if (grep->kept == NULL)
        return command_failed(command, "no memory");
    grep->again = open_reader(command, dir, true);
    return grep->again == NULL ? COMMAND_FAILED : COMMAND_GO_ON;
}

int log_grep(int argc, char **argv)
{
    static struct listing listing;
    static struct grep grep;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &grep.json, "print one JSON object a line" },
        { "fixed", 'F', NULL, COMMAND_FLAG, &grep.fixed, "PATTERN is text, no expression" },
        { "ignore-case", 'i', NULL, COMMAND_FLAG, &grep.ignore_case,
          "upper and lower case are the same" },
        { "invert", 'v', NULL, COMMAND_FLAG, &grep.invert, "the events that do not match" },
        { "count", 'c', NULL, COMMAND_FLAG, &grep.count, "print only how many they are" },
        { "max-count", 'm', "COUNT", COMMAND_NUMBER, &grep.limit, "stop after COUNT of them" },
        { "after", 'A', "COUNT", COMMAND_NUMBER, &grep.after, "print COUNT events behind each" },
        { "before", 'B', "COUNT", COMMAND_NUMBER, &grep.before, "print COUNT events before each" },
        { "context", 'C', "COUNT", COMMAND_NUMBER, &grep.around, "both" },
        KEYS_OPTIONS(grep.keys),
        FILTER_OPTIONS(listing.filter),
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log grep",
        .purpose = "Print the events whose JSON text, as cat --json prints it, matches PATTERN, a\n"
                   "POSIX extended regular expression.",
        .arguments = "PATTERN DIR",
        .arguments_min = 2,
        .arguments_max = 2,
        .options = options,
        .shared = log_options,
        .notes = "Context is of the events that pass the filters.\n"
                 "Exit status: 0 when an event matched, 1 when none did or the log is damaged.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    grep.pattern = argv[first];
    listing.command = &command;
    listing.dir = argv[first + 1];
    status = decryption_begin(&grep.keys, &command, listing.dir);
    if (status == COMMAND_GO_ON)
        status = begin(&grep, &command, listing.dir);
    if (status == COMMAND_GO_ON) {
        begin_paging(grep.json || grep.count);
        status = run(&listing, &grep);
    }
    if (grep.again != NULL)
        log_reader_close(grep.again);
    free(grep.kept);
    decryption_end(&grep.keys);
    return status;
}
