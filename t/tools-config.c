#include "scratch.h"
#include "tap.h"

#include "tools/config/config.h"
#include "tools/config/network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct config config;
static struct error error;

static int load_with(const char *toml, char *const *environment)
{
    memset(&error, 0, sizeof error);
    return config_load_text(&config, "daa.toml", span_of_text(toml), environment, &error);
}

/* With variables that stand between semicolons. */
static int load_in(const char *toml, const char *variables)
{
    char copy[512], *environment[20], *rest = NULL;
    int count = 0;
    (void)snprintf(copy, sizeof copy, "%s", variables);
    for (char *one = strtok_r(copy, ";", &rest); one != NULL; one = strtok_r(NULL, ";", &rest))
        environment[count++] = one;
    environment[count] = NULL;
    return load_with(toml, environment);
}

static void defaults(void)
{
    is_int(load_with("", NULL), 0, "nothing at all is a configuration");
    is_str(config.agent.data_dir, "./daa-data", "the data directory has a default");
    is_str(config.agent.listen, "127.0.0.1:8080", "and so has the address");
    is_int(config.log.segment_size, 64 << 20, "segments have 64 MiB");
    is_int(config.log.sync, CONFIG_SYNC_PROBE, "the device is probed");
    ok(config.log.chain, "frames are chained");
    is_str(config.api.socket_path, "./daa-data/agent.sock", "the socket is in the data directory");
    ok(config.api.anonymous, "loopback needs no token to read and submit");
    ok(!config.exec.enabled, "no programs run");
    is_int(config.exec.allow.count, 0, "and none is allowed");
    ok(config.network.deny.count > 10, "private networks are denied");
    is_int(config.http_client.keep_alive_timeout, 60000000000, "durations are in ns");
    is_int(config.orchestrator.max_pending, 1000000, "a million workflows may be pending");
    is_int(config.memory.max_heap_size, 2ll << 30, "the budget is 2 GB");
    is_int(config.state.commit_interval, 50000000, "documents are committed every 50 ms");
    is_int(config.idempotency.ttl, 86400000000000, "keys are known for a day");
    is_int(config.clock.on_step, CONFIG_ON_STEP_WAIT, "a wall clock that was stepped is not taken");
    is_int(config.retention.max_bytes + config.retention.max_age, 0, "the log is kept for ever");
    is_int(config.retention.reader_ttl, 604800000000000, "readers are waited for for a week");
    is_int(config.retention.required_readers.count, 0, "none is required");
    is_str(config.database.url, "", "there is no Postgres");
    is_int(config.database.pool_size + config.database.max_overflow, 70, "70 connections there");
    is_int(config.database.pool_timeout, 30000000000, "are waited for for half a minute");
    is_int(config.database.pool_recycle, 3600000000000, "and live for an hour");
    ok(config.database.pool_pre_ping && !config.database.sync, "they are tried before use");
    is_int(config.warnings.count, 0, "and there is nothing to warn about");
    config_free(&config);
}

