/* The segments that the log should have, from the newest back: each names the one before it, so
 * what nobody names is not missed, whatever numbers there are. */
#include "log/fork.h"
#include "log/repair_inside.h"

#include "core/base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What the directory holds, oldest first. */
struct own {
    struct repair_entry *entries;
    size_t count;
    const struct repair_entry *newest; /* that has a header; NULL: none has */
};

/*--- What is here ------------------------------------------------------------------------------*/

/* Of a file that is shorter than two blocks. What holds not even the first sector of a header does
 * not say that none was written. */
static bool is_zero(struct source *source)
{
    const uint8_t *bytes;
    return source->size >= LOG_SECTOR_SIZE && source_bytes(source, 0, source->size, &bytes) == 0 &&
           bytes_are_zero(bytes, source->size);
}

/* What its file says of the segment. 0; 1: it has no file any more; negative. */
static int look_at(struct repair *repair, size_t index, struct repair_entry *entry,
                   struct error *error)
{
    struct source *probe = &repair->probe;
    struct frame_header frame;
    struct diagnosis diagnosis;
    struct error what = { 0 };
    const uint8_t *block;
    *entry = (struct repair_entry){ .segment_no = repair->directory.segments[index],
                                    .there = true,
                                    .from = REPAIR_NOBODY };
    int state = directory_segment(&repair->directory, index, probe, &entry->header, &what);
    if (state == ERROR_NEWER || state == ERROR_BUDGET || state == -ENOMEM || state == -EACCES)
        return error_set(error, state, "%s", what.text);
    if (state == -ENOENT)
        return 1;
    probe->sequential = probe->remembers = true;
    if (state == SEGMENT_BEGUN)
        entry->from = REPAIR_OWN;
    else if (state == SEGMENT_DAMAGED && source_bytes(probe, 0, LOG_BLOCK_SIZE, &block) == 0 &&
             repair_flip_header(block, entry->segment_no, &entry->header, &diagnosis))
        entry->from = REPAIR_FLIPPED;
    /* Its first blocks may be gone, and it holds events all the same. */
    entry->blank = (state == SEGMENT_SHORT && is_zero(probe)) ||
                   (state == SEGMENT_SPARE && !scan_find_any(probe, &frame));
    return 0;
}

static int look_at_all(struct repair *repair, struct own *own, struct error *error)
{
    own->entries = calloc(repair->directory.count + 1, sizeof *own->entries);
    if (own->entries == NULL)
        return error_set(error, -ENOMEM, "no memory to repair a log");
    for (size_t i = 0; i < repair->directory.count; i++) {
        struct repair_entry *entry = &own->entries[own->count];
        int code = look_at(repair, i, entry, error);
        if (code < 0)
            return code;
        if (code == 1)
            continue;
        own->count++;
        if (!entry->blank)
            repair->last_no = entry->segment_no;
        if (entry->from != REPAIR_NOBODY) {
            own->newest = entry;
            repair->all_bytes += entry->header.capacity;
        }
    }
    return 0;
}

/*--- How far it goes ---------------------------------------------------------------------------*/

/* CHECKPOINT of another name than our newest segment is that of a name before it, which is no news,
 * or of one behind it, whose segment is missing. */
static void take_checkpoint(struct repair *repair, const struct own *own)
{
    struct checkpoint *checkpoint = &repair->checkpoint;
    const struct repair_entry *newest = own->newest;
    if (!repair_read_checkpoint(repair, checkpoint) || checkpoint->segment_no == 0 ||
        checkpoint->segment_no > SEGMENT_NO_MAX)
        return;
    if (newest != NULL && memcmp(checkpoint->log_uuid, newest->header.log_uuid, UUID_SIZE) != 0 &&
        checkpoint->segment_no <= newest->segment_no)
        return;
    repair->witness =
        (struct tail_witness){ .seq = checkpoint->durable_seq, .name = LOG_CHECKPOINT_NAME };
    repair->named = true;
    memcpy(repair->log_uuid, checkpoint->log_uuid, UUID_SIZE);
    /* The newest is missing, or it is zero. */
    if (checkpoint->segment_no > repair->last_no)
        repair->last_no = checkpoint->segment_no;
}

static int read_wish(struct repair *repair, const struct own *own, struct error *error)
{
    struct fork_wish wish;
    int code = fork_read(repair->directory.path, &wish, error);
    repair->forks = code == 0 && wish.exists &&
                    (!wish.bound || own->newest == NULL ||
                     memcmp(wish.from, own->newest->header.log_uuid, UUID_SIZE) == 0);
    return code;
}

