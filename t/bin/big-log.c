/* Writes a log of any apparent size in moments, to measure what must not depend on it.
 *
 *   big-log DIR SIZE [full]    SIZE in bytes, or with KB, MB, GB: 1MB, 100GB
 *
 * The bytes are a real log's: headers, frames, links, chain, index. All segments but the last hold
 * some `agent.registered` and SEAL, and are holes behind that. The last holds what an agent did:
 * workflows that slept and completed, and SLEEPING that still sleep. It ends with CLOSE. Segments
 * are 64 MiB, of a log under 64 MiB 256 KiB.
 *
 * With `full` there are no holes: the segments are filled to the end with events of 200 bytes, and
 * sealed, each when the next is there. That takes minutes for 100GB, and a tenth of the room.
 *
 * Says "segments N last_seq N bytes N written N"; `written` is before the sealing. */
#include "agent_shell.h"
#include "core/base/check.h"
#include "core/event/event.h"
#include "log/directory.h"
#include "log/sealing.h"
#include "log/storage.h"
#include "log_maker.h"
#include "payload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SLEEPING 20u
#define FRAMES 4u            /* of a segment in the middle */
#define RECORDS 16u          /* of one of its frames */
#define REAL_MAX (16u << 20) /* bytes of frames in the last segment, if it has so much room */
#define FRAME_RECORDS_MAX 64u
#define EVENT_SIZE_MAX 256u
#define HOST_SIZE 180u         /* of an event in a full segment: 200 bytes with the rest */
#define FRAME_ROOM (32u << 10) /* for one more frame of these */

static uint64_t written;

_Noreturn static void give_up(const char *what, const char *name)
{
    fprintf(stderr, "big-log: cannot %s %s: %s\n", what, name, strerror(errno));
    exit(1);
}

static uint64_t size_of_text(const char *text)
{
    char *unit;
    uint64_t size = strtoull(text, &unit, 10);
    int shift = strcmp(unit, "KB") == 0   ? 10
                : strcmp(unit, "MB") == 0 ? 20
                : strcmp(unit, "GB") == 0 ? 30
                                          : 0;
    if (size == 0 || (*unit != '\0' && shift == 0)) {
        fprintf(stderr, "big-log: %s is no size: 1MB, 100GB\n", text);
        exit(2);
    }
    return size << shift;
}

/*--- Segments --------------------------------------------------------------------------------*/

/* What was filled, and a hole behind it. */
static void write_segment(const struct log_maker *maker, const char *dir)
{
    char name[LOG_SEGMENT_NAME_SIZE], path[4096];
    segment_name(name, maker->header.segment_no);
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        give_up("make", path);
    for (uint64_t done = 0; done < maker->offset;) {
        ssize_t put = write(fd, maker->bytes + done, maker->offset - done);
        if (put <= 0)
            give_up("write", path);
        done += (uint64_t)put;
    }
    if (ftruncate(fd, (off_t)maker->header.capacity) < 0)
        give_up("extend", path);
    close(fd);
    written += maker->offset;
}

/* What was there when a frame is built was durable: frames follow one another in a quiet log. */
static void now_durable(struct log_maker *maker)
{
    maker->durable_seq = maker->next_seq - 1;
}

/* One event of the middle; `host` may be empty. Returns its size. */
static size_t pack_registered(uint8_t payload[EVENT_SIZE_MAX], uint64_t pid, struct span host)
{
    Daa__AgentRegistered body = DAA__AGENT_REGISTERED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    body.version = data_of_span(span_of_text("0.1.0"));
    body.has_version = body.has_pid = true;
    body.has_host = host.size > 0;
    body.host = data_of_span(host);
    body.pid = pid;
    event.has_schema = true;
    event.schema = EVENT_SCHEMA;
    event.body_case = DAA__EVENT__BODY_AGENT_REGISTERED;
    event.agent_registered = &body;
    CHECK(event_size(&event) <= EVENT_SIZE_MAX);
    event_pack(&event, payload);
    return event_size(&event);
}

static void put_registered(struct log_maker *maker, uint32_t count, uint64_t step_ns,
                           const char *hosts)
{
    static uint8_t payloads[FRAME_RECORDS_MAX][EVENT_SIZE_MAX];
    struct record records[FRAME_RECORDS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        uint64_t seq = maker->next_seq + i;
        const char *host = hosts != NULL ? hosts + seq % PAYLOADS * HOST_SIZE : NULL;
        size_t size = pack_registered(payloads[i], maker->header.segment_no,
                                      span_of(host, host != NULL ? HOST_SIZE : 0));
        records[i] = (struct record){
            .seq = seq,
            .stream = seq,
            .time_ns = maker->time_ns + i * step_ns,
            .kind = DAA__EVENT__BODY_AGENT_REGISTERED,
            .payload = span_of(payloads[i], size),
        };
    }
    log_maker_records(maker, 0, records, count);
    maker->time_ns += step_ns;
    now_durable(maker);
}

/* Takes `duration_ns` of log time, about. */
static void fill_middle(struct log_maker *maker, uint64_t duration_ns, const char *hosts)
{
    uint32_t blocks = (uint32_t)(maker->header.capacity / LOG_BLOCK_SIZE);
    uint64_t end = maker->header.capacity - storage_sealed_size(blocks) - FRAME_ROOM;
    if (hosts == NULL) {
        for (uint32_t frame = 0; frame < FRAMES; frame++)
            put_registered(maker, RECORDS, duration_ns / (FRAMES * RECORDS), NULL);
        return;
    }
    while (maker->offset < end)
        put_registered(maker, FRAME_RECORDS_MAX, duration_ns / (end / HOST_SIZE), hosts);
}