static void values(void)
{
    static const char toml[] =
        "[agent]\ndata_dir = \"/srv/daa\"\nlisten = \"[::1]:0\"\n"
        "[log]\nsync = 'fdatasync'\nengine = \"plain\"\nchain = false\nspares = 4\n"
        "segment_size = \"256KiB\"\n"
        "[api]\nsocket = \"\"\nrequest_timeout = \"1.5m\"\n"
        "[exec]\nenabled = true\nallow = [\n  \"/usr/bin/true\", # one\n  \"/bin/echo\",\n]\n"
        "[network]\nallow = [\"10.1.0.0/16\", \"api.example\"]\ndeny = []\n"
        "[secrets]\nTOKEN = \"file:/run/token\"\nkey_2 = \"env:KEY\"\n";
    if (!is_int(load_with(toml, NULL), 0, "a file with everything is read"))
        tap_note("%s", error.text);
    is_str(config.agent.listen, "[::1]:0", "IPv6 addresses stand in brackets");
    is_int(config.log.sync, CONFIG_SYNC_FDATASYNC, "choices are read");
    is_int(config.log.engine, CONFIG_ENGINE_PLAIN, "all of them");
    ok(!config.log.chain, "truth values are read");
    is_int(config.log.spares, 4, "numbers are read");
    is_int(config.log.segment_size, 256 << 10, "sizes are read");
    is_int(config.api.request_timeout, 90000000000, "durations are read");
    ok(config.api.socket_path == NULL, "an empty socket is none");
    is_int(config.exec.allow.count, 2, "lists are read");
    is_str(config.exec.allow.items[1], "/bin/echo", "item by item");
    is_int(config.network.deny.count, 0, "an empty list replaces the default");
    is_int(config.secret_count, 2, "secrets are read");
    is_int(config.api.max_connections, 1000, "what is not there keeps its default");
    config_free(&config);

    is_int(load_with("[agent]\ndata_dir = \"/srv/daa\"\n[api]\nsocket = \"/run/daa.sock\"", NULL),
           0, "a socket elsewhere is fine");
    is_str(config.api.socket_path, "/run/daa.sock", "and stays where it is");
    is_int(config_set(&config, "api.socket", "x.sock", &error), 0, "a key can be set later");
    is_int(config_set(&config, "agent.data_dir", "/data", &error), 0, "and another");
    is_str(config.api.socket_path, "/data/x.sock", "what follows from both follows them");
    is_int(config_set(&config, "agent.listen", "8080", &error), ERROR_INVALID,
           "a wrong value is refused");
    is_str(error.text,
           "agent.listen is \"8080\"; expected an address and a port in quotes, like "
           "\"[::1]:8080\"",
           "with what is expected");
    config_free(&config);
}

static void environment(void)
{
    is_int(load_in("[log]\nspares = 3\n",
                   "DAA_LOG_SPARES=5;DAA_EXEC_ALLOW=/bin/a,/bin/b;DAA_HTTP_CLIENT_POOL_SIZE=7;"
                   "DAA_API_ANONYMOUS=false;DAA_AGENT_LISTEN=0.0.0.0:1;"
                   "DAA_STATE_COMMIT_INTERVAL=1s;DAA_NETWORK_DENY=;PATH=/bin"),
           0, "the environment is read");
    is_int(config.log.spares, 5, "and wins over the file");
    is_int(config.exec.allow.count, 2, "lists are split at commas");
    is_str(config.exec.allow.items[1], "/bin/b", "into their items");
    is_int(config.http_client.pool_size, 7, "sections may hold a _");
    ok(!config.api.anonymous, "truth values are words");
    is_int(config.network.deny.count, 0, "an empty list is empty");
    is_int(config.state.commit_interval, 1000000000, "units are the same as in the file");
    is_int(config.warnings.count, 0, "other variables are none of ours");
    config_free(&config);

    is_int(load_with("[retention]\nmax_bytes = \"20GB\"\nmax_age = \"365d\"\n"
                     "required_readers = [\"pgsync\", \"archive.2\"]\n",
                     NULL),
           0, "the log can be bounded");
    ok(config.retention.max_bytes == 20ull << 30 &&
           config.retention.max_age == 365 * 86400000000000ull &&
           config.retention.required_readers.count == 2,
       "by size, by age and by readers");
    config_free(&config);
    is_int(load_with("[retention]\nrequired_readers = [\"../x\"]\n", NULL), ERROR_INVALID,
           "a reader has a name of its own");

    is_int(load_in("", "DAA_LOG_SPARES=many"), ERROR_INVALID, "a wrong value is refused");
    is_str(error.text,
           "environment variable DAA_LOG_SPARES: log.spares is \"many\"; expected a number from 2 "
           "to 64, like 2",
           "with the name of the variable");
    is_int(load_in("", "DAA_LOG_SPARE=3;DAA_URL=x"), 0,
           "a variable that is nearly ours is no error");
    is_int(config.warnings.count, 1, "but a warning");
    is_str(config.warnings.items[0],
           "the environment variable DAA_LOG_SPARE has no effect; did you mean DAA_LOG_SPARES?",
           "that says what was probably meant");
    config_free(&config);
}

