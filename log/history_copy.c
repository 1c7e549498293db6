#include "log/history.h"

#include "log/scan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

/* One segment's way into its file. */
struct passage {
    struct history *history;
    const struct backup_segment *known;
    bool compared; /* the bytes that are known are those of this segment */
    struct scan scan;
    struct segment_header header, next;
    bool closed; /* `next` goes on behind it */
    uint64_t limit;
    char path[PATH_MAX + LOG_SEGMENT_NAME_SIZE];
};

/* Adds what to do about damage. */
static int advise(const struct history *history, int code, struct error *error)
{
    char text[sizeof error->text];
    if (error == NULL)
        return code;
    snprintf(text, sizeof text, "%s", error->text);
    return error_set(error, code,
                     "%s: daa-log verify shows all damage, daa-log restore %s NEW makes a log of "
                     "what is whole before it",
                     text, history->directory.path);
}

static int damaged(const struct passage *passage, int code, const char *what, struct error *error)
{
    const struct scan_mark *here = &passage->scan.here;
    error_set(error, code, "%s, frame at offset %llu, where event %llu should stand: %s",
              passage->path, big(here->end_offset), big(here->last_seq + 1), what);
    return passage->history->salvage ? code : advise(passage->history, code, error);
}

static int another_history(const struct passage *passage, struct error *error)
{
    const struct backup_segment *known = passage->known;
    return error_set(error, ERROR_MISMATCH,
                     "%s is not the segment whose first %llu bytes, up to event %llu, were copied "
                     "before: it is another log, or one whose end moved back: back it up into a "
                     "new directory",
                     passage->path, big(known->bytes), big(known->last_seq));
}

/* At the end of what the file holds already: is it a part of this segment? */
static int compare_known(struct passage *passage, struct error *error)
{
    const struct backup_segment *known = passage->known;
    const struct scan_mark *here = &passage->scan.here;
    uint8_t sha256[SHA256_SIZE];
    if (known == NULL || passage->compared || here->end_offset < known->bytes)
        return 0;
    copying_digest(&passage->history->copying, sha256);
    if (here->end_offset != known->bytes || here->last_seq != known->last_seq ||
        memcmp(here->chain, known->chain, SHA256_SIZE) != 0 ||
        memcmp(sha256, known->sha256, SHA256_SIZE) != 0)
        return another_history(passage, error);
    passage->compared = true;
    return 0;
}

static void tell_progress(struct history *history, uint64_t bytes)
{
    history->done_bytes += bytes;
    if (history->progress != NULL)
        history->progress(history->done_bytes < history->all_bytes ? history->done_bytes
                                                                   : history->all_bytes,
                          history->all_bytes, history->context);
}

/* 1 when salvage may go on without what stands here. */
static int fault(const struct passage *passage, int result, struct error *what, struct error *error)
{
    const struct scan *scan = &passage->scan;
    if (result == SCAN_BAD && scan->fault == SCAN_NEWER)
        return damaged(passage, ERROR_NEWER, scan->what, error);
    if (result == ERROR_BUDGET || result == -ENOMEM)
        return damaged(passage, result, error_text(result), error);
    if (result == SCAN_BAD)
        return damaged(passage, ERROR_DAMAGED, scan->what, what) < 0;
    return damaged(passage, result, error_text(result), what) < 0;
}

