/* daa-cli database tune. */
#include "core/base/duration.h"
#include "pgsync/advice.h"
#include "tools/cli/database.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_MIN (UINT64_C(64) << 20)

static uint64_t memory, connections, agents = 1, pool_size = 50, max_overflow = 20;
static const char *storage = "ssd";
static bool sql_only;

static const struct command_option options[] = {
    { "memory", 'm', "SIZE", COMMAND_SIZE, &memory,
      "of the server's machine, as far as PostgreSQL may have it\n"
      "(this machine's, when the server is on it)" },
    { "connections", 'c', "N", COMMAND_NUMBER, &connections,
      "wanted as max_connections (as many as are needed)" },
    { "storage", 's', "KIND", COMMAND_TEXT, &storage, "where the data lies: ssd or hdd (ssd)" },
    { "agents", 'a', "N", COMMAND_NUMBER, &agents, "agents that share this server (1)" },
    { "pool-size", 0, "N", COMMAND_NUMBER, &pool_size,
      "[database] pool_size of their configuration (50)" },
    { "max-overflow", 0, "N", COMMAND_NUMBER, &max_overflow,
      "[database] max_overflow of their configuration (20)" },
    { "sql", 0, NULL, COMMAND_FLAG, &sql_only,
      "print the ALTER SYSTEM statements that change what differs" },
    { .name = NULL },
};

static const struct command command = {
    .name = "daa-cli database tune",
    .purpose = "Compare the server's settings with what suits its memory, its disk and daa's "
               "connections, and say\nwhy. Changes nothing.",
    .options = options,
    .shared = database_options,
    .notes = "Exit status: 0 good, also when settings differ, 1 failed, 2 wrong usage.",
};

/* One setting: what is advised, and what the server has. */
struct line {
    const struct advice *advice;
    int row; /* of pg_settings; -1: this server has no such setting, or hides it */
    double now;
    enum advice_verdict verdict;
    bool readable, restart, pending;
};

struct tuning {
    struct server_facts facts;
    struct advice_machine machine;
    struct advice advice[ADVICE_COUNT];
    struct line lines[ADVICE_COUNT];
    struct pg_rows *settings;
};

enum { NAME, SETTING, UNIT, CONTEXT, SOURCE, PENDING };

/*--- The machine -------------------------------------------------------------*/

/* What this machine has, or what the group that we run in may have of it, if that is less. */
static uint64_t own_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t size = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    unsigned long long limit;
    if (file != NULL && fscanf(file, "%llu", &limit) == 1 && limit < size)
        size = limit;
    if (file != NULL)
        fclose(file);
    return size;
}

static int find_machine(struct tuning *tuning)
{
    struct advice_machine *machine = &tuning->machine;
    const struct server_facts *facts = &tuning->facts;
    if (memory == 0 && !facts->local)
        return command_failed(&command, "the server is on another machine, whose memory is not "
                                        "known here: say it with --memory SIZE");
    long cpus = facts->local ? sysconf(_SC_NPROCESSORS_ONLN) : 0;
    *machine = (struct advice_machine){
        .memory = memory != 0 ? memory : own_memory(),
        .cpus = cpus > 0 ? (unsigned)cpus : 0,
        .rotating = strcmp(storage, "hdd") == 0,
        .connections = connections,
        .connections_now = (uint64_t)facts->connections_max,
        .agents = agents,
        .pool_size = pool_size,
        .max_overflow = max_overflow,
        .reserved = (uint64_t)facts->connections_reserved,
    };
    if (machine->memory < MEMORY_MIN)
        return command_failed(&command, "the size of the memory is not known: say --memory SIZE");
    return COMMAND_GO_ON;
}

/*--- Comparing ---------------------------------------------------------------*/

static const char *setting(const struct tuning *tuning, const struct line *line, int column)
{
    return line->row < 0 ? NULL : pg_rows_text(tuning->settings, line->row, column);
}

