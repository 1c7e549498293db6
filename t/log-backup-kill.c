/* Backup and restore are killed at any of their system calls, again and again: the backup that was
 * finished before stays whole, what was restored is there as a whole or not at all, and the next
 * run goes on. */
#include "log/backup.h"
#include "log/manifest.h"
#include "log/restore.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "log_backups.h"
#include "scratch.h"
#include "tap.h"

static char dir[4096], target[4096], restored[4096], check[4096];
static uint64_t random_state;
static unsigned kills = 25; /* of each kind; KILLS in the environment */

static unsigned long random_below(unsigned long limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned long)(random_state >> 33) % limit;
}

/* Killing. */

static int work_backup(void)
{
    struct log_backup_result result;
    return log_backups_make(dir, target, 0, &result);
}

static int restore_to(const char *from, const char *to)
{
    struct log_restore_result result;
    const char *paths[] = { from };
    return log_backups_restore(paths, 1, to, &result);
}

static int work_restore(void)
{
    return restore_to(target, restored);
}

static int work_restore_plain(void)
{
    return restore_to(dir, restored);
}

/* Lets the child come to its next stop. False when it has ended. */
static bool step(pid_t pid, int *status)
{
    int signal_number =
        WIFSTOPPED(*status) && WSTOPSIG(*status) != (SIGTRAP | 0x80) && WSTOPSIG(*status) != SIGSTOP
            ? WSTOPSIG(*status)
            : 0;
    return ptrace(PTRACE_SYSCALL, pid, 0, (void *)(uintptr_t)signal_number) == 0 &&
           waitpid(pid, status, 0) == pid && WIFSTOPPED(*status);
}

/* Kills `work`, in a child, before its stop number `stops` (two for each system call), and counts
 * those it made. -1: it was killed; else what it ended with. */
static int run_killed(int (*work)(void), unsigned long stops, unsigned long *made)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
            _exit(99);
        raise(SIGSTOP);
        int code = work();
        if (code < 0)
            fprintf(stderr, "# %s\n", log_backups_error.text);
        _exit(code == 0 ? 0 : 1);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, pid, 0, (void *)PTRACE_O_TRACESYSGOOD) < 0)
        tap_bail_out("a child cannot be traced");
    for (*made = 0; *made < stops; ++*made)
        if (!step(pid, &status))
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

/* The log. */

static void go_on(uint32_t count)
{
    struct io *io;
    struct log_commands commands = { .count = 0 };
    struct log *log = log_backups_open(dir, &io, &commands.time_ns);
    if (!log_backups_fill(log, &commands, count))
        tap_bail_out("the log fails");
    if (random_below(2))
        log_backups_close(&log, &io);
    else
        log_backups_abandon(&log, &io);
    log_commands_free(&commands);
}

static bool has_temporary(const char *path)
{
    bool found = false;
    struct dirent *entry;
    DIR *names = opendir(path);
    while (names != NULL && (entry = readdir(names)) != NULL)
        found = found || strstr(entry->d_name, ".tmp") != NULL;
    if (names != NULL)
        closedir(names);
    return found;
}

/* The event that BACKUP ends with; 0: there is none, UINT64_MAX: it is not whole. */
static uint64_t backed_up(void)
{
    struct manifest manifest;
    struct error error = { 0 };
    manifest_init(&manifest);
    int found = manifest_read(&manifest, target, &error);
    uint64_t seq = found == 1 ? manifest_last(&manifest)->last_seq : found == 0 ? 0 : UINT64_MAX;
    if (found < 0)
        tap_note("%s", error.text);
    manifest_free(&manifest);
    return seq;
}

static bool restores(uint64_t last_seq)
{
    char inner[4200];
    snprintf(inner, sizeof inner, "%.4000s/log", check);
    scratch_remove(check);
    if (restore_to(target, check) < 0) {
        tap_note("%s", log_backups_error.text);
        return false;
    }
    return log_backups_sound(inner, last_seq) && log_backups_same(dir, inner, last_seq);
}

static void test_backup(void)
{
    unsigned long all, made;
    unsigned killed = 0, finished = 0;
    bool kept = true, whole = true, good = true, clean = true;
    go_on(30);
    is_int(run_killed(work_backup, 100000, &all), 0, "a backup comes to its end");
    scratch_remove(target);
    uint64_t before = 0;
    while (killed < kills && good) {
        int code = run_killed(work_backup, random_below(all + all / 8), &made);
        good = code <= 0;
        uint64_t now = backed_up();
        kept = kept && now >= before && now != UINT64_MAX;
        whole = whole && (now == 0 || restores(now));
        before = now;
        killed += code < 0;
        if (code != 0)
            continue;
        finished++;
        clean = clean && log_backups_sound(target, now) && !has_temporary(target);
        go_on(1 + (uint32_t)random_below(30));
    }
    ok(good && finished > 0, "killed %u times, it came to its end %u times", killed, finished);
    ok(kept, "what was backed up before is never lost");
    ok(whole, "and is restored whole at any time");
    ok(clean, "a backup that came to its end is sound, and nothing else is left");
    is_int(work_backup(), 0, "the last");
    ok(restores(backed_up()), "is whole");
}

static void test_restore(int (*work)(void), const char *from, uint64_t last_seq, const char *name)
{
    char inner[4200];
    unsigned long all, made;
    unsigned killed = 0, finished = 0;
    bool good = true, whole = true, clean = true;
    snprintf(inner, sizeof inner, "%.4000s/log", restored);
    scratch_remove(restored);
    is_int(run_killed(work, 100000, &all), 0, "%s: it comes to its end", name);
    scratch_remove(restored);
    while (killed < kills && good) {
        struct stat status;
        int code = run_killed(work, random_below(all + all / 8), &made);
        good = code <= 0;
        killed += code < 0;
        bool there = stat(inner, &status) == 0;
        if (there)
            whole = whole && log_backups_sound(inner, last_seq) &&
                    log_backups_same(from, inner, last_seq);
        /* It may have been killed when nothing was left to do. */
        snprintf(check, sizeof check, "%.4000s/RESTORING", restored);
        if (code != 0 && (!there || stat(check, &status) == 0))
            continue;
        finished++;
        clean = clean && there && !has_temporary(restored) && !has_temporary(inner);
        snprintf(check, sizeof check, "%.4000s/FORK", inner);
        clean = clean && stat(check, &status) == 0;
        snprintf(check, sizeof check, "%.4000s/RESTORING", restored);
        clean = clean && stat(check, &status) < 0;
        snprintf(check, sizeof check, "%.4000s/BACKUP", inner);
        clean = clean && stat(check, &status) < 0;
        scratch_remove(restored);
    }
    ok(good && finished > 0, "killed %u times, it came to its end %u times", killed, finished);
    ok(whole, "the log is there as a whole, or not");
    ok(clean, "at the end it waits for its new name, and nothing else is left");
}

int main(void)
{
    const char *seed = getenv("SEED"), *count = getenv("KILLS");
    random_state = seed != NULL ? strtoul(seed, NULL, 10) : (unsigned long)time(NULL);
    if (count != NULL)
        kills = (unsigned)strtoul(count, NULL, 10);
    tap_note("SEED=%llu", (unsigned long long)random_state);
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(target, sizeof target, "%s", scratch_path("backup"));
    snprintf(restored, sizeof restored, "%s", scratch_path("restored"));
    snprintf(check, sizeof check, "%s", scratch_path("check"));
    test_backup();
    test_restore(work_restore, target, backed_up(), "a backup");
    test_restore(work_restore_plain, dir, backed_up(), "a plain copy");
    scratch_remove(dir);
    return tap_done();
}
