/* Numbers as a person reads them. Threads: any. */
#ifndef TOOLS_LOG_WORDS_H
#define TOOLS_LOG_WORDS_H

#include <stdint.h>

#define WORDS_SIZE 40

/* "312 B", "1.5 MB": powers of 1024. */
const char *words_of_bytes(char text[WORDS_SIZE], uint64_t bytes);

/* "2026-11-23T21:42:04Z"; "-" for 0. */
const char *words_of_time(char text[WORDS_SIZE], uint64_t time_ns);

/* "340 ns", "1.5 ms", "3 s", "5 min", "2 h", "40 days". */
const char *words_of_duration(char text[WORDS_SIZE], uint64_t ns);

#endif