static void compare_one(struct tuning *tuning, struct line *line)
{
    const struct advice *advice = line->advice;
    const char *now = setting(tuning, line, SETTING), *context = setting(tuning, line, CONTEXT);
    if (now == NULL)
        return;
    line->readable = advice_read(&line->now, advice->unit, now, setting(tuning, line, UNIT)) == 0;
    line->verdict = line->readable ? advice_judge(advice, line->now) : ADVICE_FINE;
    line->restart = strcmp(context, "postmaster") == 0;
    line->pending = *setting(tuning, line, PENDING) == 't';
}

static void compare(struct tuning *tuning)
{
    for (int i = 0; i < ADVICE_COUNT; i++) {
        struct line *line = &tuning->lines[i];
        *line = (struct line){ .advice = &tuning->advice[i], .row = -1 };
        for (int row = 0; row < pg_rows_count(tuning->settings); row++) {
            if (strcmp(pg_rows_text(tuning->settings, row, NAME), line->advice->name) == 0)
                line->row = row;
        }
        compare_one(tuning, line);
    }
}

/* Where ALTER SYSTEM would not be heard: what was set nearer counts. NULL: it would. */
static const char *overruled_by(const struct tuning *tuning, const struct line *line)
{
    static const char *const nearer[] = { "command line", "environment variable", "database",
                                          "user",         "database user",        "client",
                                          "session" };
    const char *source = setting(tuning, line, SOURCE);
    for (unsigned i = 0; source != NULL && i < sizeof nearer / sizeof nearer[0]; i++) {
        if (strcmp(source, nearer[i]) == 0)
            return nearer[i];
    }
    return NULL;
}

/*--- Printing ----------------------------------------------------------------*/

static void current_text(char text[ADVICE_TEXT_SIZE], const struct line *line)
{
    if (line->readable)
        advice_text(text, line->advice->unit, line->now);
    else
        (void)snprintf(text, ADVICE_TEXT_SIZE, "-");
}

static const char *verdict_text(const struct line *line)
{
    if (line->pending)
        return "restart is due";
    if (!line->readable)
        return "not known";
    if (line->verdict == ADVICE_FINE)
        return "fine";
    if (line->verdict == ADVICE_REMARK)
        return "unusual";
    return line->restart ? "change, restart" : "change";
}

static void print_connections(const struct tuning *tuning)
{
    const struct advice_machine *machine = &tuning->machine;
    uint64_t needed = advice_connections_needed(machine);
    printf("connections  %" PRIu64 " agent%s x (pool_size %" PRIu64 " + max_overflow %" PRIu64
           ") + %" PRIu64 " reserved + %d others = %" PRIu64 ": max_connections = %" PRIu64 " %s\n",
           machine->agents, machine->agents == 1 ? "" : "s", machine->pool_size,
           machine->max_overflow, machine->reserved, ADVICE_SPARE, needed, machine->connections_now,
           needed <= machine->connections_now ? "suffices" : "is not enough");
    if (machine->cpus > 0)
        printf("             of those that are busy at once, %u run; the others wait for a "
               "processor\n",
               machine->cpus);
}

static void print_notes(const struct tuning *tuning)
{
    unsigned changes = 0, restarts = 0;
    for (int i = 0; i < ADVICE_COUNT; i++) {
        const struct line *line = &tuning->lines[i];
        bool change = line->verdict == ADVICE_CHANGE;
        const char *nearer = change ? overruled_by(tuning, line) : NULL;
        changes += change;
        restarts += change && line->restart;
        if (nearer != NULL)
            printf("%s is set by the %s, which ALTER SYSTEM does not change\n", line->advice->name,
                   nearer);
    }
    if (changes == 0) {
        printf("nothing to change\n");
        return;
    }
    printf("%u to change, %u of them with a restart; --sql prints the statements\n", changes,
           restarts);
    if (tuning->facts.standby)
        printf("this is a standby: raise max_connections and max_locks_per_transaction here "
               "first, then on the\nprimary; lower them the other way round\n");
}

