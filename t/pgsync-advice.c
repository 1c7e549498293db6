/* What settings a machine should have: sizes, ranges, units, and what is never advised. */
#include "core/base/error.h"
#include "pgsync/advice.h"
#include "tap.h"

#include <math.h>
#include <string.h>

#define MB (UINT64_C(1) << 20)
#define GB (UINT64_C(1) << 30)

static struct advice items[ADVICE_COUNT];

static const struct advice *item(const char *name)
{
    for (int i = 0; i < ADVICE_COUNT; i++) {
        if (strcmp(items[i].name, name) == 0)
            return &items[i];
    }
    tap_bail_out("there is no advice about %s", name);
}

static const char *advised(const char *name)
{
    static char text[ADVICE_TEXT_SIZE];
    advice_text(text, item(name)->unit, item(name)->value);
    return text;
}

static struct advice_machine machine_of(uint64_t memory, uint64_t connections)
{
    return (struct advice_machine){ .memory = memory,
                                    .connections_now = connections,
                                    .agents = 1,
                                    .pool_size = 50,
                                    .max_overflow = 20,
                                    .reserved = 3 };
}

static void test_guide(void)
{
    struct advice_machine machine = machine_of(8 * GB, 200);
    advice_make(items, &machine);
    is_str(advised("shared_buffers"), "2GB", "8 GB: a quarter is shared_buffers");
    is_str(advised("effective_cache_size"), "6GB", "three quarters are effective_cache_size");
    is_str(advised("maintenance_work_mem"), "512MB", "a sixteenth is maintenance_work_mem");
    is_str(advised("wal_buffers"), "32MB", "wal_buffers are 32MB");
    is_str(advised("random_page_cost"), "1.1", "a random page costs 1.1 on flash");
    is_str(advised("effective_io_concurrency"), "200", "with 200 reads at once");
    is_str(advised("work_mem"), "10MB",
           "work_mem is what 200 connections leave of the guide's 64MB");
    ok(strstr(item("work_mem")->why, "12800MB") != NULL, "and the product is said: %s",
       item("work_mem")->why);
    is_str(advised("max_connections"), "200", "connections that suffice are left");
    is_str(advised("max_locks_per_transaction"), "256", "a transaction may lock many partitions");
    is_str(advised("log_min_duration_statement"), "1s", "slow statements are logged");
    for (int i = 0; i < ADVICE_COUNT; i++) {
        ok(items[i].low <= items[i].value && items[i].value <= items[i].high,
           "%s: what is advised is fine", items[i].name);
        is_int(advice_judge(&items[i], items[i].value),
               items[i].value < 0 ? ADVICE_CHANGE : ADVICE_FINE, "%s: and judged so",
               items[i].name);
        ok(items[i].why[0] != '\0', "%s: it is said why", items[i].name);
    }
}

static void test_traps(void)
{
    is_int(advice_judge(item("checkpoint_completion_target"), 0.9), ADVICE_FINE,
           "a checkpoint_completion_target of 0.9 is not lowered to 0.7");
    is_int(advice_judge(item("checkpoint_completion_target"), 0.7), ADVICE_FINE,
           "0.7 is let alone");
    is_int(advice_judge(item("checkpoint_completion_target"), 0.5), ADVICE_CHANGE,
           "0.5, the default of 13, is raised");
    is_str(advised("checkpoint_completion_target"), "0.9", "to 0.9");
    is_str(advised("enable_nestloop"), "on", "enable_nestloop stays on");
    is_int(advice_judge(item("enable_nestloop"), 0), ADVICE_CHANGE, "off is a fault");
    is_int(advice_judge(item("max_prepared_transactions"), 0), ADVICE_FINE,
           "no prepared transactions are right");
    is_int(advice_judge(item("max_prepared_transactions"), 200), ADVICE_REMARK,
           "200 of them are remarked upon and not changed: others may need them");
    is_int(advice_judge(item("max_pred_locks_per_transaction"), 64), ADVICE_FINE,
           "the default of predicate locks will do");
    is_int(advice_judge(item("log_min_duration_statement"), -1), ADVICE_CHANGE,
           "no log of slow statements is a change");
    is_int(advice_judge(item("shared_buffers"), (double)(128 * MB)), ADVICE_CHANGE,
           "the default of shared_buffers is too small");
    is_int(advice_judge(item("shared_buffers"), (double)(1900 * MB)), ADVICE_FINE,
           "nobody restarts for a few percent");
    is_int(advice_judge(item("shared_buffers"), (double)(5 * GB)), ADVICE_CHANGE,
           "more than 40 %% is too much");
    is_int(advice_judge(item("work_mem"), (double)(64 * MB)), ADVICE_CHANGE,
           "64MB of work_mem are too much for 200 connections of 8 GB");
}

