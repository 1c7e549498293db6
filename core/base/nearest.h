/* The known name that was probably meant, for messages. Threads: any. */
#ifndef CORE_BASE_NEAREST_H
#define CORE_BASE_NEAREST_H

#include <stddef.h>

/* Gives the index-th known name, NULL at the end. */
typedef const char *nearest_name_function(const void *table, size_t index);

/* The known name nearest to `given` by edit distance, if it is near enough to be what was meant
 * (within a third of its length), else NULL. Names over 64 bytes are near to nothing. */
const char *nearest_name(const char *given, nearest_name_function *name, const void *table);

#endif
