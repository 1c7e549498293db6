/* Definitions: what is taken, and for each mistake the place and the sentence. */
#include "core/base/error.h"
#include "core/flow/flow.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000000000ull

static struct budget budget;

static struct flow *compiled(const char *source)
{
    struct flow *flow;
    struct flow_problem problem;
    if (flow_compile(&flow, &budget, span_of_text(source), &problem) < 0)
        tap_bail_out("%s: %s: %s", source, problem.pointer, problem.message);
    return flow;
}

/* A definition of one step of these members beside its id. */
static const char *one(const char *members)
{
    static char source[8192];
    (void)snprintf(source, sizeof source, "{\"name\":\"n\",\"steps\":[{\"id\":\"a\",%s}]}",
                   members);
    return source;
}

static void whole(void)
{
    struct flow *flow = compiled(
        "{\"name\": \"pay\", \"steps\": ["
        "{\"id\": \"d\", \"needs\": [\"b\", \"a\"], \"signal\": {\"name\": \"go\", "
        "\"timeout\": \"1h\"}, \"on_failure\": \"continue\"},"
        "{\"id\": \"a\", \"sleep\": \"1.5s\"},"
        "{\"id\": \"b\", \"needs\": [\"a\"], \"http\": {\"method\": \"POST\", "
        "\"url\": \"https://api.example/${{ input.id }}\", \"headers\": {\"authorization\": "
        "\"Bearer ${{ secrets.T }}\", \"x-a\": \"1\"}, \"body\": {\"v\": \"${{ "
        "steps.a.output }}\"}}, \"timeout\": \"10s\", \"retry\": {\"max_attempts\": 3, "
        "\"initial\": \"2s\", \"factor\": 3, \"max\": \"7s\", \"jitter\": 0.5}},"
        "{\"id\": \"c\", \"needs\": [\"b\"], \"exec\": {\"argv\": [\"/bin/cat\", \"-\"], "
        "\"env\": {\"A\": \"b\"}, \"stdin\": \"x\\n\"}, \"idempotent\": true, "
        "\"on_failure\": \"fail\"}]}");
    is_int(flow->step_count, 4, "a definition with every kind is compiled");
    ok(span_is(flow->name, "pay") && flow->uses_exec, "with its name, and that it uses exec");
    const struct flow_step *d = &flow->steps[0], *a = &flow->steps[1], *b = &flow->steps[2],
                           *c = &flow->steps[3];
    ok(d->needs_count == 2 && d->needs[0] == 1 && d->needs[1] == 2, "needs are indexes, ascending");
    ok(a->wanted_by_count == 2 && a->wanted_by[0] == 0 && a->wanted_by[1] == 2, "both ways");
    ok(d->kind == FLOW_SIGNAL && d->signal.timeout_ns == 3600 * SECOND &&
           d->on_failure == FLOW_CONTINUE,
       "a signal");
    ok(a->kind == FLOW_SLEEP && a->sleep_ns == 1500000000 && a->idempotent, "a sleep");
    ok(b->kind == FLOW_HTTP && b->timeout_ns == 10 * SECOND && !b->idempotent &&
           b->on_failure == FLOW_PARK && b->http.header_count == 2,
       "a POST, which is not idempotent and parks by default");
    ok(span_is(b->http.body, "{\"v\": \"${{ steps.a.output }}\"}"), "its body as it was written");
    ok(b->retry.max_attempts == 3 && b->retry.initial_ns == 2 * SECOND &&
           b->retry.max_ns == 7 * SECOND,
       "its retry");
    ok(c->exec.argv_count == 2 && c->exec.env_count == 1 && span_is(c->exec.stdin_text, "x\n"),
       "an exec");
    ok(c->idempotent && c->timeout_ns == 30 * SECOND && c->retry.max_attempts == 1,
       "what is said wins over the defaults, which are 30 s and one attempt");
    is_int(flow_find_step(flow, span_of_text("c")), 3, "a step is found by its id");
    is_int(flow_find_step(flow, span_of_text("x")), -1, "and none by another");
    ok(flow_memory(flow) > 0 && flow_memory(flow) == budget.used, "its memory is on the budget");

    struct flow *other = flow_ref(flow);
    flow_unref(flow);
    is_int(other->step_count, 4, "it lives while somebody refers to it");
    flow_unref(other);
    flow_unref(NULL);
    is_int(budget.used, 0, "and no longer");
}

