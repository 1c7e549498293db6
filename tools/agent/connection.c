#include "tools/agent/connection.h"

#include "core/base/check.h"
#include "tools/agent/host.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUCKETS 1024u
#define LOOK_EVERY_MS 100
#define EVENTS_MAX 64

struct connections {
    uint64_t request_timeout_ns;
    int epoll_fd, wake_fd;
    pthread_t guard;

    pthread_mutex_t lock; /* guards what is below, and the marked part of each connection */
    struct connection *first;
    uint64_t count;
    struct connection *buckets[BUCKETS]; /* who waits, by stream */
    bool no_waits;                       /* the agent stops */
    bool stop;
};

static struct connection **bucket_of(struct connections *all, uint64_t stream)
{
    return &all->buckets[stream % BUCKETS];
}

/* Under the lock. */
static void take_out(struct connection *connection)
{
    struct connections *all = connection->all;
    struct connection **bucket = bucket_of(all, connection->wait_stream);
    if (connection->wait_prev)
        connection->wait_prev->wait_next = connection->wait_next;
    else
        *bucket = connection->wait_next;
    if (connection->wait_next)
        connection->wait_next->wait_prev = connection->wait_prev;
    connection->wait_stream = 0;
}

/* Resumes those that were taken out, linked by wait_next; the lock is not held. */
static void resume_all(struct connection *list)
{
    for (struct connection *next; list; list = next) {
        next = list->wait_next;
        MHD_resume_connection(list->mhd);
    }
}

/*--- The guard ---------------------------------------------------------------------------------*/

/* An edge says only that something may have happened to this descriptor, which may be another
 * connection's by now: looks itself. Under the lock. */
static void look_at(struct connections *all, int fd, struct connection **taken)
{
    struct connection *connection = all->first;
    while (connection && connection->fd != fd)
        connection = connection->next;
    struct pollfd state = { .fd = fd, .events = POLLRDHUP };
    if (!connection || poll(&state, 1, 0) <= 0)
        return;
    connection->gone = true;
    if (connection->wait_stream == 0)
        return;
    take_out(connection);
    connection->wait_next = *taken;
    *taken = connection;
}

