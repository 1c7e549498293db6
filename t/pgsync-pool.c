/* The pool of connections against a real server: what is kept and lent, who waits and how long, and
 * what happens to connections that are old or dead. */
#include "pg_server.h"
#include "pgsync/pool.h"
#include "tap.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define BORROWERS 40
#define ROUNDS 25

static const char *server_url;
static uint64_t clock_ns = SECOND;

static uint64_t injected(void *context)
{
    (void)context;
    return clock_ns;
}

static struct pool *pool_of(uint32_t size, uint32_t overflow, uint64_t timeout_ns)
{
    struct pool_options options = { .url = server_url,
                                    .name = "pool-test",
                                    .setup = "SET statement_timeout = '7s'",
                                    .size = size,
                                    .overflow = overflow,
                                    .timeout_ns = timeout_ns,
                                    .recycle_ns = 3600 * SECOND,
                                    .pre_ping = true,
                                    .now_ns = injected };
    struct pool *pool;
    struct error error;
    if (pool_open(&pool, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    return pool;
}

static struct pool_stats stats_of(struct pool *pool)
{
    struct pool_stats stats;
    pool_stats_get(pool, &stats);
    return stats;
}

static struct pool_loan borrow(struct pool *pool)
{
    struct pool_loan loan;
    struct error error;
    int failed = pool_borrow(pool, 0, &loan, &error);
    if (failed < 0)
        tap_bail_out("cannot borrow: %s", error.text);
    return loan;
}

static int64_t ask(struct pg *pg, const char *sql)
{
    struct pg_rows *rows;
    struct error error;
    if (pg_query(pg, sql, &rows, &error) < 0) {
        tap_note("%s: %s", sql, error.text);
        return -1;
    }
    int64_t number = pg_rows_integer(rows, 0, 0);
    pg_rows_free(rows);
    return number;
}

static int64_t backend_of(const struct pool_loan *loan)
{
    return ask(loan->pg, "SELECT pg_backend_pid()");
}

/* As the server sees them; those that were closed are gone in a moment. */
static bool server_counts(int wanted)
{
    char perl[300];
    (void)snprintf(perl, sizeof perl,
                   "my $n; for (1 .. 3000) { $n = $server->sql(q{SELECT count(*) FROM"
                   " pg_stat_activity WHERE application_name = 'pool-test'});"
                   " last if $n == %d; select undef, undef, undef, 0.01 } $n",
                   wanted);
    return strtol(pg_server_do(perl), NULL, 10) == wanted;
}

static void test_kept_and_overflow(void)
{
    struct pool *pool = pool_of(2, 1, 30 * SECOND);
    struct pool_loan loans[3];
    is_int(stats_of(pool).opened, 0, "nothing is opened before somebody asks");
    loans[0] = borrow(pool);
    is_int(stats_of(pool).opened, 1, "then one is");
    int64_t first = backend_of(&loans[0]);
    is_int(ask(loans[0].pg, "SELECT setting::int FROM pg_settings WHERE name = "
                            "'statement_timeout'"),
           7000, "and set up");
    pool_return(pool, &loans[0]);
    loans[0] = borrow(pool);
    is_int(backend_of(&loans[0]), first, "one that came back is lent again");
    loans[1] = borrow(pool);
    loans[2] = borrow(pool);
    struct pool_stats stats = stats_of(pool);
    is_int(stats.in_use, 3, "three are lent");
    is_int(stats.overflow, 1, "one more than are kept");
    struct pool_loan none;
    struct error error;
    is_int(pool_borrow(pool, SECOND / 20, &none, &error), ERROR_FULL, "a fourth is not");
    ok(strstr(error.text, "pool_size") && strstr(error.text, "pool_timeout"),
       "and the error says what to do: %s", error.text);
    is_int(stats_of(pool).timeouts, 1, "that is counted");
    for (int i = 0; i < 3; i++)
        pool_return(pool, &loans[i]);
    stats = stats_of(pool);
    is_int(stats.idle, 2, "two are kept");
    is_int(stats.in_use + stats.overflow, 0, "no more");
    ok(server_counts(2), "which the server says too");
    pool_close(&pool);
    ok(server_counts(0), "closing it closes them");
    ok(pool == NULL, "and takes it away");
}

static void test_recycle(void)
{
    struct pool *pool = pool_of(1, 0, 30 * SECOND);
    struct pool_loan loan = borrow(pool);
    int64_t first = backend_of(&loan);
    pool_return(pool, &loan);
    clock_ns += 3600 * SECOND - 1;
    loan = borrow(pool);
    is_int(backend_of(&loan), first, "one that is a nanosecond younger than pool_recycle stays");
    pool_return(pool, &loan);
    clock_ns += 1;
    loan = borrow(pool);
    ok(backend_of(&loan) != first, "at its age another is opened in its place");
    is_int(stats_of(pool).recycled, 1, "that is counted");
    pool_return(pool, &loan);
    loan = borrow(pool);
    is_int(stats_of(pool).recycled, 1, "and the new one is young");
    pool_return(pool, &loan);
    pool_close(&pool);
}

static void test_dead_connections(void)
{
    struct pool *pool = pool_of(2, 0, 30 * SECOND);
    struct pool_loan a = borrow(pool), b = borrow(pool);
    pool_return(pool, &a);
    pool_return(pool, &b);
    (void)pg_server_do("$server->sql(q{SELECT pg_terminate_backend(pid, 30000) FROM"
                       " pg_stat_activity WHERE application_name = 'pool-test'})");
    a = borrow(pool);
    is_int(ask(a.pg, "SELECT 1"), 1, "one that the server ended is replaced before it is lent");
    struct pool_stats stats = stats_of(pool);
    is_int(stats.pings_failed, 1, "because it did not answer");
    is_int(stats.opened, 3, "by a new one");

    (void)pg_run(a.pg, "BEGIN", NULL);
    int64_t unfinished = backend_of(&a);
    pool_return(pool, &a);
    a = borrow(pool);
    ok(backend_of(&a) != unfinished, "one that comes back within a transaction is not kept");

    (void)pg_server_do("$server->crash");
    ok(pg_run(a.pg, "SELECT 1", NULL) < 0 && !pg_alive(a.pg), "the server is killed: it is dead");
    pool_return(pool, &a);
    is_int(stats_of(pool).idle, 0, "and not kept");
    struct error error;
    is_int(pool_borrow(pool, 0, &a, &error), ERROR_UNAVAILABLE, "without a server there is none");
    ok(strlen(error.text) > 0, "and it says why: %s", error.text);
    stats = stats_of(pool);
    is_int(stats.in_use, 0, "whoever got none holds none");
    ok(stats.failed_opens == 1 && strcmp(stats.trouble.text, error.text) == 0,
       "the trouble can be seen");
    (void)pg_server_do("$server->start; 1");
    a = borrow(pool);
    is_int(ask(a.pg, "SELECT 1"), 1, "when the server is back there is one again");
    is_int(stats_of(pool).trouble.code, 0, "and no trouble");
    pool_return(pool, &a);
    pool_close(&pool);
}

struct crowd {
    struct pool *pool;
    _Atomic int failed, most, now;
};

static void *borrow_often(void *argument)
{
    struct crowd *crowd = argument;
    for (int i = 0; i < ROUNDS; i++) {
        struct pool_loan loan;
        if (pool_borrow(crowd->pool, 0, &loan, NULL) < 0) {
            atomic_fetch_add(&crowd->failed, 1);
            continue;
        }
        int now = atomic_fetch_add(&crowd->now, 1) + 1;
        int most = atomic_load(&crowd->most);
        while (now > most && !atomic_compare_exchange_weak(&crowd->most, &most, now))
            ;
        atomic_fetch_add(&crowd->failed, ask(loan.pg, "SELECT 1") != 1);
        atomic_fetch_sub(&crowd->now, 1);
        pool_return(crowd->pool, &loan);
    }
    return NULL;
}

static void test_crowd(void)
{
    struct crowd crowd = { .pool = pool_of(3, 2, 60 * SECOND) };
    pthread_t threads[BORROWERS];
    for (int i = 0; i < BORROWERS; i++)
        pthread_create(&threads[i], NULL, borrow_often, &crowd);
    for (int i = 0; i < BORROWERS; i++)
        pthread_join(threads[i], NULL);
    is_int(crowd.failed, 0, "%d threads get a connection that answers, %d times each", BORROWERS,
           ROUNDS);
    ok(crowd.most <= 5, "never more at once than size and overflow: %d", crowd.most);
    struct pool_stats stats = stats_of(crowd.pool);
    is_int(stats.borrowed, BORROWERS * ROUNDS, "all are counted");
    ok(stats.waits > 0 && stats.waiting == 0, "some waited, none does any more");
    ok(stats.in_use == 0 && stats.idle <= 3, "all came back, and no more are kept than shall be");
    pool_close(&crowd.pool);
}

static void *borrow_once(void *argument)
{
    struct crowd *crowd = argument;
    struct pool_loan loan;
    int failed = pool_borrow(crowd->pool, 0, &loan, NULL);
    atomic_store(&crowd->failed, failed);
    if (failed == 0)
        pool_return(crowd->pool, &loan);
    return NULL;
}

static void wait_until_waiting(struct pool *pool, uint32_t count)
{
    while (stats_of(pool).waiting < count)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static void test_stop(void)
{
    struct crowd crowd = { .pool = pool_of(1, 0, 3600 * SECOND) };
    pthread_t thread;
    struct pool_loan loan = borrow(crowd.pool);
    pthread_create(&thread, NULL, borrow_once, &crowd);
    wait_until_waiting(crowd.pool, 1);
    pool_return(crowd.pool, &loan);
    pthread_join(thread, NULL);
    is_int(crowd.failed, 0, "who waits gets the one that comes back");
    is_int(stats_of(crowd.pool).opened, 1, "that very one");

    loan = borrow(crowd.pool);
    pthread_create(&thread, NULL, borrow_once, &crowd);
    wait_until_waiting(crowd.pool, 1);
    pool_stop(crowd.pool);
    pthread_join(thread, NULL);
    is_int(crowd.failed, ERROR_UNAVAILABLE, "stopping ends the wait of who gets none");
    pool_return(crowd.pool, &loan);
    is_int(pool_borrow(crowd.pool, 0, &loan, NULL), ERROR_UNAVAILABLE, "nothing more is lent");
    pool_close(&crowd.pool);
}

/* A server that takes connections and never says a word. */
static int listen_silently(char url[300])
{
    char dir[] = "/tmp/silent-XXXXXX";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (mkdtemp(dir) == NULL)
        tap_bail_out("no directory");
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", dir);
    (void)snprintf(url, 300, "host=%s user=daa dbname=postgres", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 100) < 0)
        tap_bail_out("cannot listen");
    return fd;
}

static void remove_silent(const char *url)
{
    char path[120], dir[100];
    (void)snprintf(dir, sizeof dir, "%.*s", (int)strcspn(url + 5, " "), url + 5);
    (void)snprintf(path, sizeof path, "%s/.s.PGSQL.5432", dir);
    unlink(path);
    rmdir(dir);
}

/* A server that lets anybody in and says nothing more, as a proxy does that has no connection left
 * to pass a statement on to. */
static void *greet(void *argument)
{
    static const uint8_t welcome[] = { 'R', 0, 0, 0, 8, 0, 0, 0, 0, 'Z', 0, 0, 0, 5, 'I' };
    char taken[1000];
    int fd = accept(*(int *)argument, NULL, NULL);
    bool greeted = fd >= 0 && read(fd, taken, sizeof taken) > 0 &&
                   write(fd, welcome, sizeof welcome) == (ssize_t)sizeof welcome;
    while (greeted && read(fd, taken, sizeof taken) > 0)
        ; /* until it is hung up on */
    close(fd);
    return NULL;
}

static void test_server_that_only_greets(void)
{
    char silent[300];
    const char *live = server_url;
    struct error error;
    struct pool_loan loan;
    struct timespec began, ended;
    pthread_t thread;
    int fd = listen_silently(silent);
    server_url = silent;
    struct pool *pool = pool_of(1, 0, SECOND / 5);
    server_url = live;
    pthread_create(&thread, NULL, greet, &fd);
    clock_gettime(CLOCK_MONOTONIC, &began);
    is_int(pool_borrow(pool, 0, &loan, &error), ERROR_UNAVAILABLE,
           "a server that does not answer the setup cannot be had");
    clock_gettime(CLOCK_MONOTONIC, &ended);
    ok(ended.tv_sec - began.tv_sec < 60, "which the timeout tells, not the longest wait of all");
    pthread_join(thread, NULL);
    pool_close(&pool);
    close(fd);
    remove_silent(silent);
}

/* Borrowers of a silent server are at it while others come and go: nothing waits for them. */
static void test_silent_server(void)
{
    char silent[300];
    int fd = listen_silently(silent);
    const char *live = server_url;
    struct crowd crowd = { .failed = 0 };
    struct error error;
    struct pool_loan loan;
    server_url = silent;
    struct pool *pool = pool_of(2, 0, SECOND / 5);
    server_url = live;
    is_int(pool_borrow(pool, 0, &loan, &error), ERROR_UNAVAILABLE,
           "a server that says nothing costs its borrower the timeout");
    ok(strstr(error.text, "did not come in time"), "and that is said: %s", error.text);
    pool_close(&pool);

    server_url = silent;
    crowd.pool = pool_of(2, 0, 3600 * SECOND);
    server_url = live;
    pthread_t thread;
    pthread_create(&thread, NULL, borrow_once, &crowd);
    while (stats_of(crowd.pool).in_use == 0) /* which must not wait for it either */
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    is_int(pool_borrow(crowd.pool, SECOND / 20, &loan, &error), ERROR_UNAVAILABLE,
           "while one waits for it another has its own timeout");
    pool_stop(crowd.pool);
    pthread_join(thread, NULL);
    is_int(crowd.failed, ERROR_UNAVAILABLE, "and stopping ends the wait");
    pool_close(&crowd.pool);
    close(fd);
    remove_silent(silent);
}

/* One that has fallen silent with a kept connection: SIGSTOP to its backend. */
static void test_silent_backend(void)
{
    struct pool *pool = pool_of(1, 0, SECOND);
    struct pool_loan loan = borrow(pool);
    int64_t backend = backend_of(&loan);
    char perl[80];
    pool_return(pool, &loan);
    (void)snprintf(perl, sizeof perl, "kill 'STOP', %lld", (long long)backend);
    is_str(pg_server_do(perl), "1", "a backend is stopped");
    loan = borrow(pool);
    ok(backend_of(&loan) != backend, "the ping has an end, and another connection is lent in time");
    is_int(stats_of(pool).pings_failed, 1, "that is counted");
    pool_return(pool, &loan);
    pool_close(&pool);
    (void)snprintf(perl, sizeof perl, "kill 'CONT', %lld", (long long)backend);
    (void)pg_server_do(perl);
}

static void test_values(void)
{
    struct pool *pool = pool_of(1, 0, 30 * SECOND);
    struct pool_loan loan = borrow(pool);
    static const char hostile[] = "'; DROP TABLE x; -- \\ \" $1 \xc3\xa9";
    const char *values[] = { hostile, NULL };
    struct pg_rows *rows;
    struct error error = { 0 };
    ok(pg_query_values(loan.pg, "SELECT $1::text, $2::text IS NULL", values, 2, &rows, &error) == 0,
       "a query with values: %s", error.text);
    is_str(pg_rows_text(rows, 0, 0), hostile, "they come through as they are");
    is_str(pg_rows_text(rows, 0, 1), "t", "NULL is null");
    pg_rows_free(rows);
    ok(pg_query_values(loan.pg, "SELECT $1::int", values, 1, &rows, &error) == ERROR_INVALID,
       "a value that is none of its type is refused");
    ok(pg_is_idle(loan.pg), "and the connection is good all the same");
    pool_return(pool, &loan);
    pool_close(&pool);
}

int main(void)
{
    server_url = pg_server_start("max_connections => 20");
    test_kept_and_overflow();
    test_recycle();
    test_dead_connections();
    test_crowd();
    test_stop();
    test_silent_server();
    test_server_that_only_greets();
    test_silent_backend();
    test_values();
    pg_server_end();
    return tap_done();
}