static void defaults(void)
{
    static const struct {
        const char *members;
        bool idempotent;
    } cases[] = {
        { "\"http\":{\"url\":\"http://h/\"}", true },
        { "\"http\":{\"method\":\"PUT\",\"url\":\"http://h/\"}", true },
        { "\"http\":{\"method\":\"DELETE\",\"url\":\"http://h/\"}", true },
        { "\"http\":{\"method\":\"POST\",\"url\":\"http://h/\"}", false },
        { "\"http\":{\"method\":\"PATCH\",\"url\":\"http://h/\"}", false },
        { "\"exec\":{\"argv\":[\"/bin/true\"]}", false },
        { "\"signal\":{\"name\":\"s\"}", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct flow *flow = compiled(one(cases[i].members));
        is_int(flow->steps[0].idempotent, cases[i].idempotent, "%s is %sidempotent by default",
               cases[i].members, cases[i].idempotent ? "" : "not ");
        flow_unref(flow);
    }
}

static void refused(const char *source, const char *pointer, const char *part)
{
    struct flow *flow;
    struct flow_problem problem;
    int result = flow_compile(&flow, &budget, span_of_text(source), &problem);
    if (!ok(result == ERROR_INVALID || result == ERROR_SYNTAX, "refused: %.60s", source))
        return;
    is_str(problem.pointer, pointer, "... at %s", pointer[0] != '\0' ? pointer : "the root");
    if (!ok(strstr(problem.message, part) != NULL, "... for: %s", part))
        tap_note("%s", problem.message);
}

static void bad_shapes(void)
{
    refused("", "", "line 1");
    refused("[]", "", "must be an object, not an array");
    refused("{\"name\":\"n\",\"steps\":[],\"steps\":[]}", "", "");
    refused("{\"name\":\"n\",\"steps\":[{\"id\":99999999999999999999}]}", "/steps/0/id", "");
    refused("{\"steps\":[]}", "/name", "no \"name\"");
    refused("{\"name\":\"\",\"steps\":[]}", "/name", "1 to 128 bytes");
    refused("{\"name\":\"a\\nb\",\"steps\":[]}", "/name", "control characters");
    refused("{\"name\":\"n\"}", "/steps", "no \"steps\"");
    refused("{\"name\":\"n\",\"steps\":{}}", "/steps", "array");
    refused("{\"name\":\"n\",\"steps\":[]}", "/steps", "1 to 1000 steps");
    refused("{\"name\":\"n\",\"steps\":[1]}", "/steps/0", "a step must be an object");
    refused("{\"name\":\"n\",\"setps\":[]}", "/setps", "did you mean \"steps\"");
    refused("{\"name\":\"n\",\"steps\":[],\"zzzzzzzz\":1}", "/zzzzzzzz", "take it out");
    refused("{\"name\":\"n\",\"steps\":[],\"input\":{}}", "/input", "not in this version");
    refused("{\"name\":\"n\",\"steps\":[],\"a/b~\":{}}", "/a~1b~0", "no key");
}

static void bad_steps(void)
{
    refused("{\"name\":\"n\",\"steps\":[{\"sleep\":\"1s\"}]}", "/steps/0/id", "no \"id\"");
    refused("{\"name\":\"n\",\"steps\":[{\"id\":\"a b\",\"sleep\":\"1s\"}]}", "/steps/0/id",
            "letters");
    refused("{\"name\":\"n\",\"steps\":[{\"id\":7,\"sleep\":\"1s\"}]}", "/steps/0/id",
            "must be a string, not ");
    refused("{\"name\":\"n\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1s\"},"
            "{\"id\":\"a\",\"sleep\":\"1s\"}]}",
            "/steps/1/id", "two steps have the id \"a\"");
    refused(one("\"needs\":[]"), "/steps/0", "does nothing");
    refused(one("\"sleep\":\"1s\",\"signal\":{\"name\":\"g\"}"), "/steps/0", "both");
    refused(one("\"slep\":\"1s\""), "/steps/0/slep", "did you mean \"sleep\"");
    static const char *const later[] = {
        "if",       "eval",    "compensate", "ai",       "task",
        "transfer", "message", "approval",   "workflow", "foreach"
    };
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        char members[64], pointer[64];
        (void)snprintf(members, sizeof members, "\"%s\":{}", later[i]);
        (void)snprintf(pointer, sizeof pointer, "/steps/0/%s", later[i]);
        refused(one(members), pointer, "not in this version");
    }
    refused(one("\"sleep\":5"), "/steps/0/sleep", "must be a string");
    refused(one("\"sleep\":\"5\""), "/steps/0/sleep", "no duration");
    refused(one("\"sleep\":\"-5s\""), "/steps/0/sleep", "no duration");
    refused(one("\"sleep\":\"101000d\""), "/steps/0/sleep", "over 100 years");
    refused(one("\"sleep\":\"1s\",\"timeout\":\"1s\""), "/steps/0/timeout", "no timeout");
    refused(one("\"sleep\":\"1s\",\"retry\":{}"), "/steps/0/retry", "never tried again");
    refused(one("\"sleep\":\"1s\",\"idempotent\":1"), "/steps/0/idempotent", "true or false");
    refused(one("\"sleep\":\"1s\",\"on_failure\":\"explode\""), "/steps/0/on_failure", "\"park\"");
    refused(one("\"sleep\":\"1s\",\"on_failure\":\"compensate\""), "/steps/0/on_failure",
            "not in this version");
    refused(one("\"signal\":{}"), "/steps/0/signal/name", "needs the \"name\"");
    refused(one("\"signal\":{\"name\":\"g\",\"timeout\":\"0s\"}"), "/steps/0/signal/timeout",
            "more than 0");
    refused(one("\"signal\":{\"name\":\"g\"},\"timeout\":\"1s\""), "/steps/0/timeout",
            "into \"signal\"");
}

