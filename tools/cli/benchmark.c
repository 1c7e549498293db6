/* daa-cli benchmark. */
#include "tools/cli/cli.h"
#include "tools/cli/client.h"
#include "tools/cli/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

struct throughput {
    struct load_options load;
    uint64_t steps;
    const char *mode, *record, *definition;
    uint64_t agent_pid; /* 0: not on this machine */
    uint64_t agent_cpu_ns, own_cpu_ns;
    struct load_result result;
};

/*--- Processors --------------------------------------------------------------*/

/* User and system time of a process; 0 when it cannot be read. */
static uint64_t cpu_ns_of(uint64_t pid)
{
    char path[64], line[1024] = "";
    unsigned long long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    char *read = fgets(line, sizeof line, file);
    fclose(file);
    char *field = read != NULL ? strrchr(line, ')') : NULL;
    if (field == NULL || sscanf(field + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                                &user, &system) != 2)
        return 0;
    return (user + system) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* The agent's pid if it runs on this machine, by its answer to /status. */
static uint64_t find_agent(void)
{
    struct client_answer answer;
    struct cli_json parsed = { 0 };
    struct client_request request = { .method = "GET", .path = "/status" };
    uint64_t pid = 0;
    if (client_perform(&request, &answer, NULL) == 0 &&
        cli_json_parse(&parsed, text_span(&answer.body), "/status", NULL) == 0) {
        struct span text = cli_json_value(&parsed, 0, "pid");
        char path[64], name[32] = "";
        pid = strtoull(text.size > 0 ? (const char *)text.bytes : "", NULL, 10);
        snprintf(path, sizeof path, "/proc/%" PRIu64 "/comm", pid);
        FILE *file = fopen(path, "re");
        if (file == NULL || fgets(name, sizeof name, file) == NULL || strncmp(name, "daa-", 4) != 0)
            pid = 0;
        if (file != NULL)
            fclose(file);
    }
    if (parsed.arena.budget != NULL)
        cli_json_free(&parsed);
    client_answer_free(&answer);
    return pid;
}

static void cpu_name(char *name, size_t capacity)
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(name, capacity, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(name, capacity, "%s", colon + 2);
        break;
    }
    if (file != NULL)
        fclose(file);
}

static void begin_measuring(void *context)
{
    struct throughput *run = context;
    run->agent_cpu_ns = run->agent_pid != 0 ? cpu_ns_of(run->agent_pid) : 0;
    run->own_cpu_ns = cpu_ns_of((uint64_t)getpid());
}

/*--- What is submitted -------------------------------------------------------*/

/* A chain of sleeps of no time. */
static void write_chain(struct text *body, uint64_t steps)
{
    char id[32], before[32] = "";
    text_json_open_object(body, NULL);
    text_json_open_object(body, "definition");
    text_json_cstring(body, "name", "benchmark");
    text_json_open_array(body, "steps");
    for (uint64_t i = 1; i <= steps; i++) {
        snprintf(id, sizeof id, "s%" PRIu64, i);
        text_json_open_object(body, NULL);
        text_json_cstring(body, "id", id);
        if (i > 1) {
            text_json_open_array(body, "needs");
            text_json_cstring(body, NULL, before);
            text_json_close_array(body);
        }
        text_json_cstring(body, "sleep", "0s");
        text_json_close_object(body);
        memcpy(before, id, sizeof before);
    }
    text_json_close_array(body);
    text_json_close_object(body);
    text_json_close_object(body);
}

static int write_file(struct text *body, const char *path, struct error *error)
{
    char bytes[4096];
    size_t size;
    struct text definition;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(error, -errno, "--definition: cannot open %s: %s", path, strerror(errno));
    text_init(&definition);
    while ((size = fread(bytes, 1, sizeof bytes, file)) > 0)
        text_add(&definition, bytes, size);
    fclose(file);
    struct cli_json parsed;
    int failed = cli_json_parse(&parsed, text_span(&definition), path, error);
    cli_json_free(&parsed);
    text_json_open_object(body, NULL);
    text_json_raw(body, "definition", text_span(&definition));
    text_json_close_object(body);
    text_free(&definition);
    return failed;
}

