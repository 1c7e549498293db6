#include "tools/agent/roots_due.h"

#include "log/roots.h"
#include "tools/agent/host.h"

#include <string.h>

struct taking {
    struct roots_due *due;
    struct anchor *anchor;
    struct passed waiting; /* not sealed, and nothing behind them is so far */
    uint64_t oldest_no;    /* segment of the log; 0: none */
    bool changed;          /* what is passed over */
};

static bool wants(uint64_t segment_no, void *context)
{
    struct taking *taking = context;
    const struct roots_due *due = taking->due;
    if (taking->oldest_no == 0)
        taking->oldest_no = segment_no;
    return segment_no > due->newest_no || !due->looked_behind ||
           passed_has(&due->passed, segment_no);
}

static int pass_over(struct taking *taking, uint64_t segment_no, struct error *error)
{
    taking->changed |= !passed_has(&taking->due->passed, segment_no);
    return passed_add(&taking->due->passed, segment_no, error);
}

/* Those that wait lie behind one that is signed now. */
static int pass_waiting(struct taking *taking, struct error *error)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < taking->waiting.count; i++)
        code = pass_over(taking, taking->waiting.numbers[i], error);
    taking->waiting.count = 0;
    return code;
}

static int sign(struct anchor *anchor, const struct log_root *root)
{
    struct anchor_segment *segment = &anchor->segments[anchor->segment_count++];
    *segment = (struct anchor_segment){ .segment_no = root->segment_no,
                                        .first_seq = root->first_seq,
                                        .last_seq = root->last_seq };
    memcpy(segment->merkle_root, root->merkle_root, SHA256_SIZE);
    return anchor->segment_count == ANCHOR_SEGMENTS_MAX;
}

/* Of what is not newer, at the first look, what is not sealed was never signed. */
static int take(const struct log_root *root, void *context, struct error *error)
{
    struct taking *taking = context;
    const struct roots_due *due = taking->due;
    int code = 0;
    bool newer = root->segment_no > due->newest_no;
    if (!root->sealed)
        return newer ? passed_add(&taking->waiting, root->segment_no, error)
                     : pass_over(taking, root->segment_no, error);
    if (!newer && !passed_has(&due->passed, root->segment_no))
        return 0;
    if (newer)
        code = pass_waiting(taking, error);
    return code < 0 ? code : sign(taking->anchor, root);
}

static void keep(const struct roots_due *due)
{
    struct error error = { 0 };
    if (passed_write(&due->passed, due->data_dir, &error) < 0)
        host_say("which segments are to be signed later is not kept: %s", error.text);
}

/* What is passed over is kept before one behind it is recorded as signed. */
int roots_due_take(struct roots_due *due, struct anchor *anchor, struct error *error)
{
    struct taking taking = { .due = due, .anchor = anchor };
    struct log_roots_visitor visitor = { wants, take, &taking };
    anchor->segment_count = 0;
    int code = log_roots(due->log_dir, &visitor, error);
    if (code == 0)
        due->looked_behind = true;
    while (due->passed.count > 0 && due->passed.numbers[0] < taking.oldest_no) {
        passed_remove(&due->passed, due->passed.numbers[0]); /* retention has removed it */
        taking.changed = true;
    }
    if (taking.changed)
        keep(due);
    passed_free(&taking.waiting);
    return code < 0 ? code : 0;
}

void roots_due_signed(struct roots_due *due, const struct anchor *anchor)
{
    size_t before = due->passed.count;
    for (uint32_t i = 0; i < anchor->segment_count; i++) {
        uint64_t number = anchor->segments[i].segment_no;
        passed_remove(&due->passed, number);
        if (number > due->newest_no)
            due->newest_no = number;
    }
    if (due->passed.count != before)
        keep(due);
}

void roots_due_open(struct roots_due *due, const char *log_dir, const char *data_dir,
                    uint64_t newest_no)
{
    *due = (struct roots_due){ .log_dir = log_dir, .data_dir = data_dir, .newest_no = newest_no };
    passed_read(&due->passed, data_dir);
}

void roots_due_close(struct roots_due *due)
{
    passed_free(&due->passed);
}