static void shut_down(struct connection *connection, int state)
{
    static const char answer[] = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n"
                                 "Connection: close\r\n\r\n";
    if (!atomic_compare_exchange_strong(&connection->state, &state, CONNECTION_OVERDUE))
        return;
    if (state == CONNECTION_BODY &&
        send(connection->fd, answer, sizeof answer - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        host_say("a client that was too slow could not be told: %s", error_text(-errno));
    shutdown(connection->fd, SHUT_RDWR);
}

static void look_at_deadlines(struct connections *all, struct connection **taken)
{
    uint64_t now_ns = host_monotonic_ns();
    for (struct connection *connection = all->first; connection; connection = connection->next) {
        int state = atomic_load(&connection->state);
        if (connection->wait_stream != 0 && connection->wait_deadline_ns <= now_ns) {
            take_out(connection);
            connection->wait_next = *taken;
            *taken = connection;
        } else if ((state == CONNECTION_HEAD || state == CONNECTION_BODY ||
                    state == CONNECTION_WRITING) &&
                   atomic_load(&connection->deadline_ns) <= now_ns) {
            shut_down(connection, state);
        }
    }
}

static void *run_guard(void *argument)
{
    struct connections *all = argument;
    struct epoll_event events[EVENTS_MAX];
    pthread_setname_np(pthread_self(), "daa-guard");
    pthread_mutex_lock(&all->lock);
    while (!all->stop) {
        int timeout_ms = all->count > 0 ? LOOK_EVERY_MS : -1;
        pthread_mutex_unlock(&all->lock);
        int count = epoll_wait(all->epoll_fd, events, EVENTS_MAX, timeout_ms);
        struct connection *taken = NULL;
        pthread_mutex_lock(&all->lock);
        for (int i = 0; i < count; i++) {
            uint64_t wakes;
            if (events[i].data.fd != all->wake_fd)
                look_at(all, events[i].data.fd, &taken);
            else if (read(all->wake_fd, &wakes, sizeof wakes) < 0)
                continue;
        }
        look_at_deadlines(all, &taken);
        pthread_mutex_unlock(&all->lock);
        resume_all(taken);
        pthread_mutex_lock(&all->lock);
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

static void wake_guard(struct connections *all)
{
    uint64_t one = 1;
    ssize_t written = write(all->wake_fd, &one, sizeof one);
    CHECK(written == sizeof one);
}

/*--- All of them -------------------------------------------------------------------------------*/

int connections_open(struct connections **opened, uint64_t request_timeout_ns, struct error *error)
{
    struct connections *all = calloc(1, sizeof *all);
    if (!all)
        return error_set(error, -ENOMEM, "no memory for connections");
    all->request_timeout_ns = request_timeout_ns;
    all->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    all->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN, .data.fd = all->wake_fd };
    int status = 0;
    if (all->epoll_fd < 0 || all->wake_fd < 0 ||
        epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, all->wake_fd, &event) < 0)
        status = -errno;
    pthread_mutex_init(&all->lock, NULL);
    if (status == 0)
        status = -pthread_create(&all->guard, NULL, run_guard, all);
    if (status < 0) {
        close(all->epoll_fd);
        close(all->wake_fd);
        pthread_mutex_destroy(&all->lock);
        free(all);
        return error_set(error, status, "cannot guard connections: %s", error_text(status));
    }
    *opened = all;
    return 0;
}

void connections_close(struct connections *all)
{
    pthread_mutex_lock(&all->lock);
    CHECK(all->count == 0);
    all->stop = true;
    pthread_mutex_unlock(&all->lock);
    wake_guard(all);
    pthread_join(all->guard, NULL);
    close(all->epoll_fd);
    close(all->wake_fd);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

struct connection *connection_add(struct connections *all, struct MHD_Connection *mhd, int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        return NULL;
    connection->all = all;
    connection->mhd = mhd;
    connection->fd = fd;
    connection_enter(connection, CONNECTION_HEAD);
    struct epoll_event event = { .events = EPOLLRDHUP | EPOLLET, .data.fd = fd };
    /* Without it a dead client is noticed at its deadline. */
    if (epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        host_say("a connection cannot be watched: %s", error_text(-errno));
    pthread_mutex_lock(&all->lock);
    connection->next = all->first;
    if (all->first)
        all->first->prev = connection;
    all->first = connection;
    bool first = all->count++ == 0;
    pthread_mutex_unlock(&all->lock);
    if (first)
        wake_guard(all);
    return connection;
}

void connection_remove(struct connection *connection)
{
    struct connections *all = connection->all;
    pthread_mutex_lock(&all->lock);
    if (connection->wait_stream != 0)
        take_out(connection);
    if (connection->prev)
        connection->prev->next = connection->next;
    else
        all->first = connection->next;
    if (connection->next)
        connection->next->prev = connection->prev;
    all->count--;
    pthread_mutex_unlock(&all->lock);
    free(connection);
}

bool connection_enter(struct connection *connection, enum connection_state state)
{
    atomic_store(&connection->deadline_ns, host_coarse_ns() + connection->all->request_timeout_ns);
    int before = atomic_exchange(&connection->state, (int)state);
    if (before != CONNECTION_OVERDUE)
        return true;
    atomic_store(&connection->state, CONNECTION_OVERDUE);
    return false;
}

/*--- Waiting -----------------------------------------------------------------------------------*/

bool connection_wait(struct connection *connection, uint64_t stream, uint64_t deadline_ns)
{
    struct connections *all = connection->all;
    pthread_mutex_lock(&all->lock);
    bool waits = !connection->gone && !all->no_waits;
    if (waits) {
        struct connection **bucket = bucket_of(all, stream);
        connection->wait_stream = stream;
        connection->wait_deadline_ns = deadline_ns;
        connection->wait_prev = NULL;
        connection->wait_next = *bucket;
        if (*bucket)
            (*bucket)->wait_prev = connection;
        *bucket = connection;
    }
    pthread_mutex_unlock(&all->lock);
    return waits;
}

bool connection_unwait(struct connection *connection)
{
    pthread_mutex_lock(&connection->all->lock);
    bool waited = connection->wait_stream != 0;
    if (waited)
        take_out(connection);
    pthread_mutex_unlock(&connection->all->lock);
    return waited;
}

bool connection_gone(struct connection *connection)
{
    pthread_mutex_lock(&connection->all->lock);
    bool gone = connection->gone;
    pthread_mutex_unlock(&connection->all->lock);
    return gone;
}

void connections_ended(struct connections *all, uint64_t stream)
{
    struct connection *taken = NULL;
    pthread_mutex_lock(&all->lock);
    for (struct connection *next, *connection = *bucket_of(all, stream); connection;
         connection = next) {
        next = connection->wait_next;
        if (connection->wait_stream != stream)
            continue;
        take_out(connection);
        connection->wait_next = taken;
        taken = connection;
    }
    pthread_mutex_unlock(&all->lock);
    resume_all(taken);
}

void connections_end_waits(struct connections *all)
{
    struct connection *taken = NULL;
    pthread_mutex_lock(&all->lock);
    all->no_waits = true;
    for (struct connection *connection = all->first; connection; connection = connection->next) {
        if (connection->wait_stream == 0)
            continue;
        take_out(connection);
        connection->wait_next = taken;
        taken = connection;
    }
    pthread_mutex_unlock(&all->lock);
    resume_all(taken);
}

uint64_t connections_count(struct connections *all)
{
    pthread_mutex_lock(&all->lock);
    uint64_t count = all->count;
    pthread_mutex_unlock(&all->lock);
    return count;
}
