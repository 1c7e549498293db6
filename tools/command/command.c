#include "tools/command/command.h"

#include "core/base/check.h"
#include "core/base/duration.h"
#include "core/base/nearest.h"
#include "core/base/version.h"
#include "tools/command/pager.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What getopt_long returns for a long option: its place in the table, above every letter. */
enum { LONG_BASE = 1000, HELP_COLUMN_MAX = 30 };

static const struct command_option own_options[] = {
    { "help", 'h', NULL, COMMAND_FLAG, NULL, "show this help and exit" },
    { "version", 'V', NULL, COMMAND_FLAG, NULL, "show the version and exit" },
};

enum { OWN_HELP = 0, OWN_VERSION = 1, OWN_COUNT = 2 };

/* All options of a command in one list: its own, the program's, ours. */
struct option_list {
    const struct command_option *items[COMMAND_OPTIONS_MAX];
    int count;
};

static void add_options(struct option_list *list, const struct command_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        CHECK(list->count < COMMAND_OPTIONS_MAX - OWN_COUNT);
        CHECK((options->argument == NULL) == (options->kind == COMMAND_FLAG));
        list->items[list->count++] = options;
    }
}

static struct option_list options_of(const struct command *command)
{
    struct option_list list = { .count = 0 };
    add_options(&list, command->options);
    add_options(&list, command->shared);
    for (int i = 0; i < OWN_COUNT; i++)
        list.items[list.count++] = &own_options[i];
    return list;
}

/*--- Messages ---------------------------------------------------------------------------------*/