/* Of what differs: JSON gives all. */
static void print_reasons(const struct tuning *tuning)
{
    putchar('\n');
    for (int i = 0; i < ADVICE_COUNT; i++) {
        const struct line *line = &tuning->lines[i];
        if (line->readable && line->verdict != ADVICE_FINE)
            printf("%s%s%s: %s\n", command_style(stdout, COMMAND_BOLD), line->advice->name,
                   command_style(stdout, COMMAND_PLAIN), line->advice->why);
    }
}

static void print_table(const struct tuning *tuning)
{
    static const char *const heads[] = { "SETTING", "CURRENT", "ADVISED", "VERDICT" };
    struct cli_table table;
    char size[DURATION_TEXT_SIZE], cell[ADVICE_TEXT_SIZE];
    size_to_text(size, tuning->machine.memory >> 20 << 20);
    printf("server       PostgreSQL %s, %s of memory (%s), %s\n", tuning->facts.version, size,
           memory != 0 ? "--memory" : "this machine's",
           tuning->machine.rotating ? "a disk with a head" : "flash");
    print_connections(tuning);
    putchar('\n');
    cli_table_init(&table, 4);
    for (int i = 0; i < 4; i++)
        cli_table_add(&table, span_of_text(heads[i]));
    for (int i = 0; i < ADVICE_COUNT; i++) {
        const struct line *line = &tuning->lines[i];
        cli_table_add(&table, span_of_text(line->advice->name));
        current_text(cell, line);
        cli_table_add(&table, span_of_text(cell));
        advice_text(cell, line->advice->unit, line->advice->value);
        cli_table_add(&table, span_of_text(cell));
        cli_table_add(&table, span_of_text(verdict_text(line)));
    }
    cli_table_print(&table);
    print_reasons(tuning);
    print_notes(tuning);
}

/* Names and values are ours, and hold nothing that would need more than quotes. */
static void print_sql(const struct tuning *tuning)
{
    bool any = false, restart = false;
    char value[ADVICE_TEXT_SIZE];
    for (int i = 0; i < ADVICE_COUNT; i++) {
        const struct line *line = &tuning->lines[i];
        if (line->verdict != ADVICE_CHANGE)
            continue;
        advice_text(value, line->advice->unit, line->advice->value);
        printf("ALTER SYSTEM SET %s = '%s';%s\n", line->advice->name, value,
               line->restart ? " -- takes a restart" : "");
        any = true;
        restart = restart || line->restart;
    }
    printf(any ? "SELECT pg_reload_conf();\n" : "-- nothing to change\n");
    if (restart)
        printf("-- then restart the server\n");
}

static void setting_json(struct text *json, const struct tuning *tuning, const struct line *line)
{
    static const char *const verdicts[] = {
        [ADVICE_FINE] = "fine", [ADVICE_CHANGE] = "change", [ADVICE_REMARK] = "remark"
    };
    char cell[ADVICE_TEXT_SIZE];
    text_json_open_object(json, NULL);
    text_json_cstring(json, "name", line->advice->name);
    current_text(cell, line);
    text_json_cstring(json, "current", line->readable ? cell : NULL);
    advice_text(cell, line->advice->unit, line->advice->value);
    text_json_cstring(json, "advised", cell);
    text_json_cstring(json, "verdict", line->readable ? verdicts[line->verdict] : NULL);
    text_json_bool(json, "restart", line->restart);
    text_json_bool(json, "pending_restart", line->pending);
    text_json_cstring(json, "context", setting(tuning, line, CONTEXT));
    text_json_cstring(json, "source", setting(tuning, line, SOURCE));
    text_json_cstring(json, "why", line->advice->why);
    text_json_close_object(json);
}

