#include "pgsync/erased.h"

#include "core/base/bytes.h"
#include "core/base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ARENA_CHUNK_SIZE 4096u

struct workflow {
    uint8_t owner[UUID_SIZE];
    uint64_t stream;
};

void erased_init(struct erased *erased, struct budget *budget)
{
    *erased = (struct erased){ .number = 0 };
    arena_init(&erased->arena, budget, BUDGET_READERS, ARENA_CHUNK_SIZE);
    table_init(&erased->workflows, budget, BUDGET_READERS);
}

void erased_free(struct erased *erased)
{
    arena_free(&erased->arena);
    table_free(&erased->workflows);
}

/* The workflow, or NULL, with *key where it belongs. */
static struct workflow *find(const struct erased *erased, const uint8_t owner[UUID_SIZE],
                             uint64_t stream, uint64_t *key)
{
    struct workflow *found;
    *key = (bytes_get_u64(owner) ^ stream * UINT64_C(0x9e3779b97f4a7c15)) | 1;
    while ((found = table_get(&erased->workflows, *key)) != NULL &&
           (found->stream != stream || memcmp(found->owner, owner, UUID_SIZE) != 0))
        *key = *key == UINT64_MAX ? 1 : *key + 1;
    return found;
}

bool erased_has(const struct erased *erased, const uint8_t owner[UUID_SIZE], uint64_t stream)
{
    uint64_t key;
    return erased->workflows.count > 0 && find(erased, owner, stream, &key) != NULL;
}

int erased_add(struct erased *erased, const uint8_t owner[UUID_SIZE], uint64_t stream)
{
    uint64_t key;
    if (find(erased, owner, stream, &key) != NULL)
        return 0;
    struct workflow *workflow = arena_allocate(&erased->arena, sizeof *workflow);
    if (workflow == NULL || table_reserve(&erased->workflows, 1) < 0)
        return ERROR_BUDGET;
    memcpy(workflow->owner, owner, UUID_SIZE);
    workflow->stream = stream;
    table_put(&erased->workflows, key, workflow);
    return 0;
}

static int take_rows(struct erased *erased, const struct pg_rows *rows, struct error *error)
{
    for (int i = 0; i < pg_rows_count(rows); i++) {
        uint8_t owner[UUID_SIZE];
        const char *hex = pg_rows_text(rows, i, 1);
        if (!bytes_from_hex(owner, UUID_SIZE, hex, strlen(hex)))
            continue;
        if (erased_add(erased, owner, (uint64_t)pg_rows_integer(rows, i, 2)) < 0)
            return error_set(error, ERROR_BUDGET, "no memory for the workflows that were erased");
        erased->number = (uint64_t)pg_rows_integer(rows, i, 0);
    }
    return 0;
}

int erased_read(struct erased *erased, struct pg *pg, struct error *error)
{
    char sql[200];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "SELECT number, encode(uuid_send(owner), 'hex'), stream FROM daa.erased"
                   " WHERE number > %" PRIu64 " ORDER BY number",
                   erased->number);
    int failed = pg_query(pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    failed = take_rows(erased, rows, error);
    pg_rows_free(rows);
    return failed;
}