/* The header, and every frame up to the limit. 0 there; 1 damage, with `what`; negative. */
static int copy_frames(struct passage *passage, struct error *what, struct error *error)
{
    struct copying *copying = &passage->history->copying;
    struct scan *scan = &passage->scan;
    struct frame_header frame;
    const uint8_t *bytes;
    int code = source_bytes(scan->source, 0, LOG_BLOCK_SIZE, &bytes);
    if (code < 0)
        return damaged(passage, code, error_text(code), error);
    code = copying_add(copying, bytes, LOG_BLOCK_SIZE, error);
    for (;;) {
        if (code == 0)
            code = compare_known(passage, error);
        if (code < 0)
            return code;
        int result = scan_next(scan, &frame, &bytes);
        if (result == SCAN_END)
            break;
        if (result != SCAN_FRAME)
            return fault(passage, result, what, error);
        uint64_t size = (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
        code = copying_add(copying, bytes, size, error);
        tell_progress(passage->history, size);
    }
    const struct segment_header *next = passage->closed ? &passage->next : NULL;
    if (scan->counted.end_offset != passage->limit ||
        (next != NULL && (next->prev_last_seq != scan->counted.last_seq ||
                          memcmp(next->prev_chain, scan->counted.chain, SHA256_SIZE) != 0)))
        return damaged(passage, ERROR_DAMAGED, "the next segment goes on at another place", what) <
               0;
    return 0;
}

/* A block behind the last event: no event is in it. Salvage takes zeros in its place, and says so
 * if there is nothing worse to say. */
static int unreadable_rest(struct passage *passage, uint64_t at, int code, struct error *error)
{
    struct history *history = passage->history;
    error_set(error, code, "%s, block at offset %llu, behind its last event: %s", passage->path,
              big(at), error_text(code));
    if (!history->salvage || (code != -EIO && code != ERROR_DAMAGED))
        return advise(history, code, error);
    if (history->reason[0] == '\0')
        snprintf(history->reason, sizeof history->reason,
                 "%.900s, block at offset %llu, behind its last event: %s", passage->path, big(at),
                 error_text(code));
    return 0;
}

/* What a crash left behind the end of a closed segment belongs to its evidence. */
static int copy_rest(struct passage *passage, struct error *error)
{
    struct source *source = passage->scan.source;
    uint64_t end =
        source->size < passage->header.capacity ? source->size : passage->header.capacity;
    static const uint8_t zeros[LOG_BLOCK_SIZE];
    const uint8_t *block;
    int code = 0;
    if (!passage->closed || passage->scan.ended)
        return 0;
    for (uint64_t at = passage->limit; code == 0 && at + LOG_BLOCK_SIZE <= end;
         at += LOG_BLOCK_SIZE) {
        code = source_bytes(source, at, LOG_BLOCK_SIZE, &block);
        if (code < 0) {
            block = zeros;
            code = unreadable_rest(passage, at, code, error);
        }
        if (code == 0)
            code = copying_add_sparse(&passage->history->copying, block, error);
    }
    return code;
}

static int pass_segment(struct passage *passage, const char *target, struct backup_segment *made,
                        struct error *what, struct error *error)
{
    struct copying *copying = &passage->history->copying;
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, passage->header.segment_no);
    passage->compared = false;
    scan_begin(&passage->scan, &passage->history->source, &passage->header);
    passage->scan.check_chain = true;
    passage->scan.limit = passage->limit;
    int code = copying_begin(copying, target, name, passage->header.capacity,
                             passage->known == NULL ? 0 : passage->known->bytes, error);
    if (code == 0)
        code = copy_frames(passage, what, error);
    if (code == 0 && passage->known != NULL && !passage->compared)
        code = another_history(passage, error);
    if (code == 0)
        code = copy_rest(passage, error);
    const struct scan_mark *counted = &passage->scan.counted;
    *made = (struct backup_segment){ .segment_no = passage->header.segment_no,
                                     .bytes = copying->size,
                                     .capacity = passage->header.capacity,
                                     .first_seq = passage->header.first_seq,
                                     .last_seq = counted->last_seq,
                                     .closed = passage->closed };
    memcpy(made->chain, counted->chain, SHA256_SIZE);
    if (code == 0)
        code = copying_end(copying, made->sha256, error);
    if (code != 0)
        copying_abandon(copying);
    return code;
}

