#include "log/repair_inside.h"

#include "core/base/bytes.h"
#include "log/checkpoint.h"
#include "log/sealed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

/*--- Opening -----------------------------------------------------------------------------------*/

/* A copy must have a segment of our log, or it is of another one. */
static int check_copy(struct repair *repair, struct repair_copy *copy, struct error *error)
{
    struct segment_header ours, theirs;
    struct error ignored;
    bool compared = false;
    for (size_t i = 0; i < copy->directory.count; i++) {
        ptrdiff_t index = directory_find(&repair->directory, copy->directory.segments[i]);
        if (index < 0 ||
            directory_segment(&repair->directory, (size_t)index, &repair->probe, &ours, &ignored) !=
                SEGMENT_BEGUN ||
            directory_segment(&copy->directory, i, &copy->source, &theirs, &ignored) !=
                SEGMENT_BEGUN)
            continue;
        compared = true;
        if (memcmp(ours.log_uuid, theirs.log_uuid, UUID_SIZE) == 0 && ours.salt == theirs.salt)
            return 0;
    }
    return compared ? error_set(error, ERROR_MISMATCH, "%s is a copy of another log", copy->path)
                    : 0;
}

static int open_copies(struct repair *repair, struct error *error)
{
    const struct log_repair_options *options = repair->options;
    int code = 0;
    if (options->copy_count > LOG_REPAIR_COPIES_MAX)
        return error_set(error, ERROR_INVALID, "at most %d copies can be given",
                         LOG_REPAIR_COPIES_MAX);
    for (size_t i = 0; code == 0 && i < options->copy_count; i++) {
        struct repair_copy *copy = &repair->copies[i];
        copy->path = options->copies[i];
        code = directory_open(&copy->directory, copy->path, error);
        if (code == 0 && copy->directory.count == 0)
            code = error_set(error, ERROR_NOT_FOUND, "%s holds no segment of a log", copy->path);
        if (code == 0 && strcmp(copy->directory.path, repair->directory.path) == 0)
            code = error_set(error, ERROR_INVALID, "%s is the log itself", copy->path);
        if (code == 0)
            code = check_copy(repair, copy, error);
    }
    return code;
}

/* The newest segment that was begun, whatever its header looks like now. */
static void find_last(struct repair *repair)
{
    struct segment_header header;
    struct error ignored;
    for (size_t i = repair->directory.count; i-- > 0 && repair->last_no == 0;) {
        int state = directory_segment(&repair->directory, i, &repair->probe, &header, &ignored);
        if (state != SEGMENT_SPARE && state != SEGMENT_SHORT && state != -ENOENT)
            repair->last_no = repair->directory.segments[i];
        if (state == SEGMENT_BEGUN)
            repair->all_bytes = header.capacity * (i + 1);
    }
}

static void read_checkpoint(struct repair *repair)
{
    struct checkpoint checkpoint;
    struct segment_header header;
    struct error ignored;
    unsigned damaged;
    int index = (int)directory_find(&repair->directory, repair->last_no);
    if (directory_checkpoint(&repair->directory, &repair->probe, &checkpoint, &damaged) != 1)
        return;
    bool ours = index < 0 ||
                directory_segment(&repair->directory, (size_t)index, &repair->probe, &header,
                                  &ignored) != SEGMENT_BEGUN ||
                memcmp(header.log_uuid, checkpoint.log_uuid, UUID_SIZE) == 0;
    if (!ours)
        return;
    repair->witness =
        (struct tail_witness){ .seq = checkpoint.durable_seq, .name = LOG_CHECKPOINT_NAME };
    /* The newest is missing, or it is zero. */
    if (checkpoint.segment_no > repair->last_no)
        repair->last_no = checkpoint.segment_no;
}

static int open_all(struct repair *repair, struct error *error)
{
    int code = directory_open(&repair->directory, repair->options->dir, error);
    if (code < 0)
        return code;
    if (directory_writer(&repair->directory) != 0)
        return error_set(error, ERROR_LOCKED, "%s is in use by process %d: stop it first",
                         repair->directory.path, (int)directory_writer(&repair->directory));
    if (!repair->options->plan)
        code = repair_lock(repair, error);
    if (code == 0)
        find_last(repair);
    if (code == 0 && repair->last_no == 0)
        return error_set(error, ERROR_NOT_FOUND, "%s holds no segment that was begun",
                         repair->directory.path);
    read_checkpoint(repair);
    return code < 0 ? code : open_copies(repair, error);
}

static void close_all(struct repair *repair)
{
    repair_close_segment(&repair->segment);
    for (size_t i = 0; i < LOG_REPAIR_COPIES_MAX; i++) {
        source_close(&repair->copies[i].source);
        directory_close(&repair->copies[i].directory);
    }
    source_close(&repair->probe);
    copying_free(&repair->copying);
    directory_close(&repair->directory);
    if (repair->lock_fd >= 0)
        close(repair->lock_fd);
}

/*--- Segments ----------------------------------------------------------------------------------*/

/* A segment without a header that anybody has. */
static void tell_headless(struct repair *repair, uint64_t segment_no)
{
    struct log_repair_step step = { .kind = LOG_REPAIR_LOST,
                                    .first_seq = repair->mark.last_seq + 1 };
    repair->headless = segment_no == repair->last_no && repair->joined;
    repair_tell_format(repair, &step,
                       "its header cannot be mended, nor what lies behind it be told apart: give a "
                       "copy that has it");
    repair->joined = false;
}

