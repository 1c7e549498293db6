#include "pgsync/family.h"

#include "core/base/bytes.h"
#include "log/lineage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_log(struct family *family, const uint8_t uuid[UUID_SIZE], bool gone)
{
    struct family_log *log = &family->logs[family->count++];
    *log = (struct family_log){ .gone = gone, .end_seq = UINT64_MAX };
    memcpy(log->log, uuid, UUID_SIZE);
}

static void add_name(struct family *family, const struct log_name *name)
{
    /* Retention may have taken the parent's segments; the oldest that is left still names it. */
    if (family->count == 0 && name->forked)
        add_log(family, name->parent_uuid, true);
    if (family->count > 0) {
        struct family_log *parent = &family->logs[family->count - 1];
        parent->end_seq = name->forked ? name->parent_seq : name->first_seq - 1;
        memcpy(parent->end_chain, name->parent_chain, SHA256_SIZE);
    }
    add_log(family, name->log_uuid, false);
}

int family_read(struct family *family, const char *dir, struct error *error)
{
    struct log_lineage names;
    family_free(family);
    int failed = log_lineage_read(&names, dir, error);
    if (failed < 0)
        return failed;
    family->logs = calloc(names.count + 1, sizeof *family->logs);
    if (family->logs == NULL)
        failed = error_set(error, -ENOMEM, "no memory for the names of log %s", dir);
    for (size_t i = 0; failed == 0 && i < names.count; i++)
        add_name(family, &names.names[i]);
    log_lineage_free(&names);
    return failed;
}

/* The ancestors of `log`, the oldest first, each with the last event that its child has of it. */
static int ask_ancestors(struct pg *pg, const uint8_t log[UUID_SIZE], struct pg_rows **rows,
                         struct error *error)
{
    char sql[600], text[UUID_TEXT_SIZE];
    uuid_to_text(text, log);
    (void)snprintf(sql, sizeof sql,
                   "WITH RECURSIVE up(log, upto, depth) AS ("
                   " SELECT parent, parent_seq, 1 FROM daa.replica"
                   "  WHERE log = '%s' AND parent IS NOT NULL"
                   " UNION ALL SELECT r.parent, r.parent_seq, up.depth + 1"
                   "  FROM up JOIN daa.replica r ON r.log = up.log"
                   "  WHERE r.parent IS NOT NULL AND up.depth < %u)"
                   " SELECT encode(uuid_send(log), 'hex'), upto FROM up ORDER BY depth DESC",
                   text, LINEAGE_MAX);
    return pg_query(pg, sql, rows, error);
}

/* *first_seq: of `log` itself. */
static int add_ancestors(struct lineage *owners, struct pg *pg, const uint8_t log[UUID_SIZE],
                         uint64_t *first_seq, struct error *error)
{
    struct pg_rows *rows;
    *first_seq = 1;
    *owners = (struct lineage){ .count = 0 };
    int failed = ask_ancestors(pg, log, &rows, error);
    if (failed < 0)
        return failed;
    for (int i = 0; i < pg_rows_count(rows); i++) {
        uint8_t uuid[UUID_SIZE];
        const char *text = pg_rows_text(rows, i, 0);
        if (!bytes_from_hex(uuid, UUID_SIZE, text, strlen(text)))
            continue;
        (void)lineage_add(owners, uuid, *first_seq);
        *first_seq = (uint64_t)pg_rows_integer(rows, i, 1) + 1;
    }
    pg_rows_free(rows);
    return 0;
}

int family_ask(struct family *family, struct pg *pg, struct error *error)
{
    uint64_t first_seq;
    family->owners = (struct lineage){ .count = 0 };
    if (family->count == 0)
        return 0;
    int failed = add_ancestors(&family->owners, pg, family->logs[0].log, &first_seq, error);
    for (size_t i = 0; failed == 0 && i < family->count; i++) {
        (void)lineage_add(&family->owners, family->logs[i].log, first_seq);
        first_seq = family->logs[i].end_seq + 1;
    }
    return failed;
}

int family_owners(struct lineage *owners, struct pg *pg, const uint8_t log[UUID_SIZE],
                  struct error *error)
{
    uint64_t first_seq;
    int failed = add_ancestors(owners, pg, log, &first_seq, error);
    if (failed == 0)
        (void)lineage_add(owners, log, first_seq);
    return failed;
}

void family_free(struct family *family)
{
    free(family->logs);
    *family = (struct family){ .count = 0 };
}
