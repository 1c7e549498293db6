#include "scratch.h"
#include "tap.h"

#include "tools/command/command.h"
#include "tools/command/progress.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/*--- A small program --------------------------------------------------------------------------*/

static bool json;
static const char *url = "default";
static uint64_t limit = 10, wait_ns, size;
static struct command_list kinds;

static const struct command_option shared[] = {
    { "json", 'j', NULL, COMMAND_FLAG, &json, "print JSON" },
    { "url", 0, "URL", COMMAND_TEXT, &url, "where the agent is" },
    { .name = NULL },
};

static const struct command_option options[] = {
    { "limit", 'n', "COUNT", COMMAND_NUMBER, &limit, "stop after COUNT events" },
    { "kind", 'k', "KIND", COMMAND_LIST, &kinds, "only events of this kind;\nmay be repeated" },
    { "wait", 0, "TIME", COMMAND_DURATION, &wait_ns, "wait so long" },
    { "size", 0, "SIZE", COMMAND_SIZE, &size, "so large" },
    { "a-very-long-name-indeed", 0, "SOMETHING", COMMAND_TEXT, &url, "does not fit" },
    { .name = NULL },
};

static const struct command cat_command = {
    .name = "daa-try cat",
    .purpose = "Print events.",
    .arguments = "DIR",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = options,
    .shared = shared,
    .notes = "Exit status: 0 good.",
};

static int run_cat(int argc, char **argv)
{
    int first, status = command_parse(&cat_command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    printf("%s json=%d url=%s limit=%ju wait=%ju size=%ju kinds=%zu%s%s\n", argv[first], json, url,
           (uintmax_t)limit, (uintmax_t)wait_ns, (uintmax_t)size, kinds.count,
           kinds.count > 0 ? " " : "", kinds.count > 0 ? kinds.items[kinds.count - 1] : "");
    return COMMAND_GOOD;
}

static int run_fail(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct error error;
    (void)error_set(&error, ERROR_LOCKED, "log \"x\": held by process 7");
    return command_failed_error(&cat_command, &error);
}

/* What a long command shows on the way. */
static int run_long(int argc, char **argv)
{
    struct progress progress;
    (void)argc;
    (void)argv;
    progress_begin(&progress, "counting", PROGRESS_ITEMS, 4);
    progress_update(&progress, 1);
    progress_update(&progress, 2); /* too soon to be drawn */
    progress_clear(&progress);
    progress_update(&progress, 3);
    progress_end(&progress);
    fprintf(stderr, "%sred%s", command_style(stderr, COMMAND_RED),
            command_style(stderr, COMMAND_PLAIN));
    return COMMAND_GOOD;
}

static const struct command_entry inner[] = {
    { "cat", "print events", run_cat },
    { .name = NULL },
};

static int run_inner(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-try log",
        .purpose = "Look at a log.",
        .shared = shared,
    };
    return command_dispatch(&command, inner, argc, argv);
}

static int run_show(int argc, char **argv)
{
    static const struct command command = { .name = "daa-try clock show",
                                            .purpose = "Show the clock.",
                                            .shared = shared };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    printf("clock json=%d url=%s\n", json, url);
    return COMMAND_GOOD;
}

static const struct command_entry of_clock[] = {
    { "show", "show the clock", run_show },
    { "set", "set the clock", run_fail },
    { .name = NULL },
};

static int run_clock(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-try clock",
        .purpose = "Look at the clock.",
        .shared = shared,
        .fallback = "show",
    };
    return command_dispatch(&command, of_clock, argc, argv);
}

static const struct command_entry entries[] = {
    { "cat", "print events", run_cat },
    { "fail", "fail with an error", run_fail },
    { "long", "take long", run_long },
    { "log", "look at a log", run_inner },
    { "clock", "look at the clock", run_clock },
    { "backup", "copy the log to another place", NULL },
    { .name = NULL },
};

static const struct command program = {
    .name = "daa-try",
    .purpose = "Try things out.",
    .shared = shared,
};

/*--- Running it -------------------------------------------------------------------------------*/

static char out[4096], err[4096];

static void redirect(int fd, const char *path)
{
    int file = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_NOCTTY, 0600);
    if (file < 0 || dup2(file, fd) < 0)
        _exit(99);
}

static void read_into(char text[4096], const char *path)
{
    unsigned long file_size;
    unsigned char *bytes = scratch_read(path, &file_size);
    if (file_size > 4095)
        file_size = 4095;
    memcpy(text, bytes, file_size);
    text[file_size] = '\0';
    free(bytes);
}