static const struct {
    const char *toml, *want;
} refusals[] = {
    { "[log]\nsegment_sice = \"64MB\"",
      "daa.toml:2: unknown key log.segment_sice; did you mean log.segment_size?" },
    { "\n[lgo]\nspares = 3", "daa.toml:2: unknown section [lgo]; did you mean [log]?" },
    { "[sorcery]", "daa.toml:1: unknown section [sorcery]" },
    { "data_dir = \"x\"", "daa.toml:1: unknown key data_dir; did you mean agent.data_dir?" },
    { "[log]\nxyzzy = 1", "daa.toml:2: unknown key log.xyzzy" },
    { "\"log.spares\" = 3", "daa.toml:1: unknown key \"log.spares\"; did you mean log.spares?" },
    { "[log]\nspares = 1",
      "daa.toml:2: log.spares is the number 1; expected a number from 2 to 64, like 2" },
    { "[log]\nspares = -3",
      "daa.toml:2: log.spares is the number -3; expected a number from 2 to 64, like 2" },
    { "[log]\nspares = 2.5", "daa.toml:2: log.spares is a number with a fraction; expected a "
                             "number from 2 to 64, like 2" },
    { "[log]\nspares = \"3\"",
      "daa.toml:2: log.spares is \"3\"; expected a number from 2 to 64, like 2" },
    { "[log]\nsegment_size = 64", "daa.toml:2: log.segment_size is the number 64; expected a size "
                                  "with its unit from 256KB to 1GB, like \"64MB\"" },
    { "[log]\nsegment_size = \"64s\"", "daa.toml:2: log.segment_size is \"64s\"; expected a size "
                                       "with its unit from 256KB to 1GB, like \"64MB\"" },
    { "[log]\nsegment_size = \"2GB\"", "daa.toml:2: log.segment_size is \"2GB\"; expected a size "
                                       "with its unit from 256KB to 1GB, like \"64MB\"" },
    { "[api]\nrequest_timeout = \"30\"",
      "daa.toml:2: api.request_timeout is \"30\"; expected a duration with its unit from 1s to 1h, "
      "like \"30s\"" },
    { "[api]\nrequest_timeout = \"2h\"",
      "daa.toml:2: api.request_timeout is \"2h\"; expected a duration with its unit from 1s to 1h, "
      "like \"30s\"" },
    { "[api]\nanonymous = \"yes\"",
      "daa.toml:2: api.anonymous is \"yes\"; expected true or false" },
    { "[api]\nanonymous = 1", "daa.toml:2: api.anonymous is the number 1; expected true or false" },
    { "[log]\nsync = \"fsync\"", "daa.toml:2: log.sync is \"fsync\"; expected one of \"probe\", "
                                 "\"dsync\", \"fdatasync\"" },
    { "[log]\nsync = true",
      "daa.toml:2: log.sync is true; expected one of \"probe\", \"dsync\", \"fdatasync\"" },
    { "[exec]\nallow = \"/bin/sh\"", "daa.toml:2: exec.allow is \"/bin/sh\"; expected a list of "
                                     "absolute paths of programs, like [\"/usr/bin/true\"]" },
    { "[exec]\nallow = [\"/bin/a\", \"sh\"]",
      "daa.toml:2: exec.allow holds \"sh\"; expected a list of absolute paths of programs, like "
      "[\"/usr/bin/true\"]" },
    { "[exec]\nallow = [1]", "daa.toml:2: exec.allow is a list that holds a number; expected a "
                             "list of absolute paths of programs, like [\"/usr/bin/true\"]" },
    { "[network]\ndeny = [\"10.0.0.1/8\"]",
      "daa.toml:2: network.deny holds \"10.0.0.1/8\"; expected a list of addresses and CIDRs, like "
      "[\"10.0.0.0/8\"]" },
    { "[network]\ndeny = [\"example.org\"]",
      "daa.toml:2: network.deny holds \"example.org\"; expected a list of addresses and CIDRs, "
      "like [\"10.0.0.0/8\"]" },
    { "[agent]\nlisten = \"127.0.0.1\"",
      "daa.toml:2: agent.listen is \"127.0.0.1\"; expected an address and a port in quotes, like "
      "\"[::1]:8080\"" },
    { "[agent]\nlisten = \"127.0.0.1:70000\"",
      "daa.toml:2: agent.listen is \"127.0.0.1:70000\"; expected an address and a port in quotes, "
      "like \"[::1]:8080\"" },
    { "[agent]\ndata_dir = 2026-11-23",
      "daa.toml:2: agent.data_dir is a date or a time; expected a directory in quotes, like "
      "\"/var/lib/daa\"" },
    { "[agent]\ndata_dir = \"a\\u0000b\"",
      "daa.toml:2: agent.data_dir is text with a NUL in it; expected a directory in quotes, like "
      "\"/var/lib/daa\"" },
    { "[agent.data_dir]\nx = 1", "daa.toml:1: agent.data_dir is a table; expected a directory in "
                                 "quotes, like \"/var/lib/daa\"" },
    { "[secrets]\nTOKEN = \"hunter2\"",
      "daa.toml:2: secrets.TOKEN is neither \"file:/path\" nor \"env:VARIABLE\"; a secret itself "
      "does not belong in the configuration" },
    { "[secrets]\nTOKEN = \"file:relative\"",
      "daa.toml:2: secrets.TOKEN is neither \"file:/path\" nor \"env:VARIABLE\"; a secret itself "
      "does not belong in the configuration" },
    { "[secrets]\nmy-token = \"env:X\"",
      "daa.toml:2: secrets.my-token: a name of a secret is letters, digits and _" },
};

