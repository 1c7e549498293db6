/* The configuration: one TOML file, environment variables over it, defaults below both.
 *
 * One table (keys.c) holds name, type, range, default and description of every key; parsing,
 * ranges, messages, printing and config/daa.toml all come from it. A key that the table does not
 * know is an error that names the nearest one, unless it belongs to a feature that is not in this
 * version: then it is a warning.
 *
 * `[log] segment_size` is DAA_LOG_SEGMENT_SIZE in the environment; lists are separated by commas
 * there. Durations are in ns here, sizes in bytes.
 *
 * Secrets are never in the file: `[secrets] NAME = "file:/path"` or "env:VARIABLE".
 *
 * Threads: load on one; a loaded configuration is read-only and may be read by any. */
#ifndef TOOLS_CONFIG_CONFIG_H
#define TOOLS_CONFIG_CONFIG_H

#include "core/base/error.h"
#include "core/base/text.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The values of `[log] sync`, `[clock] on_step` and `[log] engine`. */
enum config_sync { CONFIG_SYNC_PROBE, CONFIG_SYNC_DSYNC, CONFIG_SYNC_FDATASYNC };
enum config_on_step { CONFIG_ON_STEP_WAIT, CONFIG_ON_STEP_ACCEPT };
enum config_on_full { CONFIG_ON_FULL_READ_ONLY, CONFIG_ON_FULL_DROP_REPLICA };
enum config_engine { CONFIG_ENGINE_BEST, CONFIG_ENGINE_RING, CONFIG_ENGINE_PLAIN };

struct config_list {
    char **items;
    size_t count;
};

struct config_secret {
    char *name;   /* as in ${{ secrets.NAME }} */
    char *source; /* "file:/path" or "env:VARIABLE" */
};

struct config {
    struct {
        char *data_dir;
        char *listen; /* "ADDRESS:PORT", "[::1]:8080"; port 0 picks a free one */
    } agent;
    struct {
        uint64_t segment_size;     /* for a new log; an old one keeps its own */
        uint64_t frames_in_flight; /* 1 to 32 */
        uint64_t spares;
        char *second_dir; /* "": none */
        uint64_t sync;    /* enum config_sync */
        uint64_t engine;  /* enum config_engine */
        bool chain, seal;
        uint64_t space_low, space_critical; /* free bytes; see log/space.h */
        uint64_t ballast;                   /* 0: none */
        uint64_t scrub_interval;            /* 0: never by itself */
        bool encryption;
        char *keys_dir; /* as written: config_path() */
    } log;
    struct {
        uint64_t max_body_size;
        uint64_t max_connections;
        uint64_t request_timeout; /* for a whole request to arrive, and between two of them */
        char *socket;             /* as written; use socket_path */
        char *socket_path;        /* of the Unix socket; NULL: none */
        bool anonymous;           /* reads and submits on loopback go without a token */
    } api;
    struct {
        bool enabled;
        struct config_list allow; /* absolute paths of programs */
        struct config_list env;   /* names of our variables that a program gets */
        uint64_t max_concurrent;
        uint64_t max_time;
        uint64_t max_memory; /* 0: no limit */
        uint64_t output_limit;
    } exec;
    struct {
        struct config_list allow; /* exceptions from deny: addresses, CIDRs, host names */
        struct config_list deny;  /* addresses, CIDRs. See tools/config/network.h */
    } network;
    struct {
        uint64_t pool_size; /* connections in all */
        uint64_t keep_alive_timeout;
        uint64_t max_response_size;
        bool enable_http2;
    } http_client;
    struct {
        uint64_t worker_threads; /* 0: as many as CPUs we may use */
        bool enable_io_uring;
    } runtime;
    struct {
        uint64_t max_concurrent_workflows;
        uint64_t workflow_queue_size;
        uint64_t max_pending;
    } orchestrator;
    struct {
        uint64_t max_heap_size;
    } memory;
    struct {
        uint64_t commit_interval;
        uint64_t commit_bytes;
        uint64_t finished_ttl;       /* after its end a workflow leaves the state */
        uint64_t finished_max_bytes; /* of workflows that have ended; 0: no limit */
        uint64_t idle_bytes;         /* of workflows in memory that only wait; 0: a quarter of the
                                        budget */
        uint64_t snapshot_bytes;     /* of log between two; 0: not for that reason */
        uint64_t snapshot_interval;  /* 0: not for that reason */
    } state;
    struct {
        uint64_t ttl;
        uint64_t max_bytes; /* of the documents of keys; 0: no limit */
    } idempotency;
    struct {
        uint64_t on_step; /* enum config_on_step */
    } clock;
    struct {
        uint64_t interval; /* 0: only when somebody asks */
        char *file, *key;  /* relative: inside data_dir */
    } anchor;
    struct {
        uint64_t max_bytes; /* 0: no limit */
        uint64_t max_age;   /* 0: no limit */
        uint64_t reader_ttl;
        struct config_list required_readers; /* names: see log/readers.h */
        uint64_t on_full;                    /* enum config_on_full */
    } retention;
    struct {
        char *url; /* of PostgreSQL, without a password; "": none */
        bool sync;
        uint64_t pool_size, max_overflow; /* connections: see pgsync/pool.h */
        uint64_t pool_timeout, pool_recycle;
        bool pool_pre_ping;
    } database;
    struct config_secret *secrets;
    size_t secret_count;
    struct config_list warnings; /* sentences, for whoever loads it to print */
};

/* The defaults, then the file at `path` (NULL: none), then `environment` (like environ; NULL:
 * none). An error names file, line, key, what was found and what is expected. On failure there is
 * nothing to free. */
int config_load(struct config *config, const char *path, char *const *environment,
                struct error *error);

/* The same from bytes; `name` stands for the file in messages. */
int config_load_text(struct config *config, const char *name, struct span toml,
                     char *const *environment, struct error *error);

/* Sets one key that exists, "agent.listen", as an environment variable would: for options of a
 * program. */
int config_set(struct config *config, const char *key, const char *value, struct error *error);

void config_free(struct config *config);

/* A file or directory that the configuration names; a relative one is inside the data directory.
 * False: its path is longer than PATH_MAX. */
bool config_path(const struct config *config, const char *name, char path[PATH_MAX]);

/* The effective configuration as TOML. Sources of secrets are shown, values never. */
void config_print(const struct config *config, struct text *text);

/* All keys with their defaults, described: config/daa.toml. */
void config_print_example(struct text *text);

/* The value of a secret, read from its file or variable now, into `value` (bytes, not terminated;
 * of a file one newline at the end is cut). ERROR_NOT_FOUND for a name that is not configured;
 * -errno; ERROR_TOO_LARGE. Errors never hold the value. */
#define CONFIG_SECRET_SIZE_MAX 65536
int config_secret_read(const struct config *config, const char *name,
                       uint8_t value[CONFIG_SECRET_SIZE_MAX], size_t *size, struct error *error);

#endif
