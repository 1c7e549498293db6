/* Exec effects: programs, each in a process group of its own, watched by a thread of a bounded
 * pool.
 *
 * The threads start when they are needed and stay: PR_SET_PDEATHSIG follows the thread that made
 * the child, so a child dies with the agent and not before. When the program ends, what it left
 * in its group is ended too, while it is still a zombie and its number can't have been given to
 * somebody else. A program that makes a session of its own can escape this. */
#include "core/base/check.h"
#include "core/event/event.pb-c.h"
#include "tools/agent/effect_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/agent/process.h"

enum { STACK_SIZE = 512 * 1024, READ_SIZE = 16 * 1024 };

struct job {
    struct effect *effect; /* not ours any more once its outcome was posted */
    uint64_t stream;       /* its own, for who looks at a job that has ended */
    struct job *next;
    uint64_t deadline_ns;
    int cancel_fd; /* an eventfd; readable: to be ended */
    bool cancelled;
};

struct exec_pool {
    struct effects *effects;
    pthread_mutex_t lock; /* of all below; of `cancelled` and the life of jobs in `running` */
    pthread_cond_t work;
    struct job *queue, **queue_end;
    struct job *running;
    pthread_t *threads;
    uint64_t thread_count, idle_count;
    bool stop;
};

/* A program about to run or running. */
struct child {
    pid_t pid;
    int pid_fd, stdin_fd, stdout_fd, stderr_fd;
    char **argv, **environment;
    char *texts;           /* what argv and environment point into */
    struct text output[2]; /* stdout, stderr */
    uint64_t reserved;
};

/*--- Before it runs ----------------------------------------------------------*/

static bool allowed(const struct config *config, struct span program)
{
    for (size_t i = 0; config->exec.enabled && i < config->exec.allow.count; i++)
        if (span_is(program, config->exec.allow.items[i]))
            return true;
    return false;
}

static int no_nul(struct error *error)
{
    return error_set(error, ERROR_INVALID, "exec: an argument or a variable holds a NUL");
}

/* True if `texts`, behind `start`, holds a string "NAME=...". */
static bool has_variable(const struct text *texts, size_t start, struct span name)
{
    for (size_t at = start; at < texts->size; at += strlen(texts->bytes + at) + 1)
        if (strncmp(texts->bytes + at, (const char *)name.bytes, name.size) == 0 &&
            texts->bytes[at + name.size] == '=')
            return true;
    return false;
}

static void add_variable(struct text *texts, size_t start, uint32_t *count, const char *name,
                         const char *value)
{
    if (texts->failed < 0 || has_variable(texts, start, span_of_text(name)))
        return;
    text_printf(texts, "%s=%s", name, value);
    text_add(texts, "", 1);
    (*count)++;
}

/* What the definition says, then what the configuration lets through, then our own; the first one
 * of a name counts. */
static int add_environment(struct effects *effects, const struct effect *effect, struct text *texts,
                           uint32_t *count, struct error *error)
{
    size_t start = texts->size;
    for (uint32_t i = 0; i < effect->exec.env_count; i++) {
        struct span name = effect->exec.env[i].name;
        if (name.size == 0 || memchr(name.bytes, '=', name.size) != NULL ||
            memchr(name.bytes, 0, name.size) != NULL)
            return error_set(error, ERROR_INVALID, "exec.env: \"%.*s\" is no name of a variable",
                             (int)name.size, (const char *)name.bytes);
        text_add_span(texts, name);
        text_add_string(texts, "=");
        size_t value_at = texts->size;
        int failed =
            secrets_fill(effects->secrets, TEMPLATE_ENV, effect->exec.env[i].value, texts, error);
        if (failed < 0)
            return failed;
        if (memchr(texts->bytes + value_at, 0, texts->size - value_at) != NULL)
            return no_nul(error);
        text_add(texts, "", 1);
        (*count)++;
    }
    for (size_t i = 0; i < effects->config->exec.env.count; i++) {
        const char *name = effects->config->exec.env.items[i];
        const char *value = getenv(name);
        if (value != NULL)
            add_variable(texts, start, count, name, value);
    }
    char number[24];
    add_variable(texts, start, count, "PATH", "/usr/local/bin:/usr/bin:/bin");
    add_variable(texts, start, count, "LANG", "C.UTF-8");
    snprintf(number, sizeof number, "%llu", (unsigned long long)effect->stream);
    add_variable(texts, start, count, "DAA_WORKFLOW", number);
    snprintf(number, sizeof number, "%u", effect->attempt);
    add_variable(texts, start, count, "DAA_ATTEMPT", number);
    add_variable(texts, start, count, "DAA_IDEMPOTENCY_KEY", effect->idempotency_key);
    return 0;
}

