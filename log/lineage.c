#include "log/lineage.h"

#include "log/directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add_name(struct log_lineage *lineage, const struct segment_header *header)
{
    struct log_name *last = lineage->count > 0 ? &lineage->names[lineage->count - 1] : NULL;
    if (last != NULL && memcmp(last->log_uuid, header->log_uuid, UUID_SIZE) == 0)
        return 0;
    /* Nothing was written under the name before. */
    if (last == NULL || last->first_seq < header->first_seq) {
        struct log_name *more =
            realloc(lineage->names, (lineage->count + 1) * sizeof *lineage->names);
        if (more == NULL)
            return -ENOMEM;
        lineage->names = more;
        last = &more[lineage->count++];
    }
    *last = (struct log_name){ .first_seq = header->first_seq,
                               .forked = segment_is_forked(header),
                               .parent_seq = header->parent_seq };
    memcpy(last->log_uuid, header->log_uuid, UUID_SIZE);
    memcpy(last->parent_uuid, header->parent_uuid, UUID_SIZE);
    memcpy(last->parent_chain, header->parent_chain, SHA256_SIZE);
    return 0;
}

static void take_versions(struct log_lineage *lineage, const struct segment_header *header)
{
    if (lineage->count == 0 || header->minor < lineage->minor_min)
        lineage->minor_min = header->minor;
    if (header->minor > lineage->minor_max)
        lineage->minor_max = header->minor;
    lineage->event_schema = header->event_schema;
}

int log_lineage_read(struct log_lineage *lineage, const char *dir, struct error *error)
{
    struct directory directory;
    struct source source = { .fd = -1 };
    struct segment_header header;
    *lineage = (struct log_lineage){ .count = 0 };
    int code = directory_open(&directory, dir, error);
    for (size_t i = 0; code == 0 && i < directory.count; i++) {
        int state = directory_segment(&directory, i, &source, &header, error);
        if (state < 0)
            code = state == -ENOENT ? 0 : state; /* retention took it meanwhile */
        if (state != SEGMENT_BEGUN)
            continue;
        take_versions(lineage, &header);
        code = add_name(lineage, &header);
        if (code < 0)
            error_set(error, code, "log %s: %s", dir, error_text(code));
    }
    source_close(&source);
    directory_close(&directory);
    if (code < 0)
        log_lineage_free(lineage);
    return code;
}

void log_lineage_free(struct log_lineage *lineage)
{
    free(lineage->names);
    *lineage = (struct log_lineage){ .count = 0 };
}

void log_lineage_ids(const struct log_lineage *lineage, struct lineage *ids)
{
    *ids = (struct lineage){ .count = 0 };
    for (size_t i = 0; i < lineage->count; i++) {
        const struct log_name *name = &lineage->names[i];
        if (i == 0 && name->forked)
            (void)lineage_add(ids, name->parent_uuid, 1);
        /* What retention took of a name was written under it all the same. */
        (void)lineage_add(ids, name->log_uuid,
                          name->forked ? name->parent_seq + 1 : name->first_seq);
    }
}
