#include "tools/config/keys.h"

#include "log/readers.h"
#include "tools/config/network.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000000000ull
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define KB (1ull << 10)
#define MB (1ull << 20)
#define GB (1ull << 30)
#define TB (1ull << 40)

/*--- Checks -----------------------------------------------------------------------------------*/

static bool is_path(const char *text)
{
    return text[0] != '\0';
}

static bool is_absolute_path(const char *text)
{
    return text[0] == '/' && text[1] != '\0';
}

static bool is_absolute_or_no(const char *text)
{
    return text[0] == '\0' || is_absolute_path(text);
}

bool key_is_variable_name(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    size_t size = strlen(text);
    return size > 0 && strspn(text, letters) == size && !isdigit((unsigned char)text[0]);
}

static bool is_network(const char *text)
{
    struct network network;
    return network_parse(&network, text) == 0;
}

static bool is_network_or_host(const char *text)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";
    size_t size = strlen(text);
    if (is_network(text))
        return true;
    bool is_number = strspn(text, "0123456789.") == size;
    return size > 0 && size < 254 && !is_number && strspn(text, letters) == size &&
           text[0] != '-' && text[0] != '.';
}

static bool is_port(const char *text)
{
    size_t size = strlen(text);
    return size > 0 && size <= 5 && strspn(text, "0123456789") == size &&
           strtoul(text, NULL, 10) <= UINT16_MAX;
}

static bool is_address_and_port(const char *text)
{
    char address[64];
    struct in6_addr binary;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof address || !is_port(colon + 1))
        return false;
    size_t size = (size_t)(colon - text);
    memcpy(address, text, size);
    address[size] = '\0';
    if (size > 2 && address[0] == '[' && address[size - 1] == ']') {
        address[size - 1] = '\0';
        return inet_pton(AF_INET6, address + 1, &binary) == 1;
    }
    return strcmp(address, "localhost") == 0 || inet_pton(AF_INET, address, &binary) == 1;
}

/* password=, sslpassword = */
static bool names_password(const char *text)
{
    for (const char *at = text; (at = strstr(at, "password")) != NULL;) {
        at += strlen("password");
        if (at[strspn(at, " \t\r\n\f\v")] == '=')
            return true;
    }
    return false;
}

static bool has_colon_before(const char *text, const char *end)
{
    return end != NULL && memchr(text, ':', (size_t)(end - text)) != NULL;
}

/* "user:password@": libpq looks for the first '@' up to a '/', past any '?' and '#'. Whoever wrote
 * a password with a '/' in it meant the same. An '@' in the query is in somebody's name. */
static bool has_password(const char *user)
{
    return has_colon_before(user, memchr(user, '@', strcspn(user, "/"))) ||
           has_colon_before(user, memrchr(user, '@', strcspn(user, "?")));
}

/* A url of libpq's, or its key=value form, without a password: the configuration is printed, and
 * passed on. The rest is libpq's to judge. */
static bool is_database(const char *text)
{
    const char *after = strstr(text, "://");
    if (text[0] == '\0')
        return true;
    if (names_password(text))
        return false;
    if (after == NULL)
        return strchr(text, '=') != NULL;
    if (strncmp(text, "postgresql://", 13) != 0 && strncmp(text, "postgres://", 11) != 0)
        return false;
    return !has_password(after + 3);
}

/*--- Keys -------------------------------------------------------------------------------------*/

#define AT(member) offsetof(struct config, member)

