/* A definition is compiled or refused with a sentence; what is compiled has its templates rendered
 * with an input that is made of its own source. */
#include "core/base/check.h"
#include "core/base/error.h"
#include "core/flow/flow.h"
#include "core/flow/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static bool output(void *context, struct span step, struct span *json)
{
    (void)context;
    *json = span_of_text("{\"a\":[1,\"${{ secrets.A }}\\r\\n\"]}");
    return step.size % 2 == 0;
}

static void render(const struct flow *flow, struct budget *budget)
{
    for (uint32_t i = 0; i < flow->step_count; i++) {
        const struct flow_step *step = &flow->steps[i];
        struct arena arena;
        struct span text;
        arena_init(&arena, budget, BUDGET_EFFECTS, 1024);
        struct template_values values = { &arena, flow->source, output, NULL, NULL };
        if (step->kind == FLOW_HTTP) {
            (void)template_render(&values, TEMPLATE_URL, step->http.url, &text, NULL);
            if (step->http.body.size > 0)
                (void)template_render(&values, TEMPLATE_JSON, step->http.body, &text, NULL);
            for (uint32_t j = 0; j < step->http.header_count; j++)
                (void)template_render(&values, TEMPLATE_HEADER, step->http.headers[j].value, &text,
                                      NULL);
        } else if (step->kind == FLOW_EXEC) {
            for (uint32_t j = 0; j < step->exec.argv_count; j++)
                (void)template_render(&values, TEMPLATE_ARGUMENT, step->exec.argv[j], &text, NULL);
        }
        arena_free(&arena);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct budget budget;
    struct flow *flow;
    struct flow_problem problem;
    budget_init(&budget, 1 << 28);
    int result = flow_compile(&flow, &budget, span_of(input, size), &problem);
    if (result == 0) {
        render(flow, &budget);
        flow_unref(flow);
    } else {
        CHECK(problem.message[0] != '\0');
    }
    CHECK(budget.used == 0);
    return 0;
}