static void refused(void)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        is_int(load_with(refusals[i].toml, NULL), ERROR_INVALID, "case %zu is refused", i);
        is_str(error.text, refusals[i].want, "with a sentence that helps");
    }
    static const char *const broken[] = {
        "[log",         "[log]\nspares = ", "[log]\nspares = 3 4",     "a = \"\xff\"",
        "x = 1\nx = 2", "[log]\n[log]",     "x = 99999999999999999999"
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        is_int(load_with(broken[i], NULL), ERROR_SYNTAX, "what is no TOML is refused");
        ok(strncmp(error.text, "daa.toml:", 9) == 0 && error.text[9] >= '1',
           "with file and line: %s", error.text);
    }
    static const char *const hostile[] = { "[=log]",
                                           "[[[a]]]",
                                           "[&",
                                           "a\xd2\x91 = 1",
                                           "[log]\nspares\xc2\xa0 = 3",
                                           "x = 2'''a\xcb\x91'''",
                                           "x = [2'''a\xc3\xa9 ''']" };
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++)
        is_int(load_with(hostile[i], NULL), ERROR_SYNTAX, "so is what the library cannot bear: %s",
               error.text);
    is_int(load_with("\xef\xbb\xbf[agent] # \xc3\xa4\ndata_dir = '\xc3\xa4' # \xc3\xa4\n", NULL), 0,
           "characters beyond ASCII are fine in quotes, in comments, and as a byte order mark");
    config_free(&config);
    is_int(load_with("[rules]\na = \"\"\"\n\xc3\xa4\"\" \\\"\"\"\"\nb = "
                     "'''\n\xc3\xa4'' '''\nc = '\xc3\xa4\"'\n",
                     NULL),
           0, "also in long quotes");
    config_free(&config);
    char *deep = malloc((300u << 10));
    if (deep == NULL)
        tap_bail_out("out of memory");
    for (size_t i = 0; i < (300u << 10); i++)
        deep[i] = i % 2 == 0 ? 'a' : '.';
    is_int(config_load_text(&config, "deep", span_of(deep, 100000), NULL, &error), ERROR_TOO_LARGE,
           "a key of 50000 parts is refused");
    memset(deep, '[', (300u << 10));
    memcpy(deep, "x = ", 4);
    is_int(config_load_text(&config, "deep", span_of(deep, 1000), NULL, &error), ERROR_SYNTAX,
           "so are lists in lists in lists");
    memset(deep, '\n', (300u << 10));
    is_int(config_load_text(&config, "deep", span_of(deep, (300u << 10)), NULL, &error),
           ERROR_TOO_LARGE, "and a file of more than 256 KiB");
    free(deep);
}

