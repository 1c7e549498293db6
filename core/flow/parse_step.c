#include "core/base/error.h"
#include "core/flow/parse.h"

#define SECOND_NS 1000000000ull
#define TIMEOUT_DEFAULT_NS (30 * SECOND_NS)

enum { ATTEMPTS_MAX = 1000, FACTOR_MAX = 100 };

static const struct {
    const char *name;
    enum flow_kind kind;
} kinds[] = {
    { "http", FLOW_HTTP }, { "exec", FLOW_EXEC }, { "sleep", FLOW_SLEEP }, { "signal", FLOW_SIGNAL }
};

enum { KIND_COUNT = sizeof kinds / sizeof kinds[0] };

static int parse_id(struct parse *parse, uint32_t node, struct flow_step *step)
{
    size_t before = parse_enter(parse, "id");
    if (node == 0)
        return parse_refuse(parse, "the step has no \"id\": give it one");
    int result = parse_string(parse, node, "the id of a step", FLOW_STEP_ID_SIZE_MAX, &step->id);
    if (result < 0)
        return result;
    for (size_t i = 0; i < step->id.size; i++) {
        uint8_t byte = step->id.bytes[i];
        if (!((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
              (byte >= '0' && byte <= '9') || byte == '_' || byte == '-'))
            return parse_refuse(parse,
                                "the id \"%.*s\" may hold only letters, digits, \"_\" and \"-\"",
                                (int)step->id.size, (const char *)step->id.bytes);
    }
    parse_leave(parse, before);
    return 0;
}

static int parse_signal(struct parse *parse, uint32_t node, struct flow_signal *signal)
{
    static const struct parse_key keys[] = { { "name", false },
                                             { "timeout", false },
                                             { NULL, false } };
    const struct json *json = &parse->json;
    int result = parse_object(parse, node, "\"signal\"", keys);
    if (result < 0)
        return result;
    uint32_t name = json_member(json, node, "name"), timeout = json_member(json, node, "timeout");
    size_t before = parse_enter(parse, "name");
    if (name == 0)
        return parse_refuse(parse, "a signal step needs the \"name\" of the signal it waits for");
    result = parse_string(parse, name, "the name of a signal", FLOW_NAME_SIZE_MAX, &signal->name);
    if (result < 0)
        return result;
    parse_leave(parse, before);
    if (timeout == 0)
        return 0;
    (void)parse_enter(parse, "timeout");
    result = parse_duration(parse, timeout, "the timeout", &signal->timeout_ns);
    if (result == 0 && signal->timeout_ns == 0)
        return parse_refuse(parse,
                            "the timeout must be more than 0: leave it out to wait for ever");
    parse_leave(parse, before);
    return result;
}

/* The one key that names what the step does. */
static int parse_kind(struct parse *parse, uint32_t node, struct flow_step *step)
{
    const struct json *json = &parse->json;
    uint32_t value = 0;
    int chosen = -1;
    for (int i = 0; i < KIND_COUNT; i++) {
        uint32_t member = json_member(json, node, kinds[i].name);
        if (member == 0)
            continue;
        if (chosen >= 0)
            return parse_refuse(parse, "the step has both \"%s\" and \"%s\": make two steps of it",
                                kinds[chosen].name, kinds[i].name);
        chosen = i;
        value = member;
    }
    if (chosen < 0)
        return parse_refuse(parse, "the step does nothing: give it one of \"http\", \"exec\", "
                                   "\"sleep\", \"signal\"");
    step->kind = kinds[chosen].kind;
    size_t before = parse_enter(parse, kinds[chosen].name);
    int result = 0;
    switch (step->kind) {
    case FLOW_HTTP:
        result = parse_http(parse, value, &step->http);
        break;
    case FLOW_EXEC:
        parse->flow->uses_exec = true;
        result = parse_exec(parse, value, &step->exec);
        break;
    case FLOW_SLEEP:
        result = parse_duration(parse, value, "the time to sleep", &step->sleep_ns);
        break;
    case FLOW_SIGNAL:
        result = parse_signal(parse, value, &step->signal);
        break;
    }
    if (result == 0)
        parse_leave(parse, before);
    return result;
}

static int parse_attempts(struct parse *parse, uint32_t node, struct flow_retry *retry)
{
    int64_t value;
    retry->max_attempts = 5;
    if (node == 0)
        return 0;
    size_t before = parse_enter(parse, "max_attempts");
    if (!json_get_integer(&parse->json, node, &value) || value < 1 || value > ATTEMPTS_MAX)
        return parse_refuse(parse, "\"max_attempts\" must be a whole number from 1 to %d",
                            ATTEMPTS_MAX);
    retry->max_attempts = (uint32_t)value;
    parse_leave(parse, before);
    return 0;
}

static int parse_number(struct parse *parse, uint32_t node, const char *name, double least,
                        double most, double *value)
{
    if (node == 0)
        return 0;
    size_t before = parse_enter(parse, name);
    if (!json_get_real(&parse->json, node, value) || !(*value >= least) || !(*value <= most))
        return parse_refuse(parse, "\"%s\" must be a number from %g to %g", name, least, most);
    parse_leave(parse, before);
    return 0;
}

static int parse_pause(struct parse *parse, uint32_t node, const char *name, uint64_t *ns)
{
    if (node == 0)
        return 0;
    size_t before = parse_enter(parse, name);
    int result = parse_duration(parse, node, "the pause", ns);
    if (result == 0)
        parse_leave(parse, before);
    return result;
}

static int parse_retry(struct parse *parse, uint32_t node, struct flow_step *step)
{
    static const struct parse_key keys[] = { { "max_attempts", false }, { "initial", false },
                                             { "factor", false },       { "max", false },
                                             { "jitter", false },       { NULL, false } };
    const struct json *json = &parse->json;
    struct flow_retry *retry = &step->retry;
    *retry = (struct flow_retry){ 1, SECOND_NS, 60 * SECOND_NS, 2, 0.2 };
    if (node == 0)
        return 0;
    size_t before = parse_enter(parse, "retry");
    if (step->kind != FLOW_HTTP && step->kind != FLOW_EXEC)
        return parse_refuse(parse, "a %s step is never tried again: take \"retry\" out",
                            flow_kind_name(step->kind));
    int result = parse_object(parse, node, "\"retry\"", keys);
    if (result == 0)
        result = parse_attempts(parse, json_member(json, node, "max_attempts"), retry);
    if (result == 0)
        result =
            parse_pause(parse, json_member(json, node, "initial"), "initial", &retry->initial_ns);
    if (result == 0)
        result = parse_pause(parse, json_member(json, node, "max"), "max", &retry->max_ns);
    if (result == 0)
        result = parse_number(parse, json_member(json, node, "factor"), "factor", 1, FACTOR_MAX,
                              &retry->factor);
    if (result == 0)
        result =
            parse_number(parse, json_member(json, node, "jitter"), "jitter", 0, 1, &retry->jitter);
    if (result < 0)
        return result;
    if (json_member(json, node, "max") == 0 && retry->max_ns < retry->initial_ns)
        retry->max_ns = retry->initial_ns;
    if (retry->max_ns < retry->initial_ns)
        return parse_refuse(parse, "\"max\" is less than \"initial\": the pauses grow from "
                                   "\"initial\" to \"max\"");
    parse_leave(parse, before);
    return 0;
}

static int parse_timeout(struct parse *parse, uint32_t node, struct flow_step *step)
{
    bool effect = step->kind == FLOW_HTTP || step->kind == FLOW_EXEC;
    step->timeout_ns = effect ? TIMEOUT_DEFAULT_NS : 0;
    if (node == 0)
        return 0;
    size_t before = parse_enter(parse, "timeout");
    if (step->kind == FLOW_SIGNAL)
        return parse_refuse(parse, "put the timeout of a signal into \"signal\": "
                                   "{\"name\": ..., \"timeout\": ...}");
    if (!effect)
        return parse_refuse(parse, "a sleep step has no timeout: take it out");
    int result = parse_duration(parse, node, "the timeout", &step->timeout_ns);
    if (result == 0 && step->timeout_ns == 0)
        return parse_refuse(parse, "the timeout must be more than 0");
    if (result == 0)
        parse_leave(parse, before);
    return result;
}

/* DESIGN: true but for http POST and PATCH, and exec. */
static int parse_idempotent(struct parse *parse, uint32_t node, struct flow_step *step)
{
    bool changes = step->kind == FLOW_HTTP &&
                   (span_is(step->http.method, "POST") || span_is(step->http.method, "PATCH"));
    step->idempotent = step->kind != FLOW_EXEC && !changes;
    if (node == 0 || json_get_bool(&parse->json, node, &step->idempotent))
        return 0;
    (void)parse_enter(parse, "idempotent");
    return parse_refuse(parse, "\"idempotent\" must be true or false, not %s",
                        json_kind_name(parse->json.nodes[node].kind));
}

static int parse_on_failure(struct parse *parse, uint32_t node, struct flow_step *step)
{
    const struct json *json = &parse->json;
    step->on_failure = FLOW_PARK;
    if (node == 0)
        return 0;
    bool string = json->nodes[node].kind == JSON_STRING;
    if (string && json_string_is(json, node, "park"))
        return 0;
    if (string && json_string_is(json, node, "fail")) {
        step->on_failure = FLOW_FAIL;
        return 0;
    }
    if (string && json_string_is(json, node, "continue")) {
        step->on_failure = FLOW_CONTINUE;
        return 0;
    }
    (void)parse_enter(parse, "on_failure");
    if (string && json_string_is(json, node, "compensate"))
        return parse_refuse(parse, "\"compensate\" is not in this version: write \"park\", "
                                   "\"fail\" or \"continue\"");
    return parse_refuse(parse, "\"on_failure\" must be \"park\", \"fail\" or \"continue\"");
}

int parse_step(struct parse *parse, uint32_t node, struct flow_step *step)
{
    static const struct parse_key keys[] = {
        { "id", false },         { "needs", false },  { "http", false },
        { "exec", false },       { "sleep", false },  { "signal", false },
        { "timeout", false },    { "retry", false },  { "idempotent", false },
        { "on_failure", false }, { "if", true },      { "eval", true },
        { "compensate", true },  { "ai", true },      { "task", true },
        { "transfer", true },    { "message", true }, { "approval", true },
        { "workflow", true },    { "foreach", true }, { NULL, false }
    };
    const struct json *json = &parse->json;
    int result = parse_object(parse, node, "a step", keys);
    if (result == 0)
        result = parse_id(parse, json_member(json, node, "id"), step);
    if (result == 0)
        result = parse_kind(parse, node, step);
    if (result == 0)
        result = parse_timeout(parse, json_member(json, node, "timeout"), step);
    if (result == 0)
        result = parse_retry(parse, json_member(json, node, "retry"), step);
    if (result == 0)
        result = parse_idempotent(parse, json_member(json, node, "idempotent"), step);
    if (result == 0)
        result = parse_on_failure(parse, json_member(json, node, "on_failure"), step);
    return result;
}
