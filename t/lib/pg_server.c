#include "pg_server.h"

#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static FILE *to, *from;
static pid_t pid;
static char line[4096], url[4096];

/* Reads lines of Perl, and answers each with one. */
static const char script[] =
    "use PgServer; $| = 1; my $missing = PgServer->missing;"
    "if ($missing) { print \"missing $missing\\n\"; exit }"
    "my $server = PgServer->new(settings => { eval shift });"
    "print 'url ', $server->url, \"\\n\";"
    "while (my $perl = <STDIN>) { my $said = eval $perl;"
    " $said = \"died: $@\" if $@; $said //= ''; $said =~ s/\\n/ /g; print \"$said\\n\" }";

static void run_perl(int in, int out, const char *settings)
{
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    execlp("perl", "perl", "-It/lib", "-e", script, settings, (char *)NULL);
    _exit(127);
}

static const char *read_answer(void)
{
    if (fgets(line, sizeof line, from) == NULL)
        tap_bail_out("the Perl that holds the PostgreSQL server has ended");
    line[strcspn(line, "\n")] = '\0';
    return line;
}

const char *pg_server_start(const char *settings)
{
    int in[2], out[2];
    if (pipe(in) < 0 || pipe(out) < 0)
        tap_bail_out("no pipe");
    fflush(stdout);
    pid = fork();
    if (pid == 0)
        run_perl(in[0], out[1], settings);
    close(in[0]);
    close(out[1]);
    to = fdopen(in[1], "w");
    from = fdopen(out[0], "r");
    const char *said = read_answer();
    if (strncmp(said, "missing ", 8) == 0)
        tap_skip_all("%s", said + 8);
    if (strncmp(said, "url ", 4) != 0)
        tap_bail_out("no PostgreSQL server: %s", said);
    (void)snprintf(url, sizeof url, "%s", said + 4);
    return url;
}

const char *pg_server_do(const char *perl)
{
    fprintf(to, "%s\n", perl);
    fflush(to);
    return read_answer();
}

void pg_server_end(void)
{
    int status;
    fclose(to);
    waitpid(pid, &status, 0);
    fclose(from);
}