static void absent(void)
{
    is_int(load_with("[cache]\nenabled = true\nmax_size = \"512MB\"\n"
                     "[runtime]\nthread_stack_size = \"2MB\"\nworker_threads = 8\n"
                     "[network]\nmax_peers = 100\n",
                     NULL),
           0, "keys of features that are not there yet are accepted");
    is_int(config.runtime.worker_threads, 8, "beside keys that are");
    is_int(config.warnings.count, 3, "with one warning for each key or section");
    is_str(config.warnings.items[0], "daa.toml:1: [cache] is not in this version and has no effect",
           "for a section");
    is_str(config.warnings.items[1],
           "daa.toml:5: runtime.thread_stack_size is not in this version and has no effect",
           "and for a key");
    config_free(&config);
    is_int(
        load_with("[http_client]\nmax_idle_per_host = 10\n[runtime]\nmax_blocking_threads = 64\n",
                  NULL),
        0, "limits of pools that are not there are accepted");
    is_int(config.warnings.count, 2, "and are said to limit nothing");
    config_free(&config);
}

static void write_file(const char *path, struct span bytes)
{
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(bytes.bytes, 1, bytes.size, file) != bytes.size || fclose(file) != 0)
        tap_bail_out("cannot write %s", path);
}

static void printing(void)
{
    struct text first, second;
    text_init(&first);
    text_init(&second);
    is_int(load_with("[agent]\ndata_dir = \"/srv/\\\"x\\\" \xc3\xa4\\u007f\"\n[log]\nspares = 9\n"
                     "[exec]\nallow = [\"/bin/a\"]\n[state]\ncommit_interval = \"1.5ms\"\n"
                     "[secrets]\nTOKEN = \"file:/run/token\"\n",
                     NULL),
           0, "a configuration is read");
    config_print(&config, &first);
    config_free(&config);
    ok(strstr(text_string(&first), "commit_interval = \"1500us\"\n") != NULL, "and printed");
    if (!is_int(load_with(text_string(&first), NULL), 0, "what is printed can be read"))
        tap_note("%s", error.text);
    config_print(&config, &second);
    config_free(&config);
    is_str(text_string(&second), text_string(&first), "and gives the same again");

    text_clear(&first);
    text_clear(&second);
    config_print_example(&first);
    if (getenv("TEST_UPDATE") != NULL)
        write_file("config/daa.toml", text_span(&first));
    unsigned long size;
    unsigned char *file = scratch_read("config/daa.toml", &size);
    ok(span_equal(text_span(&first), span_of(file, size)),
       "config/daa.toml is what the table of keys says (TEST_UPDATE=1 writes it anew)");
    free(file);
    is_int(config_load(&config, "config/daa.toml", NULL, &error), 0, "it can be loaded");
    text_clear(&first);
    config_print(&config, &first);
    config_free(&config);
    is_int(load_with("", NULL), 0, "and is the same");
    config_print(&config, &second);
    config_free(&config);
    is_str(text_string(&second), text_string(&first), "as the defaults");
    text_free(&first);
    text_free(&second);
}