static void end_segment(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    repair->joined = !segment->lost;
    repair->before = segment->header;
    repair->mark = segment->scan.counted;
    repair->result->last_seq = segment->scan.counted.last_seq;
    repair->result->segments++;
    if (repair->options->progress != NULL)
        repair->options->progress(repair->done_bytes < repair->all_bytes ? repair->done_bytes
                                                                         : repair->all_bytes,
                                  repair->all_bytes, repair->options->context);
}

/* True if a segment that is not here is to be put back: what follows goes on behind it. */
static bool is_wanted(struct repair *repair, uint64_t segment_no)
{
    struct segment_header header;
    struct error ignored;
    for (uint64_t no = segment_no + 1; no <= repair->last_no; no++) {
        int found = repair_header(repair, no, &header, NULL, &ignored);
        if (found == 1)
            return header.prev_segment_no == segment_no;
    }
    return segment_no == repair->last_no; /* CHECKPOINT knows of it */
}

static int repair_one(struct repair *repair, uint64_t segment_no, struct error *error)
{
    bool there = directory_find(&repair->directory, segment_no) >= 0;
    if (!there && !is_wanted(repair, segment_no))
        return 0;
    repair_close_segment(&repair->segment);
    int found = repair_heal(repair, segment_no, error);
    if (found < 0)
        return found;
    if (found == 0) {
        if (there || segment_no == repair->last_no)
            tell_headless(repair, segment_no);
        return 0;
    }
    bool changed = repair_is_changed(&repair->segment);
    repair->result->mended += changed;
    /* One that is to be cut is written once, then. */
    bool cut = repair->result->cut_seq != 0 && repair->options->cut_seq != 0;
    int code = changed && !repair->options->plan && !cut ? repair_write(repair, error) : 0;
    if (code == 0)
        end_segment(repair);
    return code;
}

static int repair_segments(struct repair *repair, struct error *error)
{
    int code = 0;
    for (uint64_t no = repair->directory.segments[0]; code == 0 && no <= repair->last_no; no++)
        code = repair_one(repair, no, error);
    return code;
}

/*--- The end -----------------------------------------------------------------------------------*/

/* Where it can be cut when the newest segment has no header. */
static void note_headless(struct repair *repair)
{
    struct log_repair_result *result = repair->result;
    if (!repair->headless || repair->before.segment_no == 0)
        return;
    result->cut_seq = repair->mark.last_seq;
    result->gone_first = result->cut_seq + 1;
    result->gone_last = repair->witness.seq > result->cut_seq ? repair->witness.seq : 0;
}

static int check_cut(struct repair *repair, struct error *error)
{
    const struct log_repair_result *result = repair->result;
    uint64_t wanted = repair->options->cut_seq;
    if (result->cut_seq == 0 && wanted == result->last_seq)
        return 0; /* what lies behind does not count anyway */
    if (result->cut_seq == 0)
        return error_set(error, ERROR_INVALID,
                         "the end of the log needs no cut: it ends with event %llu",
                         big(result->last_seq));
    if (wanted != result->cut_seq)
        return error_set(error, ERROR_INVALID,
                         "a cut behind event %llu is not possible, only behind event %llu: that is "
                         "the last one of a command that is whole",
                         big(wanted), big(result->cut_seq));
    return 0;
}

static int cut_end(struct repair *repair, struct error *error)
{
    struct log_repair_result *result = repair->result;
    int code = check_cut(repair, error);
    if (code < 0)
        return code;
    struct log_repair_step step = { .kind = LOG_REPAIR_CUT,
                                    .first_seq = result->gone_first,
                                    .last_seq = result->gone_last };
    if (repair->headless) { /* the segment before it ends the log */
        uint64_t segment_no = repair->before.segment_no;
        repair->before = (struct segment_header){ .segment_no = 0 };
        repair->joined = false;
        repair_close_segment(&repair->segment);
        code = repair_heal(repair, segment_no, error);
        if (code < 0)
            return code;
    }
    repair_tell_format(repair, &step,
                       "the log ends with event %llu from here on and goes on under a new uuid; "
                       "what lay behind is kept in the quarantine",
                       big(repair->options->cut_seq));
    result->cut = true;
    result->last_seq = repair->options->cut_seq;
    return repair->options->plan ? 0 : repair_cut(repair, error);
}

int log_repair(const struct log_repair_options *options, struct log_repair_result *result,
               struct error *error)
{
    struct repair *repair = calloc(1, sizeof *repair);
    if (repair == NULL)
        return error_set(error, -ENOMEM, "no memory to repair a log");
    *result = (struct log_repair_result){ .segments = 0 };
    repair->options = options;
    repair->result = result;
    repair->lock_fd = -1;
    repair->probe.fd = repair->segment.base.fd = repair->segment.healed.fd = -1;
    for (size_t i = 0; i < LOG_REPAIR_COPIES_MAX; i++)
        repair->copies[i].source.fd = -1;
    copying_init(&repair->copying);
    int code = open_all(repair, error);
    if (code == 0)
        code = repair_segments(repair, error);
    note_headless(repair);
    if (code == 0)
        code = repair_spares(repair, error);
    if (code == 0 && result->lost == 0)
        code = repair_checkpoint(repair, error);
    if (code == 0 && options->cut_seq != 0)
        code = cut_end(repair, error);
    close_all(repair);
    free(repair);
    return code;
}