/* Those behind which another one begins. */
static void seal_closed(const char *dir)
{
    struct directory directory;
    struct error error = { 0 };
    struct sealing sealing = { .directory = &directory };
    if (directory_open(&directory, dir, &error) < 0 || directory.count < 2 ||
        sealing_segment(&sealing, directory.count - 2, &error) != 1) {
        fprintf(stderr, "big-log: cannot seal a segment of %s: %s\n", dir, error.text);
        exit(1);
    }
    directory_close(&directory);
}

/*--- The last one ----------------------------------------------------------------------------*/

static const char sleeper[] =
    "{\"name\": \"sleeper\", \"steps\": [{\"id\": \"a\", \"sleep\": \"0s\"},"
    "{\"id\": \"b\", \"needs\": [\"a\"], \"sleep\": \"700h\"}]}";
static const char napper[] =
    "{\"name\": \"napper\", \"steps\": [{\"id\": \"a\", \"sleep\": \"1s\"},"
    "{\"id\": \"b\", \"needs\": [\"a\"], \"sleep\": \"0s\"},"
    "{\"id\": \"c\", \"needs\": [\"b\"], \"sleep\": \"1s\"}]}";

/* The events from `from` on, in frames. */
static void put_events(struct log_maker *maker, const struct agent_shell *shell, size_t from)
{
    while (from < shell->log_count) {
        struct record records[FRAME_RECORDS_MAX];
        uint32_t count = 0;
        for (; count < FRAME_RECORDS_MAX && from < shell->log_count; count++, from++) {
            const struct event_header *header = &shell->log[from].header;
            records[count] = (struct record){
                .seq = header->seq,
                .stream = header->stream,
                .time_ns = header->time_ns,
                .cause = header->cause,
                .stream_prev_seq = header->stream_prev_seq,
                .kind = header->kind,
                .payload = span_of(shell->log[from].bytes, shell->log[from].size),
            };
        }
        log_maker_records(maker, 0, records, count);
        now_durable(maker);
    }
}

/* The agent's own turn makes the events, as if those before had been none of its. */
static void fill_last(struct log_maker *maker)
{
    struct agent_shell shell = { .now_ns = maker->time_ns, .random = 1 };
    uint64_t room = maker->header.capacity / 2, limit = room < REAL_MAX ? room : REAL_MAX;
    memcpy(shell.options.log_uuid, maker->header.log_uuid, UUID_SIZE);
    shell_open(&shell);
    shell.log_count = shell.log_capacity = maker->next_seq - 1;
    shell.log = calloc(shell.log_capacity + 1, sizeof *shell.log);
    CHECK(shell.log != NULL);
    for (uint32_t i = 0; maker->offset < limit; i++) {
        size_t from = shell.log_count;
        if (shell_submit(&shell, i < SLEEPING ? sleeper : napper, "{\"number\": 7}") == 0)
            give_up("submit", "a workflow");
        if (i % 16 == 15)
            shell_wait(&shell, 3 * SHELL_SECOND);
        put_events(maker, &shell, from);
    }
    size_t from = shell.log_count;
    shell_wait(&shell, 10 * SHELL_SECOND);
    put_events(maker, &shell, from);
    maker->time_ns = shell.now_ns;
    /* The process ends in a moment, and what it holds with it. */
}

/* For the sanitizer, which asks: what is held at the end is held on purpose. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int main(int argc, char **argv)
{
    bool full = argc == 4 && strcmp(argv[3], "full") == 0;
    if (argc != 3 && !full) {
        fprintf(stderr, "usage: big-log DIR SIZE [full]\n");
        return 2;
    }
    const char *dir = argv[1], *hosts = full ? payloads_make(HOST_SIZE) : NULL;
    uint64_t size = size_of_text(argv[2]);
    uint64_t capacity = size < LOG_SEGMENT_SIZE ? LOG_SEGMENT_SIZE_MIN : LOG_SEGMENT_SIZE;
    uint64_t count = (size + capacity - 1) / capacity;
    /* A year that ends a day ago: log time must not be ahead of the clock. */
    uint64_t day_ns = 86400 * SHELL_SECOND;
    struct log_maker maker;
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        give_up("make", dir);
    log_maker_init(&maker, capacity);
    maker.time_ns = (uint64_t)time(NULL) * SHELL_SECOND - 366 * day_ns;
    maker.header.created_ns = maker.time_ns;
    segment_header_encode(maker.bytes, &maker.header);
    log_maker_open(&maker);
    now_durable(&maker);
    for (uint64_t i = 1; i < count; i++) {
        fill_middle(&maker, 365 * day_ns / count, hosts);
        log_maker_seal(&maker, FRAME_SEAL);
        write_segment(&maker, dir);
        if (full && i > 1)
            seal_closed(dir);
        now_durable(&maker);
        log_maker_next(&maker, 0);
    }
    fill_last(&maker);
    log_maker_seal(&maker, FRAME_CLOSE);
    write_segment(&maker, dir);
    if (full && count > 1)
        seal_closed(dir);
    log_maker_write_checkpoint(&maker, dir, maker.next_seq - 1);
    printf("segments %" PRIu64 " last_seq %" PRIu64 " bytes %" PRIu64 " written %" PRIu64 "\n",
           count, maker.next_seq - 1, count * capacity, written);
    return 0;
}