const struct key keys[] = {
    { "agent", "data_dir", KEY_TEXT, AT(agent.data_dir), .fallback = "./daa-data", .check = is_path,
      .expected = "a directory", .example = "/var/lib/daa",
      .doc = "Everything the agent keeps: the event log, its state, its socket." },
    { "agent", "listen", KEY_TEXT, AT(agent.listen), .fallback = "127.0.0.1:8080",
      .check = is_address_and_port, .expected = "an address and a port", .example = "[::1]:8080",
      .doc = "Where the HTTP API listens. Port 0 picks a free one, which is printed." },

    { "log", "segment_size", KEY_SIZE, AT(log.segment_size), 256 * KB, GB, "64MB",
      .doc = "Size of a file of the event log. It holds for a new log; an old one keeps its own." },
    { "log", "frames_in_flight", KEY_COUNT, AT(log.frames_in_flight), 1, 32, "8",
      .doc = "Durable writes under way at once." },
    { "log", "spares", KEY_COUNT, AT(log.spares), 2, 64, "2",
      .doc = "Files made and zeroed ahead, so that a commit never waits for one." },
    { "log", "second_dir", KEY_TEXT, AT(log.second_dir), .fallback = "", .check = is_absolute_or_no,
      .expected = "an absolute path, or \"\"", .example = "/mnt/other/daa",
      .doc =
          "A directory on another device, made when it is missing: the log goes on there when a\n"
          "write to its own device has been under way for 500 ms, and comes back when that\n"
          "answers again. It needs io_uring, twice the size of a file of the log there, and once\n"
          "that size of memory. Several logs may share it. \"\" is none: such a write is waited\n"
          "for." },
    { "log", "sync", KEY_CHOICE, AT(log.sync), .fallback = "probe",
      .choices = { "probe", "dsync", "fdatasync" },
      .doc =
          "How a write is made durable. \"probe\" measures the device and takes the better one." },
    { "log", "engine", KEY_CHOICE, AT(log.engine), .fallback = "best",
      .choices = { "best", "ring", "plain" },
      .doc = "How the log is written: by io_uring (\"ring\"), by pwritev2 (\"plain\"), or by\n"
             "io_uring where the kernel allows it (\"best\")." },
    { "log", "chain", KEY_TRUTH, AT(log.chain), .fallback = "true",
      .doc = "Chains the log's frames by SHA-256, so that a change in the past can be shown." },
    { "log", "seal", KEY_TRUTH, AT(log.seal), .fallback = "true",
      .doc = "Packs files of the log that are over, to a fraction of their size. Reading does not\n"
             "change, and \"zstd -dc\" unpacks them too." },
    { "log", "encryption", KEY_TRUTH, AT(log.encryption), .fallback = "false",
      .doc =
          "Gives each new workflow a key of its own (AES-256-GCM), with which its input, outputs,\n"
          "errors, metadata and signals are encrypted in the log, so that \"daa-cli workflow\n"
          "erase\" can make them unreadable for ever, in every copy of the log. The keys are not\n"
          "in backups of the log: keep a copy of them, or what they encrypt is lost with them." },
    { "log", "keys_dir", KEY_TEXT, AT(log.keys_dir), .fallback = "keys", .check = is_path,
      .expected = "a directory", .example = "/mnt/elsewhere/keys",
      .doc = "Where the keys are. A relative path is inside data_dir." },
    { "log", "space_low", KEY_SIZE, AT(log.space_low), 0, TB, "1GB",
      .doc = "With less free space for the log the agent warns (event storage.space, /status). At\n"
             "most a tenth of the filesystem, at least four segments." },
    { "log", "space_critical", KEY_SIZE, AT(log.space_critical), 0, TB, "256MB",
      .doc =
          "With less, new workflows are refused (507) and the ballast is given up; what is under\n"
          "way goes on. At most a fortieth of the filesystem, at least two segments." },
    { "log", "ballast", KEY_SIZE, AT(log.ballast), 0, TB, "256MB",
      .doc = "A file of no use but its size, given up when space is critical. At most a hundredth\n"
             "of the filesystem; \"0B\" makes none." },
    { "log", "scrub_interval", KEY_DURATION, AT(log.scrub_interval), 0, 3650 * DAY, "14d",
      .doc = "How often all closed files of the log are read through, at the lowest priority, to\n"
             "find damage while there are copies to mend it from. \"0s\" is never." },

    { "api", "max_body_size", KEY_SIZE, AT(api.max_body_size), KB, 16 * MB, "1MB",
      .doc = "A larger request is answered with 413." },
    { "api", "max_connections", KEY_COUNT, AT(api.max_connections), 1, 100000, "1000",
      .doc = "Connections at once; one more is closed at once." },
    { "api", "request_timeout", KEY_DURATION, AT(api.request_timeout), SECOND, HOUR, "30s",
      .doc = "A client that takes longer to send its request, or its next one, is let go." },
    { "api", "socket", KEY_TEXT, AT(api.socket), .fallback = "agent.sock",
      .doc = "A Unix socket for the same API, mode 0600. A relative path is inside data_dir;\n"
             "\"\" makes none." },
    { "api", "anonymous", KEY_TRUTH, AT(api.anonymous), .fallback = "true",
      .doc = "Over loopback, reading and submitting need no token." },

    { "exec", "enabled", KEY_TRUTH, AT(exec.enabled), .fallback = "false",
      .doc = "Whether steps of the kind \"exec\" may run programs at all." },
    { "exec", "allow", KEY_LIST, AT(exec.allow), .fallback = "", .check = is_absolute_path,
      .expected = "absolute paths of programs", .example = "/usr/bin/true",
      .doc = "The programs that may run. Nothing else does; no shell is involved." },
    { "exec", "env", KEY_LIST, AT(exec.env), .fallback = "PATH,LANG,TZ",
      .check = key_is_variable_name, .expected = "names of environment variables",
      .example = "PATH",
      .doc = "The variables of the agent's own environment that a program gets to see." },
    { "exec", "max_concurrent", KEY_COUNT, AT(exec.max_concurrent), 1, 1024, "8",
      .doc = "Programs running at once; more steps wait." },
    { "exec", "max_time", KEY_DURATION, AT(exec.max_time), SECOND, 7 * DAY, "1h",
      .doc = "A program is ended then, even if its step has a longer timeout or none." },
    { "exec", "max_memory", KEY_SIZE, AT(exec.max_memory), 0, TB, "1GB",
      .doc = "Address space of a program; \"0B\" is no limit." },
    { "exec", "output_limit", KEY_SIZE, AT(exec.output_limit), KB, 8 * MB, "64KB",
      .doc = "A program whose output and errors together are longer is ended." },

    { "network", "allow", KEY_LIST, AT(network.allow), .fallback = "", .check = is_network_or_host,
      .expected = "addresses, CIDRs and host names", .example = "10.1.2.0/24",
      .doc = "Exceptions from deny. A host name allows every address that it resolves to." },
    { "network", "deny", KEY_LIST, AT(network.deny),
      .fallback = "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,127.0.0.0/8,169.254.0.0/16,172.16.0.0/12,"
                  "192.168.0.0/16,224.0.0.0/4,240.0.0.0/4,::/128,::1/128,fc00::/7,fe80::/10,"
                  "fec0::/10,ff00::/8",
      .check = is_network, .expected = "addresses and CIDRs", .example = "10.0.0.0/8",
      .doc = "Addresses that no effect may connect to, whatever name led there: unspecified,\n"
             "private, shared, loopback, link-local, multicast and reserved ones." },

    { "http_client", "pool_size", KEY_COUNT, AT(http_client.pool_size), 1, 10000, "100",
      .doc = "Outgoing HTTP connections in all." },
    { "http_client", "keep_alive_timeout", KEY_DURATION, AT(http_client.keep_alive_timeout), SECOND,
      DAY, "60s", .doc = "An idle connection is closed after it." },
    { "http_client", "max_response_size", KEY_SIZE, AT(http_client.max_response_size), KB, 8 * MB,
      "1MB", .doc = "A step whose answer is larger fails." },
    { "http_client", "enable_http2", KEY_TRUTH, AT(http_client.enable_http2), .fallback = "true",
      .doc = "HTTP/2 over TLS where the server offers it." },

    { "runtime", "worker_threads", KEY_COUNT, AT(runtime.worker_threads), 0, 1024, "0",
      .doc = "Threads of the HTTP API. 0: as many as CPUs that the agent may use." },
    { "runtime", "enable_io_uring", KEY_TRUTH, AT(runtime.enable_io_uring), .fallback = "true",
      .doc = "false: the same as log.engine = \"plain\"." },

    { "orchestrator", "max_concurrent_workflows", KEY_COUNT,
      AT(orchestrator.max_concurrent_workflows), 1, 1000000, "100",
      .doc = "Workflows with a step that is ready or running; those that wait do not count." },
    { "orchestrator", "workflow_queue_size", KEY_COUNT, AT(orchestrator.workflow_queue_size), 1,
      1000000, "1000", .doc = "Requests that are not durable yet; one more is answered with 429." },
    { "orchestrator", "max_pending", KEY_COUNT, AT(orchestrator.max_pending), 1, 100000000,
      "1000000", .doc = "Workflows that were accepted and have not ended." },

    { "memory", "max_heap_size", KEY_SIZE, AT(memory.max_heap_size), 64 * MB, 64 * TB, "2GB",
      .doc = "The budget for all that can grow; past it new work is refused." },

    { "state", "commit_interval", KEY_DURATION, AT(state.commit_interval), SECOND / 1000, MINUTE,
      "50ms", .doc = "How often changed documents are written to the database." },
    { "state", "commit_bytes", KEY_SIZE, AT(state.commit_bytes), 64 * KB, GB, "8MB",
      .doc = "They are written earlier when there is so much of them." },
    { "state", "finished_ttl", KEY_DURATION, AT(state.finished_ttl), SECOND, 36500 * DAY, "7d",
      .doc = "A workflow leaves the state so long after its end; its events stay in the log." },
    { "state", "finished_max_bytes", KEY_SIZE, AT(state.finished_max_bytes), 0, 1024 * TB, "1GB",
      .doc =
          "The oldest that have ended leave it earlier when all of them take more; \"0B\" is no\n"
          "limit." },
    { "state", "idle_bytes", KEY_SIZE, AT(state.idle_bytes), 0, TB, "0B",
      .doc = "Memory for workflows that only wait; those used longest ago are let go and read\n"
             "again when something happens. \"0B\" is a quarter of memory.max_heap_size." },
    { "state", "snapshot_bytes", KEY_SIZE, AT(state.snapshot_bytes), 0, TB, "4GB",
      .doc =
          "A snapshot of the state is made after so much log; \"0B\" is never for that reason." },
    { "state", "snapshot_interval", KEY_DURATION, AT(state.snapshot_interval), 0, 365 * DAY, "1d",
      .doc = "And after so much time; \"0s\" is never for that reason. The two newest are kept." },

    { "idempotency", "ttl", KEY_DURATION, AT(idempotency.ttl), MINUTE, 365 * DAY, "24h",
      .doc = "How long an Idempotency-Key is known after its workflow ended." },
    { "idempotency", "max_bytes", KEY_SIZE, AT(idempotency.max_bytes), 0, 1024 * TB, "1GB",
      .doc = "Beyond it new requests with a key get 429; no key is forgotten early. \"0B\" is no\n"
             "limit." },

    { "clock", "on_step", KEY_CHOICE, AT(clock.on_step), .fallback = "wait",
      .choices = { "wait", "accept" },
      .doc =
          "What happens when the wall clock is more than 10 s away from log time: \"wait\" until "
          "it\n"
          "is back or \"daa-cli clock accept\"; or \"accept\" it when it is steady for a minute." },
    { "anchor", "interval", KEY_DURATION, AT(anchor.interval), 0, DAY, "60s",
      .doc = "The head of the log is signed so often when there are new events, and whenever a\n"
             "segment was sealed; \"0s\" is only when somebody asks." },
    { "anchor", "file", KEY_TEXT, AT(anchor.file), .fallback = "anchors.jsonl", .check = is_path,
      .expected = "a file", .example = "/mnt/elsewhere/anchors.jsonl",
      .doc = "Signed heads are appended to it. It shows most on another machine, or where it can\n"
             "only be appended to. A relative path is inside data_dir." },
    { "anchor", "key", KEY_TEXT, AT(anchor.key), .fallback = "anchor.key", .check = is_path,
      .expected = "a file", .example = "/etc/daa/anchor.key",
      .doc = "The private key that signs (Ed25519, PEM, mode 0600), made when it is missing. The\n"
             "public one is anchor.pub in data_dir." },

    { "retention", "max_bytes", KEY_SIZE, AT(retention.max_bytes), 0, 1024 * TB, "0B",
      .doc = "The oldest segments of the log go when all that hold events take more; \"0B\" is no\n"
             "limit. Nothing goes that a snapshot or a reader still needs." },
    { "retention", "max_age", KEY_DURATION, AT(retention.max_age), 0, 36500 * DAY, "0s",
      .doc = "Segments go when their newest event is older; \"0s\" is no limit." },
    { "retention", "reader_ttl", KEY_DURATION, AT(retention.reader_ttl), MINUTE, 36500 * DAY, "7d",
      .doc = "A reader of the log (log/readers/NAME) that was not seen for so long holds nothing\n"
             "back, unless it is required." },
    { "retention", "required_readers", KEY_LIST, AT(retention.required_readers), .fallback = "",
      .check = log_reader_name_is_good, .expected = "names of readers", .example = "pgsync",
      .doc = "Readers without which nothing goes, however long they were not seen." },
    { "retention", "on_full", KEY_CHOICE, AT(retention.on_full), .fallback = "read_only",
      .choices = { "read_only", "drop_replica" },
      .doc = "What happens when space is critical and readers hold what should go: \"read_only\"\n"
             "keeps it for them, and new workflows are refused until there is room;\n"
             "\"drop_replica\" removes it, and an event says which reader lacks what." },

    { "database", "url", KEY_TEXT, AT(database.url), .fallback = "", .check = is_database,
      .expected = "a url of PostgreSQL without a password (that comes from PGPASSWORD, or from the "
                  "file that PGPASSFILE names)",
      .example = "postgresql://daa@127.0.0.1:5432/daa", .secret = true,
      .doc =
          "The PostgreSQL that daa-pgsync copies the log into: searches and workflows that have\n"
          "left the state are answered from there. The password comes from PGPASSWORD, or from\n"
          "the file that PGPASSFILE names. \"\" is none: searches look at the state alone." },
    { "database", "sync", KEY_TRUTH, AT(database.sync), .fallback = "false",
      .doc = "Whether the agent itself copies the log there; else daa-pgsync does." },
    { "database", "pool_size", KEY_COUNT, AT(database.pool_size), 1, 1000, "50",
      .doc = "Connections that are kept, once they were needed." },
    { "database", "max_overflow", KEY_COUNT, AT(database.max_overflow), 0, 1000, "20",
      .doc = "Connections more that may be in use; each is closed when it is not any more." },
    { "database", "pool_timeout", KEY_DURATION, AT(database.pool_timeout), SECOND / 1000, HOUR,
      "30s", .doc = "The longest wait for a connection; then the request is answered with 503." },
    { "database", "pool_recycle", KEY_DURATION, AT(database.pool_recycle), 0, 365 * DAY, "3600s",
      .doc = "An older connection is closed and opened again before it is used; \"0s\" is never." },
    { "database", "pool_pre_ping", KEY_TRUTH, AT(database.pool_pre_ping), .fallback = "true",
      .doc =
          "Whether a kept connection is tried before it is used, and replaced when it is dead." },
};

