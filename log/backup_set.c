#include "log/backup_set.h"

#include "log/directory.h"
#include "log/history.h"
#include "log/scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

static int misses(const struct backup_set *set, size_t nth, uint64_t first, uint64_t last,
                  struct error *error)
{
    return error_set(error, ERROR_NOT_FOUND,
                     "events %llu to %llu are neither in %s nor in %s: give the backup that holds "
                     "them between the two",
                     big(first), big(last), set->paths[nth - 1], set->paths[nth]);
}

static int foreign(const struct backup_set *set, size_t nth, uint64_t seq, struct error *error)
{
    return error_set(
        error, ERROR_MISMATCH,
        "%s does not go on where %s ends, at event %llu: they are backups of two logs, "
        "or of one whose end moved back: give backups of one history, the oldest first",
        set->paths[nth], set->paths[nth - 1], big(seq));
}

/* The place behind event last->last_seq in the segment that `source` has open. 0 with the chain
 * there; ERROR_MISMATCH when no frame ends with it. */
static int check_place(struct source *source, const struct segment_header *header,
                       const struct backup_segment *last)
{
    struct scan scan;
    struct frame_header frame;
    const uint8_t *bytes;
    int result = SCAN_FRAME;
    scan_begin(&scan, source, header);
    scan.limit = last->bytes;
    while (scan.here.last_seq < last->last_seq && result == SCAN_FRAME)
        result = scan_next(&scan, &frame, &bytes);
    if (result < 0)
        return result;
    return scan.here.last_seq == last->last_seq &&
                   memcmp(scan.here.chain, last->chain, SHA256_SIZE) == 0
               ? 0
               : ERROR_MISMATCH;
}

/* `index` is in `directory` the segment with which backup `nth` begins, or the one that the backup
 * before ends in. */
static int check_joint(const struct backup_set *set, size_t nth, const struct directory *directory,
                       struct error *error)
{
    const struct backup_segment *last = manifest_last(&set->manifests[nth - 1]);
    const struct backup_segment *same = manifest_find(&set->manifests[nth], last->segment_no);
    const struct backup_segment *first = &set->manifests[nth].segments[0];
    struct source source = { .fd = -1 };
    struct segment_header header;
    struct error what = { 0 };
    ptrdiff_t index =
        directory_find(directory, same != NULL ? same->segment_no : first->segment_no);
    if (index < 0)
        return error_set(error, ERROR_DAMAGED,
                         "%s lacks a segment that its BACKUP names: use "
                         "another backup",
                         set->paths[nth]);
    int state = directory_segment(directory, (size_t)index, &source, &header, &what);
    int code = state < 0 ? state : state == SEGMENT_BEGUN ? 0 : ERROR_DAMAGED;
    if (code == 0 && same != NULL)
        code = check_place(&source, &header, last);
    else if (code == 0 && !history_follows(&header, last))
        code = ERROR_MISMATCH;
    source_close(&source);
    if (code == ERROR_MISMATCH)
        return foreign(set, nth, last->last_seq, error);
    return code < 0 ? error_set(error, code, "%s: %s", set->paths[nth],
                                what.text[0] != '\0' ? what.text : error_text(code))
                    : 0;
}

static int check_follows(const struct backup_set *set, size_t nth, struct error *error)
{
    const struct manifest *manifest = &set->manifests[nth];
    const struct backup_segment *last = manifest_last(&set->manifests[nth - 1]);
    struct directory directory;
    if (manifest->segments[0].first_seq > last->last_seq + 1)
        return misses(set, nth, last->last_seq + 1, manifest->segments[0].first_seq - 1, error);
    if (manifest_last(manifest)->last_seq < last->last_seq)
        return error_set(
            error, ERROR_INVALID,
            "%s ends with event %llu, before %s, which ends with event %llu: give them "
            "in the order in which they were made, or leave it out",
            set->paths[nth], big(manifest_last(manifest)->last_seq), set->paths[nth - 1],
            big(last->last_seq));
    int code = directory_open(&directory, set->paths[nth], error);
    if (code == 0)
        code = check_joint(set, nth, &directory, error);
    directory_close(&directory);
    return code;
}

static int read_manifest(struct backup_set *set, size_t nth, struct error *error)
{
    int found = manifest_read(&set->manifests[nth], set->paths[nth], error);
    if (found != 0)
        return found;
    return error_set(error, ERROR_INVALID,
                     "%s holds no BACKUP: a copy that daa-log backup did not make, or not to its "
                     "end, can only be restored alone",
                     set->paths[nth]);
}

int backup_set_open(struct backup_set *set, const char *const *paths, size_t count,
                    struct error *error)
{
    *set = (struct backup_set){ .paths = paths, .count = count };
    set->manifests = calloc(count, sizeof *set->manifests);
    if (set->manifests == NULL)
        return error_set(error, -ENOMEM, "no memory for %zu backups", count);
    for (size_t i = 0; i < count; i++) {
        int code = read_manifest(set, i, error);
        if (code > 0 && i > 0)
            code = check_follows(set, i, error);
        if (code < 0)
            return code;
    }
    return 0;
}

void backup_set_close(struct backup_set *set)
{
    for (size_t i = 0; set->manifests != NULL && i < set->count; i++)
        manifest_free(&set->manifests[i]);
    free(set->manifests);
    set->manifests = NULL;
}

/* A later backup holds at least as much of a segment. */
int backup_set_join(const struct backup_set *set, struct manifest *whole, struct error *error)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < set->count; i++) {
        const struct manifest *one = &set->manifests[i];
        for (size_t j = 0; code == 0 && j < one->segment_count; j++)
            code = manifest_put(whole, &one->segments[j]);
        for (size_t j = 0; code == 0 && j < one->snapshot_count; j++)
            code = manifest_put_snapshot(whole, &one->snapshots[j]);
        memcpy(whole->log_uuid, one->log_uuid, UUID_TEXT_SIZE);
    }
    while (whole->snapshot_count > 2)
        manifest_drop_snapshot(whole, 0);
    return code < 0 ? error_set(error, code, "no memory for the list of segments") : 0;
}

size_t backup_set_holder(const struct backup_set *set, const struct backup_segment *segment)
{
    size_t nth = set->count - 1;
    while (nth > 0 && manifest_find(&set->manifests[nth], segment->segment_no) == NULL)
        nth--;
    return nth;
}

size_t backup_set_snapshot_holder(const struct backup_set *set,
                                  const struct backup_snapshot *snapshot)
{
    for (size_t nth = set->count - 1; nth > 0; nth--)
        for (size_t i = 0; i < set->manifests[nth].snapshot_count; i++)
            if (set->manifests[nth].snapshots[i].seq == snapshot->seq)
                return nth;
    return 0;
}
