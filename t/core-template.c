/* Templates: what they become in each place, and that no value leaves its place. */
#include "core/base/error.h"
#include "core/flow/template.h"
#include "tap.h"

#include <string.h>

static struct budget budget;
static struct arena arena;

static bool output(void *context, struct span step, struct span *json)
{
    (void)context;
    if (span_is(step, "a"))
        *json = span_of_text("{\"status\":200,\"body\":{\"items\":[{\"n\":\"first\"},[1,2.50]]}}");
    else if (span_is(step, "broken"))
        *json = span_of_text("{");
    else
        return false;
    return true;
}

static struct template_values values_of(const char *input)
{
    return (struct template_values){ &arena, span_of_text(input), output, NULL, NULL };
}

static const char input[] =
    "{\"id\":\"a/b c\",\"n\":-7,\"text\":\"say \\\"hi\\\"\\n\",\"nul\":\"a\\u0000b\",\"none\":null,"
    "\"dots\":\"..\",\"steal\":\"${{ secrets.T }}\",\"dollar\":\"$\",\"crlf\":\"a\\r\\nb\","
    "\"o\":{\"k\":[true,\"$5\"]}}";

static int render(enum template_place place, const char *source, struct span *result,
                  struct error *error)
{
    struct template_values values = values_of(input);
    return template_render(&values, place, span_of_text(source), result, error);
}

static void renders(enum template_place place, const char *source, const char *want)
{
    struct span result = { NULL, 0 };
    struct error error = { 0 };
    if (render(place, source, &result, &error) < 0)
        tap_note("%s", error.text);
    is_str((const char *)result.bytes, want, "%s", source);
}

static void fails(enum template_place place, const char *source, int code, const char *part)
{
    struct span result;
    struct error error = { 0 };
    is_int(render(place, source, &result, &error), code, "%s is refused", source);
    if (!ok(strstr(error.text, part) != NULL, "... for: %s", part))
        tap_note("%s", error.text);
}

static void texts(void)
{
    renders(TEMPLATE_STDIN, "plain", "plain");
    renders(TEMPLATE_STDIN, "", "");
    renders(TEMPLATE_STDIN, "n=${{ input.n }}, ${{input.text}}.", "n=-7, say \"hi\"\n.");
    renders(TEMPLATE_ARGUMENT, "${{ input.o }}", "{\"k\":[true,\"$5\"]}");
    renders(TEMPLATE_ARGUMENT, "${{ input.o.k.1 }}", "$5");
    renders(TEMPLATE_ARGUMENT, "${{ steps.a.output.body.items.0.n }}", "first");
    renders(TEMPLATE_ARGUMENT, "${{ steps.a.output.body.items.1.1 }}", "2.50");
    renders(TEMPLATE_ARGUMENT, "${{ input.none }}", "null");
    renders(TEMPLATE_ARGUMENT, "${{ steps.gone.output }}", "null");
    renders(TEMPLATE_ARGUMENT, "${{ input.steal }}", "${{ secrets.T }}");
    fails(TEMPLATE_STDIN, "${{ input.x.y }}", ERROR_NOT_FOUND, "${{ input.x.y }}");
    fails(TEMPLATE_STDIN, "${{ input.n.y }}", ERROR_NOT_FOUND, "nothing is at that path");
    fails(TEMPLATE_STDIN, "${{ steps.a.output.body.items.2 }}", ERROR_NOT_FOUND, "items.2");
    fails(TEMPLATE_STDIN, "${{ steps.a.output.body.items.x }}", ERROR_NOT_FOUND, "items.x");
    fails(TEMPLATE_STDIN, "${{ steps.broken.output }}", ERROR_SYNTAX, "into a JSON value");
    fails(TEMPLATE_STDIN, "${{ input. }}", ERROR_SYNTAX, "no template");
    fails(TEMPLATE_STDIN, "${{ }}", ERROR_SYNTAX, "no template");
    fails(TEMPLATE_STDIN, "${{ steps.a.status }}", ERROR_SYNTAX, "no template");
    fails(TEMPLATE_STDIN, "${{ secrets.a.b }}", ERROR_SYNTAX, "no template");
    fails(TEMPLATE_STDIN, "${{ env.HOME }}", ERROR_SYNTAX, "no template");
    fails(TEMPLATE_STDIN, "${{ input.n", ERROR_SYNTAX, "not closed");
    fails(TEMPLATE_ARGUMENT, "${{ input.nul }}", ERROR_INVALID, "NUL");
    fails(TEMPLATE_ENV, "${{ input.nul }}", ERROR_INVALID, "NUL");
}

static void urls(void)
{
    renders(TEMPLATE_URL, "http://h/${{ input.id }}?q=${{ input.text }}",
            "http://h/a%2Fb%20c?q=say%20%22hi%22%0A");
    renders(TEMPLATE_URL, "http://h/${{ secrets.K }}/${{ input.steal }}",
            "http://h/${{ secrets.K }}/%24%7B%7B%20secrets.T%20%7D%7D");
    fails(TEMPLATE_URL, "http://h/x/${{ input.dots }}/y", ERROR_INVALID, "only dots");
}

