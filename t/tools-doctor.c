/* The doctor over a real LMDB: one moment of documents that change all the time, what it keeps of
 * what it finds, and how it ends. */
#include "core/agent/document.h"
#include "core/base/bytes.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/doctor.h"
#include "tools/agent/state.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct budget budget;
static struct doctor_report report;

static struct state *open_state(const char *name)
{
    struct state *state = NULL;
    struct error error = { 0 };
    struct state_found found;
    const struct state_options options = { .dir = scratch_path(name),
                                           .budget = &budget,
                                           .commit_interval_ns = 1,
                                           .commit_bytes = 1u << 20 };
    if (state_open(&state, &options, &found, &error) < 0)
        tap_bail_out("%s", error.text);
    return state;
}

static struct doctor *open_doctor(struct state *state, struct budget *on)
{
    struct doctor *doctor = NULL;
    struct error error = { 0 };
    const struct doctor_options options = { .state = state, .budget = on };
    if (doctor_open(&doctor, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    return doctor;
}

static void close_all(struct doctor *doctor, struct state *state)
{
    struct error error = { 0 };
    doctor_close(doctor);
    if (state_close(state, &error) < 0)
        tap_bail_out("%s", error.text);
    is_int(budget.used, 0, "all memory is given back");
}

/* A check of one's own. */
static int examine(struct doctor *doctor)
{
    uint64_t number;
    return doctor_begin(doctor, &number) ? doctor_wait(doctor, number, &report) : -EBUSY;
}

static void add(struct state_batch *batch, struct document_key key, const ProtobufCMessage *message)
{
    uint8_t bytes[256];
    size_t size = protobuf_c_message_pack(message, bytes);
    state_batch_add(document_key_span(&key), span_of(bytes, size), batch);
}

#define KEYS 300u

static void digest_of(uint8_t digest[SHA256_SIZE], uint64_t number)
{
    memset(digest, 0, SHA256_SIZE);
    bytes_put_u64(digest, number * 0x9e3779b97f4a7c15ull);
}

/* One idempotency key more whose workflow is long gone, and the one KEYS before it less, with all
 * that belongs to them: whole at any moment, if it is one moment. */
static void hand_over(struct state *state, uint64_t seq)
{
    uint8_t digest[SHA256_SIZE], request[SHA256_SIZE] = { 1 };
    struct state_batch *batch = state_batch_new(state);
    Daa__KeyDocument key = DAA__KEY_DOCUMENT__INIT;
    Daa__AgentDocument counts = DAA__AGENT_DOCUMENT__INIT;
    digest_of(digest, seq);
    key.has_stream = key.has_request_digest = key.has_expires_ns = 1;
    key.stream = 1;
    key.request_digest = (ProtobufCBinaryData){ sizeof request, request };
    key.expires_ns = seq;
    add(batch, document_idempotency_key(digest), &key.base);
    struct document_key expiry = document_expiry_key(seq, digest);
    state_batch_add(document_key_span(&expiry), span_of("", 0), batch);
    if (seq > KEYS) {
        digest_of(digest, seq - KEYS);
        struct document_key old = document_idempotency_key(digest);
        expiry = document_expiry_key(seq - KEYS, digest);
        state_batch_add(document_key_span(&old), span_of(NULL, 0), batch);
        state_batch_add(document_key_span(&expiry), span_of(NULL, 0), batch);
    }
    counts.has_keys = 1;
    counts.keys = seq < KEYS ? seq : KEYS;
    add(batch, document_agent_key(), &counts.base);
    state_hand_over(state, batch, seq);
}

struct changing {
    struct state *state;
    _Atomic bool stop;
    _Atomic uint64_t seq; /* handed over */
};

static void *change(void *argument)
{
    struct changing *changing = argument;
    for (uint64_t seq = 1; !atomic_load(&changing->stop);)
        if (state_pending_bytes(changing->state) < 64 << 10) {
            hand_over(changing->state, seq);
            atomic_store(&changing->seq, seq++);
        }
    return NULL;
}

static void one_moment(void)
{
    struct changing changing = { .state = open_state("moment") };
    struct doctor *doctor = open_doctor(changing.state, &budget);
    pthread_t thread;
    uint64_t findings = 0, seqs = 0, last = 0, checks = 40;
    doctor_report_get(doctor, &report);
    is_int(report.checks, 0, "nothing was checked yet");
    ok(!report.under_way, "nor is it");
    if (pthread_create(&thread, NULL, change, &changing) != 0)
        tap_bail_out("no thread");
    for (uint64_t i = 0; i < checks; i++) {
        while (atomic_load(&changing.seq) <= last)
            nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
        if (examine(doctor) < 0 || report.error.code < 0)
            tap_bail_out("no check: %s", report.error.text);
        findings += report.result.findings;
        seqs += report.seq > last;
        last = report.seq;
    }
    atomic_store(&changing.stop, true);
    pthread_join(thread, NULL);
    is_int(findings, 0, "documents that change all the time are seen as of one moment");
    is_int(seqs, checks, "another one each time, with what was handed over before");
    is_int(report.checks, checks, "the checks are counted");
    close_all(doctor, changing.state);
}

static void what_is_kept(void)
{
    struct state *state = open_state("kept");
    struct doctor *doctor = open_doctor(state, &budget);
    struct state_batch *batch = state_batch_new(state);
    for (uint8_t i = 0; i < 150; i++)
        state_batch_add(span_of((uint8_t[]){ 'z', i }, 2), span_of("", 0), batch);
    state_hand_over(state, batch, 7);
    is_int(examine(doctor), 0, "a state that is broken is checked too");
    is_int(report.seq, 7, "what was handed over before is in it");
    is_int(report.result.findings, 151, "all findings are counted");
    is_int(report.finding_count, 100, "a hundred are kept");
    is_str(report.findings[99].key, "z63", "with their keys");
    is_str(report.findings[99].sentence, "there is no such kind of document", "and sentences");
    ok(report.time_ns > 0 && !report.under_way, "and when it was");
    close_all(doctor, state);
}

static void too_little_memory(void)
{
    struct state *state = open_state("memory");
    struct budget little;
    budget_init(&little, 1000);
    struct doctor *doctor = open_doctor(state, &little);
    hand_over(state, 1);
    is_int(examine(doctor), 0, "a check without memory ends");
    is_int(report.error.code, ERROR_BUDGET, "with the reason");
    is_int(report.finding_count, 0, "and no findings");
    is_int(little.used, 0, "nothing is left behind");
    close_all(doctor, state);
}

static void the_end(void)
{
    struct state *state = open_state("end");
    struct doctor *doctor = open_doctor(state, &budget);
    uint64_t number = 0;
    for (uint64_t seq = 1; seq <= 2000; seq++)
        hand_over(state, seq);
    is_int(doctor_begin(doctor, &number), true, "a check begins");
    doctor_stop(doctor);
    int status = doctor_wait(doctor, number, &report);
    ok(status == -ECANCELED || report.checks == number, "it is over or given up");
    is_int(doctor_begin(doctor, &number), false, "and none begins any more");
    is_int(doctor_wait(doctor, 1000, &report), -ECANCELED, "nor does anybody wait");
    close_all(doctor, state);
    doctor_stop(NULL);
    doctor_close(NULL);
}

int main(void)
{
    budget_init(&budget, 256u << 20);
    one_moment();
    what_is_kept();
    too_little_memory();
    the_end();
    return tap_done();
}