/* Damage in a segment whose beginning is to be saved: once more, and no further than to it. */
static int pass_cut(struct passage *passage, const char *target, struct backup_segment *made,
                    const struct error *what, struct error *error)
{
    struct history *history = passage->history;
    struct error ignored;
    history_know(history, passage->closed ? passage->next.prev_last_seq : 0);
    if (!history->cut)
        history_cut(history, "%s", what->text);
    passage->limit = passage->scan.counted.end_offset;
    passage->closed = false;
    int code = pass_segment(passage, target, made, &ignored, error);
    return code == 0 ? 1
           : code < 0
               ? code
               : error_set(error, ERROR_CONFLICT, "%s changes while it is read", passage->path);
}

/* Where the segment ends: the next one says so, or it is the newest. */
static int find_end(struct passage *passage, size_t index, struct error *error)
{
    struct history *history = passage->history;
    const struct segment_header *next = &passage->next;
    int found = history_find(history, &index, &passage->next, error);
    if (found < 0)
        return found;
    passage->closed = found == 1 && next->prev_segment_no == passage->header.segment_no;
    passage->limit = passage->closed ? next->prev_end_offset : history->end_offset;
    if (found == 1 && !passage->closed) {
        if (!history->salvage)
            return error_set(error, ERROR_DAMAGED,
                             "%s: segment %llu, behind which segment %llu goes on, is missing: put "
                             "it back from a copy",
                             history->directory.path, big(next->prev_segment_no),
                             big(next->segment_no));
        history_know(history, next->prev_last_seq);
        history_cut(history, "segment %llu is missing", big(next->prev_segment_no));
    }
    /* Where the next one cannot be read, nothing says where this one ends. */
    if (history->cut)
        passage->limit = passage->header.capacity;
    return 0;
}

/* Reads the header, and that of the next segment. 0, 1 with `what` damage, negative. */
static int begin_passage(struct passage *passage, size_t index, const struct backup_segment *before,
                         struct error *what, struct error *error)
{
    struct history *history = passage->history;
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, history->directory.segments[index]);
    snprintf(passage->path, sizeof passage->path, "%s/%s", history->directory.path, name);
    int state =
        directory_segment(&history->directory, index, &history->source, &passage->header, what);
    if (state != SEGMENT_BEGUN)
        return error_set(error, state < 0 ? state : ERROR_DAMAGED, "%s: %s", passage->path,
                         what->text);
    /* A reader's lock: the file is not given to another segment while it is read. */
    (void)flock(history->source.fd, LOCK_SH | LOCK_NB);
    if (before != NULL && !history_follows(&passage->header, before))
        return error_set(what, ERROR_MISMATCH,
                         "%s goes on behind event %llu of segment %llu, and not behind event %llu "
                         "of segment %llu where the backup ends: it is another history, or events "
                         "between were removed: back it up into a new directory",
                         passage->path, big(passage->header.prev_last_seq),
                         big(passage->header.prev_segment_no), big(before->last_seq),
                         big(before->segment_no)) < 0;
    return find_end(passage, index + 1, error);
}

int history_copy(struct history *history, size_t index, const char *target,
                 const struct backup_segment *known, const struct backup_segment *before,
                 struct backup_segment *made, struct error *error)
{
    struct passage passage = { .history = history, .known = known };
    struct error what = { 0 };
    *made = (struct backup_segment){ .segment_no = 0 };
    int code = begin_passage(&passage, index, before, &what, error);
    if (code < 0)
        return code;
    if (code > 0 && !history->salvage) {
        if (error != NULL)
            *error = what;
        return what.code;
    }
    if (code > 0) {
        history_cut(history, "%s", what.text);
        return 1;
    }
    if (known != NULL && passage.limit < known->bytes)
        return another_history(&passage, error);
    code = pass_segment(&passage, target, made, &what, error);
    if (code <= 0)
        return code;
    if (history->salvage)
        return pass_cut(&passage, target, made, &what, error);
    if (error != NULL)
        *error = what;
    return what.code;
}
