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
    bool compared = false;
    for (size_t i = 0; i < repair->line_count; i++) {
        const struct repair_entry *entry = &repair->line[i];
        if (entry->from >= 0 || entry->from == REPAIR_NOBODY ||
            !repair_open_in_copy(copy, entry->segment_no))
            continue;
        compared = true;
        if (memcmp(entry->header.log_uuid, copy->header.log_uuid, UUID_SIZE) == 0 &&
            entry->header.salt == copy->header.salt)
            return 0;
    }
    return compared ? error_set(error, ERROR_MISMATCH, "%s is a copy of another log", copy->path)
                    : 0;
}

static int check_copies(struct repair *repair, struct error *error)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < repair->options->copy_count; i++)
        code = check_copy(repair, &repair->copies[i], error);
    return code;
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
    }
    return code;
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
        code = open_copies(repair, error);
    if (code == 0)
        code = repair_line_read(repair, error);
    if (code == 0 && repair->last_no == 0)
        return error_set(error, ERROR_NOT_FOUND, "%s holds no segment that was begun",
                         repair->directory.path);
    return code < 0 ? code : check_copies(repair, error);
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
    free(repair->line);
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

static void end_segment(struct repair *repair, size_t index)
{
    struct repair_segment *segment = &repair->segment;
    repair->joined = !segment->lost;
    repair->before = segment->header;
    repair->before_index = index;
    repair->mark = segment->scan.counted;
    repair->result->last_seq = segment->scan.counted.last_seq;
    repair->result->segments++;
    if (repair->options->progress != NULL)
        repair->options->progress(repair->done_bytes < repair->all_bytes ? repair->done_bytes
                                                                         : repair->all_bytes,
                                  repair->all_bytes, repair->options->context);
}

static int repair_one(struct repair *repair, size_t index, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    repair_close_segment(segment);
    int found = repair_heal(repair, index, error);
    if (found < 0)
        return found;
    if (found == 0) {
        tell_headless(repair, segment->segment_no);
        return 0;
    }
    bool changed = repair_is_changed(segment) && !segment->refused;
    repair->result->mended += changed;
    /* One that is to be cut is written once, then. */
    bool cut = repair->result->cut_seq != 0 && repair->options->cut_seq != 0;
    int code = changed && !repair->options->plan && !cut ? repair_write(repair, error) : 0;
    if (code == 0)
        end_segment(repair, index);
    return code;
}

static int repair_segments(struct repair *repair, struct error *error)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < repair->line_count; i++)
        code = repair_one(repair, i, error);
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
        repair->before = (struct segment_header){ .segment_no = 0 };
        repair->joined = false;
        repair_close_segment(&repair->segment);
        code = repair_heal(repair, repair->before_index, error);
        if (code < 0)
            return code;
    }
    repair_tell_format(repair, &step,
                       "the log ends with event %llu from here on and goes on under a new uuid; "
                       "what lay behind is kept in the quarantine",
                       big(repair->options->cut_seq));
    result->cut = true;
    result->last_seq = repair->options->cut_seq;
    if (repair->options->plan)
        return 0;
    if (repair->options->before_cut != NULL)
        code = repair->options->before_cut(repair->directory.path, repair->options->context, error);
    return code < 0 ? code : repair_cut(repair, error);
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
    if (code == 0)
        code = repair_checkpoint(repair, error);
    if (code == 0 && options->cut_seq != 0)
        code = cut_end(repair, error);
    close_all(repair);
    free(repair);
    return code;
}