/* Points `list` at `count` strings in a row; returns what follows them. */
static char *point_at(char **list, char *texts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        list[i] = texts;
        texts += strlen(texts) + 1;
    }
    list[count] = NULL;
    return texts;
}

static int make_arguments(struct effects *effects, const struct effect *effect, struct child *child,
                          struct error *error)
{
    const struct flow_exec *exec = &effect->exec;
    struct text texts;
    text_init(&texts);
    int failed = 0;
    for (uint32_t i = 0; i < exec->argv_count && failed == 0; i++) {
        if (memchr(exec->argv[i].bytes, 0, exec->argv[i].size) != NULL)
            failed = no_nul(error);
        text_add_span(&texts, exec->argv[i]);
        text_add(&texts, "", 1);
    }
    uint32_t variables = 0;
    if (failed == 0)
        failed = add_environment(effects, effect, &texts, &variables, error);
    if (failed == 0 && texts.failed < 0)
        failed = error_set(error, texts.failed, "exec: no memory for its arguments");
    child->argv = calloc(exec->argv_count + 1, sizeof *child->argv);
    child->environment = calloc(variables + 1, sizeof *child->environment);
    if (failed == 0 && (child->argv == NULL || child->environment == NULL))
        failed = error_set(error, -ENOMEM, "exec: no memory for its arguments");
    if (failed < 0) {
        text_free(&texts);
        return failed;
    }
    size_t size;
    child->texts = text_take(&texts, &size);
    point_at(child->environment, point_at(child->argv, child->texts, exec->argv_count), variables);
    return 0;
}

/* A file in memory that holds the text, or /dev/null. */
static int open_stdin(struct span text, struct error *error)
{
    if (text.size == 0) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return fd >= 0 ? fd : error_set(error, -errno, "exec: /dev/null: %s", strerror(errno));
    }
    int failed = 0, fd = memfd_create("stdin", MFD_CLOEXEC);
    if (fd < 0 || write(fd, text.bytes, text.size) != (ssize_t)text.size ||
        lseek(fd, 0, SEEK_SET) != 0)
        failed = error_set(error, -errno, "exec: cannot hold its stdin: %s", strerror(errno));
    if (failed < 0 && fd >= 0)
        close(fd);
    return failed < 0 ? failed : fd;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/*--- The child, between vfork and exec ---------------------------------------*/

struct start {
    const struct child *child;
    int stdout_fd, stderr_fd, report_fd;
    pid_t parent;
    uint64_t memory_max;
};

/* Only calls that are safe there; reports errno through the pipe. */
static void become_program(const struct start *start)
{
    const struct child *child = start->child;
    struct sigaction standard = { .sa_handler = SIG_DFL };
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &standard, NULL);
    bool good = setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                dup2(child->stdin_fd, 0) == 0 && dup2(start->stdout_fd, 1) == 1 &&
                dup2(start->stderr_fd, 2) == 2 && close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
    if (good && start->memory_max > 0) {
        struct rlimit limit = { start->memory_max, start->memory_max };
        good = setrlimit(RLIMIT_AS, &limit) == 0;
    }
    struct rlimit no_core = { 0, 0 };
    setrlimit(RLIMIT_CORE, &no_core);
    /* The agent may have died before PR_SET_PDEATHSIG. */
    if (good && getppid() != start->parent)
        _exit(127);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (good)
        execve(child->argv[0], child->argv, child->environment);
    int reason = errno;
    if (write(start->report_fd, &reason, sizeof reason) < 0)
        _exit(126);
    _exit(127);
}

/* Returns the pid; -errno when there is no process. */
static pid_t fork_program(const struct start *start)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = vfork();
    if (pid == 0)
        become_program(start);
    int failed = -errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid > 0 ? pid : failed;
}

/* What the child reports: 0 when the pipe closed by exec, else errno. */
static int read_report(int fd)
{
    int reason = 0;
    ssize_t got;
    do
        got = read(fd, &reason, sizeof reason);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof reason ? reason : 0;
}