static void bad_needs(void)
{
    refused(one("\"sleep\":\"1s\",\"needs\":\"b\""), "/steps/0/needs", "array of ids");
    refused(one("\"sleep\":\"1s\",\"needs\":[\"zz\"]"), "/steps/0/needs/0", "no step has the id");
    refused(one("\"sleep\":\"1s\",\"needs\":[\"a\"]"), "/steps/0/needs/0", "needs itself");
    refused("{\"name\":\"n\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1s\"},"
            "{\"id\":\"b\",\"needs\":[\"a\",\"a\"],\"sleep\":\"1s\"}]}",
            "/steps/1/needs/1", "needed twice");
    refused("{\"name\":\"n\",\"steps\":["
            "{\"id\":\"w\",\"needs\":[\"x\"],\"sleep\":\"1s\"},"
            "{\"id\":\"x\",\"needs\":[\"z\"],\"sleep\":\"1s\"},"
            "{\"id\":\"y\",\"needs\":[\"x\"],\"sleep\":\"1s\"},"
            "{\"id\":\"z\",\"needs\":[\"y\"],\"sleep\":\"1s\"}]}",
            "/steps/1/needs", "\"x\" needs \"z\" needs \"y\" needs \"x\"");
}

static void bad_retries(void)
{
    static const struct {
        const char *retry, *key, *part;
    } cases[] = {
        { "{\"max_attempts\":0}", "max_attempts", "from 1 to" },
        { "{\"max_attempts\":-1}", "max_attempts", "from 1 to" },
        { "{\"max_attempts\":2000000000}", "max_attempts", "from 1 to" },
        { "{\"max_attempts\":1.5}", "max_attempts", "whole number" },
        { "{\"factor\":0.5}", "factor", "from 1 to" },
        { "{\"factor\":1e300}", "factor", "from 1 to" },
        { "{\"jitter\":-0.1}", "jitter", "from 0 to 1" },
        { "{\"jitter\":\"a\"}", "jitter", "from 0 to 1" },
        { "{\"initial\":1}", "initial", "must be a string" },
        { "{\"max\":\"-1s\"}", "max", "no duration" },
        { "{\"max_attemps\":3}", "max_attemps", "did you mean \"max_attempts\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char members[256], pointer[64];
        (void)snprintf(members, sizeof members, "\"http\":{\"url\":\"http://h/\"},\"retry\":%s",
                       cases[i].retry);
        (void)snprintf(pointer, sizeof pointer, "/steps/0/retry/%s", cases[i].key);
        refused(one(members), pointer, cases[i].part);
    }
    refused(one("\"http\":{\"url\":\"http://h/\"},\"retry\":{\"initial\":\"9s\",\"max\":\"1s\"}"),
            "/steps/0/retry", "less than");
}

static void bad_http(void)
{
    static const struct {
        const char *http, *place, *part;
    } cases[] = {
        { "\"x\"", "", "must be an object" },
        { "{}", "/url", "needs a \"url\"" },
        { "{\"url\":\"api/x\"}", "/url", "begin with" },
        { "{\"url\":\"ftp://h/\"}", "/url", "begin with" },
        { "{\"url\":\"${{ input.u }}\"}", "/url", "begin with" },
        { "{\"url\":\"http:///x\"}", "/url", "no host" },
        { "{\"url\":\"http://:80/x\"}", "/url", "no host" },
        { "{\"url\":\"http://u:p@h/\"}", "/url", "a user before" },
        { "{\"url\":\"http://h/a b\"}", "/url", "percent-encoded" },
        { "{\"url\":\"http://h/\\u00e4\"}", "/url", "percent-encoded" },
        { "{\"url\":\"http://h/${{ inptu }}\"}", "/url", "is no template" },
        { "{\"url\":\"http://h/${{ input\"}", "/url", "not closed" },
        { "{\"url\":\"http://h/${{ steps.zz.output }}\"}", "/url", "no step has that id" },
        { "{\"url\":\"http://h/${{ steps.a.output }}\"}", "/url", "let \"a\" need it" },
        { "{\"url\":\"http://h/\",\"method\":\"get\"}", "/method", "is no method" },
        { "{\"url\":\"http://h/\",\"body\":{}}", "/body", "has no body" },
        { "{\"url\":\"http://h/\",\"follow\":true}", "/follow", "not in this version" },
        { "{\"url\":\"http://h/\",\"headers\":[]}", "/headers", "object of strings" },
        { "{\"url\":\"http://h/\",\"headers\":{\"a b\":\"x\"}}", "/headers/a b", "no name" },
        { "{\"url\":\"http://h/\",\"headers\":{\"Host\":\"x\"}}", "/headers/Host", "itself" },
        { "{\"url\":\"http://h/\",\"headers\":{\"a\":1}}", "/headers/a", "must be a string" },
        { "{\"url\":\"http://h/\",\"headers\":{\"a\":\"x\\r\\ny: z\"}}", "/headers/a", "control" },
        { "{\"url\":\"http://h/\",\"headers\":{\"AUTHORIZATION\":\"Bearer abc123\"}}",
          "/headers/AUTHORIZATION", "${{ secrets.NAME }}" },
        { "{\"url\":\"http://h/\",\"headers\":{\"cookie\":\"s=${{ input.s }}\"}}",
          "/headers/cookie", "secret" },
        { "{\"url\":\"http://h/\",\"headers\":{\"x-api-Key\":\"k9\"}}", "/headers/x-api-Key",
          "secret" },
        { "{\"url\":\"http://h/\",\"headers\":{\"x-token\":\"abc${{ secrets.T }}"
          "defghijklmnopqrstuvwxyz\"}}",
          "/headers/x-token", "secret" },
        { "{\"url\":\"http://h/\",\"method\":\"POST\",\"body\":{\"${{ input }}\":1}}", "/body",
          "name of a member" },
        { "{\"url\":\"http://h/\",\"method\":\"POST\",\"body\":[\"\\u0024{{ nix }}\"]}", "/body",
          "is no template" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char members[512], pointer[128];
        (void)snprintf(members, sizeof members, "\"http\":%s", cases[i].http);
        (void)snprintf(pointer, sizeof pointer, "/steps/0/http%s", cases[i].place);
        refused(one(members), pointer, cases[i].part);
    }
    struct flow *flow =
        compiled(one("\"http\":{\"url\":\"http://h/\",\"headers\":{"
                     "\"Idempotency-Key\":\"mine\",\"x-key\":\"${{secrets.K}}\"}}"));
    is_int(flow->steps[0].http.header_count, 2, "an idempotency key is no secret");
    flow_unref(flow);
}

static void bad_exec(void)
{
    static const struct {
        const char *exec, *place, *part;
    } cases[] = {
        { "{}", "/argv", "needs \"argv\"" },
        { "{\"argv\":[]}", "/argv", "needs \"argv\"" },
        { "{\"argv\":[\"true\"]}", "/argv/0", "no absolute path" },
        { "{\"argv\":[\"/bin/${{ input.p }}\"]}", "/argv/0", "may not be a template" },
        { "{\"argv\":[\"/bin/true\",3]}", "/argv/1", "must be a string" },
        { "{\"argv\":[\"/bin/true\",\"a\\u0000b\"]}", "/argv/1", "NUL" },
        { "{\"argv\":[\"/bin/true\",\"${{ secrets.X }}\"]}", "/argv/1", "may not stand here" },
        { "{\"argv\":[\"/bin/true\"],\"stdin\":\"${{ secrets.X }}\"}", "/stdin", "may not stand" },
        { "{\"argv\":[\"/bin/true\"],\"env\":{\"A B\":\"\"}}", "/env", "name of a variable" },
        { "{\"argv\":[\"/bin/true\"],\"shell\":true}", "/shell", "no key" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char members[512], pointer[128];
        (void)snprintf(members, sizeof members, "\"exec\":%s", cases[i].exec);
        (void)snprintf(pointer, sizeof pointer, "/steps/0/exec%s", cases[i].place);
        refused(one(members), pointer, cases[i].part);
    }
}

/* A chain of `count` steps, the first of which needs the last when `closed`. */
static char *chain(unsigned count, bool closed)
{
    size_t room = 64 + (size_t)count * 64, size = 0;
    char *source = malloc(room);
    size += (size_t)snprintf(source, room, "{\"name\":\"n\",\"steps\":[");
    for (unsigned i = 0; i < count; i++) {
        unsigned needed = i > 0 ? i - 1 : count - 1;
        size += (size_t)snprintf(source + size, room - size, "%s{\"id\":\"s%u\",\"sleep\":\"0s\"",
                                 i > 0 ? "," : "", i);
        if (i > 0 || closed)
            size += (size_t)snprintf(source + size, room - size, ",\"needs\":[\"s%u\"]", needed);
        size += (size_t)snprintf(source + size, room - size, "}");
    }
    (void)snprintf(source + size, room - size, "]}");
    return source;
}

static void sizes(void)
{
    struct flow_problem problem;
    struct flow *flow;
    char *source = chain(FLOW_STEPS_MAX, false);
    flow = compiled(source);
    is_int(flow->step_count, FLOW_STEPS_MAX, "a chain as long as may be is compiled");
    flow_unref(flow);
    free(source);
    source = chain(FLOW_STEPS_MAX, true);
    refused(source, "/steps/0/needs", "wait for each other");
    free(source);
    source = chain(FLOW_STEPS_MAX + 1, false);
    refused(source, "/steps", "1 to 1000 steps");
    free(source);

    source = calloc(1, FLOW_SOURCE_SIZE_MAX + 1);
    is_int(flow_compile(&flow, &budget, span_of(source, FLOW_SOURCE_SIZE_MAX + 1), &problem),
           ERROR_INVALID, "a source over its limit is refused");
    free(source);

    struct budget small;
    budget_init(&small, 5000);
    is_int(flow_compile(&flow, &small, span_of_text(one("\"sleep\":\"1s\"")), &problem),
           ERROR_BUDGET, "one that does not fit the budget is refused");
    ok(strstr(problem.message, "definitions") != NULL, "naming the owner");
    is_int(small.used, 0, "and leaves nothing there");
}

static void pauses(void)
{
    struct flow_retry retry = { 10, SECOND, 5 * SECOND, 2, 0 };
    is_int(flow_retry_pause_ns(&retry, 1, 0), SECOND, "the first pause is the initial one");
    is_int(flow_retry_pause_ns(&retry, 3, 7), 4 * SECOND, "it grows by the factor");
    is_int(flow_retry_pause_ns(&retry, 4, 7), 5 * SECOND, "up to the most");
    is_int(flow_retry_pause_ns(&retry, 1000, 7), 5 * SECOND, "and stays there");
    retry.jitter = 0.5;
    is_int(flow_retry_pause_ns(&retry, 1, 0), SECOND / 2, "jitter takes at most its part off");
    uint64_t most = flow_retry_pause_ns(&retry, 1, UINT64_MAX);
    ok(most > 1499000000 && most <= 1500000000, "or adds it");
    ok(flow_retry_pause_ns(&retry, 9, UINT64_MAX) <= 5 * SECOND, "never beyond the most");
}

int main(void)
{
    budget_init(&budget, 64 << 20);
    whole();
    defaults();
    bad_shapes();
    bad_steps();
    bad_needs();
    bad_retries();
    bad_http();
    bad_exec();
    sizes();
    pauses();
    is_int(budget.used, 0, "nothing is left on the budget");
    return tap_done();
}
