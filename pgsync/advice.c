#include "pgsync/advice.h"

#include "core/base/check.h"
#include "core/base/error.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KB 1024.0
#define MB (1024 * KB)
#define GB (1024 * MB)
#define WORK_MEM_GUIDE (64 * MB)

uint64_t advice_connections_needed(const struct advice_machine *machine)
{
    return machine->agents * (machine->pool_size + machine->max_overflow) + machine->reserved +
           ADVICE_SPARE;
}

/* Down to a number that a person would write: four bits of it, and whole megabytes. */
static double rounded(double bytes)
{
    uint64_t whole = (uint64_t)bytes, step = (uint64_t)MB;
    while (whole / step >= 32)
        step *= 2;
    return (double)(whole < step ? step : whole / step * step);
}

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

/* Where the next advice goes. */
struct list {
    struct advice *items;
    unsigned count;
};

static struct advice *add(struct list *list, const char *name, enum advice_unit unit, double value,
                          double low, double high)
{
    CHECK(list->count < ADVICE_COUNT);
    struct advice *item = &list->items[list->count++];
    *item = (struct advice){ .name = name, .unit = unit, .value = value, .low = low, .high = high };
    return item;
}

__attribute__((format(printf, 2, 3))) static void because(struct advice *item, const char *format,
                                                          ...)
{
    va_list values;
    va_start(values, format);
    (void)vsnprintf(item->why, sizeof item->why, format, values);
    va_end(values);
}

static void add_connections(struct list *list, const struct advice_machine *machine)
{
    uint64_t needed = advice_connections_needed(machine);
    double wanted = (double)(machine->connections > needed ? machine->connections : needed);
    /* More than are needed does no harm that a restart would be worth. */
    double value = machine->connections == 0 && (double)machine->connections_now > wanted
                       ? (double)machine->connections_now
                       : wanted;
    because(add(list, "max_connections", ADVICE_NUMBER, value, wanted, INFINITY),
            "%" PRIu64 " agent%s x (%" PRIu64 " + %" PRIu64 ") + %" PRIu64 " reserved + %d others "
            "= %" PRIu64,
            machine->agents, machine->agents == 1 ? "" : "s", machine->pool_size,
            machine->max_overflow, machine->reserved, ADVICE_SPARE, needed);
}

static void add_memory(struct list *list, const struct advice_machine *machine)
{
    double memory = (double)machine->memory, connections = list->items[0].value;
    double shared = rounded(memory / 4), cache = rounded(memory * 3 / 4);
    double work = rounded(clamp(memory / 4 / connections, 4 * MB, WORK_MEM_GUIDE));
    double maintenance = rounded(clamp(memory / 16, 64 * MB, GB));
    char most[ADVICE_TEXT_SIZE];
    because(add(list, "shared_buffers", ADVICE_BYTES, shared, memory / 5, memory * 2 / 5),
            "25 %% of the memory; beyond 40 %% the kernel's cache is missing");
    because(add(list, "effective_cache_size", ADVICE_BYTES, cache, memory / 2, memory),
            "75 %% of the memory: what the planner may expect to find cached; nothing is taken");
    advice_text(most, ADVICE_BYTES, WORK_MEM_GUIDE * connections);
    struct advice *item = add(list, "work_mem", ADVICE_BYTES, work, work * 3 / 4,
                              clamp(memory / 2 / connections, work, INFINITY));
    if (work < WORK_MEM_GUIDE)
        because(item,
                "each sort or hash of each connection takes so much: the usual 64MB x %.0f "
                "connections would be %s; raise it by SET LOCAL for one report",
                connections, most);
    else
        because(item,
                "each sort or hash of each connection takes so much; there is memory for %.0f "
                "connections with 64MB",
                connections);
    because(add(list, "maintenance_work_mem", ADVICE_BYTES, maintenance, maintenance * 3 / 4,
                memory / 8 > maintenance ? memory / 8 : maintenance),
            "VACUUM and index builds; each autovacuum worker takes as much, and before PostgreSQL "
            "17 none uses more than 1GB");
}

static void add_disk(struct list *list, const struct advice_machine *machine)
{
    double wal = machine->memory >= 4 * GB ? 32 * MB : 16 * MB;
    because(add(list, "checkpoint_completion_target", ADVICE_REAL, 0.9, 0.7, 1.0),
            "0.9 is the default since PostgreSQL 14 and spreads writes better than 0.7: never "
            "lower it");
    because(add(list, "wal_buffers", ADVICE_BYTES, wal, wal, 256 * MB),
            "a batch of daa-pgsync fills several megabytes of WAL before it commits");
    if (machine->rotating) {
        because(add(list, "random_page_cost", ADVICE_REAL, 4, 2, 10),
                "a disk with a head reads in order much faster");
        because(add(list, "effective_io_concurrency", ADVICE_NUMBER, 2, 1, 32),
                "as many reads ahead as there are disks");
        return;
    }
    because(add(list, "random_page_cost", ADVICE_REAL, 1.1, 1, 2),
            "on flash a random read costs hardly more than the next one");
    because(add(list, "effective_io_concurrency", ADVICE_NUMBER, 200, 100, 1000),
            "flash answers many reads at once");
}

