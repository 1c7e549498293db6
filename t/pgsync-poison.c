/* A server that refuses some rows, and a copier that knows only what it is told: each row is sent
 * once in the end, whole or not, and in few attempts. */
#include "pgsync/poison.h"
#include "tap.h"

#include <string.h>

#define ROWS 1000u

/* The least step at which the server takes the row, and how it went in. */
static enum poison_step takes[ROWS + 2][2], went[ROWS + 2][2];
static uint64_t attempts;

/* The first row that is refused there among `rows` behind the position, from 1; 0: none is. */
static uint64_t refuse(const struct poison *poison, uint64_t position, uint64_t rows,
                       enum poison_where where)
{
    for (uint64_t i = 1; i <= rows; i++) {
        enum poison_step step = i == 1 ? poison_step_of(poison, position, where) : POISON_WHOLE;
        if (takes[position + i][where] > step)
            return i;
    }
    return 0;
}

/* True: they went in. */
static bool try_rows(struct poison *poison, uint64_t position, uint64_t rows, bool says_line,
                     bool *given_up)
{
    enum poison_where where = POISON_EVENTS;
    uint64_t line = refuse(poison, position, rows, where);
    if (line == 0)
        line = refuse(poison, position, rows, where = POISON_TABLES);
    if (line == 0)
        return true;
    bool known = says_line && where == POISON_EVENTS;
    *given_up = !poison_met(poison, position, rows, where, known ? line : 0);
    return false;
}

static bool copy_all(bool says_line, uint64_t wanted)
{
    struct poison poison = { .seq = 0 };
    uint64_t position = 0;
    bool given_up = false;
    for (attempts = 0; position < ROWS; attempts++) {
        uint64_t left = ROWS - position,
                 rows = poison_rows(&poison, position, wanted < left ? wanted : left);
        if (rows == 0 || given_up || attempts > 100 * (uint64_t)ROWS)
            return false;
        if (!try_rows(&poison, position, rows, says_line, &given_up))
            continue;
        for (uint64_t i = 1; i <= rows; i++)
            for (int where = 0; where < 2; where++)
                went[position + i][where] =
                    i == 1 ? poison_step_of(&poison, position, (enum poison_where)where)
                           : POISON_WHOLE;
        position += rows;
        poison_passed(&poison, position, rows);
    }
    return true;
}

static bool went_right(void)
{
    for (uint64_t i = 1; i <= ROWS; i++)
        if (memcmp(went[i], takes[i], sizeof went[i]) != 0)
            return false;
    return true;
}

static void one(bool says_line, uint64_t attempts_max)
{
    memset(takes, 0, sizeof takes);
    takes[1][POISON_EVENTS] = POISON_REDUCED;
    takes[500][POISON_EVENTS] = takes[500][POISON_TABLES] = POISON_LEFT_OUT;
    takes[501][POISON_EVENTS] = POISON_LEFT_OUT;
    takes[ROWS][POISON_EVENTS] = POISON_REDUCED;
    ok(copy_all(says_line, 300),
       says_line ? "a server that names the row is satisfied" : "so is one that does not");
    ok(went_right(), "each row went in by the first step that was taken");
    ok(attempts <= attempts_max, "in %u attempts", (unsigned)attempts);
}

static void many(uint64_t seed)
{
    bool right = true;
    for (int round = 0; round < 50; round++) {
        for (uint64_t i = 1; i <= ROWS; i++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            bool poisoned = (seed >> 40 & 63) == 0;
            takes[i][0] = poisoned ? (enum poison_step)((seed >> 33) % 3) : POISON_WHOLE;
            takes[i][1] = poisoned ? (enum poison_step)((seed >> 47) % 3) : POISON_WHOLE;
        }
        right = right && copy_all(round & 1, 1 + (seed >> 50) % 400) && went_right();
    }
    ok(right, "rows at random, of both");
}

int main(void)
{
    one(true, 24);
    one(false, 60);
    many(7);
    struct poison poison = { .seq = 0 };
    for (int i = 0; i < 2; i++)
        ok(poison_met(&poison, 5, 1, POISON_EVENTS, 1), "there is one step more");
    ok(!poison_met(&poison, 5, 1, POISON_EVENTS, 1), "and an end");
    ok(poison_met(&poison, 5, 1, POISON_TABLES, 0), "of each kind by itself");
    ok(poison_met(&poison, 6, 1, POISON_EVENTS, 1), "another row begins anew");
    return tap_done();
}
