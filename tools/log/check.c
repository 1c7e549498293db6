/* daa-log verify. */
#include "log/storage.h"
#include "log/verify_backup.h"
#include "tools/command/progress.h"
#include "tools/log/anchors.h"
#include "tools/log/beginning.h"
#include "tools/log/check_keys.h"
#include "tools/log/ranges.h"
#include "tools/rebuild/rebuild.h"

#include <string.h>

struct checking {
    bool json, chain, no_chain, by_range;
    const char *anchor, *key;
    struct anchors anchors;
    struct check_keys keys;
    uint64_t unchained; /* segments, when they may not be */
    struct ranges ranges;
    struct progress progress;
    struct text line;
    struct beginning beginning;
};

static unsigned long long big(uint64_t number)
{
    return number;
}

static void print_line(struct checking *checking)
{
    printf("%s\n", text_string(&checking->line));
    text_clear(&checking->line);
}

static void print_finding_json(const struct log_finding *finding, struct checking *checking)
{
    struct text *line = &checking->line;
    text_json_open_object(line, NULL);
    text_json_cstring(line, "verdict", log_verdict_name((uint16_t)finding->verdict));
    text_json_cstring(line, "file", finding->file);
    text_json_unsigned(line, "offset", finding->offset);
    text_json_unsigned(line, "size", finding->size);
    text_json_unsigned(line, "first_seq", finding->first_seq);
    text_json_unsigned(line, "last_seq", finding->last_seq);
    text_json_bool(line, "tail", finding->tail);
    text_json_cstring(line, "text", finding->text);
    text_json_cstring(line, "witness", finding->witness[0] ? finding->witness : NULL);
    text_json_cstring(line, "diagnosis", finding->diagnosis[0] ? finding->diagnosis : NULL);
    text_json_open_array(line, "unreadable");
    for (unsigned i = 0; i < finding->unreadable.count; i++) {
        text_json_open_object(line, NULL);
        text_json_unsigned(line, "offset", finding->unreadable.runs[i].offset);
        text_json_unsigned(line, "size", finding->unreadable.runs[i].size);
        text_json_close_object(line);
    }
    text_json_close_array(line);
    if (finding->flipped) {
        text_json_open_object(line, "flipped");
        text_json_unsigned(line, "offset", finding->flipped_offset);
        text_json_unsigned(line, "bit", finding->flipped_bit);
        text_json_close_object(line);
    }
    text_json_close_object(line);
    print_line(checking);
}

static enum command_style style_of(enum log_verdict verdict)
{
    if (verdict == LOG_SOUND)
        return COMMAND_GREEN;
    return verdict == LOG_DAMAGED ? COMMAND_RED : COMMAND_YELLOW;
}

static void print_finding(const struct log_finding *finding, void *context)
{
    struct checking *checking = context;
    progress_clear(&checking->progress);
    if (checking->by_range)
        ranges_note(&checking->ranges, finding);
    if (checking->json) {
        print_finding_json(finding, checking);
        return;
    }
    printf("%s%s%s: %s at %llu: %s\n", command_style(stdout, style_of(finding->verdict)),
           log_verdict_name((uint16_t)finding->verdict), command_style(stdout, COMMAND_PLAIN),
           finding->file, big(finding->offset), finding->text);
    if (finding->diagnosis[0] != '\0')
        printf("  %s\n", finding->diagnosis);
}

/* --chain was said: whoever says so wants to be shown that nothing was changed. */
static void report_unchained(struct checking *checking, const struct log_verified_file *file)
{
    checking->unchained++;
    struct log_finding finding = { .verdict = LOG_UNPROVEN,
                                   .first_seq = file->first_seq,
                                   .last_seq = file->last_seq };
    (void)snprintf(finding.file, sizeof finding.file, "%s", file->file);
    (void)snprintf(finding.text, sizeof finding.text,
                   "its frames have no chain (log.chain was off when it was written): nothing can "
                   "show that it was not changed");
    print_finding(&finding, checking);
}

static void take_frame(const struct log_verified_frame *frame, void *context)
{
    struct checking *checking = context;
    anchors_frame(&checking->anchors, frame);
}

static void take_file(const struct log_verified_file *file, void *context)
{
    struct checking *checking = context;
    progress_clear(&checking->progress);
    if (checking->by_range)
        ranges_print(&checking->ranges, file);
    if (checking->anchor != NULL)
        anchors_segment(&checking->anchors, file);
    if (checking->chain && file->segment_no != 0 && !file->chained)
        report_unchained(checking, file);
}