static void headers(void)
{
    renders(TEMPLATE_HEADER, "v${{ input.n }} ${{ secrets.T }}", "v-7 ${{ secrets.T }}");
    fails(TEMPLATE_HEADER, "${{ input.crlf }}", ERROR_INVALID, "line end");
    fails(TEMPLATE_HEADER, "${{ input.steal }}", ERROR_INVALID, "\"${{\"");
    fails(TEMPLATE_HEADER, "${{ input.dollar }}{{ secrets.T }}", ERROR_INVALID, "\"${{\"");
    fails(TEMPLATE_ENV, "${{ input.steal }}", ERROR_INVALID, "\"${{\"");
}

static void bodies(void)
{
    renders(TEMPLATE_JSON, "{\"a\": \"${{ input.o }}\", \"b\" :[1, \"x${{ input.o.k.0 }}\"]}",
            "{\"a\": {\"k\":[true,\"\\u00245\"]}, \"b\" :[1, \"xtrue\"]}");
    renders(TEMPLATE_JSON, "\"${{ input.none }}\"", "null");
    renders(TEMPLATE_JSON, "[\"say: ${{ input.text }}\"]", "[\"say: say \\\"hi\\\"\\n\"]");
    renders(TEMPLATE_JSON, "[\"\\u0024{{ input.n }} \\\"q\\\"\", \"\\u00e4\"]",
            "[\"-7 \\\"q\\\"\", \"\\u00e4\"]");
    renders(TEMPLATE_JSON, "[\"${{ secrets.T }}\",\"${{ input.steal }}\",\"-${{ input.steal }}\"]",
            "[\"${{ secrets.T }}\",\"\\u0024{{ secrets.T }}\",\"-\\u0024{{ secrets.T }}\"]");
    renders(TEMPLATE_JSON, "[\"${{ input.dollar }}{{ secrets.T }}\"]",
            "[\"\\u0024{{ secrets.T }}\"]");
    fails(TEMPLATE_JSON, "[\"${{ input.zz }}\"]", ERROR_NOT_FOUND, "input.zz");
}

static void too_large(void)
{
    static char big[(1 << 20) + 8], source[2048];
    struct span result;
    struct error error = { 0 };
    memset(big, 'x', 1 << 20);
    big[0] = '"';
    big[1 << 20] = '"';
    for (int i = 0; i < 10; i++)
        memcpy(source + 12 * i, "${{ input }}", 12);
    struct template_values values = values_of(big);
    is_int(template_render(&values, TEMPLATE_STDIN, span_of_text(source), &result, &error),
           ERROR_TOO_LARGE, "a text that grows past its limit is refused");
    ok(strstr(error.text, "8388608") != NULL, "with the limit");
}

static int secret(void *context, struct span name, struct span *value)
{
    (void)context;
    if (span_is(name, "T"))
        *value = span_of_text("p/w \"1\"");
    else if (span_is(name, "LINES"))
        *value = span_of_text("a\nb");
    else
        return ERROR_NOT_FOUND;
    return 0;
}

static void fills(enum template_place place, const char *rendered, const char *want)
{
    struct text target;
    struct error error = { 0 };
    text_init(&target);
    is_int(template_fill_secrets(place, span_of_text(rendered), secret, NULL, &target, &error), 0,
           "%s is filled", rendered);
    is_str(text_string(&target), want, "... with its value in its place");
    text_free(&target);
}

static void does_not_fill(enum template_place place, const char *rendered, int code,
                          const char *part)
{
    struct text target;
    struct error error = { 0 };
    text_init(&target);
    is_int(template_fill_secrets(place, span_of_text(rendered), secret, NULL, &target, &error),
           code, "%s is refused", rendered);
    ok(strstr(error.text, part) != NULL && strstr(error.text, "p/w") == NULL, "... for: %s", part);
    text_free(&target);
}

static void secrets(void)
{
    fills(TEMPLATE_HEADER, "Bearer ${{ secrets.T }}", "Bearer p/w \"1\"");
    fills(TEMPLATE_URL, "http://h/?k=${{ secrets.T }}&x", "http://h/?k=p%2Fw%20%221%22&x");
    fills(TEMPLATE_JSON, "{\"k\":\"${{ secrets.T }}\"}", "{\"k\":\"p/w \\\"1\\\"\"}");
    fills(TEMPLATE_ENV, "${{ secrets.LINES }}", "a\nb");
    does_not_fill(TEMPLATE_HEADER, "${{ secrets.LINES }}", ERROR_INVALID, "line end");
    does_not_fill(TEMPLATE_HEADER, "${{ secrets.NONE }}", ERROR_NOT_FOUND, "secrets.NONE");
    does_not_fill(TEMPLATE_STDIN, "${{ secrets.T }}", ERROR_INVALID, "may stand there");
    does_not_fill(TEMPLATE_HEADER, "${{ input.a }}", ERROR_INVALID, "is no secret");
}

int main(void)
{
    budget_init(&budget, 64 << 20);
    arena_init(&arena, &budget, BUDGET_EFFECTS, 4096);
    texts();
    urls();
    headers();
    bodies();
    too_large();
    secrets();
    arena_free(&arena);
    is_int(budget.used, 0, "nothing is left on the budget");
    return tap_done();
}
