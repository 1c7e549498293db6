#include "core/base/nearest.h"

#include <string.h>

enum { NAME_SIZE_MAX = 64 };

static unsigned smallest(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* How many letters to insert, delete or replace, by the rows of Wagner and Fischer. */
static unsigned edit_distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    unsigned row[NAME_SIZE_MAX + 1];
    for (unsigned j = 0; j <= b_size; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a_size; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b_size; j++) {
            unsigned above = row[j];
            row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[b_size];
}

const char *nearest_name(const char *given, nearest_name_function *name, const void *table)
{
    const char *nearest = NULL, *known;
    size_t given_size = strlen(given);
    unsigned best = given_size < 6 ? 3 : (unsigned)given_size / 3 + 1; /* one less is accepted */
    if (given_size > NAME_SIZE_MAX)
        return NULL;
    for (size_t i = 0; (known = name(table, i)) != NULL; i++) {
        size_t size = strlen(known);
        if (size > NAME_SIZE_MAX)
            continue;
        unsigned distance = edit_distance(given, given_size, known, size);
        if (distance < best && distance < size) {
            best = distance;
            nearest = known;
        }
    }
    return nearest;
}