static void files(void)
{
    is_int(config_load(&config, scratch_path("none.toml"), NULL, &error), -2,
           "a file that is not there is an error");
    ok(strstr(error.text, "none.toml: No such file") != NULL, "that names it");
    ok(config_load(&config, scratch_dir(), NULL, &error) < 0, "a directory is no configuration");
}

static void secrets(void)
{
    static uint8_t value[CONFIG_SECRET_SIZE_MAX];
    static char large[CONFIG_SECRET_SIZE_MAX + 1];
    char toml[1000];
    size_t size;
    write_file(scratch_path("token"), span_of_text("s3cret\n"));
    memset(large, 'x', sizeof large);
    write_file(scratch_path("large"), span_of(large, sizeof large));
    write_file(scratch_path("largest"), span_of(large, sizeof large - 1));
    (void)snprintf(toml, sizeof toml,
                   "[secrets]\nTOKEN = \"file:%s\"\nLARGE = \"file:%s\"\nLARGEST = \"file:%s\"\n"
                   "NONE = \"file:%s\"\nKEY = \"env:DAA_TEST_KEY\"\n",
                   scratch_path("token"), scratch_path("large"), scratch_path("largest"),
                   scratch_path("none"));
    is_int(load_with(toml, NULL), 0, "secrets are configured");
    is_int(config_secret_read(&config, "TOKEN", value, &size, &error), 0, "one is read");
    ok(span_is(span_of(value, size), "s3cret"), "without the newline at its end");
    is_int(config_secret_read(&config, "LARGEST", value, &size, &error), 0, "64 KiB are read");
    is_int(size, CONFIG_SECRET_SIZE_MAX, "whole");
    is_int(config_secret_read(&config, "LARGE", value, &size, &error), ERROR_TOO_LARGE,
           "more is refused");
    is_int(config_secret_read(&config, "NONE", value, &size, &error), -2,
           "a file that is not there is an error");
    ok(strncmp(error.text, "secrets.NONE: /", 15) == 0, "that names secret and file");
    is_int(config_secret_read(&config, "OTHER", value, &size, &error), ERROR_NOT_FOUND,
           "a name that is not configured is refused");
    (void)unsetenv("DAA_TEST_KEY");
    is_int(config_secret_read(&config, "KEY", value, &size, &error), ERROR_NOT_FOUND,
           "a variable that is not set is an error");
    (void)setenv("DAA_TEST_KEY", "abc\n", 1);
    is_int(config_secret_read(&config, "KEY", value, &size, &error), 0, "one that is set is read");
    ok(span_is(span_of(value, size), "abc\n"), "as it is");
    config_free(&config);
}

static bool may(const char *host, const char *address)
{
    struct sockaddr_in6 ipv6 = { .sin6_family = AF_INET6 };
    struct sockaddr_in ipv4 = { .sin_family = AF_INET };
    if (inet_pton(AF_INET, address, &ipv4.sin_addr) == 1)
        return network_may_connect(&config, host, (struct sockaddr *)&ipv4);
    if (inet_pton(AF_INET6, address, &ipv6.sin6_addr) != 1)
        tap_bail_out("%s is no address", address);
    return network_may_connect(&config, host, (struct sockaddr *)&ipv6);
}