/* The newest segment of our name that a copy has, behind all that is here. */
static uint64_t newest_in_copy(const struct repair *repair, struct repair_copy *copy,
                               const struct repair_entry *ours)
{
    /* Another segment of our newest one's number: it went on elsewhere. */
    if (ours != NULL && repair_open_in_copy(copy, ours->segment_no) &&
        copy->header.salt != ours->header.salt)
        return 0;
    for (size_t i = copy->directory.count; i-- > 0;) {
        uint64_t segment_no = copy->directory.segments[i];
        if (segment_no <= repair->last_no)
            return 0;
        if (repair_open_in_copy(copy, segment_no) &&
            memcmp(copy->header.log_uuid, repair->log_uuid, UUID_SIZE) == 0)
            return segment_no;
    }
    return 0;
}

static void look_in_copies(struct repair *repair, const struct own *own)
{
    if (repair->forks || !repair->named)
        return;
    for (size_t i = 0; i < repair->options->copy_count; i++) {
        uint64_t segment_no = newest_in_copy(repair, &repair->copies[i], own->newest);
        if (segment_no > repair->last_no)
            repair->last_no = segment_no;
    }
}

/*--- The line ----------------------------------------------------------------------------------*/

static int add_entry(struct repair *repair, const struct repair_entry *entry, struct error *error)
{
    if (repair->line_count == repair->line_capacity) {
        size_t more = repair->line_capacity == 0 ? 64 : repair->line_capacity * 2;
        struct repair_entry *grown = realloc(repair->line, more * sizeof *grown);
        if (grown == NULL)
            return error_set(error, -ENOMEM, "no memory to repair a log");
        repair->line = grown;
        repair->line_capacity = more;
    }
    repair->line[repair->line_count++] = *entry;
    return 0;
}

/* The number of the segment before this one that is wanted, which may be missing; 0: none is. */
static uint64_t number_before(const struct repair *repair, const struct own *own,
                              const struct segment_header *header)
{
    uint64_t before = header->prev_segment_no,
             oldest = own->count > 0 ? own->entries[0].segment_no : header->segment_no;
    if (before >= header->segment_no)
        return 0;
    /* What lies before the oldest was removed, unless the caller knows better. */
    bool wanted = repair->options->begin_seq != 0 && header->first_seq > repair->options->begin_seq;
    return before >= oldest || wanted ? before : 0;
}

/* The segment with this number, and those of higher numbers that nobody named. */
static int add_one(struct repair *repair, const struct own *own, size_t *left, uint64_t segment_no,
                   struct segment_header *next, bool *has_next, struct error *error)
{
    struct repair_entry entry = { .segment_no = segment_no, .blank = true, .from = REPAIR_NOBODY };
    int code = 0;
    while (code == 0 && *left > 0 && own->entries[*left - 1].segment_no > segment_no)
        code = add_entry(repair, &own->entries[--*left], error);
    if (*left > 0 && own->entries[*left - 1].segment_no == segment_no)
        entry = own->entries[--*left];
    if (entry.from == REPAIR_NOBODY)
        repair_choose(repair, &entry, *has_next ? next : NULL);
    if (code == 0 && (entry.there || entry.from != REPAIR_NOBODY || segment_no == repair->last_no))
        code = add_entry(repair, &entry, error);
    if (entry.from == REPAIR_NOBODY)
        return code < 0 ? code : 0;
    *next = entry.header;
    *has_next = true;
    return code < 0 ? code : 1;
}

static int add_all(struct repair *repair, const struct own *own, struct error *error)
{
    struct segment_header next;
    bool has_next = false;
    size_t left = own->count;
    uint64_t segment_no = repair->last_no;
    int code = 0;
    while (left > 0 && own->entries[left - 1].segment_no > repair->last_no)
        left--; /* spares */
    while (code == 0 && segment_no != 0) {
        int known = add_one(repair, own, &left, segment_no, &next, &has_next, error);
        code = known < 0 ? known : 0;
        segment_no = known == 1 ? number_before(repair, own, &next) : 0;
        if (segment_no == 0 && left > 0)
            segment_no = own->entries[left - 1].segment_no;
    }
    for (size_t i = 0; i < repair->line_count / 2; i++) {
        struct repair_entry swap = repair->line[i];
        repair->line[i] = repair->line[repair->line_count - 1 - i];
        repair->line[repair->line_count - 1 - i] = swap;
    }
    return code;
}

int repair_line_read(struct repair *repair, struct error *error)
{
    struct own own = { .count = 0 };
    int code = look_at_all(repair, &own, error);
    if (code == 0)
        code = read_wish(repair, &own, error);
    if (code == 0) {
        repair->named = own.newest != NULL;
        if (repair->named)
            memcpy(repair->log_uuid, own.newest->header.log_uuid, UUID_SIZE);
        take_checkpoint(repair, &own);
        look_in_copies(repair, &own);
        code = add_all(repair, &own, error);
    }
    free(own.entries);
    return code;
}