/* Runs "daa-try <line>" in a process of its own, this program again, words split at spaces. */
static int try_to(const char *line, const char *out_path, const char *err_path)
{
    char copy[512], self[] = "t", as_program[] = "--as-program", *rest = NULL;
    char *argv[100] = { self, as_program };
    int argc = 2, status;
    (void)snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    argv[argc] = NULL;
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        redirect(STDOUT_FILENO, out_path);
        redirect(STDERR_FILENO, err_path);
        (void)execv("/proc/self/exe", argv);
        _exit(99);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        tap_bail_out("cannot run a process");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static int try(const char *line)
{
    int status = try_to(line, scratch_path("out"), scratch_path("err"));
    read_into(out, scratch_path("out"));
    read_into(err, scratch_path("err"));
    return status;
}

static void good(const char *line, const char *want)
{
    int status = try(line);
    if (!ok(status == 0 && strcmp(out, want) == 0 && err[0] == '\0', "\"%s\" is understood", line))
        tap_note("status %d, stdout: %s, stderr: %s", status, out, err);
}

static void misused(const char *line, const char *want)
{
    int status = try(line);
    if (!ok(status == 2 && strcmp(err, want) == 0 && out[0] == '\0', "\"%s\" is a usage error",
            line))
        tap_note("status %d, stdout: %s, stderr: %s", status, out, err);
}

static void help(void)
{
    is_int(try("cat --help"), 0, "--help exits 0");
    is_str(out,
           "Usage: daa-try cat [OPTION]... DIR\n"
           "Print events.\n"
           "\n"
           "Options:\n"
           "  -n, --limit=COUNT  stop after COUNT events\n"
           "  -k, --kind=KIND    only events of this kind;\n"
           "                     may be repeated\n"
           "      --wait=TIME    wait so long\n"
           "      --size=SIZE    so large\n"
           "      --a-very-long-name-indeed=SOMETHING\n"
           "                     does not fit\n"
           "  -j, --json         print JSON\n"
           "      --url=URL      where the agent is\n"
           "  -h, --help         show this help and exit\n"
           "  -V, --version      show the version and exit\n"
           "\n"
           "Exit status: 0 good.\n",
           "and prints the table on stdout");
    is_str(err, "", "and nothing on stderr");
    is_int(try("--help"), 0, "the program has help of its own");
    is_str(out,
           "Usage: daa-try [OPTION]... COMMAND\n"
           "Try things out.\n"
           "\n"
           "Commands:\n"
           "  cat     print events\n"
           "  fail    fail with an error\n"
           "  long    take long\n"
           "  log     look at a log\n"
           "  clock   look at the clock\n"
           "  backup  copy the log to another place (not in this version)\n"
           "\n"
           "Options:\n"
           "  -j, --json     print JSON\n"
           "      --url=URL  where the agent is\n"
           "  -h, --help     show this help and exit\n"
           "  -V, --version  show the version and exit\n"
           "\n"
           "'daa-try COMMAND --help' says more about one command.\n",
           "with its commands");
    is_int(try("cat x --version"), 0, "--version exits 0");
    ok(strncmp(out, "daa-try ", 8) == 0 && out[8] >= '0' && out[8] <= '9',
       "and names program and version");
}

static void commands(void)
{
    misused("", "daa-try: expected a command\nTry 'daa-try --help'.\n");
    misused("cut", "daa-try: unknown command 'cut'; did you mean 'cat'?\nTry 'daa-try --help'.\n");
    misused("nonsense", "daa-try: unknown command 'nonsense'\nTry 'daa-try --help'.\n");
    good("--url u log -j cat d", "d json=1 url=u limit=10 wait=0 size=0 kinds=0\n");
    misused("log dog", "daa-try log: unknown command 'dog'\nTry 'daa-try log --help'.\n");
    misused("log --url u", "daa-try log: expected a command\nTry 'daa-try log --help'.\n");
    good("clock", "clock json=0 url=default\n");
    good("--url u clock", "clock json=0 url=u\n");
    good("clock --url u", "clock json=0 url=u\n");
    good("clock --url=u -j", "clock json=1 url=u\n");
    good("clock --url u show -j", "clock json=1 url=u\n");
    misused("clock sow",
            "daa-try clock: unknown command 'sow'; did you mean 'show'?\nTry 'daa-try clock "
            "--help'.\n");
    is_int(try("clock --url u --help"), 0,
           "a group with a command to fall back to has help of its own");
    ok(strncmp(out, "Usage: daa-try clock [OPTION]... [COMMAND]\n", 43) == 0,
       "which says that a command may be left out");
    is_int(try("fail"), 1, "a command that fails exits 1");
    is_str(err, "daa-try cat: log \"x\": held by process 7\n", "with its sentence on stderr");
    is_int(try("backup somewhere"), 1, "a command that is not there yet exits 1");
    is_str(err, "daa-try backup: not in this version\n", "and says so");
    is_int(try("backup --help"), 0, "its --help exits 0");
    ok(strstr(out, "copy the log to another place; not in this version") != NULL,
       "and says what it would do");
}

/* What a program wrote to a terminal comes out of it piece by piece: reads up to `end`. */
static void read_until(int pty, char *seen, size_t room, const char *end)
{
    struct pollfd fd = { .fd = pty, .events = POLLIN };
    size_t got = 0;
    seen[0] = '\0';
    while (got < room - 1 && strstr(seen, end) == NULL && poll(&fd, 1, 20000) == 1) {
        ssize_t more = read(pty, seen + got, room - 1 - got);
        if (more <= 0)
            return;
        got += (size_t)more;
        seen[got] = '\0';
    }
}

static void terminal(void)
{
    char seen[400] = "";
    int pty = posix_openpt(O_RDWR | O_NOCTTY);
    if (pty < 0 || grantpt(pty) < 0 || unlockpt(pty) < 0) {
        tap_skip(7, "no pseudo-terminal here");
        return;
    }
    char *name = strdup(ptsname(pty));
    int keep = open(name, O_RDWR | O_NOCTTY); /* so that what is written stays readable */
    (void)setenv("TERM", "xterm", 1);
    (void)unsetenv("NO_COLOR");
    is_int(try_to("long", scratch_path("out"), name), 0, "a long command ends well");
    read_until(pty, seen, sizeof seen, "red\033[0m");
    ok(strncmp(seen, "\rcounting  [#####...............]  25 %  1 of 4  ", 47) == 0,
       "on a terminal it shows a bar");
    ok(strstr(seen, "  2 of 4") == NULL, "which is not drawn at every step");
    ok(strstr(seen, "/s\033[K\r\033[K\rcounting") != NULL, "and can be wiped and drawn again");
    ok(strstr(seen, "\r\033[K\033[31mred\033[0m") != NULL, "and goes away; then there is colour");
    (void)setenv("NO_COLOR", "1", 1);
    (void)try_to("long", scratch_path("out"), name);
    read_until(pty, seen, sizeof seen, "red");
    ok(strstr(seen, "\033[Kred") != NULL, "unless NO_COLOR is set");
    (void)try("long");
    is_str(err, "red", "what is no terminal sees neither");
    (void)close(keep);
    (void)close(pty);
    free(name);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--as-program") == 0)
        return command_end(&program, command_dispatch(&program, entries, argc - 1, argv + 1));
    good("cat d", "d json=0 url=default limit=10 wait=0 size=0 kinds=0\n");
    good("cat -jn5 d", "d json=1 url=default limit=5 wait=0 size=0 kinds=0\n");
    good("cat d --limit 7 --json", "d json=1 url=default limit=7 wait=0 size=0 kinds=0\n");
    good("cat --lim=7 -- --json", "--json json=0 url=default limit=7 wait=0 size=0 kinds=0\n");
    good("cat --wait=1.5s --size=2KB d",
         "d json=0 url=default limit=10 wait=1500000000 size=2048 kinds=0\n");
    good("cat -k a --kind=b d", "d json=0 url=default limit=10 wait=0 size=0 kinds=2 b\n");
    good("cat -n18446744073709551615 d",
         "d json=0 url=default limit=18446744073709551615 wait=0 size=0 kinds=0\n");

    static const char try_cat[] = "Try 'daa-try cat --help'.\n";
    static const struct {
        const char *line, *sentence;
    } wrong[] = {
        { "cat", "expected DIR" },
        { "cat a b", "unexpected argument 'b'" },
        { "cat --limt=5 d", "unknown option '--limt'; did you mean '--limit'?" },
        { "cat --nonsense d", "unknown option '--nonsense'" },
        { "cat -x d", "unknown option '-x'" },
        { "cat -jx d", "unknown option '-x'" },
        { "cat d --limit", "option '--limit' needs its COUNT" },
        { "cat d -n", "option '--limit' needs its COUNT" },
        { "cat --json=yes d", "option '--json' takes no argument" },
        { "cat --limit=ten d", "--limit: 'ten' is not a number" },
        { "cat --limit=-1 d", "--limit: '-1' is not a number" },
        { "cat --limit=+1 d", "--limit: '+1' is not a number" },
        { "cat --limit= d", "--limit: '' is not a number" },
        { "cat -n18446744073709551616 d", "--limit: '18446744073709551616' is too large" },
        { "cat --wait=5 d",
          "--wait: '5' is not a duration (a number with its unit: 250ms, 60s, 1.5h)" },
        { "cat --wait=999999d d", "--wait: '999999d' is too large" },
        { "cat --size=5s d",
          "--size: '5s' is not a size (a number with its unit: 512B, 64KB, 2MB)" },
        { "cat --", "expected DIR" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char want[256];
        (void)snprintf(want, sizeof want, "daa-try cat: %s\n%s", wrong[i].sentence, try_cat);
        misused(wrong[i].line, want);
    }
    misused("--li cat d", "daa-try: unknown option '--li'\nTry 'daa-try --help'.\n");
    help();
    commands();
    terminal();

    is_int(try_to("cat d", "/dev/full", scratch_path("err")), 1,
           "output that cannot be written is a failure");
    read_into(err, scratch_path("err"));
    is_str(err, "daa-try: cannot write to standard output: No space left on device\n",
           "that says so");

    struct progress progress = { .what = "verifying", .unit = PROGRESS_BYTES, .total = 4096 };
    char line[100];
    progress_line(&progress, 1024, 500000000, line, sizeof line);
    is_str(line, "verifying  [#####...............]  25 %  1.0 KB of 4.0 KB  2.0 KB/s",
           "a progress line shows share, amount and rate");
    progress = (struct progress){ .what = "reading", .unit = PROGRESS_ITEMS };
    progress_line(&progress, 10, 1000000000, line, sizeof line);
    is_str(line, "reading  10  10/s", "and no bar when the total is not known");
    return tap_done();
}
