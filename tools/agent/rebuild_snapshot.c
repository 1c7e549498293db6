/* Which snapshot a rebuild begins with, and its way into LMDB. It is read once: documents go into
 * the database while they are checked, and count only when the digest at the end agrees. */
#include "log/reader.h"
#include "tools/agent/rebuild_inside.h"
#include "tools/agent/snapshot.h"
#include "tools/agent/state_view.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loading {
    struct rebuild *rebuild;
    struct state_load load;
    int write_status; /* the database's, not the file's */
    uint64_t count;
};

static int add(struct span key, struct span value, void *context, struct error *error)
{
    struct loading *loading = context;
    loading->write_status = state_load_add(&loading->load, key, value, error);
    if (++loading->count % 1024 == 0)
        atomic_store(&loading->rebuild->progress->at, loading->count);
    return loading->write_status;
}

/* 1 loaded, 0 the file is no good (said), negative. */
static int load_file(struct rebuild *rebuild, const char *path, struct error *error)
{
    struct loading loading = { .rebuild = rebuild };
    struct snapshot_info info;
    struct error why, ignored;
    int status = state_load_begin(&loading.load, rebuild->options->state, error);
    if (status < 0)
        return status;
    status = snapshot_read(path, &info, add, &loading, NULL, &why);
    if (status == 0) {
        struct state_position position = { .applied_seq = info.seq, .mark = info.mark };
        status = loading.write_status = state_load_end(&loading.load, &position, &why);
    }
    if (status == 0)
        return 1;
    int abandoned = state_load_abandon(&loading.load, &ignored);
    if (loading.write_status < 0 || abandoned < 0) {
        *error = loading.write_status < 0 ? why : ignored;
        return loading.write_status < 0 ? loading.write_status : abandoned;
    }
    rebuild_say(rebuild, "%s; it is passed over", why.text);
    return 0;
}

/* Whether it can be used at all. False: why not has been said. */
static bool is_usable(struct rebuild *rebuild, const char *path, struct snapshot_info *info)
{
    struct error error;
    char why[256] = "";
    if (snapshot_look(path, info, &error) < 0) {
        rebuild_say(rebuild, "%s; it is passed over", error.text);
        return false;
    }
    if (info->document_version != DOCUMENT_VERSION)
        snprintf(why, sizeof why, "its documents are of version %" PRIu32 ", and ours of %u",
                 info->document_version, DOCUMENT_VERSION);
    else if (info->seq + 1 < log_reader_first_seq(rebuild->reader))
        snprintf(why, sizeof why, "the log begins later, with event %" PRIu64,
                 log_reader_first_seq(rebuild->reader));
    else if (rebuild_history(rebuild->reader, info->log_uuid, info->seq, &info->mark, why,
                             sizeof why, &error) < 0)
        snprintf(why, sizeof why, "its history cannot be compared: %.200s", error.text);
    if (why[0])
        rebuild_say(rebuild, "the snapshot %s is passed over: %s", path, why);
    return !why[0];
}

static int try_one(struct rebuild *rebuild, uint64_t seq, struct error *error)
{
    char path[PATH_MAX], name[SNAPSHOT_NAME_SIZE];
    struct snapshot_info info;
    snapshot_name(name, seq);
    if (snprintf(path, sizeof path, "%s/%s", rebuild->options->snapshots_dir, name) >=
            (int)sizeof path ||
        !is_usable(rebuild, path, &info))
        return 0;
    rebuild_stage(rebuild, REBUILD_SNAPSHOT, 0, info.documents);
    int status;
    do { /* the database has grown, and the transaction is lost: again */
        status = load_file(rebuild, path, error);
    } while (status == ERROR_FULL);
    if (status == 1) {
        rebuild->result->snapshot_seq = info.seq;
        rebuild_say(rebuild, "the snapshot %s was loaded: %" PRIu64 " documents", path,
                    info.documents);
    }
    return status;
}

int rebuild_load_snapshot(struct rebuild *rebuild, struct error *error)
{
    uint64_t *items, until = rebuild->options->until_seq;
    uint64_t applied_seq = state_applied_seq(rebuild->options->state);
    struct error why;
    size_t count;
    if (snapshot_list(rebuild->options->snapshots_dir, &items, &count, &why) < 0) {
        rebuild_say(rebuild, "%s", why.text);
        return 0;
    }
    int status = 0;
    for (size_t i = 0; i < count && status == 0; i++)
        if ((until == 0 || items[i] <= until) && items[i] > applied_seq)
            status = try_one(rebuild, items[i], error);
    free(items);
    return status < 0 ? status : 0;
}

/*--- Those of another history ------------------------------------------------------------------*/

static void set_aside(struct rebuild *rebuild, const char *path)
{
    char other[PATH_MAX + 8], why[256];
    struct snapshot_info info;
    struct error error;
    if (snapshot_look(path, &info, &error) < 0 ||
        info.seq + 1 < log_reader_first_seq(rebuild->reader) ||
        rebuild_history(rebuild->reader, info.log_uuid, info.seq, &info.mark, why, sizeof why,
                        &error) != 0)
        return;
    snprintf(other, sizeof other, "%s.other", path);
    if (rename(path, other) < 0)
        rebuild_say(rebuild, "the snapshot %s is of another history and cannot be renamed: %s",
                    path, error_text(-errno));
    else
        rebuild_say(rebuild, "the snapshot %s is of another history (%s); it is %s from now on",
                    path, why, other);
}

void rebuild_set_aside(const char *log_dir, const char *snapshots_dir, struct budget *budget,
                       void (*say)(const char *sentence, void *context), void *context)
{
    struct rebuild_options options = { .say = say, .context = context };
    struct rebuild rebuild = { .options = &options };
    struct log_reader_options reader = { .dir = log_dir, .budget = budget };
    char path[PATH_MAX], name[SNAPSHOT_NAME_SIZE];
    struct error error;
    uint64_t *items;
    size_t count;
    if (snapshot_list(snapshots_dir, &items, &count, &error) < 0 || count == 0)
        return;
    if (log_reader_open(&rebuild.reader, &reader, &error) == 0) {
        for (size_t i = 0; i < count; i++) {
            snapshot_name(name, items[i]);
            if (snprintf(path, sizeof path, "%s/%s", snapshots_dir, name) < (int)sizeof path)
                set_aside(&rebuild, path);
        }
        log_reader_close(rebuild.reader);
    }
    free(items);
}

int rebuild_check_snapshot(const char *path, uint64_t seq, struct error *error)
{
    struct snapshot_info info;
    int status = snapshot_read(path, &info, NULL, NULL, NULL, error);
    if (status == 0 && info.seq != seq)
        return error_set(error, ERROR_DAMAGED,
                         "the snapshot %s is damaged: it stands for event %" PRIu64, path,
                         info.seq);
    return status == ERROR_NEWER ? 0 : status;
}