static void networks(void)
{
    static const char *const denied[] = {
        "127.0.0.1",
        "127.255.255.255",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "100.64.0.1",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "fec0::1",
    };
    static const char *const fine[] = { "1.1.1.1",         "172.32.0.1",      "172.15.255.255",
                                        "11.0.0.0",        "128.0.0.1",       "192.167.255.255",
                                        "100.128.0.1",     "2606:4700::1111", "::ffff:1.1.1.1",
                                        "64:ff9b::101:101" };
    is_int(load_with("", NULL), 0, "with the defaults");
    for (size_t i = 0; i < sizeof denied / sizeof denied[0]; i++)
        ok(!may("some.host", denied[i]), "%s is denied", denied[i]);
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        ok(may("some.host", fine[i]), "%s is not", fine[i]);
    struct sockaddr local = { .sa_family = AF_UNIX };
    ok(!network_may_connect(&config, NULL, &local), "what is no internet address is denied");
    config_free(&config);

    is_int(load_with("[network]\nallow = [\"10.1.0.0/16\", \"intern.example\", \"::1\"]", NULL), 0,
           "with exceptions");
    ok(may(NULL, "10.1.2.3"), "an allowed network is allowed");
    ok(!may(NULL, "10.2.0.0"), "its neighbour is not");
    ok(may("Intern.Example", "10.2.0.0"), "an allowed host may be anywhere");
    ok(!may("notintern.example", "10.2.0.0"), "another one may not");
    ok(may(NULL, "::1"), "a single address is a network of one");
    config_free(&config);

    struct network network;
    static const char *const bad[] = { "",         "1.2.3",       "1.2.3.4/33", "1.2.3.4/",
                                       "::/129",   "1.2.3.4/-1",  "1.2.3.4/8x", "/8",
                                       "::1/0001", "1.2.3.4 /32", "01.2.3.4" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        is_int(network_parse(&network, bad[i]), ERROR_SYNTAX, "\"%s\" is no network", bad[i]);
    is_int(network_parse(&network, "10.0.0.1/8"), ERROR_INVALID,
           "a network with bits behind its prefix is refused");
    is_int(network_parse(&network, "0.0.0.0/0"), 0, "all of IPv4 is a network");
    is_int(network_parse(&network, "::/0"), 0, "and so is everything");
}

/* The url of the database may hold everything but a password, and no message holds one. */
static void database(void)
{
    static const char *const good[] = {
        "postgresql://daa@db.example:5432/daa",
        "postgres:///daa?host=/run/postgresql",
        "postgresql://[::1]:5432/daa?sslmode=verify-full",
        "postgresql://password@h/password",
        "postgresql://h:5432/daa?user=daa@server",
        "host=/run/postgresql dbname=daa passfile=/etc/daa/pgpass",
    };
    static const char *const bad[] = {
        "postgresql://daa:s3cret@h/daa",
        "postgresql://daa:s3cret@h",
        "postgresql://daa:?s3cret@h/daa",
        "postgresql://daa:#s3cret?@h/daa",
        "postgresql://daa:/s3cret@h/daa",
        "postgresql://daa@h1,daa:s3cret@h2/daa",
        "postgresql://h/daa?password=s3cret",
        "host=h password = s3cret",
        "host=h password\t=s3cret",
        "host=h sslpassword=s3cret",
        "mysql://h/s3cret",
        "s3cret",
    };
    char toml[200];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        (void)snprintf(toml, sizeof toml, "[database]\nurl = \"%s\"", good[i]);
        if (is_int(load_with(toml, NULL), 0, "%s is a database", good[i]))
            config_free(&config);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(toml, sizeof toml, "[database]\nurl = \"%s\"", bad[i]);
        is_int(load_with(toml, NULL), ERROR_INVALID, "%s is refused", bad[i]);
        ok(strstr(error.text, "database.url") && !strstr(error.text, "s3cret"),
           "and not repeated: %s", error.text);
        (void)snprintf(toml, sizeof toml, "DAA_DATABASE_URL=%s", bad[i]);
        is_int(load_in("", toml), ERROR_INVALID, "in the environment too");
        ok(strstr(error.text, "PGPASSWORD") && !strstr(error.text, "s3cret"), "with what to do: %s",
           error.text);
    }
}

int main(void)
{
    defaults();
    database();
    values();
    environment();
    refused();
    absent();
    printing();
    files();
    secrets();
    networks();
    return tap_done();
}
