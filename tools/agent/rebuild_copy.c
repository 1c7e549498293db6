#include "core/agent/agent.h"
#include "log/event.h"
#include "log/reader.h"
#include "tools/agent/rebuild.h"
#include "tools/agent/state_view.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_free(const char *db_dir, struct error *error)
{
    struct stat stat_of;
    if (stat(db_dir, &stat_of) == 0)
        return error_set(error, -EEXIST, "%s is there already; choose another place", db_dir);
    return 0;
}

static void remove_database(const char *db_dir)
{
    static const char *const names[] = { "data.mdb", "lock.mdb" };
    char path[PATH_MAX];
    for (int i = 0; i < 2; i++)
        if (snprintf(path, sizeof path, "%s/%s", db_dir, names[i]) < (int)sizeof path)
            unlink(path);
    rmdir(db_dir);
}

static int sum_up(struct state *state, struct rebuild_copy *copy, struct error *error)
{
    struct state_view *view;
    struct state_sum sum;
    struct span key, value;
    int status = state_commit_now(state, error);
    if (status == 0)
        status = state_view_open(state, &view, error);
    if (status < 0)
        return status;
    state_sum_begin(&sum);
    while ((status = state_view_next(view, &key, &value, error)) == 1)
        state_sum_add(&sum, key, value);
    state_view_close(view);
    state_sum_end(&sum, copy->digest);
    copy->documents = sum.documents;
    copy->bytes = sum.bytes;
    return status;
}

/* With the state open: the agent, the work, the sum. */
static int fill(struct rebuild_options *options, const uint8_t log_uuid[16],
                struct rebuild_copy *copy, struct error *error)
{
    /* Limits are for decisions; what is applied was decided before. */
    struct agent_options agent = { .budget = options->budget,
                                   .max_concurrent_workflows = UINT32_MAX,
                                   .max_pending = UINT64_MAX,
                                   .keys = event_keys_of(options->keyring) };
    memcpy(agent.log_uuid, log_uuid, sizeof agent.log_uuid);
    int status = agent_open(&options->agent, &agent, error);
    if (status < 0)
        return status;
    status = rebuild_run(options, &copy->result, error);
    agent_close(options->agent);
    return status == 0 ? sum_up(options->state, copy, error) : status;
}

static int find_uuid(const char *log_dir, uint8_t log_uuid[16], struct error *error)
{
    struct log_reader *reader;
    int status = log_reader_open(&reader, &(struct log_reader_options){ .dir = log_dir }, error);
    if (status < 0)
        return status;
    memcpy(log_uuid, log_reader_uuid(reader), 16);
    if (log_reader_first_seq(reader) == 0)
        status = error_set(error, ERROR_NOT_FOUND, "%s holds no segment of a log", log_dir);
    log_reader_close(reader);
    return status;
}

int rebuild_copy(const struct rebuild_copy_options *options, struct rebuild_copy *copy,
                 struct error *error)
{
    struct budget budget;
    struct state_found found;
    struct error close_error;
    struct state_options state = { .dir = options->db_dir, .budget = &budget };
    struct rebuild_options how = { .log_dir = options->log_dir,
                                   .snapshots_dir = options->snapshots_dir,
                                   .db_dir = options->db_dir,
                                   .found = &found,
                                   .keyring = options->keyring,
                                   .budget = &budget,
                                   .until_seq = options->until_seq,
                                   .progress = options->progress,
                                   .say = options->say,
                                   .context = options->context };
    *copy = (struct rebuild_copy){ 0 };
    budget_init(&budget, options->memory);
    int status = check_free(options->db_dir, error);
    if (status == 0)
        status = find_uuid(options->log_dir, state.log_uuid, error);
    if (status < 0)
        return status;
    status = state_open(&how.state, &state, &found, error);
    if (status == 0) {
        status = fill(&how, state.log_uuid, copy, error);
        int closed = state_close(how.state, &close_error);
        if (closed < 0 && status == 0) {
            *error = close_error;
            status = closed;
        }
    }
    if (status < 0)
        remove_database(options->db_dir);
    return status;
}

uint64_t rebuild_documents_seq(const char *db_dir, uint8_t log_uuid[16])
{
    char path[PATH_MAX];
    /* To open one that is not there would make a file. */
    if (snprintf(path, sizeof path, "%s/data.mdb", db_dir) >= (int)sizeof path ||
        access(path, F_OK) < 0) {
        memset(log_uuid, 0, 16);
        return 0;
    }
    return state_peek_applied_seq(db_dir, log_uuid);
}
