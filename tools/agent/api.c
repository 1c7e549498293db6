#include "tools/agent/api.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "log/reader.h"
#include "tools/agent/exchange.h"
#include "tools/agent/host.h"
#include "tools/agent/operation.h"
#include "tools/agent/searcher.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONNECTION_MEMORY ((size_t)8192)
#define BACKLOG 1024
#define CLOSE_WAIT_NS (5ull * 1000000000)

/*--- The listening sockets ---------------------------------------------------------------------*/

struct address {
    struct sockaddr_storage bytes;
    socklen_t size;
};

static bool is_loopback(const struct address *address)
{
    if (address->bytes.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&address->bytes;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const void *)&address->bytes;
    return address->bytes.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

/* "127.0.0.1:8080", "localhost:0", "[::1]:8080". `host` gets the part before the port. */
static int parse_listen(const char *listen_at, struct address *address, char host[128],
                        struct error *error)
{
    const char *colon = strrchr(listen_at, ':');
    size_t size = colon ? (size_t)(colon - listen_at) : 0;
    if (size == 0 || size >= 128 || !colon[1])
        return error_set(error, ERROR_SYNTAX,
                         "listen address \"%s\": expected ADDRESS:PORT, as in 127.0.0.1:8080",
                         listen_at);
    memcpy(host, listen_at, size);
    host[size] = 0;
    char name[128];
    bool brackets = host[0] == '[' && host[size - 1] == ']';
    snprintf(name, sizeof name, "%.*s", (int)(size - (brackets ? 2 : 0)), host + brackets);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *found;
    int failed = getaddrinfo(name, colon + 1, &hints, &found);
    if (failed)
        return error_set(error, ERROR_INVALID, "listen address \"%s\": %s", listen_at,
                         gai_strerror(failed));
    memcpy(&address->bytes, found->ai_addr, found->ai_addrlen);
    address->size = found->ai_addrlen;
    freeaddrinfo(found);
    if (!is_loopback(address))
        return error_set(error, ERROR_INVALID,
                         "listen address \"%s\" is not loopback: that needs TLS and tokens, which "
                         "are not in this version; listen on 127.0.0.1 or [::1]",
                         listen_at);
    return 0;
}

int api_check_listen(const char *listen_at, struct error *error)
{
    struct address address;
    char host[128];
    return parse_listen(listen_at, &address, host, error);
}

static int listen_tcp(struct api *api, const char *listen_at, struct error *error)
{
    struct address address;
    int status = parse_listen(listen_at, &address, api->auth.host, error);
    if (status < 0)
        return status;
    int fd = socket(address.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)&address.bytes, address.size) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&address.bytes, &address.size) < 0) {
        status = -errno;
        if (fd >= 0)
            close(fd);
        return error_set(error, status, "cannot listen on %s: %s; choose another --listen",
                         listen_at, error_text(status));
    }
    const struct sockaddr_in *in = (const void *)&address.bytes; /* the port is at the same place */
    snprintf(api->url, sizeof api->url, "http://%s:%u", api->auth.host, ntohs(in->sin_port));
    return fd;
}

static int listen_unix(struct api *api, const char *path, struct error *error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(error, -ENAMETOOLONG,
                         "Unix socket %s: the path is longer than %zu bytes; choose another [api] "
                         "socket, or \"\" for none",
                         path, sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    memcpy(api->socket_path, address.sun_path, sizeof api->socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The data directory is ours alone (its lock is checked), so is what is left of an earlier run.
     */
    struct stat before;
    if (lstat(path, &before) == 0 && S_ISSOCK(before.st_mode))
        unlink(path);
    mode_t mask = umask(0177);
    int bound = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof address);
    int why = errno;
    umask(mask);
    if (bound == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int status = bound < 0 ? -why : -errno;
    if (fd >= 0)
        close(fd);
    api->socket_path[0] = 0;
    return error_set(error, status, "cannot listen on the Unix socket %s: %s", path,
                     status == -EADDRINUSE ? "a file is in its place; remove it"
                                           : error_text(status));
}

/*--- libmicrohttpd -----------------------------------------------------------------------------*/

/* What clients do wrong is answered to them; a line for each would let them fill the disk. What is
 * left is about ourselves: a failed accept, memory, threads. */
static void on_log(void *context, const char *format, va_list arguments)
{
    char line[512];
    (void)context;
    if (strncmp(format, "Failed to ", 10) != 0)
        return;
    vsnprintf(line, sizeof line, format, arguments);
    line[strcspn(line, "\n")] = 0;
    host_say("http: %s", line);
}

static void on_connection(void *context, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct api *api = context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        struct connection *connection = *socket_context;
        if (connection) {
            exchange_free(connection->exchange);
            connection_remove(connection);
        }
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *connection = connection_add(api->connections, mhd, info->connect_fd);
    *socket_context = connection;
    if (!connection)
        return;
    struct ucred peer;
    socklen_t size = sizeof peer;
    struct sockaddr_storage address;
    socklen_t address_size = sizeof address;
    if (getsockname(info->connect_fd, (struct sockaddr *)&address, &address_size) == 0 &&
        address.ss_family == AF_UNIX) {
        connection->is_unix = true;
        connection->uid = (uid_t)-1;
        if (getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
            connection->uid = peer.uid;
    }
    connection->exchange = exchange_new(api, connection);
}

/* Who comes while it stops is sent away. Not by MHD_quiesce_daemon(): that takes the socket out of
 * the workers' epoll sets, as the workers that it wakes do too, and the second of them aborts the
 * process. */
static enum MHD_Result on_accept(void *context, const struct sockaddr *address, socklen_t size)
{
    const struct api *api = context;
    (void)address;
    (void)size;
    return atomic_load(&api->draining) ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request_context)
{
    (void)context;
    (void)version;
    struct exchange *exchange = *request_context;
    if (!exchange) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        struct connection *connection = info->socket_context;
        if (!connection || !connection->exchange)
            return MHD_NO;
        *request_context = exchange = connection->exchange;
        return exchange_begin(exchange, method, url);
    }
    if (*upload_size > 0) {
        size_t size = *upload_size;
        *upload_size = 0;
        return exchange_body(exchange, upload, size);
    }
    return exchange_go_on(exchange);
}

static void on_completed(void *context, struct MHD_Connection *mhd, void **request_context,
                         enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)mhd;
    (void)code;
    if (*request_context)
        exchange_end(*request_context);
    *request_context = NULL;
}

static unsigned thread_count(const struct config *config)
{
    uint64_t count = config->runtime.worker_threads;
    cpu_set_t cpus;
    if (count == 0)
        count = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? (uint64_t)CPU_COUNT(&cpus) : 1;
    return (unsigned)(count < config->api.max_connections ? count : config->api.max_connections);
}

static struct MHD_Daemon *start(struct api *api, int fd, unsigned threads)
{
    const struct config *config = api->boot->config;
    const struct MHD_OptionItem pool[] = {
        { threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)threads, NULL },
        { MHD_OPTION_END, 0, NULL },
    };
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, on_accept,
        api, on_request, api, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, api, MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->api.max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, pool, MHD_OPTION_END);
}

