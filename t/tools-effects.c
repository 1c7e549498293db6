/* Effects: tools/agent/effects.h. Requests go to a small HTTP server in this program; programs are
 * real ones. */
#include "tools/agent/effects.h"

#include "core/event/event.pb-c.h"
#include "tools/agent/process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scratch.h"
#include "tap.h"

enum {
    DONE = DAA__OUTCOME__OUTCOME_DONE,
    NOT_DONE = DAA__OUTCOME__OUTCOME_NOT_DONE,
    UNKNOWN = DAA__OUTCOME__OUTCOME_UNKNOWN,
    CONNECTIONS_MAX = 64,
    REQUEST_MAX = 65536,
    WAIT_SECONDS = 60,
};

/*--- The server --------------------------------------------------------------*/

static struct {
    int listener, port;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_t connections[CONNECTIONS_MAX];
    int fds[CONNECTIONS_MAX];
    int connection_count, request_count;
    int hanging; /* requests that get no answer */
    char last[REQUEST_MAX];
} server;

static void answer(int fd, const char *status, const char *headers, const char *body)
{
    char head[512];
    int size = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status,
                        strlen(body), headers);
    if (send(fd, head, (size_t)size, MSG_NOSIGNAL) < 0 ||
        send(fd, body, strlen(body), MSG_NOSIGNAL) < 0)
        return; /* the client is gone, which some tests want */
}

static void reset(int fd)
{
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

/* Answers one request; false: the connection ends. */
static bool serve(int fd, const char *request, const char *body)
{
    if (strncmp(request, "HEAD ", 5) == 0)
        answer(fd, "200 OK", "", "");
    else if (strstr(request, " /json") != NULL)
        answer(fd, "200 OK", "X-Twice: a\r\nX-Twice: b\r\n", "{\"total\": 42}");
    else if (strstr(request, " /echo") != NULL)
        answer(fd, "200 OK", "Content-Type: text/plain\r\nX-Echo: s3cret-value\r\n", body);
    else if (strstr(request, " /status/") != NULL)
        answer(fd, strstr(request, " /status/") + 9, "", "no");
    else if (strstr(request, " /headers") != NULL) {
        char head[32768];
        size_t size = (size_t)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 1000; i++)
            size += (size_t)snprintf(head + size, sizeof head - size, "h%d: x\r\n", i);
        size += (size_t)snprintf(head + size, sizeof head - size, "Content-Length: 0\r\n\r\n");
        return send(fd, head, size, MSG_NOSIGNAL) > 0;
    } else if (strstr(request, " /large") != NULL) {
        char *large = calloc(1, 100001);
        memset(large, 'x', 100000);
        answer(fd, "200 OK", "", large);
        free(large);
    } else if (strstr(request, " /reset") != NULL) {
        reset(fd);
        return false;
    } else if (strstr(request, " /hang") != NULL) {
        char byte;
        __atomic_fetch_add(&server.hanging, 1, __ATOMIC_SEQ_CST);
        return recv(fd, &byte, 1, 0) > 0;
    } else if (strstr(request, " /close") != NULL)
        return false;
    return true;
}

/* Reads one request into `request`; returns its body or NULL at the end. */
static const char *read_request(int fd, char *request)
{
    size_t size = 0;
    for (;;) {
        char *end = strstr(request, "\r\n\r\n");
        if (end != NULL) {
            char *length = strcasestr(request, "content-length:");
            size_t body = length != NULL ? strtoul(length + 15, NULL, 10) : 0;
            if (size >= (size_t)(end + 4 - request) + body)
                return end + 4;
        }
        ssize_t got = recv(fd, request + size, REQUEST_MAX - 1 - size, 0);
        if (got <= 0)
            return NULL;
        size += (size_t)got;
        request[size] = '\0';
    }
}

