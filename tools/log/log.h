/* daa-log's commands and what they share. Threads: the main thread. */
#ifndef TOOLS_LOG_LOG_H
#define TOOLS_LOG_LOG_H

#include "core/base/arena.h"
#include "core/base/text.h"
#include "log/reader.h"
#include "log/verify.h"
#include "tools/command/command.h"
#include "tools/log/decryption.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit statuses beside those of tools/command. */
enum { LOG_EXIT_UNPROVEN = 3 };

/* Each gets argv from its own name on, and returns an exit status. */
int log_ls(int argc, char **argv);
int log_cat(int argc, char **argv);
int log_tail(int argc, char **argv);
int log_grep(int argc, char **argv);
int log_stat(int argc, char **argv);
int log_check(int argc, char **argv); /* "verify" */
int log_hexdump(int argc, char **argv);
int log_export(int argc, char **argv);
int log_make_import(int argc, char **argv); /* "import" */
int log_diff(int argc, char **argv);
int log_explain(int argc, char **argv);
int log_prove(int argc, char **argv);
int log_keys(int argc, char **argv);
int log_doctor(int argc, char **argv);
int log_bench(int argc, char **argv);
int log_mend(int argc, char **argv);           /* "repair" */
int log_state_replay(int argc, char **argv);   /* "replay" */
int log_make_backup(int argc, char **argv);    /* "backup" */
int log_restore_backup(int argc, char **argv); /* "restore" */

/* Options of the whole program. */
extern const struct command_option log_options[];

/* To be called by a command whose output is long, before it prints: a pager, where a person looks
 * and has not said --no-pager. */
void begin_paging(bool json);

/* Which events are shown. The options point into it; filter_begin() then makes sense of them. */
struct filter {
    uint64_t from, to, limit; /* from, to: sequence numbers; 0: no limit */
    const char *since, *until, *stream_text;
    struct command_list kinds;

    uint64_t since_ns, until_ns, stream; /* made of them; 0: any */
    uint64_t shown;
};

#define RANGE_OPTIONS(filter)                                                                      \
    { "from", 0, "SEQ", COMMAND_NUMBER, &(filter).from, "begin with this sequence number" },       \
        { "to", 0, "SEQ", COMMAND_NUMBER, &(filter).to, "end with this one" },                     \
        { "since",         0,                                                                      \
          "TIME",          COMMAND_TEXT,                                                           \
          &(filter).since, "begin at this time: '10 min ago', today, '2026-11-23 21:42'" },        \
    {                                                                                              \
        "until", 0, "TIME", COMMAND_TEXT, &(filter).until, "end before this one"                   \
    }

#define FILTER_OPTIONS(filter)                                                                     \
    RANGE_OPTIONS(filter),                                                                         \
        { "kind",          'k',                                                                    \
          "PATTERN",       COMMAND_LIST,                                                           \
          &(filter).kinds, "only kinds that match, as in 'step.*'; may be given again" },          \
    {                                                                                              \
        "stream", 's', "ID", COMMAND_TEXT, &(filter).stream_text,                                  \
            "only events of this workflow (wf-...) or stream number"                               \
    }
/* 0, or ERROR_SYNTAX and others with a sentence. `dir` is the log whose streams are meant, under
 * any name that it has had. */
int filter_begin(struct filter *filter, const char *dir, struct error *error);
bool filter_matches(const struct filter *filter, const struct record *record);
/* True when nothing behind this record can match. Times never go back in a log. */
bool filter_is_past(const struct filter *filter, const struct record *record);

/* Prints events, one a line. What is withheld of one is marked, in text before its JSON. */
struct printer {
    bool json;
    struct decryption *decryption; /* the caller's */
    struct budget budget;
    struct arena arena;
    struct text line;
};

void printer_begin(struct printer *printer, bool json, struct decryption *decryption);
void printer_end(struct printer *printer);
/* The line without its end, until the next call. */
const char *printer_line(struct printer *printer, const struct record *record);
/* 0; -EPIPE and others when stdout takes no more. */
int printer_event(struct printer *printer, const struct record *record);

/* A kind's name; "kind-<n>" for one that is not known, in a buffer of its own. */
const char *kind_name(uint16_t kind);

uint64_t wall_clock_ns(void);

/* Opens a reader for the command's DIR and says on stderr what is wrong. NULL: failed. */
struct log_reader *open_reader(const struct command *command, const char *dir, bool skip_damage);

#endif