static void add_planner(struct list *list)
{
    because(add(list, "enable_hashjoin", ADVICE_SWITCH, 1, 1, 1), "joins of large tables need it");
    because(add(list, "enable_mergejoin", ADVICE_SWITCH, 1, 1, 1), "joins of large tables need it");
    because(add(list, "enable_nestloop", ADVICE_SWITCH, 1, 1, 1),
            "off makes every look-up of a few rows slow: never for the whole server, only by SET "
            "LOCAL for one report over large tables");
}

static void add_locks(struct list *list)
{
    struct advice *item = add(list, "max_prepared_transactions", ADVICE_NUMBER, 0, 0, 0);
    item->remark_only = true;
    because(item, "only two-phase commit needs them, and a forgotten one holds up VACUUM; nothing "
                  "of daa prepares any");
    because(add(list, "max_locks_per_transaction", ADVICE_NUMBER, 256, 128, INFINITY),
            "each partition of daa.events and each of its indexes that a query looks at is a lock");
    item = add(list, "max_pred_locks_per_transaction", ADVICE_NUMBER, 256, 64, INFINITY);
    item->remark_only = true;
    because(item, "only serializable transactions take them; nothing of daa is one. 64 is the "
                  "default, 256 for those who use them");
    because(add(list, "log_min_duration_statement", ADVICE_MS, 1000, 0, 10000),
            "statements of a second and more go to the server's log");
    item = add(list, "autovacuum", ADVICE_SWITCH, 1, 1, 1);
    because(item, "without it tables grow, plans grow old, and the server stops at last");
}

void advice_make(struct advice items[ADVICE_COUNT], const struct advice_machine *machine)
{
    struct list list = { .items = items };
    add_connections(&list, machine);
    add_memory(&list, machine);
    add_disk(&list, machine);
    add_planner(&list);
    add_locks(&list);
    CHECK(list.count == ADVICE_COUNT);
}

/* How much of our unit one of the server's is; 0: it is none of this kind. */
static double factor_of(enum advice_unit unit, const char *name)
{
    static const struct {
        enum advice_unit unit;
        const char *name;
        double factor;
    } units[] = {
        { ADVICE_BYTES, "B", 1 },
        { ADVICE_BYTES, "kB", KB },
        { ADVICE_BYTES, "8kB", 8 * KB },
        { ADVICE_BYTES, "16kB", 16 * KB },
        { ADVICE_BYTES, "32kB", 32 * KB },
        { ADVICE_BYTES, "4kB", 4 * KB },
        { ADVICE_BYTES, "MB", MB },
        { ADVICE_MS, "us", 0.001 },
        { ADVICE_MS, "ms", 1 },
        { ADVICE_MS, "s", 1000 },
        { ADVICE_MS, "min", 60000 },
    };
    if (name == NULL || *name == '\0')
        return unit == ADVICE_BYTES || unit == ADVICE_MS ? 0 : 1;
    for (unsigned i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (units[i].unit == unit && strcmp(units[i].name, name) == 0)
            return units[i].factor;
    }
    return 0;
}

int advice_read(double *value, enum advice_unit unit, const char *setting, const char *setting_unit)
{
    if (unit == ADVICE_SWITCH) {
        *value = strcmp(setting, "on") == 0;
        return *value != 0 || strcmp(setting, "off") == 0 ? 0 : ERROR_SYNTAX;
    }
    char *end;
    double number = strtod(setting, &end), factor = factor_of(unit, setting_unit);
    if (end == setting || *end != '\0' || factor == 0 || !isfinite(number))
        return ERROR_SYNTAX;
    /* -1 means "off" or "choose yourself" and has no unit. */
    *value = number == -1 ? -1 : number * factor;
    return 0;
}

enum advice_verdict advice_judge(const struct advice *item, double now)
{
    /* A little slack: 0.1 has no exact double. */
    double slack = fabs(item->value) / 1e6;
    if (now >= item->low - slack && now <= item->high + slack)
        return ADVICE_FINE;
    return item->remark_only ? ADVICE_REMARK : ADVICE_CHANGE;
}

static void scaled_text(char text[ADVICE_TEXT_SIZE], double value, const char *const *names,
                        const double *sizes, unsigned units)
{
    for (unsigned i = 0; i < units; i++) {
        double count = value / sizes[i];
        if (i + 1 == units || (count < 1e15 && count == (double)(int64_t)count)) {
            (void)snprintf(text, ADVICE_TEXT_SIZE, "%.0f%s", count, names[i]);
            return;
        }
    }
}

void advice_text(char text[ADVICE_TEXT_SIZE], enum advice_unit unit, double value)
{
    static const char *const size_names[] = { "GB", "MB", "kB", "B" };
    static const char *const time_names[] = { "min", "s", "ms" };
    static const double sizes[] = { GB, MB, KB, 1 }, times[] = { 60000, 1000, 1 };
    if (unit == ADVICE_SWITCH)
        (void)snprintf(text, ADVICE_TEXT_SIZE, "%s", value != 0 ? "on" : "off");
    else if (unit == ADVICE_BYTES && value > 0)
        scaled_text(text, value, size_names, sizes, 4);
    else if (unit == ADVICE_MS && value > 0)
        scaled_text(text, value, time_names, times, 3);
    else
        (void)snprintf(text, ADVICE_TEXT_SIZE, "%g", value);
}