static void print_json(const struct tuning *tuning)
{
    const struct advice_machine *machine = &tuning->machine;
    uint64_t needed = advice_connections_needed(machine);
    struct text json;
    text_init(&json);
    text_json_open_object(&json, NULL);
    text_json_cstring(&json, "server_version", tuning->facts.version);
    text_json_bool(&json, "standby", tuning->facts.standby);
    text_json_bool(&json, "local", tuning->facts.local);
    text_json_unsigned(&json, "memory_bytes", machine->memory);
    text_json_unsigned(&json, "cpus", machine->cpus);
    text_json_cstring(&json, "storage", storage);
    text_json_open_object(&json, "connections");
    text_json_unsigned(&json, "agents", machine->agents);
    text_json_unsigned(&json, "pool_size", machine->pool_size);
    text_json_unsigned(&json, "max_overflow", machine->max_overflow);
    text_json_unsigned(&json, "reserved", machine->reserved);
    text_json_unsigned(&json, "needed", needed);
    text_json_unsigned(&json, "max_connections", machine->connections_now);
    text_json_bool(&json, "enough", needed <= machine->connections_now);
    text_json_close_object(&json);
    text_json_open_array(&json, "settings");
    for (int i = 0; i < ADVICE_COUNT; i++)
        setting_json(&json, tuning, &tuning->lines[i]);
    text_json_close_array(&json);
    text_json_close_object(&json);
    database_print_json(&json);
}

/*--- The command -------------------------------------------------------------*/

static int check_usage(void)
{
    const uint64_t most = 1000000; /* whose products fit, and more than any server has */
    if (strcmp(storage, "ssd") != 0 && strcmp(storage, "hdd") != 0)
        return command_misused(&command, "--storage is ssd or hdd, not \"%s\"", storage);
    if (memory != 0 && memory < MEMORY_MIN)
        return command_misused(&command, "--memory is less than 64MB");
    if (connections > most || agents > most || pool_size > most || max_overflow > most)
        return command_misused(&command, "a number of connections or agents is above %" PRIu64,
                               most);
    if (connections > ADVICE_CONNECTIONS_MAX ||
        agents * (pool_size + max_overflow) + ADVICE_SPARE > ADVICE_CONNECTIONS_MAX)
        return command_misused(&command,
                               "so many connections are more than a server takes, which is %u: "
                               "fewer --connections, or --agents with a smaller --pool-size",
                               ADVICE_CONNECTIONS_MAX);
    if (sql_only && cli.json)
        return command_misused(&command, "--sql prints SQL, --json JSON: say one of them");
    return COMMAND_GO_ON;
}

static int tune(struct tuning *tuning, struct pg *pg)
{
    const char *names[ADVICE_COUNT];
    struct error error = { 0 };
    int status = COMMAND_GO_ON, failed = server_facts_get(&tuning->facts, pg, &error);
    if (failed == 0)
        status = find_machine(tuning);
    if (status != COMMAND_GO_ON)
        return status;
    if (failed == 0) {
        advice_make(tuning->advice, &tuning->machine);
        for (int i = 0; i < ADVICE_COUNT; i++)
            names[i] = tuning->advice[i].name;
        failed = server_settings(pg, names, ADVICE_COUNT, &tuning->settings, &error);
    }
    if (failed < 0)
        return database_failed(&command, &error);
    compare(tuning);
    if (sql_only)
        print_sql(tuning);
    else if (cli.json)
        print_json(tuning);
    else
        print_table(tuning);
    return COMMAND_GOOD;
}

int database_tune(int argc, char **argv)
{
    struct pg *pg;
    struct tuning tuning = { .settings = NULL };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status == COMMAND_GO_ON)
        status = check_usage();
    if (status == COMMAND_GO_ON)
        status = database_connect(&command, &pg);
    if (status != COMMAND_GO_ON)
        return status;
    status = tune(&tuning, pg);
    pg_rows_free(tuning.settings);
    pg_close(&pg);
    return status;
}