/*--- Results -----------------------------------------------------------------*/

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void write_result(const struct throughput *run, struct text *text)
{
    static const struct {
        const char *name;
        unsigned permille;
    } parts[] = { { "p50", 500 }, { "p90", 900 }, { "p99", 990 }, { "p99_9", 999 } };
    const struct load_result *result = &run->result;
    const struct histogram *latency = &result->latency;
    struct utsname kernel;
    char cpu[256];
    double seconds = (double)result->elapsed_ns / 1e9;
    cpu_name(cpu, sizeof cpu);
    uname(&kernel);
    text_json_open_object(text, NULL);
    text_json_cstring(text, "benchmark", "workflow-throughput");
    text_json_open_object(text, "machine");
    text_json_cstring(text, "cpu", cpu);
    text_json_integer(text, "cpus", sysconf(_SC_NPROCESSORS_ONLN));
    text_json_cstring(text, "kernel", kernel.release);
    text_json_close_object(text);
    text_json_open_object(text, "settings");
    text_json_cstring(text, "url", cli.url);
    text_json_unsigned(text, "clients", run->load.clients);
    text_json_cstring(text, "mode", run->mode);
    if (run->definition != NULL)
        text_json_cstring(text, "definition", run->definition);
    else
        text_json_unsigned(text, "steps", run->steps);
    text_json_close_object(text);
    text_json_real(text, "seconds", seconds);
    text_json_unsigned(text, run->load.wait ? "completed" : "accepted", result->good);
    text_json_unsigned(text, "errors", result->errors);
    if (result->first_error[0] != '\0')
        text_json_cstring(text, "first_error", result->first_error);
    text_json_unsigned(text, "retries", result->retries);
    text_json_real(text, "per_second", seconds > 0 ? (double)result->good / seconds : 0);
    text_json_open_object(text, "latency_ms");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        text_json_real(text, parts[i].name, ms(histogram_permille(latency, parts[i].permille)));
    text_json_real(text, "max", ms(latency->max));
    text_json_close_object(text);
    if (run->agent_pid != 0 && result->good > 0)
        text_json_real(text, "agent_cpu_ms_per_workflow",
                       ms(run->agent_cpu_ns) / (double)result->good);
    if (result->good > 0)
        text_json_real(text, "client_cpu_ms_per_workflow",
                       ms(run->own_cpu_ns) / (double)result->good);
    text_json_close_object(text);
}

static void print_result(const struct throughput *run)
{
    const struct load_result *result = &run->result;
    const struct histogram *latency = &result->latency;
    struct utsname kernel;
    char cpu[256];
    double seconds = (double)result->elapsed_ns / 1e9;
    cpu_name(cpu, sizeof cpu);
    uname(&kernel);
    printf("machine      %s, %ld CPUs, Linux %s\n", cpu, sysconf(_SC_NPROCESSORS_ONLN),
           kernel.release);
    printf("settings     %" PRIu64 " clients, mode %s, ", run->load.clients, run->mode);
    if (run->definition != NULL)
        printf("%s\n", run->definition);
    else
        printf("%" PRIu64 " steps of sleep 0s\n", run->steps);
    printf("%-12s %" PRIu64 " in %.2f s: %.0f/s\n", run->load.wait ? "completed" : "accepted",
           result->good, seconds, seconds > 0 ? (double)result->good / seconds : 0);
    printf("latency      p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms\n",
           ms(histogram_permille(latency, 500)), ms(histogram_permille(latency, 900)),
           ms(histogram_permille(latency, 990)), ms(histogram_permille(latency, 999)),
           ms(latency->max));
    if (run->agent_pid != 0 && result->good > 0)
        printf("agent CPU    %.4f ms a workflow\n", ms(run->agent_cpu_ns) / (double)result->good);
    if (result->good > 0)
        printf("client CPU   %.4f ms a workflow\n", ms(run->own_cpu_ns) / (double)result->good);
    if (result->retries > 0)
        printf("asked again  %" PRIu64 " times, with the same key\n", result->retries);
    printf("errors       %" PRIu64 "%s%s\n", result->errors,
           result->first_error[0] != '\0' ? ", for example: " : "", result->first_error);
}

