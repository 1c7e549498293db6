#include "tap.h"

#include "core/base/error.h"
#include "core/base/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int values[4096];

static void basics(struct budget *budget)
{
    struct table table;
    table_init(&table, budget, BUDGET_WORKFLOWS);
    ok(table_get(&table, 1) == NULL, "an empty table holds nothing");
    ok(table_remove(&table, 1) == NULL, "nothing can be removed from an empty table");
    is_int(table_reserve(&table, 2), 0, "room can be reserved");
    table_put(&table, 1, &values[1]);
    table_put(&table, UINT64_MAX, &values[2]);
    ok(table_get(&table, 1) == &values[1], "what was put is what is got");
    ok(table_get(&table, UINT64_MAX) == &values[2], "the largest key is a key");
    table_put(&table, 1, &values[3]);
    ok(table_get(&table, 1) == &values[3], "a second put replaces the value");
    is_int(table.count, 2, "and counts once");
    ok(table_remove(&table, 1) == &values[3], "a removal returns what was there");
    ok(table_get(&table, 1) == NULL, "and it is gone");
    table_free(&table);
    is_int(budget->used, 0, "a freed table gives its memory back to the budget");
}

/* Against an array of the same keys. */
static void like_an_array(struct budget *budget, uint64_t seed)
{
    struct table table;
    void *model[512] = { NULL };
    unsigned held = 0, wrong = 0;
    table_init(&table, budget, BUDGET_WORKFLOWS);
    srand48((long)seed);
    for (int i = 0; i < 200000; i++) {
        uint64_t index = (uint64_t)(lrand48() % 512), key = index * 0x100000000ull + 7;
        if (lrand48() % 2 == 0) {
            void *value = &values[lrand48() % 4096];
            if (table_reserve(&table, 1) < 0)
                tap_bail_out("no room");
            table_put(&table, key, value);
            held += model[index] == NULL;
            model[index] = value;
        } else {
            wrong += table_remove(&table, key) != model[index];
            held -= model[index] != NULL;
            model[index] = NULL;
        }
        wrong += table.count != held;
    }
    for (uint64_t index = 0; index < 512; index++)
        wrong += table_get(&table, index * 0x100000000ull + 7) != model[index];
    is_int(wrong, 0, "200000 random puts and removals do what an array does (seed %" PRIu64 ")",
           seed);

    unsigned seen = 0, strange = 0;
    uint64_t at = 0, key;
    for (void *value; (value = table_each(&table, &at, &key)) != NULL; seen++)
        strange += model[key / 0x100000000ull] != value;
    is_int(seen, held, "a walk sees each value once");
    is_int(strange, 0, "with its own key");
    table_free(&table);
}

static void growth(struct budget *budget)
{
    struct table table;
    table_init(&table, budget, BUDGET_WORKFLOWS);
    is_int(table_reserve(&table, 1000), 0, "room for 1000 keys is reserved");
    struct table_slot *slots = table.slots;
    for (uint64_t key = 1; key <= 1000; key++)
        table_put(&table, key, &values[key]);
    ok(table.slots == slots, "and 1000 puts then move nothing");
    is_int(table_reserve(&table, 1000000), ERROR_BUDGET, "more than the budget holds is refused");
    is_int(table_reserve(&table, UINT64_MAX), ERROR_BUDGET, "so is a count that would wrap");
    unsigned wrong = 0;
    for (uint64_t key = 1; key <= 1000; key++)
        wrong += table_get(&table, key) != &values[key];
    is_int(wrong, 0, "and the refusal loses nothing");
    table_free(&table);
}

int main(void)
{
    struct budget budget;
    budget_init(&budget, 1 << 20);
    const char *given = getenv("TEST_SEED");
    basics(&budget);
    like_an_array(&budget, given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL));
    growth(&budget);
    is_int(budget.used, 0, "nothing stays on the budget");
    return tap_done();
}