static void show_progress(uint64_t done_bytes, uint64_t all_bytes, void *context)
{
    struct checking *checking = context;
    progress_show(done_bytes, all_bytes, &checking->progress);
}

/* No verdict on the log: its bytes are what was written. */
static void print_key_finding(struct checking *checking, const struct record *record)
{
    progress_clear(&checking->progress);
    if (!checking->json) {
        printf("%skeys%s: %s\n", command_style(stdout, COMMAND_RED),
               command_style(stdout, COMMAND_PLAIN), checking->keys.text);
        return;
    }
    check_keys_finding_to_json(&checking->keys, record, &checking->line);
    print_line(checking);
}

static void note_record(const struct record *record, void *context)
{
    struct checking *checking = context;
    beginning_note(&checking->beginning, record);
    if (check_keys_record(&checking->keys, record))
        print_key_finding(checking, record);
}

static enum beginning_state check_beginning(struct checking *checking, const char *dir,
                                            struct log_verify_result *result)
{
    struct log_finding finding;
    enum beginning_state state = beginning_state(&checking->beginning, result->first_seq, dir);
    if (beginning_is_damage(&checking->beginning, state, result, &finding))
        print_finding(&finding, checking);
    return state;
}

static void print_beginning(struct checking *checking, enum beginning_state state,
                            const struct log_verify_result *result)
{
    if (result->shortened)
        printf("segments were removed meanwhile; what was left was checked\n");
    if (state == BEGINNING_WHOLE || state == BEGINNING_MISSING)
        return;
    beginning_describe(&checking->beginning, state, result->first_seq, &checking->line);
    print_line(checking);
}

static void print_result(struct checking *checking, const struct log_verify_result *result,
                         enum beginning_state state)
{
    const char *verdict = log_verdict_name((uint16_t)result->verdict);
    struct text *line = &checking->line;
    if (!checking->json) {
        print_beginning(checking, state, result);
        if (checking->keys.keys.keyring != NULL) {
            check_keys_to_text(&checking->keys, line);
            print_line(checking);
        }
        printf("%s%s%s: events %llu to %llu in %llu segments, %llu frames%s%s%s; %llu findings\n",
               command_style(stdout, style_of(result->verdict)), verdict,
               command_style(stdout, COMMAND_PLAIN), big(result->first_seq), big(result->last_seq),
               big(result->segments), big(result->frames),
               result->begins_late ? ", its beginning is gone" : "",
               result->live ? ", a writer is running" : "",
               result->moved ? ", not where it was written" : "", big(result->findings));
        if (result->failovers > 0)
            printf("failovers to another segment after a write failed: %llu (daa-log cat -k "
                   "storage.failover)\n",
                   big(result->failovers));
        if (result->moved)
            printf("the directory was copied or moved: unless its agent had stopped in order, the "
                   "next one here goes on as a log of its own, with this one as its parent; "
                   "daa-log backup copies a log that is in use\n");
        return;
    }
    text_json_open_object(line, NULL);
    text_json_cstring(line, "verdict", verdict);
    text_json_unsigned(line, "first_seq", result->first_seq);
    text_json_unsigned(line, "last_seq", result->last_seq);
    text_json_unsigned(line, "segments", result->segments);
    text_json_unsigned(line, "spares", result->spares);
    text_json_unsigned(line, "frames", result->frames);
    text_json_unsigned(line, "records", result->records);
    text_json_unsigned(line, "payload_bytes", result->payload_bytes);
    text_json_unsigned(line, "findings", result->findings);
    text_json_unsigned(line, "failovers", result->failovers);
    text_json_bool(line, "live", result->live);
    text_json_bool(line, "begins_late", result->begins_late);
    beginning_to_json(&checking->beginning, state, result->first_seq, line);
    text_json_bool(line, "shortened", result->shortened);
    text_json_bool(line, "moved", result->moved);
    text_json_hex(line, "chain", span_of(result->chain, sizeof result->chain));
    if (checking->anchor != NULL)
        anchors_to_json(&checking->anchors, result, line);
    if (checking->keys.keys.keyring != NULL)
        check_keys_to_json(&checking->keys, line);
    text_json_close_object(line);
    print_line(checking);
}

