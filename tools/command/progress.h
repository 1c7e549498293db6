/* A progress bar on stderr: there only when stderr is a terminal, else nothing is printed.
 *
 *   verifying  [############........]  61 %  3.1 GB of 5.1 GB  412.0 MB/s
 *
 * The owner calls progress_update as often as it likes; the bar is drawn at most ten times a
 * second. Whoever prints on stderr in between calls progress_clear first.
 *
 * Threads: one. */
#ifndef TOOLS_COMMAND_PROGRESS_H
#define TOOLS_COMMAND_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum progress_unit { PROGRESS_BYTES, PROGRESS_ITEMS };

struct progress {
    FILE *file;       /* NULL: nothing is drawn */
    const char *what; /* "verifying" */
    enum progress_unit unit;
    uint64_t total; /* 0: not known, no bar */
    uint64_t begun_ns, drawn_ns;
    bool visible; /* a line is on the screen */
};

void progress_begin(struct progress *progress, const char *what, enum progress_unit unit,
                    uint64_t total);
void progress_update(struct progress *progress, uint64_t done);
/* For what counts both as it goes: `context` is the progress. */
void progress_show(uint64_t done, uint64_t total, void *context);
void progress_clear(struct progress *progress); /* wipes the line; the next update draws it anew */
void progress_end(struct progress *progress);

/* The line without its escape sequences, `elapsed_ns` after the beginning; always terminated. */
void progress_line(const struct progress *progress, uint64_t done, uint64_t elapsed_ns, char *line,
                   uint64_t line_size);

#endif
