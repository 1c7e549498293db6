/* What our programs share on the command line: options, subcommands, help, messages.
 *
 * One table of options drives parsing and --help, so that they cannot disagree. --help and
 * --version go to stdout and exit 0; a usage error goes to stderr, names what is wrong and where
 * help is, and exits 2. Options may stand before or behind the arguments, "--" ends them, a long
 * one may be cut as far as it stays unique. -h, --help, -V and --version are there by themselves.
 *
 *   struct command_option options[] = {
 *       { "json", 'j', NULL, COMMAND_FLAG, &json, "print one JSON object a line" },
 *       { "limit", 'n', "COUNT", COMMAND_NUMBER, &limit, "stop after COUNT events" },
 *       { .name = NULL },
 *   };
 *   struct command command = { .name = "daa-log cat", .purpose = "Print events.",
 *                              .arguments = "DIR", .arguments_min = 1, .arguments_max = 1,
 *                              .options = options };
 *   int first, status = command_parse(&command, argc, argv, &first);
 *   if (status != COMMAND_GO_ON)
 *       return status;
 *   ... argv[first] is DIR ...
 *
 * Threads: the main thread (getopt keeps its place in globals). */
#ifndef TOOLS_COMMAND_COMMAND_H
#define TOOLS_COMMAND_COMMAND_H

#include "core/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum command_status {
    COMMAND_GO_ON = -1, /* no exit status: the caller's work begins */
    COMMAND_GOOD = 0,
    COMMAND_FAILED = 1,
    COMMAND_USAGE = 2,
};

/* What `target` points to, and what is accepted. It keeps its value when the option is not given;
 * of an option given twice the last counts. */
enum command_kind {
    COMMAND_FLAG,     /* bool: true when given; takes no argument */
    COMMAND_TEXT,     /* const char *: the argument itself */
    COMMAND_LIST,     /* struct command_list: one more each time it is given */
    COMMAND_NUMBER,   /* uint64_t: decimal */
    COMMAND_COUNT,    /* the same, from 1 on: 0 says that it was not given */
    COMMAND_DURATION, /* uint64_t, ns: "250ms" (core/base/duration.h) */
    COMMAND_SIZE,     /* uint64_t, bytes: "64KiB" */
};

enum { COMMAND_LIST_MAX = 64, COMMAND_OPTIONS_MAX = 64 };

struct command_list {
    const char *items[COMMAND_LIST_MAX]; /* into argv */
    size_t count;
};

struct command_option {
    const char *name;     /* long, without dashes; NULL ends the table */
    char letter;          /* or 0 */
    const char *argument; /* its name in --help; NULL exactly for COMMAND_FLAG */
    enum command_kind kind;
    void *target;
    const char *help; /* one clause without a full stop; '\n' begins another line */
};

struct command {
    const char *name;                     /* "daa-log cat" */
    const char *purpose;                  /* a sentence or more, for --help */
    const char *arguments;                /* "DIR", "FILE..."; NULL: none */
    int arguments_min, arguments_max;     /* -1: any number */
    const struct command_option *options; /* may be NULL */
    const struct command_option *shared;  /* of the whole program, accepted too; may be NULL */
    const char *notes;                    /* the end of --help: examples, exit status; or NULL */
    const char *fallback; /* the subcommand that runs when none is given; NULL: one is needed */
};

/* Fills the targets. COMMAND_GO_ON with *first the index in argv of the first argument (arguments
 * stand behind all options then), or the status to exit with. argv[0] is not looked at. Standard
 * descriptors that are closed become /dev/null. */
int command_parse(const struct command *command, int argc, char **argv, int *first);

/* A subcommand. `run` gets argv from its own name on, and returns an exit status. NULL: it has its
 * name, answers --help, and is not in this version (exit 1). */
struct command_entry {
    const char *name; /* NULL ends the table */
    const char *help; /* what it does, for the list: "copy the log to another place" */
    int (*run)(int argc, char **argv);
};

/* Parses the options before the subcommand, then runs it. A name that is not in the table is a
 * usage error, which says the nearest one. Entries may dispatch again ("workflow submit"). */
int command_dispatch(const struct command *command, const struct command_entry *entries, int argc,
                     char **argv);

/* "daa-log cat: <sentence>\n" on stderr. Returns COMMAND_FAILED. */
int command_failed(const struct command *command, const char *format, ...) ERROR_PRINTF(2, 3);
int command_failed_error(const struct command *command, const struct error *error);

/* The same, with where help is. Returns COMMAND_USAGE. */
int command_misused(const struct command *command, const char *format, ...) ERROR_PRINTF(2, 3);

/* To be called last by every main(): flushes stdout, and turns a good status into COMMAND_FAILED
 * with a sentence when what was printed could not be written (a full disk). */
int command_end(const struct command *command, int status);

/* Escape sequences for a terminal that wants colour (NO_COLOR is honoured); "" for anything else.
 * Print one, the text, then COMMAND_PLAIN. */
enum command_style {
    COMMAND_PLAIN,
    COMMAND_BOLD,
    COMMAND_DIM,
    COMMAND_RED,
    COMMAND_GREEN,
    COMMAND_YELLOW
};
const char *command_style(FILE *file, enum command_style style);

#endif