static void *connection(void *argument)
{
    int fd = *(int *)argument;
    char *request = calloc(1, REQUEST_MAX);
    const char *body;
    bool more = true;
    while (more && (body = read_request(fd, request)) != NULL) {
        pthread_mutex_lock(&server.lock);
        server.request_count++;
        memcpy(server.last, request, REQUEST_MAX);
        pthread_mutex_unlock(&server.lock);
        more = serve(fd, request, body);
        memset(request, 0, REQUEST_MAX);
    }
    free(request);
    pthread_mutex_lock(&server.lock);
    close(fd);
    *(int *)argument = -1;
    pthread_mutex_unlock(&server.lock);
    return NULL;
}

static void *accept_all(void *argument)
{
    (void)argument;
    int fd;
    while ((fd = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        pthread_mutex_lock(&server.lock);
        int i = server.connection_count++;
        if (i >= CONNECTIONS_MAX)
            tap_bail_out("too many connections");
        server.fds[i] = fd;
        pthread_create(&server.connections[i], NULL, connection, &server.fds[i]);
        pthread_mutex_unlock(&server.lock);
    }
    return NULL;
}

static int listen_on_loopback(int *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 64) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        tap_bail_out("cannot listen on loopback");
    *port = ntohs(address.sin_port);
    return fd;
}

static void server_open(void)
{
    pthread_mutex_init(&server.lock, NULL);
    server.listener = listen_on_loopback(&server.port);
    pthread_create(&server.thread, NULL, accept_all, NULL);
}

static void server_close(void)
{
    shutdown(server.listener, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.listener);
    for (int i = 0; i < server.connection_count; i++) {
        pthread_mutex_lock(&server.lock);
        if (server.fds[i] >= 0)
            shutdown(server.fds[i], SHUT_RDWR);
        pthread_mutex_unlock(&server.lock);
        pthread_join(server.connections[i], NULL);
    }
}

static int requests(void)
{
    pthread_mutex_lock(&server.lock);
    int count = server.request_count;
    pthread_mutex_unlock(&server.lock);
    return count;
}

static bool last_request_has(const char *text)
{
    pthread_mutex_lock(&server.lock);
    bool has = strcasestr(server.last, text) != NULL;
    pthread_mutex_unlock(&server.lock);
    return has;
}

/*--- The effects under test --------------------------------------------------*/

static struct {
    struct config config;
    struct budget budget;
    struct effects *effects;
    pthread_mutex_t lock;
    pthread_cond_t posted;
    struct effect_outcome *first, **end;
    int post_count;
} under;

static void post(struct effect_outcome *outcome, void *context)
{
    (void)context;
    pthread_mutex_lock(&under.lock);
    outcome->next = NULL;
    *under.end = outcome;
    under.end = &outcome->next;
    under.post_count++;
    pthread_cond_signal(&under.posted);
    pthread_mutex_unlock(&under.lock);
}

static struct effect_outcome *next_outcome(void)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += WAIT_SECONDS;
    pthread_mutex_lock(&under.lock);
    while (under.first == NULL)
        if (pthread_cond_timedwait(&under.posted, &under.lock, &deadline) == ETIMEDOUT)
            tap_bail_out("no outcome after %d s", WAIT_SECONDS);
    struct effect_outcome *outcome = under.first;
    under.first = outcome->next;
    if (under.first == NULL)
        under.end = &under.first;
    pthread_mutex_unlock(&under.lock);
    return outcome;
}

static const char settings[] = "[network]\nallow = [\"127.0.0.0/8\"]\n"
                               "[http_client]\npool_size = 4\nmax_response_size = \"64KiB\"\n"
                               "[exec]\nenabled = true\nmax_concurrent = 4\nenv = []\n"
                               "output_limit = \"64KiB\"\n"
                               "allow = [\"/bin/sh\", \"/usr/bin/env\", \"/no/such/program\"]\n"
                               "[secrets]\nTOKEN = \"env:TEST_EFFECTS_TOKEN\"\n"
                               "ODD = \"env:TEST_EFFECTS_ODD\"\n";