static int measure(const struct command *command, struct throughput *run)
{
    struct client_place place;
    struct error error = { 0 };
    struct text body;
    text_init(&body);
    run->load.place = &place;
    run->load.context = run;
    run->load.measuring = begin_measuring;
    int failed = client_place_get(&place, &error);
    if (failed == 0 && run->definition != NULL)
        failed = write_file(&body, run->definition, &error);
    else
        write_chain(&body, run->steps);
    run->load.body = text_span(&body);
    if (failed == 0 && run->record != NULL) {
        run->load.record = fopen(run->record, "we");
        if (run->load.record == NULL)
            failed = error_set(&error, -errno, "--record: cannot write %s: %s", run->record,
                               strerror(errno));
    }
    if (failed == 0) {
        run->agent_pid = find_agent();
        failed = load_run(&run->load, &run->result, &error);
    }
    if (run->agent_pid != 0)
        run->agent_cpu_ns = cpu_ns_of(run->agent_pid) - run->agent_cpu_ns;
    run->own_cpu_ns = cpu_ns_of((uint64_t)getpid()) - run->own_cpu_ns;
    if (run->load.record != NULL && fclose(run->load.record) != 0 && failed == 0)
        failed = error_set(&error, -errno, "--record: cannot write %s: %s", run->record,
                           strerror(errno));
    text_free(&body);
    return failed == 0 ? COMMAND_GOOD : command_failed_error(command, &error);
}

static int report(const struct command *command, const struct throughput *run)
{
    if (cli.json) {
        struct text text;
        text_init(&text);
        write_result(run, &text);
        printf("%s\n", text_string(&text));
        text_free(&text);
    } else {
        print_result(run);
    }
    if (run->result.errors > 0)
        return command_failed(command, "%" PRIu64 " of the answers were errors",
                              run->result.errors);
    if (run->result.good == 0)
        return command_failed(command, "nothing was answered in the measured time");
    return COMMAND_GOOD;
}

static int throughput(int argc, char **argv)
{
    static struct throughput run = { .load = { .clients = 50, .duration_ns = 10000000000u },
                                     .steps = 3,
                                     .mode = "wait" };
    static const struct command_option options[] = {
        { "clients", 'c', "COUNT", COMMAND_NUMBER, &run.load.clients,
          "clients at the same time (default: 50)" },
        { "duration", 'd', "DURATION", COMMAND_DURATION, &run.load.duration_ns,
          "measure so long (default: 10s)" },
        { "count", 'n', "COUNT", COMMAND_NUMBER, &run.load.count, "submit so many instead" },
        { "steps", 0, "COUNT", COMMAND_NUMBER, &run.steps,
          "steps of a workflow, each 'sleep 0s' (default: 3)" },
        { "definition", 0, "FILE", COMMAND_TEXT, &run.definition, "submit this one instead" },
        { "warmup", 0, "DURATION", COMMAND_DURATION, &run.load.warmup_ns,
          "before it, without measuring (default: none)" },
        { "mode", 0, "wait|accept", COMMAND_TEXT, &run.mode,
          "until each has completed (default), or until it is accepted" },
        { "retry", 0, "DURATION", COMMAND_DURATION, &run.load.retry_ns,
          "ask again so long, with the same idempotency key,\nwhen the agent is away" },
        { "record", 0, "FILE", COMMAND_TEXT, &run.record,
          "write the id of each acknowledged workflow" },
        { .name = NULL },
    };
    static const struct command command = {
        .name = "daa-cli benchmark workflow-throughput",
        .purpose = "Submit workflows in a closed loop and measure throughput and latency.",
        .options = options,
        .shared = cli_options,
        .notes = "Exit status: 0 no errors, 1 some, 2 wrong usage.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (run.load.clients == 0 || run.load.clients > LOAD_CLIENTS_MAX)
        return command_misused(&command, "--clients: expected 1 to %u", LOAD_CLIENTS_MAX);
    if (run.steps == 0 || run.steps > 1000)
        return command_misused(&command, "--steps: expected 1 to 1000");
    if (strcmp(run.mode, "wait") != 0 && strcmp(run.mode, "accept") != 0)
        return command_misused(&command, "--mode: expected wait or accept");
    if (run.load.count > 0 && run.load.warmup_ns > 0)
        return command_misused(&command, "--warmup goes with --duration, not with --count");
    run.load.wait = strcmp(run.mode, "wait") == 0;
    status = measure(&command, &run);
    return status == COMMAND_GOOD ? report(&command, &run) : status;
}

int cli_benchmark(int argc, char **argv)
{
    static const struct command command = { .name = "daa-cli benchmark",
                                            .purpose = "Measure a running agent.",
                                            .shared = cli_options };
    static const struct command_entry entries[] = {
        { "workflow-throughput", "workflows from submission to completion", throughput },
        { "rule-evaluation", "decisions of the rules", NULL },
        { "ledger", "postings in the ledger", NULL },
        { "p2p", "messages between agents", NULL },
        { .name = NULL },
    };
    return command_dispatch(&command, entries, argc, argv);
}
