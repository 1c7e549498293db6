#include "pgsync/poison.h"

uint64_t poison_rows(const struct poison *poison, uint64_t position, uint64_t wanted)
{
    uint64_t rows = wanted;
    if (poison_is_next(poison, position) || poison->before == position + 1)
        return 1;
    if (poison->before > position && rows > poison->before - 1 - position)
        rows = poison->before - 1 - position;
    if (poison->suspects > 0 && rows > (poison->suspects + 1) / 2)
        rows = (poison->suspects + 1) / 2;
    return rows;
}

bool poison_is_next(const struct poison *poison, uint64_t position)
{
    return poison->seq == position + 1;
}

enum poison_step poison_step_of(const struct poison *poison, uint64_t position,
                                enum poison_where where)
{
    return poison_is_next(poison, position) ? poison->steps[where] : POISON_WHOLE;
}

bool poison_met(struct poison *poison, uint64_t position, uint64_t rows, enum poison_where where,
                uint64_t line)
{
    if (line > 1 && line <= rows) {
        poison->before = position + line;
        return true;
    }
    if (line == 0 && rows > 1) {
        poison->suspects = rows;
        return true;
    }
    if (poison_step_of(poison, position, where) == POISON_LEFT_OUT)
        return false;
    if (!poison_is_next(poison, position))
        poison->steps[POISON_EVENTS] = poison->steps[POISON_TABLES] = POISON_WHOLE;
    poison->seq = position + 1;
    poison->steps[where]++;
    return true;
}

void poison_passed(struct poison *poison, uint64_t position, uint64_t rows)
{
    if (poison->seq <= position)
        poison->seq = 0;
    if (poison->before <= position)
        poison->before = 0;
    poison->suspects -= rows < poison->suspects ? rows : poison->suspects;
}
