#include "tap.h"

#include "core/base/arena.h"
#include "core/base/error.h"

#include <pthread.h>
#include <string.h>

static void accounts(void)
{
    struct budget budget;
    budget_init(&budget, 1000);
    is_int(budget_reserve(&budget, BUDGET_LOG, 600), 0, "what fits is reserved");
    is_int(budget_reserve(&budget, BUDGET_REQUESTS, 400), 0, "up to the limit");
    is_int(budget_reserve(&budget, BUDGET_REQUESTS, 1), ERROR_BUDGET, "one byte more is refused");
    is_int(budget_reserve(&budget, BUDGET_LOG, UINT64_MAX), ERROR_BUDGET,
           "so is a count that would wrap");
    is_int(budget.refusals, 2, "refusals are counted");
    is_int(budget.used, 1000, "and change nothing");
    is_int(budget.owner_used[BUDGET_LOG], 600, "each owner has an account");
    budget_release(&budget, BUDGET_LOG, 600);
    is_int(budget.owner_used[BUDGET_LOG], 0, "which goes down again");
    is_int(budget.owner_peak[BUDGET_LOG], 600, "but remembers its peak");
    is_int(budget_reserve(&budget, BUDGET_REQUESTS, 600), 0, "what is released can be used again");
    is_str(budget_owner_name(BUDGET_WORKFLOWS), "workflows", "owners have names for messages");
    int named = 0;
    for (int i = 0; i < BUDGET_OWNERS; i++)
        named += budget_owner_name((enum budget_owner)i)[0] != '\0';
    is_int(named, BUDGET_OWNERS, "all of them");

    budget_init(&budget, 100);
    void *memory = budget_allocate(&budget, BUDGET_EFFECTS, 100);
    ok(memory != NULL, "memory can be allocated on the budget");
    ok(budget_allocate(&budget, BUDGET_EFFECTS, 1) == NULL, "as long as it lasts");
    budget_free(&budget, BUDGET_EFFECTS, memory, 100);
    budget_free(&budget, BUDGET_EFFECTS, NULL, 100);
    is_int(budget.used, 0, "and is given back when freed");
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *reserve_and_release(void *argument)
{
    struct budget *budget = argument;
    for (int i = 0; i < ROUNDS; i++)
        if (budget_reserve(budget, (enum budget_owner)(i % BUDGET_OWNERS), 10) == 0)
            budget_release(budget, (enum budget_owner)(i % BUDGET_OWNERS), 10);
    return NULL;
}

static void threads(void)
{
    struct budget budget;
    pthread_t thread[THREADS];
    budget_init(&budget, 25); /* two fit, so there are refusals */
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, reserve_and_release, &budget) != 0)
            tap_bail_out("cannot start a thread");
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(thread[i], NULL);
    uint64_t left = budget.used, peak = 0;
    for (int i = 0; i < BUDGET_OWNERS; i++) {
        left += budget.owner_used[i];
        if (budget.owner_peak[i] > peak)
            peak = budget.owner_peak[i];
    }
    is_int(left, 0, "four threads leave nothing behind");
    ok(peak <= 20, "and no owner had more than the limit");
}

static void arenas(void)
{
    struct budget budget;
    struct arena arena;
    budget_init(&budget, 1 << 20);
    arena_init(&arena, &budget, BUDGET_WORKFLOWS, 256);
    is_int(budget.used, 0, "a new arena costs nothing");
    unsigned wrong = 0;
    unsigned char *pieces[200];
    for (unsigned i = 0; i < 200; i++) {
        pieces[i] = arena_allocate(&arena, i);
        if (pieces[i] == NULL)
            tap_bail_out("no memory");
        wrong += (uintptr_t)pieces[i] % 16 != 0;
        for (unsigned j = 0; j < i; j++)
            wrong += pieces[i][j] != 0;
        memset(pieces[i], (int)i, i);
    }
    for (unsigned i = 0; i < 200; i++)
        for (unsigned j = 0; j < i; j++)
            wrong += pieces[i][j] != i;
    is_int(wrong, 0, "pieces are aligned, zeroed, and do not overlap");
    is_int(budget.owner_used[BUDGET_WORKFLOWS], arena.reserved,
           "the owner pays for exactly its chunks");
    ok(arena_allocate(&arena, 200000) != NULL, "a large piece gets a chunk of its own");

    struct span copy = arena_copy(&arena, span_of("abc", 3));
    ok(span_is(copy, "abc") && copy.bytes[3] == '\0', "a copy has a NUL behind it");
    copy = arena_copy(&arena, span_of(NULL, 0));
    ok(copy.bytes != NULL && copy.size == 0, "a copy of nothing is empty, but there");

    size_t before = arena.reserved;
    arena_reset(&arena);
    ok(arena.reserved > 0 && arena.reserved < before, "a reset keeps one chunk");
    unsigned char *again = arena_allocate(&arena, 100);
    wrong = 0;
    for (unsigned i = 0; i < 100; i++)
        wrong += again[i] != 0;
    is_int(wrong, 0, "whose memory is zeroed again");
    ok(arena_allocate(&arena, 2 << 20) == NULL, "more than the budget is refused");
    ok(arena_allocate(&arena, SIZE_MAX) == NULL, "and so is a size that would wrap");
    copy = arena_copy(&arena, span_of(again, (size_t)2 << 20));
    ok(copy.bytes == NULL && copy.size == 0, "a copy that is refused is no span");
    arena_free(&arena);
    is_int(budget.used, 0, "a freed arena gives everything back");
    ok(arena_allocate(&arena, 1) != NULL, "and may be used again");
    arena_free(&arena);
    is_int(budget.used, 0, "and freed again");
}

int main(void)
{
    accounts();
    threads();
    arenas();
    return tap_done();
}
