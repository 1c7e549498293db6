#include "year.h"

#include "scratch.h"
#include "year_inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BEGIN_WALL_NS (UINT64_C(1700000000) * YEAR_SECOND_NS)
#define DOWN_NS (180 * YEAR_SECOND_NS)

/*--- For all files of it -----------------------------------------------------------------------*/

void year_fail(struct year_world *world, const char *format, ...)
{
    va_list arguments;
    struct year_result *result = &world->result;
    if (result->failures++ >= YEAR_FAILURES_TOLD)
        return;
    char *text = result->failure[result->failures - 1];
    va_start(arguments, format);
    vsnprintf(text, sizeof result->failure[0], format, arguments);
    va_end(arguments);
}

void year_path(const struct year_world *world, const char *name, char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s/%s", world->data, name) >= PATH_MAX)
        abort();
}

uint64_t year_random(struct year_world *world, uint64_t below)
{
    uint64_t bits = world->random += UINT64_C(0x9e3779b97f4a7c15);
    bits = (bits ^ bits >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ bits >> 27) * UINT64_C(0x94d049bb133111eb);
    return (bits ^ bits >> 31) % below;
}

void year_config(struct year_world *world, struct config *config)
{
    char text[2 * PATH_MAX];
    struct error error;
    (void)snprintf(text, sizeof text,
                   "[agent]\ndata_dir = \"%s\"\n[log]\nsegment_size = \"256KB\"\nengine = "
                   "\"plain\"\nballast = \"0B\"\n%s",
                   world->data, world->options.config);
    if (config_load_text(config, "the year", span_of_text(text), NULL, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
}

/*--- One life of the agent ---------------------------------------------------------------------*/

struct life {
    int kind; /* enum year_start_kind: what it starts from */
    bool after_crash, crashes;
    uint64_t until_ns; /* true time */
};

static void jump(struct year_agent *agent)
{
    struct year_world *world = agent->world;
    const struct year_jump *next = &world->options.jumps[world->jumps_done];
    if (world->return_at_ns > 0 && world->true_ns >= world->return_at_ns) {
        year_agent_set_wall(agent, -world->return_by_ns);
        world->return_at_ns = 0;
    }
    if (world->accept_at_ns > 0 && world->true_ns >= world->accept_at_ns) {
        year_agent_accept(agent);
        world->accept_at_ns = 0;
    }
    if (world->jumps_done == world->options.jump_count ||
        (double)world->true_ns < next->day * (double)YEAR_DAY_NS)
        return;
    world->jumps_done++;
    world->result.jumps++;
    if (next->suspend) {
        world->suspended_ns += (uint64_t)next->by_ns;
        year_work_put_off(world, (uint64_t)next->by_ns);
        year_agent_pass(agent, (uint64_t)next->by_ns);
        return;
    }
    year_agent_set_wall(agent, next->by_ns);
    world->return_by_ns = next->by_ns;
    world->return_at_ns = next->return_ns ? world->true_ns + next->return_ns : 0;
    world->accept_at_ns = next->accept ? world->true_ns + YEAR_HOUR_NS : 0;
}

static void end_day(struct year_agent *agent)
{
    struct year_world *world = agent->world;
    year_agent_settle(agent);
    year_housekeep(agent);
    year_work_totals(agent);
    year_sample(agent);
    world->next_sample_day++;
    if (world->options.progress)
        world->options.progress(world->next_sample_day, world->result.events);
}

/* While it has much to do, at a moment that nobody chose. */
_Noreturn static void crash(struct year_agent *agent)
{
    struct year_world *world = agent->world;
    unsigned pause_us = (unsigned)year_random(world, 3000);
    world->done = true;
    year_work_crash(agent);
    usleep(pause_us);
    (void)kill(getpid(), SIGKILL);
    abort();
}

static bool goes_on(const struct year_world *world)
{
    return world->result.failures < YEAR_FAILURES_TOLD && !world->given_up;
}

static void live(struct year_world *world, const struct life *life)
{
    struct year_agent *agent = calloc(1, sizeof *agent);
    CHECK(agent != NULL);
    agent->world = world;
    if (world->result.sample_count > 0) {
        const struct year_sample *last = &world->result.samples[world->result.sample_count - 1];
        world->expired_keys = last->expired_keys;
        world->expired_workflows = last->expired_workflows;
    }
    if (!year_agent_start(agent, life->kind, life->after_crash))
        return;
    year_work_begin(agent);
    while (world->true_ns < life->until_ns && goes_on(world)) {
        jump(agent);
        year_agent_pass(agent, world->options.tick_ns);
        year_work_tick(agent);
        if (world->true_ns / YEAR_DAY_NS > world->next_sample_day)
            end_day(agent);
    }
    if (life->crashes)
        crash(agent);
    year_agent_settle(agent);
    year_work_totals(agent);
    year_agent_stop(agent);
    free(agent);
    world->done = true;
}

/*--- All of it ---------------------------------------------------------------------------------*/

/* In a process of its own, which leaves nothing of itself: no thread, no open database. */
static void do_apart(struct year_world *world,
                     void (*what)(struct year_world *world, const struct life *life),
                     const struct life *life, int signal)
{
    int status = 0;
    world->done = false;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        what(world, life);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0 || !world->done ||
        (signal ? !WIFSIGNALED(status) || WTERMSIG(status) != signal
                : !WIFEXITED(status) || WEXITSTATUS(status) != 0))
        year_fail(world, "day %.2f: a process ended before its time, with status 0x%x",
                  (double)world->true_ns / (double)YEAR_DAY_NS, (unsigned)status);
}

static void check_apart(struct year_world *world, const struct life *life)
{
    (void)life;
    year_check_state(world);
    world->done = true;
}

static void check_in_the_end(struct year_world *world, const struct life *life)
{
    check_apart(world, life);
    year_check_log(world);
}

static uint64_t until(struct year_world *world)
{
    const struct year_options *options = &world->options;
    uint64_t end_ns = options->days * YEAR_DAY_NS;
    double day = (double)world->true_ns / (double)YEAR_DAY_NS +
                 options->restart_days * (0.9 + 0.2 * (double)year_random(world, 1000) / 1000);
    if (day > options->long_run_from && day < options->long_run_to)
        day = options->long_run_to;
    uint64_t until_ns = (uint64_t)(day * (double)YEAR_DAY_NS);
    return until_ns + YEAR_DAY_NS / 2 > end_ns ? end_ns + options->tick_ns : until_ns;
}

/* Down for some minutes; a machine that started again counts from the beginning. */
static void be_down(struct year_world *world, bool reboot)
{
    world->true_ns += DOWN_NS;
    world->wall_ns += DOWN_NS;
    world->elapsed_ns = reboot ? 20 * YEAR_SECOND_NS : world->elapsed_ns + DOWN_NS;
}

static void run_all(struct year_world *world)
{
    char db[PATH_MAX];
    struct life life = { .kind = YEAR_FIRST };
    const struct year_options *options = &world->options;
    year_path(world, "db", db);
    for (unsigned lives = 0;; lives++) {
        life.until_ns = until(world);
        bool last = life.until_ns >= options->days * YEAR_DAY_NS;
        life.crashes = !last && lives % 2 == 1;
        do_apart(world, live, &life, life.crashes ? SIGKILL : 0);
        if (!goes_on(world) || !world->done)
            return;
        world->result.kills += life.crashes;
        if (last)
            break;
        if (!life.crashes)
            do_apart(world, check_apart, &life, 0);
        bool deleted = lives % 4 == 3 || lives % 6 == 2;
        if (deleted)
            scratch_remove(db);
        life.after_crash = life.crashes;
        life.kind = deleted ? YEAR_NO_DATABASE : life.crashes ? YEAR_CRASH : YEAR_CLEAN;
        be_down(world, deleted);
    }
    do_apart(world, check_in_the_end, &life, 0);
}

struct year_result *year_run(const struct year_options *options)
{
    struct year_world *world =
        mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (world == MAP_FAILED)
        return NULL;
    world->options = *options;
    world->random = options->seed;
    world->elapsed_ns = 1000 * YEAR_SECOND_NS;
    world->wall_ns = BEGIN_WALL_NS;
    if (snprintf(world->data, sizeof world->data, "%s/data", options->dir) >=
            (int)sizeof world->data ||
        mkdir(world->data, 0700) < 0)
        year_fail(world, "cannot make %s/data: %s", options->dir, strerror(errno));
    else
        run_all(world);
    world->result.completed = world->ended[0];
    world->result.failed = world->ended[1];
    world->result.cancelled = world->ended[2];
    scratch_remove(world->data);
    return &world->result;
}

void year_free(struct year_result *result)
{
    uint8_t *world = (uint8_t *)result - offsetof(struct year_world, result);
    (void)munmap(world, sizeof(struct year_world));
}