/* What was kept of the log is read before the log is: so all that it names was durable then. */
static int open_anchors(struct checking *checking, const char *dir, struct error *error)
{
    struct anchors *anchors = &checking->anchors;
    int code = anchor_trust_open(&anchors->trust, checking->key, dir, error);
    if (code == 0)
        code = anchors_read(anchors, checking->anchor, error);
    if (code == 0)
        anchors_begin(anchors);
    return code;
}

static int verify(struct checking *checking, const char *dir, struct log_verify_result *result,
                  struct error *error)
{
    struct log_verify_options options = { .dir = dir,
                                          .no_chain = checking->no_chain,
                                          .roots = checking->anchor != NULL,
                                          .finding = print_finding,
                                          .file = take_file,
                                          .frame = checking->anchor != NULL ? take_frame : NULL,
                                          .record = note_record,
                                          .progress = show_progress,
                                          .context = checking };
    int code = checking->anchor != NULL ? open_anchors(checking, dir, error) : 0;
    if (code < 0)
        return code;
    progress_begin(&checking->progress, "verifying", PROGRESS_BYTES, 0);
    code = log_verify(&options, result, error);
    if (code == 0)
        code = log_verify_backup(&options, rebuild_check_snapshot, result, error);
    progress_end(&checking->progress);
    return code;
}

static void print_anchors(struct checking *checking, const struct log_verify_result *result)
{
    anchors_end(&checking->anchors, result);
    if (checking->json)
        anchors_print_json(&checking->anchors, &checking->line);
    else
        anchors_print(&checking->anchors, result);
}

static int check(struct checking *checking, const struct command *command, const char *dir)
{
    struct log_verify_result result;
    struct error error;
    int code = verify(checking, dir, &result, &error);
    if (code < 0) {
        (void)command_failed_error(command, &error);
        return COMMAND_USAGE;
    }
    if (checking->anchor != NULL)
        print_anchors(checking, &result);
    print_result(checking, &result, check_beginning(checking, dir, &result));
    if (result.verdict == LOG_DAMAGED || checking->anchors.wrong > 0 || checking->unchained > 0 ||
        check_keys_is_wrong(&checking->keys))
        return COMMAND_FAILED;
    return result.verdict == LOG_SOUND ? COMMAND_GOOD : LOG_EXIT_UNPROVEN;
}

int log_check(int argc, char **argv)
{
    struct checking checking = { .json = false };
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &checking.json,
          "print findings and the result as JSON, one object a line" },
        { "ranges", 0, NULL, COMMAND_FLAG, &checking.by_range,
          "say the verdict on every range of bytes, with the witness" },
        { "chain", 0, NULL, COMMAND_FLAG, &checking.chain,
          "fail where the log has no SHA-256 chain; one that is there is\nchecked without it too" },
        { "no-chain", 0, NULL, COMMAND_FLAG, &checking.no_chain,
          "leave the SHA-256 chain out, which is faster" },
        { "anchor", 0, "FILE|URL", COMMAND_TEXT, &checking.anchor,
          "hold the signed heads in it against the log" },
        { "key", 0, "FILE", COMMAND_TEXT, &checking.key,
          "the public key (PEM) that must have signed them" },
        { "keys", 0, "KEYS", COMMAND_TEXT, &checking.keys.keys.keys_dir,
          "open each encrypted event with the keys in this directory" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log verify",
        .purpose = "Check every byte of a log and say what is wrong with it.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
        .notes =
            "A beginning that is gone is fine when retention removed it, and damage else.\n"
            "Exit status: 0 sound; 1 damaged, not what was signed, or encrypted with keys that\n"
            "do not fit or cannot be read; 2 wrong usage, or not readable as a log; 3 torn or\n"
            "unproven behind the last event, and otherwise sound.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (checking.no_chain && (checking.chain || checking.anchor != NULL))
        return command_misused(&command, "--no-chain leaves out what --%s needs",
                               checking.chain ? "chain" : "anchor");
    if (checking.key != NULL && checking.anchor == NULL)
        return command_misused(&command, "--key is of --anchor, which is not given");
    if (decryption_begin(&checking.keys.keys, &command, NULL) != COMMAND_GO_ON)
        return COMMAND_USAGE;
    check_keys_begin(&checking.keys);
    text_init(&checking.line);
    anchors_init(&checking.anchors);
    if (!ranges_begin(&checking.ranges, checking.json))
        return command_failed(&command, "no memory");
    status = check(&checking, &command, argv[first]);
    text_free(&checking.line);
    anchors_free(&checking.anchors);
    check_keys_end(&checking.keys);
    ranges_end(&checking.ranges);
    return status;
}
