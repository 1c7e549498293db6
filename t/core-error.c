#include "tap.h"

#include "core/base/check.h"
#include "core/base/error.h"
#include "core/base/nearest.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void sentences(void)
{
    struct error error;
    char inner[600];
    is_int(error_set(&error, ERROR_DAMAGED, "frame %d", 7), ERROR_DAMAGED,
           "error_set returns code");
    is_int(error.code, ERROR_DAMAGED, "and keeps it");
    is_str(error.text, "frame 7", "with a sentence");
    is_int(error_wrap(&error, error.code, "segment %s", "000017"), ERROR_DAMAGED,
           "error_wrap returns it again");
    is_str(error.text, "segment 000017: frame 7", "and puts what it knows before the sentence");
    is_int(error_set(NULL, -EIO, "nobody reads this"), -EIO, "nobody needs to want the sentence");
    is_int(error_wrap(NULL, -EIO, "nor this"), -EIO, "when wrapping neither");

    memset(inner, 'x', sizeof inner);
    inner[sizeof inner - 1] = '\0';
    (void)error_set(&error, -EIO, "%s%s", inner, inner);
    is_int(strlen(error.text), sizeof error.text - 1, "a long sentence is cut");
    is_str(error.text + sizeof error.text - 4, "...", "and marked");
    (void)error_set(&error, -EIO, "%s", inner);
    (void)error_wrap(&error, -EIO, "%s", inner);
    is_str(error.text + sizeof error.text - 4, "...", "also when it is wrapped");
    (void)error_wrap(&error, -EIO, "%s%s", inner, inner);
    is_int(strlen(error.text), sizeof error.text - 1, "or the wrapper itself is too long");
}

static void codes(void)
{
    is_str(error_text(ERROR_LOCKED), "held by another process", "our codes have a text");
    is_str(error_text(-ENOENT), strerror(ENOENT), "and so have the system's");
    int named = 0;
    for (int code = ERROR_DAMAGED; code >= ERROR_TRUNCATED; code--)
        named += strstr(error_text(code), "nknown error") == NULL;
    is_int(named, ERROR_DAMAGED - ERROR_TRUNCATED + 1, "all of ours");
    ok(error_text(-123456) != NULL, "an unknown code has one too");
}

static void checks(void)
{
    CHECK(1 + 1 == 2);
    int status, pipes[2];
    char said[200] = "";
    if (pipe(pipes) < 0)
        tap_bail_out("no pipe");
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = { 0, 0 };
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)dup2(pipes[1], STDERR_FILENO);
        CHECK(1 + 1 == 3);
        _exit(0);
    }
    (void)close(pipes[1]);
    ssize_t size = read(pipes[0], said, sizeof said - 1);
    (void)close(pipes[0]);
    ok(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
       "a check that fails ends the process");
    ok(size > 0 && strstr(said, "core-error.c:") != NULL && strstr(said, "1 + 1 == 3") != NULL,
       "and says what and where");
}

static const char *name(const void *table, size_t index)
{
    return ((const char *const *)table)[index];
}

static void nearest(void)
{
    static const char *const names[] = { "submit", "status", "list", "get", "cancel", NULL };
    static const char *const none[] = { NULL };
    is_str(nearest_name("statsu", name, names), "status", "two letters swapped are near");
    is_str(nearest_name("submt", name, names), "submit", "so is one that is missing");
    is_str(nearest_name("lists", name, names), "list", "and one too many");
    is_str(nearest_name("gte", name, names), "get", "in short names too");
    ok(nearest_name("resolve", name, names) == NULL, "another word is not");
    ok(nearest_name("x", name, names) == NULL, "nor is a single letter near to anything");
    ok(nearest_name("", name, names) == NULL, "nor nothing");
    ok(nearest_name("list", name, none) == NULL, "nothing is near when nothing is known");
    char large[200];
    memset(large, 'a', sizeof large);
    large[199] = '\0';
    ok(nearest_name(large, name, names) == NULL, "a name that is too long is near to nothing");
}

int main(void)
{
    sentences();
    codes();
    checks();
    nearest();
    return tap_done();
}
