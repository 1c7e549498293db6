#include "tools/cli/load.h"

#include "core/base/check.h"
#include "core/base/version.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    ANSWER_SIZE_MAX = 1 << 20,
    READ_SIZE = 16 * 1024,
    EVENTS_MAX = 64,
    RETRY_MS = 20,
    WAIT_SECONDS = 30,
};

enum client_state {
    RESTING, /* has nothing to ask; asks again at wake_ns if that is set */
    ASKING,  /* its request is on the way or is being answered */
    ENDED,
};

struct client {
    enum client_state state;
    int fd;
    bool writing;        /* EPOLLOUT is asked for */
    uint64_t number;     /* of the submission */
    uint64_t started_ns; /* when it was first asked for */
    uint64_t wake_ns;    /* RESTING: when to ask again; 0: with a new submission */
    struct text request; /* its own, with a key */
    size_t sent, received;
    char *answer;
    size_t capacity;
};

struct load {
    const struct load_options *options;
    struct load_result *result;
    struct error *error;
    struct sockaddr_storage address;
    socklen_t address_size;
    char host[300];
    struct text head;  /* of a request, without the lines that follow */
    struct text plain; /* a whole request, without a key */
    char run[33];      /* random; in each key */
    int epoll_fd;
    struct client *clients;
    uint64_t next_number, answered;
    uint64_t measure_ns, end_ns; /* when measuring begins and asking ends */
    bool measuring, reached;
    int failed;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*--- Where to ask, and what --------------------------------------------------*/

static int resolve(struct load *load, struct error *error)
{
    const struct client_place *place = load->options->place;
    if (place->socket[0] != '\0') {
        struct sockaddr_un *address = (struct sockaddr_un *)&load->address;
        address->sun_family = AF_UNIX;
        memcpy(address->sun_path, place->socket, strlen(place->socket) + 1);
        load->address_size = sizeof *address;
        snprintf(load->host, sizeof load->host, "localhost");
        return 0;
    }
    if (strncmp(place->base, "http://", 7) != 0)
        return error_set(error, ERROR_INVALID,
                         "--url: '%s': the load speaks http:// or unix:// "
                         "only",
                         place->base);
    char name[sizeof load->host], *port;
    snprintf(load->host, sizeof load->host, "%.*s", (int)strcspn(place->base + 7, "/"),
             place->base + 7);
    snprintf(name, sizeof name, "%s", load->host);
    port = strrchr(name, ':');
    if (port != NULL && strchr(port, ']') == NULL)
        *port++ = '\0';
    else
        port = NULL;
    char *host = name;
    size_t size = strlen(name);
    if (size > 2 && name[0] == '[' && name[size - 1] == ']') {
        name[size - 1] = '\0';
        host = name + 1;
    }
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int reason = getaddrinfo(host, port != NULL ? port : "80", &hints, &found);
    if (reason != 0)
        return error_set(error, ERROR_NOT_FOUND, "--url: '%s': %s", place->base,
                         gai_strerror(reason));
    memcpy(&load->address, found->ai_addr, found->ai_addrlen);
    load->address_size = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static void make_requests(struct load *load)
{
    uint8_t random[16];
    const struct load_options *options = load->options;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        memset(random, 0x5a, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(load->run + 2 * i, 3, "%02x", random[i]);
    text_init(&load->head);
    text_init(&load->plain);
    text_add_string(&load->head, "POST /api/v1/workflows");
    if (options->wait)
        text_printf(&load->head, "?wait=%ds", WAIT_SECONDS);
    text_printf(&load->head,
                " HTTP/1.1\r\nHost: %s\r\nUser-Agent: daa-cli/" DAA_VERSION
                "\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n",
                load->host, options->body.size);
    if (options->place->token[0] != '\0')
        text_printf(&load->head, "Authorization: Bearer %s\r\n", options->place->token);
    text_add_span(&load->plain, text_span(&load->head));
    text_add_string(&load->plain, "\r\n");
    text_add_span(&load->plain, options->body);
}

static void make_keyed(struct load *load, struct client *client)
{
    text_clear(&client->request);
    text_add_span(&client->request, text_span(&load->head));
    text_printf(&client->request, "Idempotency-Key: load-%s-%" PRIu64 "\r\n\r\n", load->run,
                client->number);
    text_add_span(&client->request, load->options->body);
}

static struct span request_of(const struct load *load, const struct client *client)
{
    return text_span(load->options->retry_ns > 0 ? &client->request : &load->plain);
}

/*--- One client --------------------------------------------------------------*/

static void disconnect(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->writing = false;
}

/* The run cannot go on. */
static void give_up(struct load *load, int code)
{
    if (load->failed == 0)
        load->failed =
            error_set(load->error, code,
                      "no agent answers at %s (%s); start one with 'daa-agent "
                      "--data-dir DIR', or say with --url where it is",
                      load->options->place->socket[0] != '\0' ? load->options->place->socket
                                                              : load->options->place->base,
                      error_text(code));
}

static void watch(struct load *load, struct client *client, bool writing)
{
    struct epoll_event event = { .events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0),
                                 .data.ptr = client };
    if (client->writing != writing)
        epoll_ctl(load->epoll_fd, EPOLL_CTL_MOD, client->fd, &event);
    client->writing = writing;
}

static int reach(struct load *load, struct client *client)
{
    int on = 1;
    int fd = socket(load->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* A blocking connect on loopback takes microseconds, and only at the start of a run. */
    if (connect(fd, (struct sockaddr *)&load->address, load->address_size) < 0) {
        int failed = -errno;
        close(fd);
        return failed;
    }
    if (load->address.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };
    if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        int failed = -errno;
        close(fd);
        return failed;
    }
    client->fd = fd;
    client->writing = false;
    load->reached = true;
    return 0;
}

static void note_error(struct load *load, const char *text, size_t size)
{
    struct load_result *result = load->result;
    if (load->measuring || load->options->count > 0)
        result->errors++;
    if (result->first_error[0] == '\0')
        snprintf(result->first_error, sizeof result->first_error, "%.*s", (int)size, text);
}

/* The request failed in a way that may pass. */
static void rest_or_fail(struct load *load, struct client *client, const char *reason)
{
    uint64_t now = now_ns();
    client->state = RESTING;
    if (load->options->retry_ns > 0 && now - client->started_ns < load->options->retry_ns) {
        client->wake_ns = now + (uint64_t)RETRY_MS * 1000000;
        load->result->retries++;
        return;
    }
    client->wake_ns = 0;
    load->answered++;
    note_error(load, reason, strlen(reason));
}

static void send_rest(struct load *load, struct client *client)
{
    struct span request = request_of(load, client);
    while (client->sent < request.size) {
        ssize_t sent = send(client->fd, request.bytes + client->sent, request.size - client->sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            watch(load, client, true);
            return;
        }
        if (sent < 0) {
            disconnect(client);
            rest_or_fail(load, client, "the agent closed the connection");
            return;
        }
        client->sent += (size_t)sent;
    }
    watch(load, client, false);
}

static void ask(struct load *load, struct client *client)
{
    client->state = ASKING;
    client->sent = client->received = 0;
    if (client->fd < 0) {
        int failed = reach(load, client);
        if (failed < 0) {
            if (load->options->retry_ns == 0 || !load->reached)
                give_up(load, failed);
            rest_or_fail(load, client, "the agent cannot be reached");
            return;
        }
    }
    send_rest(load, client);
}

/* Begins the next submission, or ends the client. */
static void begin(struct load *load, struct client *client)
{
    const struct load_options *options = load->options;
    uint64_t now = now_ns();
    if ((options->count > 0 && load->next_number >= options->count) ||
        (options->count == 0 && now >= load->end_ns) || load->failed < 0) {
        disconnect(client);
        client->state = ENDED;
        return;
    }
    client->number = load->next_number++;
    client->started_ns = now;
    if (options->retry_ns > 0)
        make_keyed(load, client);
    ask(load, client);
}

/*--- Answers -----------------------------------------------------------------*/

/* The text behind `"name":"` in `body`, up to the next quote. */
static struct span member_of(struct span body, const char *name)
{
    const uint8_t *end = body.bytes + body.size;
    const uint8_t *at = memmem(body.bytes, body.size, name, strlen(name));
    if (at == NULL)
        return (struct span){ NULL, 0 };
    at += strlen(name);
    while (at < end && (*at == ' ' || *at == ':'))
        at++;
    if (at == end || *at != '"')
        return (struct span){ NULL, 0 };
    const uint8_t *stop = memchr(at + 1, '"', (size_t)(end - at - 1));
    return stop != NULL ? span_of(at + 1, (size_t)(stop - at - 1)) : (struct span){ NULL, 0 };
}

static void count_good(struct load *load, struct client *client, struct span body)
{
    load->answered++;
    if (load->options->record != NULL) {
        struct span id = member_of(body, "\"id\"");
        fprintf(load->options->record, "%.*s\n", (int)id.size, (const char *)id.bytes);
        fflush(load->options->record);
    }
    if (!load->measuring)
        return;
    load->result->good++;
    histogram_add(&load->result->latency, now_ns() - client->started_ns);
}

static void judge(struct load *load, struct client *client, int status, struct span body)
{
    bool good = status == 200 || status == 202;
    if (good && load->options->wait)
        good = span_is(member_of(body, "\"status\""), "completed");
    if (good) {
        count_good(load, client, body);
        begin(load, client);
        return;
    }
    if (status == 429 || status == 503 || status == 409) {
        char reason[32];
        snprintf(reason, sizeof reason, "the agent answered %d", status);
        rest_or_fail(load, client, reason);
    } else {
        load->answered++;
        note_error(load, client->answer, client->received);
        client->state = RESTING;
        client->wake_ns = 0;
    }
}

/* The size of the whole answer, 0 when its head is not there yet; its parts in the others. */
static size_t answer_size(const struct client *client, int *status, size_t *head, bool *last)
{
    const char *end = memmem(client->answer, client->received, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    *head = (size_t)(end - client->answer) + 4;
    *status = *head > 12 ? (int)strtol(client->answer + 9, NULL, 10) : 0;
    size_t length = 0;
    *last = false;
    for (const char *line = client->answer; line < end;) {
        const char *stop = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        if (strncasecmp(line, "content-length:", 15) == 0)
            length = strtoul(line + 15, NULL, 10);
        if (strncasecmp(line, "connection: close", 17) == 0)
            *last = true;
        line = stop + 2;
    }
    return *head + length;
}

static void take_answer(struct load *load, struct client *client)
{
    int status;
    size_t head;
    bool last;
    size_t size = answer_size(client, &status, &head, &last);
    if (size == 0 || client->received < size)
        return;
    if (last)
        disconnect(client);
    judge(load, client, status, span_of(client->answer + head, size - head));
}

static void receive(struct load *load, struct client *client)
{
    if (client->capacity - client->received < READ_SIZE) {
        size_t capacity = client->capacity * 2 + READ_SIZE;
        char *longer = capacity <= ANSWER_SIZE_MAX ? realloc(client->answer, capacity) : NULL;
        if (longer == NULL) {
            disconnect(client);
            rest_or_fail(load, client, "an answer that is too large");
            return;
        }
        client->answer = longer;
        client->capacity = capacity;
    }
    ssize_t got = recv(client->fd, client->answer + client->received,
                       client->capacity - client->received - 1, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        disconnect(client);
        if (client->state == ASKING)
            rest_or_fail(load, client, "the agent closed the connection");
        return;
    }
    client->received += (size_t)got;
    client->answer[client->received] = '\0';
    if (client->state == ASKING)
        take_answer(load, client);
}

/*--- The run -----------------------------------------------------------------*/

/* Wakes those whose time has come; how long to wait for the next, in ms. */
static int wake_resting(struct load *load)
{
    uint64_t now = now_ns();
    int wait_ms = 100;
    for (uint64_t i = 0; i < load->options->clients; i++) {
        struct client *client = &load->clients[i];
        if (client->state != RESTING)
            continue;
        if (client->wake_ns == 0)
            begin(load, client);
        else if (now >= client->wake_ns)
            ask(load, client);
        else
            wait_ms = RETRY_MS;
    }
    return wait_ms;
}

static void begin_measuring(struct load *load)
{
    load->measuring = true;
    load->measure_ns = now_ns();
    load->end_ns = load->measure_ns + load->options->duration_ns;
    if (load->options->measuring != NULL)
        load->options->measuring(load->options->context);
}

static bool all_ended(const struct load *load)
{
    for (uint64_t i = 0; i < load->options->clients; i++)
        if (load->clients[i].state != ENDED)
            return false;
    return true;
}

static void run(struct load *load)
{
    struct epoll_event events[EVENTS_MAX];
    bool resting = true;
    uint64_t start = now_ns();
    load->end_ns = UINT64_MAX;
    while (load->failed == 0) {
        if (!load->measuring && now_ns() - start >= load->options->warmup_ns)
            begin_measuring(load);
        int wait_ms = resting ? wake_resting(load) : 100;
        int count = epoll_wait(load->epoll_fd, events, EVENTS_MAX, wait_ms);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client->fd >= 0 && events[i].events & EPOLLOUT)
                send_rest(load, client);
            if (client->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT)
                receive(load, client);
        }
        /* Looking at every client costs, so only when something may rest or have ended. */
        resting = count < EVENTS_MAX / 2 || load->result->errors > 0;
        if (resting && all_ended(load))
            break;
    }
    load->result->elapsed_ns = now_ns() - load->measure_ns;
}

static int open_clients(struct load *load, struct error *error)
{
    load->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    load->clients = calloc(load->options->clients, sizeof *load->clients);
    if (load->epoll_fd < 0 || load->clients == NULL)
        return error_set(error, -ENOMEM, "no memory for %" PRIu64 " clients",
                         load->options->clients);
    for (uint64_t i = 0; i < load->options->clients; i++) {
        load->clients[i].fd = -1;
        text_init(&load->clients[i].request);
    }
    return 0;
}

int load_run(const struct load_options *options, struct load_result *result, struct error *error)
{
    struct load load = { .options = options, .result = result, .error = error, .epoll_fd = -1 };
    CHECK(options->clients > 0);
    CHECK(options->clients <= LOAD_CLIENTS_MAX);
    memset(result, 0, sizeof *result);
    int failed = resolve(&load, error);
    if (failed == 0)
        failed = open_clients(&load, error);
    if (failed == 0) {
        make_requests(&load);
        run(&load);
        failed = load.failed;
    }
    for (uint64_t i = 0; load.clients != NULL && i < options->clients; i++) {
        disconnect(&load.clients[i]);
        text_free(&load.clients[i].request);
        free(load.clients[i].answer);
    }
    free(load.clients);
    if (load.epoll_fd >= 0)
        close(load.epoll_fd);
    text_free(&load.head);
    text_free(&load.plain);
    return failed;
}