const size_t key_count = sizeof keys / sizeof keys[0];

const char *const keys_absent[] = {
    "http_client.max_idle_per_host", /* curl bounds what is idle over all hosts: pool_size */
    "runtime.max_blocking_threads",  /* no pool is for all that blocks: exec has its own */
    "runtime.thread_stack_size",
    "runtime.thread_name",
    "runtime.enable_io",
    "runtime.enable_time",
    "orchestrator.task_batch_size",
    "orchestrator.heartbeat_interval",
    "memory.gc_interval",
    "memory.enable_memory_profiling",
    "cache.*",
    "network.max_peers",
    "network.target_peers",
    "network.connection_timeout",
    "network.keep_alive_interval",
    "network.enable_tcp_nodelay",
    "network.tcp_socket_buffer_size",
    "network.enable_quic_transport",
    "network.discovery_interval",
    "network.bootstrap_interval",
    "rules.*",
    NULL,
};

/*--- Names ------------------------------------------------------------------------------------*/

void key_path(char path[KEY_PATH_SIZE], const struct key *key)
{
    (void)snprintf(path, KEY_PATH_SIZE, "%s.%s", key->section, key->name);
}

void key_variable(char name[KEY_PATH_SIZE], const struct key *key)
{
    (void)snprintf(name, KEY_PATH_SIZE, "DAA_%s_%s", key->section, key->name);
    for (char *at = name; *at != '\0'; at++)
        *at = (char)toupper((unsigned char)*at);
}

const struct key *key_find(const char *path)
{
    char known[KEY_PATH_SIZE];
    for (size_t i = 0; i < key_count; i++) {
        key_path(known, &keys[i]);
        if (strcmp(known, path) == 0)
            return &keys[i];
    }
    return NULL;
}

bool key_is_absent(const char *path)
{
    for (size_t i = 0; keys_absent[i] != NULL; i++) {
        const char *known = keys_absent[i];
        size_t size = strlen(known);
        if (strcmp(known, path) == 0)
            return true;
        /* "cache.*" is all of the section, and the section itself. */
        if (known[size - 1] == '*' && strncmp(known, path, size - 2) == 0 &&
            (path[size - 2] == '.' || path[size - 2] == '\0'))
            return true;
    }
    return false;
}