/* 0 with the child running, its pipes open; negative with nothing running. */
static int spawn(struct effects *effects, struct child *child, struct error *error)
{
    int out[2] = { -1, -1 }, err[2] = { -1, -1 }, report[2] = { -1, -1 };
    int failed = 0;
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || pipe2(report, O_CLOEXEC) < 0)
        failed = error_set(error, -errno, "exec: cannot make pipes: %s", strerror(errno));
    if (failed == 0) {
        struct start start = { child,     out[1],   err[1],
                               report[1], getpid(), effects->config->exec.max_memory };
        child->pid = fork_program(&start);
        if (child->pid < 0)
            failed = error_set(error, child->pid, "exec %s: no new process: %s", child->argv[0],
                               error_text(child->pid));
    }
    close_fd(&out[1]);
    close_fd(&err[1]);
    close_fd(&report[1]);
    if (failed == 0) {
        int reason = read_report(report[0]);
        if (reason != 0) {
            waitpid(child->pid, NULL, 0);
            failed = error_set(error, -reason, "exec %s: cannot start it: %s", child->argv[0],
                               strerror(reason));
        }
    }
    close_fd(&report[0]);
    if (failed < 0) {
        close_fd(&out[0]);
        close_fd(&err[0]);
        return failed;
    }
    child->stdout_fd = out[0];
    child->stderr_fd = err[0];
    fcntl(child->stdout_fd, F_SETFL, O_NONBLOCK);
    fcntl(child->stderr_fd, F_SETFL, O_NONBLOCK);
    child->pid_fd = pidfd_open(child->pid, 0);
    return 0;
}

/*--- While it runs -----------------------------------------------------------*/

enum ending { ENDED, TIMED_OUT, CANCELLED, TOO_MUCH, NO_MEMORY, LOST };

/* Reads what there is. False when a limit is passed, with the reason in *ending. */
static bool drain(struct effects *effects, struct child *child, int *fd, struct text *output,
                  enum ending *ending)
{
    char bytes[READ_SIZE];
    while (*fd >= 0) {
        ssize_t got = read(*fd, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return true;
        if (got <= 0) {
            close_fd(fd);
            return true;
        }
        size_t size = (size_t)got;
        if (child->output[0].size + child->output[1].size + size >
            effects->config->exec.output_limit)
            return *ending = TOO_MUCH, false;
        if (budget_reserve(effects->budget, BUDGET_EFFECTS, size) < 0)
            return *ending = NO_MEMORY, false;
        child->reserved += size;
        text_add(output, bytes, size);
    }
    return true;
}

static enum ending watch(struct effects *effects, struct job *job, struct child *child)
{
    enum ending ending = ENDED;
    for (;;) {
        uint64_t now = effects_now_ns();
        if (now >= job->deadline_ns)
            return TIMED_OUT;
        uint64_t left_ms = (job->deadline_ns - now) / 1000000 + 1;
        struct pollfd watched[] = {
            { .fd = child->pid_fd, .events = POLLIN },
            { .fd = child->stdout_fd, .events = POLLIN },
            { .fd = child->stderr_fd, .events = POLLIN },
            { .fd = job->cancel_fd, .events = POLLIN },
        };
        /* Without a pidfd (a kernel limit) the end is seen by looking. */
        if (child->pid_fd < 0 && left_ms > 20)
            left_ms = 20;
        int ready = poll(watched, 4, left_ms > 1000000 ? 1000000 : (int)left_ms);
        if (ready < 0 && errno != EINTR)
            return NO_MEMORY;
        if (!drain(effects, child, &child->stdout_fd, &child->output[0], &ending) ||
            !drain(effects, child, &child->stderr_fd, &child->output[1], &ending))
            return ending;
        siginfo_t info = { 0 };
        if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
            info.si_pid != 0)
            return ENDED;
        if (watched[3].revents != 0)
            return CANCELLED;
    }
}