/*--- Open and close ----------------------------------------------------------------------------*/

static void release(struct api *api)
{
    searcher_stop(api->searcher);
    searcher_close(api->searcher);
    if (api->socket_path[0])
        unlink(api->socket_path);
    if (api->connections)
        connections_close(api->connections);
    definitions_free(api->definitions);
    if (api->reader)
        log_reader_close(api->reader);
    pthread_mutex_destroy(&api->reader_lock);
    free(api);
}

static int open_unix(struct api *api, struct error *error)
{
    const char *path = api->boot->config->api.socket_path;
    if (!path || !path[0])
        return 0;
    int fd = listen_unix(api, path, error);
    if (fd < 0)
        return fd;
    api->unix_socket = start(api, fd, 1);
    if (api->unix_socket)
        return 0;
    close(fd);
    return error_set(error, -EIO, "cannot serve the Unix socket %s", path);
}

static int open_tcp(struct api *api, struct error *error)
{
    int fd = listen_tcp(api, api->boot->config->agent.listen, error);
    if (fd < 0)
        return fd;
    api->tcp = start(api, fd, thread_count(api->boot->config));
    if (api->tcp)
        return 0;
    close(fd);
    return error_set(error, -EIO, "cannot serve %s", api->url);
}

int api_open(struct api **opened, struct boot *boot, struct error *error)
{
    struct api *api = calloc(1, sizeof *api);
    if (!api)
        return error_set(error, -ENOMEM, "no memory for the API");
    api->boot = boot;
    pthread_mutex_init(&api->reader_lock, NULL);
    uint64_t bits = host_wall_ns();
    if (getrandom(&bits, sizeof bits, 0) < 0)
        bits ^= (uint64_t)getpid() << 32;
    atomic_init(&api->request_ids, bits);
    api->definitions = definitions_new(&boot->budget);
    int status = api->definitions ? 0 : error_set(error, -ENOMEM, "no memory for the API");
    if (status == 0)
        status =
            auth_open(&api->auth, boot->config->agent.data_dir, boot->config->api.anonymous, error);
    if (status == 0)
        status = connections_open(&api->connections, boot->config->api.request_timeout, error);
    if (status == 0 && boot->config->database.url[0])
        status = searcher_open(&api->searcher, boot->config, boot->log_dir, workflow_is_erased, api,
                               error);
    if (status == 0)
        status = open_tcp(api, error);
    if (status == 0)
        status = open_unix(api, error);
    if (status < 0) {
        if (api->tcp)
            MHD_stop_daemon(api->tcp);
        release(api);
        return status;
    }
    *opened = api;
    return 0;
}

const char *api_url(const struct api *api)
{
    return api->url;
}

void api_ready(struct api *api)
{
    atomic_store(&api->ready, true);
}

void api_segments_removed(void *context)
{
    struct api *api = context;
    pthread_mutex_lock(&api->reader_lock);
    if (api->reader)
        log_reader_trim(api->reader);
    pthread_mutex_unlock(&api->reader_lock);
}

void api_ended(uint64_t stream, void *context)
{
    struct api *api = context;
    connections_ended(api->connections, stream);
}

void api_drain(struct api *api)
{
    atomic_store(&api->draining, true);
    connections_end_waits(api->connections);
    searcher_stop(api->searcher);
}

void api_close(struct api *api)
{
    /* libmicrohttpd aborts when it is stopped with a suspended connection: each has been answered
     * by now, or is in a moment. */
    searcher_join(api->searcher); /* resumes who waits for it */
    uint64_t deadline_ns = host_monotonic_ns() + CLOSE_WAIT_NS;
    while ((atomic_load(&api->under_way) > 0 && host_monotonic_ns() < deadline_ns) ||
           atomic_load(&api->long_under_way) > 0 || atomic_load(&api->checks_under_way) > 0)
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    if (api->tcp)
        MHD_stop_daemon(api->tcp); /* it closes the listening socket too */
    if (api->unix_socket)
        MHD_stop_daemon(api->unix_socket);
    release(api);
}