int command_failed(const struct command *command, const char *format, ...)
{
    va_list arguments;
    (void)fflush(stdout);
    fprintf(stderr, "%s: ", command->name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return COMMAND_FAILED;
}

int command_failed_error(const struct command *command, const struct error *error)
{
    return command_failed(command, "%s",
                          error->text[0] != '\0' ? error->text : error_text(error->code));
}

int command_misused(const struct command *command, const char *format, ...)
{
    va_list arguments;
    (void)fflush(stdout);
    fprintf(stderr, "%s: ", command->name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nTry '%s --help'.\n", command->name);
    return COMMAND_USAGE;
}

int command_end(const struct command *command, int status)
{
    int failed = fflush(stdout) != 0 || ferror(stdout) ? errno : 0;
    if (failed == 0 || failed == EPIPE)
        return status;
    (void)command_failed(command, "cannot write to standard output: %s", strerror(failed));
    return status == COMMAND_GOOD ? COMMAND_FAILED : status;
}

const char *command_style(FILE *file, enum command_style style)
{
    static const char *const sequences[] = {
        [COMMAND_PLAIN] = "\033[0m", [COMMAND_BOLD] = "\033[1m",   [COMMAND_DIM] = "\033[2m",
        [COMMAND_RED] = "\033[31m",  [COMMAND_GREEN] = "\033[32m", [COMMAND_YELLOW] = "\033[33m",
    };
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool wanted = (no_color == NULL || *no_color == '\0') && term != NULL &&
                  strcmp(term, "dumb") != 0 &&
                  (isatty(fileno(file)) || (file == stdout && pager_runs()));
    return wanted ? sequences[style] : "";
}

/*--- Help -------------------------------------------------------------------------------------*/

static int option_width(const struct command_option *option)
{
    size_t width = strlen("  -x, --") + strlen(option->name);
    if (option->argument != NULL)
        width += 1 + strlen(option->argument);
    return (int)width;
}

/* `text` at `column`, each of its lines; the cursor is at `at`. */
static void print_help_text(const char *text, int at, int column)
{
    if (at + 2 > column) {
        putchar('\n');
        at = 0;
    }
    for (;;) {
        int size = (int)strcspn(text, "\n");
        printf("%*s%.*s\n", column - at, "", size, text);
        if (text[size] == '\0')
            return;
        text += size + 1;
        at = 0;
    }
}

static void print_options(const struct command *command)
{
    struct option_list list = options_of(command);
    int column = 0;
    for (int i = 0; i < list.count; i++) {
        int width = option_width(list.items[i]) + 2;
        if (width > column && width <= HELP_COLUMN_MAX)
            column = width;
    }
    printf("\nOptions:\n");
    for (int i = 0; i < list.count; i++) {
        const struct command_option *option = list.items[i];
        if (option->letter != 0)
            printf("  -%c, --%s", option->letter, option->name);
        else
            printf("      --%s", option->name);
        if (option->argument != NULL)
            printf("=%s", option->argument);
        print_help_text(option->help, option_width(option), column);
    }
}

static void print_entries(const struct command_entry *entries)
{
    int column = 0;
    for (const struct command_entry *entry = entries; entry->name != NULL; entry++) {
        int width = (int)strlen(entry->name) + 4;
        if (width > column)
            column = width;
    }
    printf("\nCommands:\n");
    for (const struct command_entry *entry = entries; entry->name != NULL; entry++) {
        int at = printf("  %s", entry->name);
        printf("%*s%s%s\n", column - at, "", entry->help,
               entry->run == NULL ? " (not in this version)" : "");
    }
}

static void print_help(const struct command *command, const struct command_entry *entries)
{
    const char *arguments = command->arguments;
    if (entries != NULL)
        arguments = command->fallback != NULL ? "[COMMAND]" : "COMMAND";
    printf("Usage: %s [OPTION]...%s%s\n", command->name, arguments != NULL ? " " : "",
           arguments != NULL ? arguments : "");
    printf("%s\n", command->purpose);
    if (entries != NULL)
        print_entries(entries);
    print_options(command);
    if (entries != NULL)
        printf("\n'%s COMMAND --help' says more about one command.\n", command->name);
    if (command->notes != NULL)
        printf("\n%s\n", command->notes);
}

static const char *option_name(const void *table, size_t index)
{
    const struct option_list *list = table;
    return index < (size_t)list->count ? list->items[index]->name : NULL;
}

static const char *entry_name(const void *table, size_t index)
{
    return ((const struct command_entry *)table)[index].name;
}

/*--- Parsing ----------------------------------------------------------------------------------*/

struct option_names {
    struct option names[COMMAND_OPTIONS_MAX + 1];
    char letters[2 * COMMAND_OPTIONS_MAX + 3];
};

static void fill_names(struct option_names *names, const struct option_list *list, bool stop_early)
{
    size_t at = 0;
    memset(names, 0, sizeof *names);
    if (stop_early)
        names->letters[at++] = '+'; /* what follows the subcommand is its own */
    names->letters[at++] = ':';     /* a missing argument is told apart, nothing is printed */
    for (int i = 0; i < list->count; i++) {
        const struct command_option *option = list->items[i];
        int has_argument = option->argument != NULL ? required_argument : no_argument;
        names->names[i] = (struct option){ option->name, has_argument, NULL, LONG_BASE + i };
        if (option->letter == 0)
            continue;
        CHECK(strchr(names->letters, option->letter) == NULL);
        names->letters[at++] = option->letter;
        if (option->argument != NULL)
            names->letters[at++] = ':';
    }
}

static const struct command_option *find_option(const struct option_list *list, int found)
{
    for (int i = 0; i < list->count; i++)
        if (found == LONG_BASE + i || found == list->items[i]->letter)
            return list->items[i];
    return NULL;
}

static int misused_value(const struct command *command, const struct command_option *option,
                         const char *value, int error)
{
    if (error == ERROR_TOO_LARGE)
        return command_misused(command, "--%s: '%s' is too large", option->name, value);
    static const char *const expected[] = {
        [COMMAND_NUMBER] = "a number",
        [COMMAND_COUNT] = "a number from 1 on",
        [COMMAND_DURATION] = "a duration (a number with its unit: 250ms, 60s, 1.5h)",
        [COMMAND_SIZE] = "a size (a number with its unit: 512B, 64KB, 2MB)",
    };
    return command_misused(command, "--%s: '%s' is not %s", option->name, value,
                           expected[option->kind]);
}

static int parse_number(const char *value, uint64_t *number)
{
    char *end;
    if (value[0] == '\0' || value[strspn(value, "0123456789")] != '\0')
        return ERROR_SYNTAX;
    errno = 0;
    *number = strtoull(value, &end, 10);
    return errno == ERANGE ? ERROR_TOO_LARGE : 0;
}

static int set_option(const struct command *command, const struct command_option *option,
                      const char *value)
{
    uint64_t number = 0;
    int error = 0;
    switch (option->kind) {
    case COMMAND_FLAG:
        *(bool *)option->target = true;
        return COMMAND_GO_ON;
    case COMMAND_TEXT:
        *(const char **)option->target = value;
        return COMMAND_GO_ON;
    case COMMAND_LIST: {
        struct command_list *list = option->target;
        if (list->count == COMMAND_LIST_MAX)
            return command_misused(command, "--%s can be given at most %d times", option->name,
                                   COMMAND_LIST_MAX);
        list->items[list->count++] = value;
        return COMMAND_GO_ON;
    }
    case COMMAND_NUMBER:
        error = parse_number(value, &number);
        break;
    case COMMAND_COUNT:
        error = parse_number(value, &number);
        if (error == 0 && number == 0)
            error = ERROR_SYNTAX;
        break;
    case COMMAND_DURATION:
        error = duration_parse(span_of_text(value), &number);
        break;
    case COMMAND_SIZE:
        error = size_parse(span_of_text(value), &number);
        break;
    }
    if (error < 0)
        return misused_value(command, option, value, error);
    *(uint64_t *)option->target = number;
    return COMMAND_GO_ON;
}

static int misused_option(const struct command *command, const struct option_list *list, int found,
                          const char *given)
{
    const struct command_option *option = find_option(list, optopt);
    if (found == ':' && option != NULL)
        return command_misused(command, "option '--%s' needs its %s", option->name,
                               option->argument);
    if (optopt != 0 && option == NULL)
        return command_misused(command, "unknown option '-%c'", optopt);
    if (optopt != 0)
        return command_misused(command, "option '--%s' takes no argument", option->name);

    char name[64];
    int matches = 0;
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(given + 2, "="), given + 2);
    for (int i = 0; i < list->count; i++)
        matches += strncmp(list->items[i]->name, name, strlen(name)) == 0;
    if (matches > 1)
        return command_misused(command, "option '--%s' can mean several", name);
    const char *nearest = nearest_name(name, option_name, list);
    if (nearest != NULL)
        return command_misused(command, "unknown option '--%s'; did you mean '--%s'?", name,
                               nearest);
    return command_misused(command, "unknown option '--%s'", name);
}

static int parse_options(const struct command *command, const struct command_entry *entries,
                         int argc, char **argv, int *first)
{
    struct option_list list = options_of(command);
    struct option_names names;
    fill_names(&names, &list, entries != NULL);
    optind = 0; /* GNU: begin anew, also for a subcommand */
    opterr = 0;
    for (;;) {
        int found = getopt_long(argc, argv, names.letters, names.names, NULL);
        if (found == -1)
            break;
        if (found == '?' || found == ':')
            return misused_option(command, &list, found, argv[optind - 1]);
        const struct command_option *option = find_option(&list, found);
        CHECK(option != NULL);
        if (option == &own_options[OWN_HELP]) {
            print_help(command, entries);
            return COMMAND_GOOD;
        }
        if (option == &own_options[OWN_VERSION]) {
            printf("%.*s %s\n", (int)strcspn(command->name, " "), command->name, DAA_VERSION);
            return COMMAND_GOOD;
        }
        int status = set_option(command, option, optarg);
        if (status != COMMAND_GO_ON)
            return status;
    }
    *first = optind;
    return COMMAND_GO_ON;
}

/* Started without one of the three standard descriptors, the next file opened would take its
 * number, and what is said on stderr would be written into it. */
static void fill_standard_descriptors(void)
{
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDWR);
    if (fd >= 0)
        close(fd);
}