/* Ends the whole group and reaps the child; returns its wait status. */
static int end_group(struct effects *effects, struct child *child, enum ending *ending)
{
    int status = 0;
    siginfo_t info;
    kill(-child->pid, SIGKILL);
    kill(child->pid, SIGKILL); /* it may have left its group */
    if (*ending != ENDED)
        while (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
            continue;
    enum ending late = *ending;
    bool all = drain(effects, child, &child->stdout_fd, &child->output[0], &late) &&
               drain(effects, child, &child->stderr_fd, &child->output[1], &late);
    if (!all && *ending == ENDED)
        *ending = late;
    pid_t reaped;
    while ((reaped = waitpid(child->pid, &status, 0)) < 0 && errno == EINTR)
        continue;
    if (reaped < 0) /* somebody else has taken its status: then nobody knows how it ended */
        *ending = LOST;
    return status;
}

/*--- What became of it -------------------------------------------------------*/

static void write_error(const struct config *config, const struct job *job,
                        const struct child *child, enum ending ending, int status,
                        struct text *error)
{
    text_printf(error, "exec %s", child->argv[0]);
    if (ending == TIMED_OUT)
        text_printf(error, ": ended after %llu ms, its time limit",
                    (unsigned long long)(job->effect->timeout_ns / 1000000));
    else if (ending == TOO_MUCH)
        text_printf(error, ": ended, because it wrote more than exec.output_limit (%llu bytes)",
                    (unsigned long long)config->exec.output_limit);
    else if (ending == CANCELLED)
        text_add_string(error, ": ended, because its workflow was cancelled or the agent stops");
    else if (ending == NO_MEMORY)
        text_add_string(error, ": ended, because the memory budget of effects is used up");
    else if (ending == LOST)
        text_add_string(error, ": how it ended was not seen; does something else wait for the "
                               "agent's children, or ignore SIGCHLD?");
    else if (WIFSIGNALED(status))
        text_printf(error, ": killed by signal %d (%s)", WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
    else
        text_printf(error, ": exit code %d", WEXITSTATUS(status));
}

static void write_output(struct effects *effects, struct child *child, enum ending ending,
                         int status, struct text *output)
{
    output->size_max = EFFECT_OUTPUT_SIZE_MAX;
    text_json_open_object(output, NULL);
    if (ending == LOST)
        text_json_null(output, "exit");
    else if (WIFEXITED(status))
        text_json_integer(output, "exit", WEXITSTATUS(status));
    else
        text_json_integer(output, "signal", WTERMSIG(status));
    static const char *const keys[] = { "stdout", "stderr" };
    for (int i = 0; i < 2; i++) {
        secrets_redact(effects->secrets, &child->output[i]);
        effects_add_bytes(effects, output, keys[i], text_span(&child->output[i]), false);
    }
    text_json_close_object(output);
}

static void conclude(struct effects *effects, struct job *job, struct child *child,
                     enum ending ending, int status)
{
    struct text output, error;
    text_init(&output);
    text_init(&error);
    int outcome = DAA__OUTCOME__OUTCOME_UNKNOWN;
    if (ending == ENDED && WIFEXITED(status))
        outcome =
            WEXITSTATUS(status) == 0 ? DAA__OUTCOME__OUTCOME_DONE : DAA__OUTCOME__OUTCOME_NOT_DONE;
    write_output(effects, child, ending, status, &output);
    if (output.failed < 0) { /* control characters take six times their size in JSON */
        text_free(&output);
        ending = TOO_MUCH;
        outcome = DAA__OUTCOME__OUTCOME_UNKNOWN;
    }
    if (outcome != DAA__OUTCOME__OUTCOME_DONE)
        write_error(effects->config, job, child, ending, status, &error);
    effects_finish(effects, job->effect, outcome, &output, &error);
}

static void child_free(struct effects *effects, struct child *child)
{
    close_fd(&child->pid_fd);
    close_fd(&child->stdin_fd);
    close_fd(&child->stdout_fd);
    close_fd(&child->stderr_fd);
    free(child->argv);
    free(child->environment);
    free(child->texts);
    text_free(&child->output[0]);
    text_free(&child->output[1]);
    budget_release(effects->budget, BUDGET_EFFECTS, child->reserved);
}

static int prepare(struct effects *effects, struct job *job, struct child *child,
                   struct error *error)
{
    const struct flow_exec *exec = &job->effect->exec;
    if (exec->argv_count == 0 || !allowed(effects->config, exec->argv[0]))
        return error_set(error, ERROR_INVALID,
                         "exec %.*s is not allowed; exec.enabled and exec.allow in the "
                         "configuration say what is",
                         exec->argv_count > 0 ? (int)exec->argv[0].size : 0,
                         exec->argv_count > 0 ? (const char *)exec->argv[0].bytes : "");
    if (effects_now_ns() >= job->deadline_ns)
        return error_set(error, -ETIMEDOUT,
                         "exec %.*s: not started within its time limit, because all "
                         "exec.max_concurrent programs were running",
                         (int)exec->argv[0].size, (const char *)exec->argv[0].bytes);
    int failed = make_arguments(effects, job->effect, child, error);
    if (failed == 0) {
        child->stdin_fd = open_stdin(exec->stdin_text, error);
        failed = child->stdin_fd < 0 ? child->stdin_fd : 0;
    }
    return failed;
}

/* Runs one job on the calling thread. */
static void perform(struct effects *effects, struct job *job)
{
    struct child child = { .pid_fd = -1, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
    struct error error = { 0 };
    text_init(&child.output[0]);
    text_init(&child.output[1]);
    int failed = prepare(effects, job, &child, &error);
    if (failed == 0)
        failed = spawn(effects, &child, &error);
    if (failed < 0) {
        effects_finish_error(effects, job->effect, DAA__OUTCOME__OUTCOME_NOT_DONE, "%s",
                             error.text);
    } else {
        close_fd(&child.stdin_fd);
        effects_post_spawned(effects, job->effect, (uint64_t)child.pid,
                             process_start_time((uint64_t)child.pid));
        enum ending ending = watch(effects, job, &child);
        int status = end_group(effects, &child, &ending);
        conclude(effects, job, &child, ending, status);
    }
    child_free(effects, &child);
}

/*--- The pool ----------------------------------------------------------------*/

static void job_free(struct job *job)
{
    close_fd(&job->cancel_fd);
    free(job);
}

static void leave_running(struct exec_pool *pool, struct job *job)
{
    struct job **link = &pool->running;
    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
}

static void *run(void *context)
{
    struct exec_pool *pool = context;
    pthread_setname_np(pthread_self(), "daa-exec");
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->queue == NULL && !pool->stop) {
            pool->idle_count++;
            pthread_cond_wait(&pool->work, &pool->lock);
            pool->idle_count--;
        }
        struct job *job = pool->queue;
        if (job == NULL)
            break;
        pool->queue = job->next;
        if (pool->queue == NULL)
            pool->queue_end = &pool->queue;
        bool skip = job->cancelled || pool->stop;
        job->next = pool->running;
        pool->running = job;
        pthread_mutex_unlock(&pool->lock);
        if (skip)
            effects_finish_error(pool->effects, job->effect, DAA__OUTCOME__OUTCOME_NOT_DONE,
                                 "exec: cancelled before it began");
        else
            perform(pool->effects, job);
        pthread_mutex_lock(&pool->lock);
        leave_running(pool, job);
        job_free(job);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

int exec_pool_open(struct effects *effects, struct error *error)
{
    struct exec_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return error_set(error, -ENOMEM, "exec pool: no memory");
    pool->effects = effects;
    pool->queue_end = &pool->queue;
    pool->threads = calloc(effects->config->exec.max_concurrent + 1, sizeof *pool->threads);
    if (pool->threads == NULL) {
        free(pool);
        return error_set(error, -ENOMEM, "exec pool: no memory");
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    effects->exec = pool;
    return 0;
}

/* One more thread if all are busy and there may be one. False: there is no thread at all. */
static bool add_thread(struct exec_pool *pool)
{
    if (pool->idle_count > 0 || pool->thread_count >= pool->effects->config->exec.max_concurrent)
        return true;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    if (pthread_create(&pool->threads[pool->thread_count], &attributes, run, pool) == 0)
        pool->thread_count++;
    pthread_attr_destroy(&attributes);
    return pool->thread_count > 0;
}

void exec_pool_start(struct effects *effects, struct effect *effect)
{
    struct exec_pool *pool = effects->exec;
    struct job *job = calloc(1, sizeof *job);
    int cancel_fd = eventfd(0, EFD_CLOEXEC);
    bool good = job != NULL && cancel_fd >= 0;
    if (good) {
        job->effect = effect;
        job->stream = effect->stream;
        job->cancel_fd = cancel_fd;
        if (effect->timeout_ns > effects->config->exec.max_time)
            effect->timeout_ns = effects->config->exec.max_time;
        job->deadline_ns = effects_now_ns() + effect->timeout_ns;
        pthread_mutex_lock(&pool->lock);
        good = !pool->stop && add_thread(pool);
        if (good) {
            *pool->queue_end = job;
            pool->queue_end = &job->next;
            pthread_cond_signal(&pool->work);
        }
        pthread_mutex_unlock(&pool->lock);
    }
    if (good)
        return;
    close_fd(&cancel_fd);
    free(job);
    effects_finish_error(effects, effect, DAA__OUTCOME__OUTCOME_NOT_DONE,
                         "exec: no thread or no descriptor for it; raise the limits of the agent "
                         "or lower exec.max_concurrent");
}

static void ask_to_end(struct job *job)
{
    eventfd_write(job->cancel_fd, 1);
    job->cancelled = true;
}

void exec_pool_cancel(struct effects *effects, uint64_t stream)
{
    struct exec_pool *pool = effects->exec;
    pthread_mutex_lock(&pool->lock);
    for (struct job *job = pool->queue; job != NULL; job = job->next)
        if (job->stream == stream)
            ask_to_end(job);
    for (struct job *job = pool->running; job != NULL; job = job->next)
        if (job->stream == stream)
            ask_to_end(job);
    pthread_mutex_unlock(&pool->lock);
}

void exec_pool_close(struct effects *effects)
{
    struct exec_pool *pool = effects->exec;
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    for (struct job *job = pool->running; job != NULL; job = job->next)
        ask_to_end(job);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (uint64_t i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
    effects->exec = NULL;
}