static void open_with(const char *toml)
{
    struct error error = { 0 };
    pthread_mutex_init(&under.lock, NULL);
    pthread_cond_init(&under.posted, NULL);
    under.first = NULL;
    under.end = &under.first;
    under.post_count = 0;
    budget_init(&under.budget, 64 << 20);
    if (config_load_text(&under.config, "test", span_of_text(toml), NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    struct effects_options options = { .config = &under.config,
                                       .budget = &under.budget,
                                       .post = post };
    if (effects_open(&under.effects, &options, &error) < 0)
        tap_bail_out("%s", error.text);
}

static void close_and_check(void)
{
    effects_close(under.effects, 0);
    while (under.first != NULL)
        effect_outcome_free(next_outcome());
    is_int(under.budget.used, 0, "every byte went back to the budget");
    config_free(&under.config);
}

static struct effect *new_effect(enum effect_kind kind, uint64_t timeout_ms)
{
    struct effect *effect = budget_allocate(&under.budget, BUDGET_EFFECTS, sizeof *effect);
    memset(effect, 0, sizeof *effect);
    effect->kind = kind;
    effect->stream = 7;
    effect->index = 3;
    effect->attempt = 2;
    effect->timeout_ns = timeout_ms * 1000000;
    effect->budget = &under.budget;
    snprintf(effect->idempotency_key, sizeof effect->idempotency_key, "wf-7:3");
    arena_init(&effect->arena, &under.budget, BUDGET_EFFECTS, 1024);
    return effect;
}

static struct span text_in(struct effect *effect, const char *text)
{
    return arena_copy(&effect->arena, span_of_text(text));
}

static struct effect *http_effect(const char *method, const char *path, const char *body,
                                  uint64_t timeout_ms)
{
    char url[512];
    struct effect *effect = new_effect(EFFECT_HTTP, timeout_ms);
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", server.port, path);
    effect->http.method = text_in(effect, method);
    effect->http.url = text_in(effect, url);
    if (body != NULL)
        effect->http.body = text_in(effect, body);
    return effect;
}

static void add_header(struct effect *effect, const char *name, const char *value)
{
    effect->http.headers = arena_allocate(&effect->arena, sizeof *effect->http.headers);
    effect->http.headers[0] = (struct flow_header){ text_in(effect, name), text_in(effect, value) };
    effect->http.header_count = 1;
}

static struct effect_outcome *perform(struct effect *effect)
{
    effects_start(under.effects, effect);
    return next_outcome();
}

static bool says(struct span text, const char *part)
{
    return text.size > 0 && memmem(text.bytes, text.size, part, strlen(part)) != NULL;
}

/* Frees the outcome after checking what it says. NULL: not looked at. */
static void expect(struct effect_outcome *outcome, int wanted, const char *output,
                   const char *error, const char *name)
{
    bool good = is_int(outcome->outcome, wanted, "%s", name);
    if (output != NULL)
        good &= ok(says(outcome->output, output), "%s: the output says %s", name, output);
    if (error != NULL)
        good &= ok(says(outcome->error, error), "%s: the error says %s", name, error);
    if (!good)
        tap_note("output: %.*s error: %.*s", (int)outcome->output.size,
                 (const char *)outcome->output.bytes, (int)outcome->error.size,
                 (const char *)outcome->error.bytes);
    effect_outcome_free(outcome);
}

/*--- HTTP --------------------------------------------------------------------*/

static void an_answer_is_done(void)
{
    open_with(settings);
    struct effect_outcome *outcome = perform(http_effect("GET", "/json", NULL, 20000));
    ok(outcome->effect != NULL && outcome->stream == 7 && outcome->index == 3 &&
           outcome->attempt == 2,
       "an outcome says which effect it is of");
    ok(says(outcome->output, "\"status\":200"), "the output has the status");
    ok(says(outcome->output, "\"body\":{\"total\": 42}"), "a JSON body stays JSON");
    ok(says(outcome->output, "\"x-twice\":\"a, b\""), "a header that comes twice is joined");
    is_int(outcome->error.size, 0, "there is no error");
    expect(outcome, DONE, NULL, NULL, "an answer of 200");
    ok(last_request_has("\r\nIdempotency-Key: wf-7:3\r\n"), "the idempotency key is sent");
    ok(!last_request_has("Content-Type:"), "without a body there is no content type");

    expect(perform(http_effect("POST", "/echo", "[1, 2]", 20000)), DONE, "\"body\":[1, 2]", NULL,
           "a POST with a body");
    ok(last_request_has("\r\nContent-Type: application/json\r\n"), "a body is sent as JSON");
    ok(!last_request_has("Expect:"), "nothing is expected before the body");
    expect(perform(http_effect("PUT", "/echo", "plain", 20000)), DONE, "\"body\":\"plain\"", NULL,
           "a PUT whose answer is no JSON");
    expect(perform(http_effect("HEAD", "/json", NULL, 20000)), DONE, "\"body\":\"\"", NULL,
           "a HEAD");

    struct effect *effect = http_effect("POST", "/echo", "{}", 20000);
    add_header(effect, "idempotency-key", "mine");
    expect(perform(effect), DONE, NULL, NULL, "a request with a key of its own");
    ok(last_request_has("idempotency-key: mine") && !last_request_has("wf-7:3"),
       "a key of the definition wins");
    while (effects_underway(under.effects) > 0)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    close_and_check();
}

static void statuses_decide(void)
{
    open_with(settings);
    expect(perform(http_effect("POST", "/status/404 Not Found\r\n", "{}", 20000)), NOT_DONE, NULL,
           "control character", "a url with a line break");
    static const struct {
        const char *path;
        int outcome;
        const char *error;
    } cases[] = {
        { "/status/302", DONE, NULL },
        { "/status/404", NOT_DONE, "answered 404" },
        { "/status/429", NOT_DONE, "answered 429" },
        { "/status/503", NOT_DONE, "answered 503" },
        { "/status/500", UNKNOWN, "answered 500" },
        { "/status/502", UNKNOWN, "answered 502" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(perform(http_effect("POST", cases[i].path, "{}", 20000)), cases[i].outcome,
               "\"status\":", cases[i].error, cases[i].path);
    close_and_check();
}

static void what_was_not_sent_is_not_done(void)
{
    int port;
    char url[64];
    open_with(settings);
    close(listen_on_loopback(&port));
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    struct effect *effect = http_effect("POST", "/", "{}", 20000);
    effect->http.url = text_in(effect, url);
    expect(perform(effect), NOT_DONE, NULL, "127.0.0.1", "a refused connection");

    effect = http_effect("POST", "/", "{}", 20000);
    effect->http.url = text_in(effect, "http://name.invalid/");
    expect(perform(effect), NOT_DONE, NULL, "name.invalid", "a name that does not resolve");

    effect = http_effect("GET", "/", NULL, 20000);
    effect->http.url = text_in(effect, "file:///etc/passwd");
    expect(perform(effect), NOT_DONE, NULL, NULL, "a file url");

    effect = http_effect("GET", "/json", NULL, 20000);
    add_header(effect, "X-A", "a\r\nX-B: b");
    expect(perform(effect), NOT_DONE, NULL, "X-A", "a header with a line break");
    close_and_check();

    open_with("");
    int before = requests();
    expect(perform(http_effect("POST", "/json", "{}", 20000)), NOT_DONE, NULL, "127.0.0.1",
           "an address that is denied");
    expect(perform(http_effect("POST", "/json", "{}", 20000)), NOT_DONE, NULL, "network.allow",
           "an address that is denied, and the way out");
    is_int(requests(), before, "a denied address is never reached");
    close_and_check();
}

static void what_was_sent_without_an_answer_is_unknown(void)
{
    open_with(settings);
    expect(perform(http_effect("POST", "/reset", "{}", 20000)), UNKNOWN, NULL, "127.0.0.1",
           "a reset after the request");
    expect(perform(http_effect("POST", "/hang", "{}", 200)), UNKNOWN, NULL, "sent",
           "no answer in time");
    expect(perform(http_effect("POST", "/large", "{}", 20000)), UNKNOWN, NULL,
           "http_client.max_response_size", "an answer that is too large");
    expect(perform(http_effect("POST", "/headers", "{}", 20000)), UNKNOWN, NULL, "500 headers",
           "an answer with too many headers");

    expect(perform(http_effect("GET", "/json", NULL, 20000)), DONE, NULL, NULL,
           "a request that opens a connection");
    int before = requests();
    expect(perform(http_effect("POST", "/close", "{}", 20000)), UNKNOWN, NULL, NULL,
           "a POST on a kept connection that closes");
    is_int(requests(), before + 1, "the POST was not sent a second time");
    expect(perform(http_effect("POST", "/close", NULL, 20000)), UNKNOWN, NULL, NULL,
           "a POST without a body on a connection that closes");
    is_int(requests(), before + 2, "nor was the one without a body");
    close_and_check();
}

static void connections_are_kept(void)
{
    open_with(settings);
    int before = server.connection_count;
    for (int i = 0; i < 5; i++)
        effect_outcome_free(perform(http_effect("POST", "/json", "{}", 20000)));
    is_int(server.connection_count, before + 1, "five requests in a row take one connection");
    for (int i = 0; i < 20; i++)
        effects_start(under.effects, http_effect("GET", "/json", NULL, 20000));
    int done = 0;
    for (int i = 0; i < 20; i++) {
        struct effect_outcome *outcome = next_outcome();
        done += outcome->outcome == DONE;
        effect_outcome_free(outcome);
    }
    is_int(done, 20, "twenty at once are done");
    ok(server.connection_count <= before + 4, "over no more than pool_size connections");
    close_and_check();
}

static void a_request_waits_for_the_pool(void)
{
    open_with(settings);
    for (int i = 0; i < 4; i++)
        effects_start(under.effects, http_effect("GET", "/hang", NULL, 20000));
    expect(perform(http_effect("GET", "/json", NULL, 300)), NOT_DONE, NULL, "http_client.pool_size",
           "a request for which there was no connection in time");
    effects_cancel(under.effects, 7);
    for (int i = 0; i < 4; i++)
        expect(next_outcome(), UNKNOWN, NULL, "cancelled", "a request cancelled under way");
    close_and_check();
}

static void secrets_do_not_leak(void)
{
    open_with(settings);
    struct effect *effect =
        http_effect("POST", "/echo", "{\"a\": \"${{ secrets.TOKEN }}\"}", 20000);
    add_header(effect, "Authorization", "Bearer ${{ secrets.TOKEN }}");
    struct effect_outcome *outcome = perform(effect);
    ok(last_request_has("Authorization: Bearer s3cret-value"), "a secret is filled in a header");
    ok(last_request_has("\"a\": \"s3cret-value\""), "a secret is filled in the body");
    ok(!says(outcome->output, "s3cret-value"), "its value is not in the output");
    expect(outcome, DONE, "[redacted]", NULL, "a request with a secret");

    effect = http_effect("POST", "/echo", "{\"a\": \"${{ secrets.ODD }}\"}", 20000);
    outcome = perform(effect);
    ok(last_request_has("a \\\"quoted\\\" one"), "a secret is escaped in a JSON body");
    ok(says(outcome->output, "{\"a\": \"[redacted]\"}"), "and redacted as it stands there");
    expect(outcome, DONE, NULL, NULL, "a request with a secret that JSON escapes");

    effect = http_effect("GET", "/json", NULL, 20000);
    add_header(effect, "Authorization", "${{ secrets.OTHER }}");
    expect(perform(effect), NOT_DONE, NULL, "OTHER", "a secret that is not configured");

    effect = http_effect("GET", "/json", NULL, 20000);
    effect->http.url = text_in(effect, "http://${{ secrets.TOKEN }}.invalid/");
    outcome = perform(effect);
    ok(!says(outcome->error, "s3cret-value"), "its value is not in the error");
    expect(outcome, NOT_DONE, NULL, NULL, "a secret in a name that does not resolve");
    close_and_check();
}

/*--- Exec --------------------------------------------------------------------*/

static struct effect *exec_effect(const char *script, const char *input, uint64_t timeout_ms)
{
    struct effect *effect = new_effect(EFFECT_EXEC, timeout_ms);
    struct span *argv = arena_allocate(&effect->arena, 3 * sizeof *argv);
    argv[0] = text_in(effect, "/bin/sh");
    argv[1] = text_in(effect, "-c");
    argv[2] = text_in(effect, script);
    effect->exec.argv = argv;
    effect->exec.argv_count = 3;
    if (input != NULL)
        effect->exec.stdin_text = text_in(effect, input);
    return effect;
}

/* Runs a program that begins: the `spawned` that comes first is freed. */
static struct effect_outcome *run_program(struct effect *effect)
{
    struct effect_outcome *spawned = perform(effect);
    ok(spawned->spawned && spawned->pid > 0 && spawned->start_time > 0 && spawned->effect == NULL,
       "its process is announced before its outcome");
    effect_outcome_free(spawned);
    return next_outcome();
}

static void programs_say_for_themselves(void)
{
    open_with(settings);
    expect(run_program(exec_effect("cat; echo oops >&2", "hello", 20000)), DONE,
           "{\"exit\":0,\"stdout\":\"hello\",\"stderr\":\"oops\\n\"}", NULL, "exit 0");
    expect(run_program(exec_effect("echo half; exit 3", NULL, 20000)), NOT_DONE,
           "\"exit\":3,\"stdout\":\"half\\n\"", "exit code 3", "exit 3");
    expect(run_program(exec_effect("kill -9 $$", NULL, 20000)), UNKNOWN, "\"signal\":9", "signal 9",
           "a program that a signal ended");
    expect(run_program(exec_effect("wc -c; ls /proc/self/fd | wc -l", NULL, 20000)), DONE,
           "\"stdout\":\"0\\n4\\n\"", NULL,
           "a program has an empty input and no other descriptors");
    expect(run_program(exec_effect("yes | head -c 70000", NULL, 20000)), UNKNOWN, NULL,
           "exec.output_limit", "a program that says too much");

    struct effect *effect = exec_effect("", NULL, 20000);
    effect->exec.argv[0] = text_in(effect, "/no/such/program");
    expect(perform(effect), NOT_DONE, NULL, "/no/such/program", "a program that is missing");
    effect = exec_effect("", NULL, 20000);
    effect->exec.argv[0] = text_in(effect, "/bin/cat");
    expect(perform(effect), NOT_DONE, NULL, "exec.allow", "a program that is not allowed");
    close_and_check();
}

/* A parent that ignores SIGCHLD passes that on through exec. The kernel may then have forgotten the
 * process before anybody could ask when it began, so what is announced of it is not looked at. */
static void an_end_that_is_not_seen_is_unknown(void)
{
    open_with(settings);
    signal(SIGCHLD, SIG_IGN);
    struct effect_outcome *outcome = perform(exec_effect("exit 3", NULL, 20000));
    while (outcome->spawned) {
        effect_outcome_free(outcome);
        outcome = next_outcome();
    }
    expect(outcome, UNKNOWN, "\"exit\":null", "not seen",
           "a program whose exit status nobody can read");
    signal(SIGCHLD, SIG_DFL);
    close_and_check();
}

static void programs_get_a_clean_environment(void)
{
    open_with(settings);
    struct effect *effect = exec_effect("", NULL, 20000);
    effect->exec.argv[0] = text_in(effect, "/usr/bin/env");
    effect->exec.argv_count = 1;
    struct flow_header env[] = { { text_in(effect, "KEY"),
                                   text_in(effect, "${{ secrets.TOKEN }}") },
                                 { text_in(effect, "PATH"), text_in(effect, "/bin") } };
    effect->exec.env = arena_allocate(&effect->arena, sizeof env);
    memcpy(effect->exec.env, env, sizeof env);
    effect->exec.env_count = 2;
    expect(run_program(effect), DONE,
           "\"stdout\":\"KEY=[redacted]\\nPATH=/bin\\nLANG=C.UTF-8\\nDAA_WORKFLOW=7\\n"
           "DAA_ATTEMPT=2\\nDAA_IDEMPOTENCY_KEY=wf-7:3\\n\"",
           NULL, "a program that shows its environment");
    expect(run_program(exec_effect("cat", "${{ secrets.TOKEN }}", 20000)), DONE,
           "\"stdout\":\"${{ secrets.TOKEN }}\"", NULL, "an input holds no secrets");
    close_and_check();
}

/* The pid that a script wrote into `path`, once it is there. */
static pid_t pid_in(const char *path)
{
    for (int i = 0; i < WAIT_SECONDS * 100; i++) {
        FILE *file = fopen(path, "r");
        int pid = 0;
        bool whole = file != NULL && fscanf(file, "%d", &pid) == 1 && fgetc(file) == '\n';
        if (file != NULL)
            fclose(file);
        if (whole)
            return pid;
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    tap_bail_out("no pid in %s", path);
}

/* True once no process has this pid, or only a zombie that somebody else has to reap. */
static bool is_gone(pid_t pid)
{
    for (int i = 0; i < WAIT_SECONDS * 100; i++) {
        char path[64], line[512] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            return true;
        bool read = fgets(line, sizeof line, file) != NULL;
        fclose(file);
        if (!read || strstr(line, ") Z ") != NULL)
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    return false;
}

static void nothing_outlives_its_step(void)
{
    open_with(settings);
    const char *path = scratch_path("grandchild");
    char script[4300];
    snprintf(script, sizeof script, "sleep 1000 & echo $! >%s; wait", path);
    expect(run_program(exec_effect(script, NULL, 500)), UNKNOWN, NULL, "its time limit",
           "a program that takes too long");
    ok(is_gone(pid_in(path)), "its grandchild is ended with it");
    unlink(path);

    snprintf(script, sizeof script, "sleep 1000 & echo $! >%s", path);
    expect(run_program(exec_effect(script, NULL, 20000)), DONE, NULL, NULL,
           "a program that leaves something behind");
    ok(is_gone(pid_in(path)), "what it left is ended");
    unlink(path);

    effects_start(under.effects, exec_effect("sleep 1000", NULL, 20000));
    effect_outcome_free(next_outcome());
    effects_cancel(under.effects, 8);
    effects_cancel(under.effects, 7);
    expect(next_outcome(), UNKNOWN, NULL, "cancelled", "a program of a cancelled workflow");
    close_and_check();
}

static void programs_wait_for_a_thread(void)
{
    open_with(settings);
    for (int i = 0; i < 4; i++) {
        effects_start(under.effects, exec_effect("sleep 1000", NULL, 30000));
        effect_outcome_free(next_outcome());
    }
    struct effect *fifth = exec_effect("exit 0", NULL, 30000);
    fifth->stream = 9;
    effects_start(under.effects, fifth);
    effects_cancel(under.effects, 9);
    is_int(effects_underway(under.effects), 5, "the fifth waits while four run");
    effects_cancel(under.effects, 7);
    int unknown = 0, not_done = 0;
    for (int i = 0; i < 5; i++) {
        struct effect_outcome *outcome = next_outcome();
        unknown += outcome->outcome == UNKNOWN;
        not_done += outcome->outcome == NOT_DONE && outcome->stream == 9;
        effect_outcome_free(outcome);
    }
    ok(unknown == 4 && not_done == 1,
       "what ran is unknown, what was cancelled before it began is not done");
    close_and_check();
}

/*--- The end -----------------------------------------------------------------*/

static void closing_ends_what_is_under_way(void)
{
    open_with(settings);
    int before = __atomic_load_n(&server.hanging, __ATOMIC_SEQ_CST);
    effects_start(under.effects, http_effect("POST", "/hang", "{}", 60000));
    for (int i = 0; i < 6; i++)
        effects_start(under.effects, exec_effect("sleep 1000", NULL, 60000));
    pid_t pid = 0;
    for (int i = 0; i < 4; i++) {
        struct effect_outcome *spawned = next_outcome();
        pid = (pid_t)spawned->pid;
        effect_outcome_free(spawned);
    }
    while (__atomic_load_n(&server.hanging, __ATOMIC_SEQ_CST) == before)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    int posts = under.post_count;
    close_and_check();
    is_int(under.post_count, posts, "what close ends is not posted");
    ok(is_gone(pid), "its programs are gone");

    open_with(settings);
    effects_start(under.effects, exec_effect("echo last", NULL, 60000));
    effects_close(under.effects, 60000000000);
    effect_outcome_free(next_outcome());
    expect(next_outcome(), DONE, "last", NULL, "close waits for what ends within its grace");
    is_int(under.budget.used, 0, "every byte went back to the budget");
    config_free(&under.config);
}

static void survivors_are_ended(void)
{
    uint8_t boot_id[16], other_boot[16] = { 0 };
    ok(process_boot_id(boot_id), "the kernel has a boot id");
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        execl("/bin/sleep", "sleep", "1000", (char *)NULL);
        _exit(127);
    }
    uint64_t start_time = process_start_time((uint64_t)pid);
    ok(start_time > 0, "a process has a start time");
    while (getpgid(pid) != pid)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    ok(effects_end_survivor((uint64_t)pid, start_time + 1, boot_id) && kill(pid, 0) == 0,
       "a process that began at another time is left alone");
    ok(effects_end_survivor((uint64_t)pid, start_time, other_boot) && kill(pid, 0) == 0,
       "a process of another boot is left alone");
    ok(effects_end_survivor((uint64_t)pid, start_time, boot_id), "a survivor is ended");
    int status = 0;
    is_int(waitpid(pid, &status, 0), pid, "it ended");
    ok(WIFSIGNALED(status), "by a signal");
    ok(effects_end_survivor((uint64_t)pid, start_time, boot_id), "one that is gone is gone");
}

int main(void)
{
    setenv("TEST_EFFECTS_TOKEN", "s3cret-value", 1);
    setenv("TEST_EFFECTS_ODD", "a \"quoted\" one", 1);
    setenv("TEST_EFFECTS_OTHER", "not for programs", 1);
    signal(SIGPIPE, SIG_IGN);
    server_open();
    an_answer_is_done();
    statuses_decide();
    what_was_not_sent_is_not_done();
    what_was_sent_without_an_answer_is_unknown();
    connections_are_kept();
    a_request_waits_for_the_pool();
    secrets_do_not_leak();
    programs_say_for_themselves();
    an_end_that_is_not_seen_is_unknown();
    programs_get_a_clean_environment();
    nothing_outlives_its_step();
    programs_wait_for_a_thread();
    closing_ends_what_is_under_way();
    survivors_are_ended();
    server_close();
    scratch_remove(scratch_dir());
    return tap_done();
}