int command_parse(const struct command *command, int argc, char **argv, int *first)
{
    fill_standard_descriptors();
    int status = parse_options(command, NULL, argc, argv, first);
    if (status != COMMAND_GO_ON)
        return status;
    int count = argc - *first;
    if (count < command->arguments_min)
        return command_misused(command, "expected %s", command->arguments);
    if (command->arguments_max >= 0 && count > command->arguments_max)
        return command_misused(command, "unexpected argument '%s'",
                               argv[*first + command->arguments_max]);
    return COMMAND_GO_ON;
}

/* A command that has only its name answers --help and says what it is. */
static int run_absent(const struct command *command, const struct command_entry *entry, int argc,
                      char **argv)
{
    char name[128], purpose[256];
    (void)snprintf(name, sizeof name, "%s %s", command->name, entry->name);
    (void)snprintf(purpose, sizeof purpose, "Would %s; not in this version.", entry->help);
    struct command absent = { .name = name, .purpose = purpose, .arguments_max = -1 };
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(&absent, NULL);
            return COMMAND_GOOD;
        }
    return command_failed(&absent, "not in this version");
}

static int run_entry(const struct command *command, const struct command_entry *entry, int argc,
                     char **argv)
{
    return entry->run != NULL ? entry->run(argc, argv) : run_absent(command, entry, argc, argv);
}

static const struct command_entry *find_entry(const struct command_entry *entries, const char *name)
{
    for (; entries->name != NULL; entries++)
        if (strcmp(entries->name, name) == 0)
            return entries;
    return NULL;
}

/* The options are parsed already, so it gets none. */
static int run_fallback(const struct command *command, const struct command_entry *entries,
                        char *name)
{
    char *alone[] = { name, NULL };
    const struct command_entry *entry = find_entry(entries, command->fallback);
    CHECK(entry != NULL);
    return run_entry(command, entry, 1, alone);
}

int command_dispatch(const struct command *command, const struct command_entry *entries, int argc,
                     char **argv)
{
    int first, status = parse_options(command, entries, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (first == argc && command->fallback != NULL)
        return run_fallback(command, entries, argv[0]);
    if (first == argc)
        return command_misused(command, "expected a command");
    const struct command_entry *entry = find_entry(entries, argv[first]);
    if (entry != NULL)
        return run_entry(command, entry, argc - first, argv + first);
    const char *nearest = nearest_name(argv[first], entry_name, entries);
    if (nearest != NULL)
        return command_misused(command, "unknown command '%s'; did you mean '%s'?", argv[first],
                               nearest);
    return command_misused(command, "unknown command '%s'", argv[first]);
}