static void test_connections(void)
{
    struct advice_machine machine = machine_of(64 * GB, 200);
    is_int(advice_connections_needed(&machine), 83, "an agent needs 70 of 83 connections");
    machine.agents = 3;
    is_int(advice_connections_needed(&machine), 223, "three need 223");
    advice_make(items, &machine);
    is_str(advised("max_connections"), "223", "which is advised");
    is_int(advice_judge(item("max_connections"), 200), ADVICE_CHANGE, "200 are too few");
    ok(strstr(item("max_connections")->why, "3 agents x (50 + 20) + 3 reserved") != NULL,
       "and the sum is shown");
    machine.connections = 100;
    advice_make(items, &machine);
    is_str(advised("max_connections"), "223",
           "fewer than are needed are not advised when asked for");
    machine.connections = 400;
    advice_make(items, &machine);
    is_str(advised("max_connections"), "400", "more are");
    machine.connections_now = 1000;
    advice_make(items, &machine);
    is_int(advice_judge(item("max_connections"), 1000), ADVICE_FINE, "too many are no fault");
    is_str(advised("work_mem"), "40MB", "work_mem goes by what was asked for");
    machine = machine_of(64 * GB, 200);
    advice_make(items, &machine);
    is_str(advised("work_mem"), "64MB", "64 GB have room for 64MB for each of 200");
}

static void test_sizes(void)
{
    struct advice_machine machine = machine_of(512 * MB, 100);
    advice_make(items, &machine);
    is_str(advised("work_mem"), "4MB", "a small machine keeps the smallest work_mem");
    is_str(advised("maintenance_work_mem"), "64MB", "and maintenance_work_mem");
    is_str(advised("wal_buffers"), "16MB", "and wal_buffers");
    machine = machine_of(UINT64_C(1) << 43, 100);
    advice_make(items, &machine);
    is_str(advised("shared_buffers"), "2048GB", "8 TB: a quarter");
    is_str(advised("maintenance_work_mem"), "1GB", "maintenance_work_mem ends at 1GB");
    machine = machine_of(67456843776, 100);
    advice_make(items, &machine);
    is_str(advised("shared_buffers"), "15872MB", "an odd size is rounded down");
    machine.rotating = true;
    advice_make(items, &machine);
    is_str(advised("random_page_cost"), "4", "a disk with a head: random pages cost 4");
    is_str(advised("effective_io_concurrency"), "2", "and two reads at once");
    machine = machine_of(0, 1);
    advice_make(items, &machine);
    ok(item("shared_buffers")->value > 0, "no memory at all is no accident");
}

static void read_is(enum advice_unit unit, const char *setting, const char *setting_unit,
                    double want, const char *name)
{
    double value = NAN;
    int failed = advice_read(&value, unit, setting, setting_unit);
    ok(failed == 0 && fabs(value - want) < 1e-9, "%s", name);
}

static void test_units(void)
{
    static const char *const wrong[][2] = {
        { "", NULL },     { "x", "kB" }, { "12x", "kB" },
        { "1", "pages" }, { "1", NULL }, { "nan", "kB" },
    };
    double value;
    read_is(ADVICE_BYTES, "16384", "8kB", (double)(128 * MB), "pages of 8kB are read");
    read_is(ADVICE_BYTES, "4096", "kB", (double)(4 * MB), "kB are read");
    read_is(ADVICE_MS, "2", "s", 2000, "seconds are read");
    read_is(ADVICE_MS, "-1", "ms", -1, "-1 has no unit");
    read_is(ADVICE_BYTES, "-1", "8kB", -1, "neither of sizes");
    read_is(ADVICE_REAL, "0.9", NULL, 0.9, "numbers are read");
    read_is(ADVICE_NUMBER, "100", "", 100, "with an empty unit too");
    read_is(ADVICE_SWITCH, "on", NULL, 1, "on is read");
    read_is(ADVICE_SWITCH, "off", NULL, 0, "off is read");
    is_int(advice_read(&value, ADVICE_SWITCH, "maybe", NULL), ERROR_SYNTAX, "maybe is refused");
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        is_int(advice_read(&value, ADVICE_BYTES, wrong[i][0], wrong[i][1]), ERROR_SYNTAX,
               "'%s' %s is refused", wrong[i][0], wrong[i][1] != NULL ? wrong[i][1] : "");
}

static void text_is(enum advice_unit unit, double value, const char *want)
{
    char text[ADVICE_TEXT_SIZE];
    advice_text(text, unit, value);
    is_str(text, want, "%s is written so", want);
}

int main(void)
{
    test_guide();
    test_traps();
    test_connections();
    test_sizes();
    test_units();
    text_is(ADVICE_BYTES, (double)(3 * GB / 2), "1536MB");
    text_is(ADVICE_BYTES, 8192, "8kB");
    text_is(ADVICE_BYTES, 100, "100B");
    text_is(ADVICE_BYTES, -1, "-1");
    text_is(ADVICE_MS, 250, "250ms");
    text_is(ADVICE_MS, 120000, "2min");
    text_is(ADVICE_MS, 0, "0");
    text_is(ADVICE_REAL, 1.1, "1.1");
    text_is(ADVICE_SWITCH, 0, "off");
    return tap_done();
}
