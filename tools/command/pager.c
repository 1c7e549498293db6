#include "tools/command/pager.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t pager_pid; /* 0: none */

bool pager_runs(void)
{
    return pager_pid != 0;
}

/* The pager sees the end of its input, and the terminal is its own until it ends. */
static void wait_for_pager(void)
{
    (void)fflush(stdout);
    (void)fflush(stderr);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    while (waitpid(pager_pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static void run_pager(const char *pager, int input)
{
    /* Shown is shown, also where there is no less. */
    const char *line = pager != NULL ? pager : "command -v less >/dev/null && exec less; exec cat";
    dup2(input, STDIN_FILENO);
    close(input);
    (void)setenv("LESS", "FRX", 0);
    execl("/bin/sh", "sh", "-c", line, (char *)NULL);
    _exit(127);
}

void pager_begin(void)
{
    const char *pager = getenv("PAGER");
    int ends[2];
    if (pager_pid != 0 || !isatty(STDOUT_FILENO) ||
        (pager != NULL && (*pager == '\0' || strcmp(pager, "cat") == 0)) || pipe(ends) < 0)
        return;
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]);
        run_pager(pager, ends[0]);
    }
    close(ends[0]);
    if (pid > 0) {
        dup2(ends[1], STDOUT_FILENO);
        if (isatty(STDERR_FILENO))
            dup2(ends[1], STDERR_FILENO);
        pager_pid = pid;
        /* The pager takes what the keyboard sends; when it ends, writing to it ends us. */
        (void)signal(SIGINT, SIG_IGN);
        (void)atexit(wait_for_pager);
    }
    close(ends[1]);
}
