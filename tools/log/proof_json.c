/* Proofs as JSON. */
#include "core/base/bytes.h"
#include "tools/log/proof.h"

#include <stdlib.h>
#include <string.h>

/*--- Writing -----------------------------------------------------------------------------------*/

static void segment_to_json(const struct log_segment_proof *segment, struct text *text)
{
    text_json_hex(text, "record", span_of(segment->record, segment->record_size));
    text_json_open_object(text, "segment");
    text_json_unsigned(text, "segment_no", segment->segment_no);
    text_json_unsigned(text, "first_seq", segment->first_seq);
    text_json_unsigned(text, "last_seq", segment->last_seq);
    text_json_hex(text, "merkle_root", span_of(segment->merkle_root, SHA256_SIZE));
    text_json_close_object(text);
    text_json_open_array(text, "path");
    for (uint32_t i = 0; i < segment->path.size; i++)
        text_json_hex(text, NULL, span_of(segment->path.nodes[i], SHA256_SIZE));
    text_json_close_array(text);
}

static void chain_to_json(const struct log_chain_proof *chain, struct text *text)
{
    text_json_hex(text, "before", span_of(chain->before, SHA256_SIZE));
    text_json_hex(text, "frame", span_of(chain->frame, chain->frame_size));
    text_json_open_array(text, "links");
    for (size_t i = 0; i < chain->link_count; i++) {
        text_json_open_object(text, NULL);
        text_json_hex(text, "header", span_of(chain->links[i].header, LOG_LINK_HEADER_SIZE));
        text_json_hex(text, "body", span_of(chain->links[i].body, SHA256_SIZE));
        text_json_close_object(text);
    }
    text_json_close_array(text);
}

void proof_to_json(const struct proof *proof, struct text *text)
{
    text_json_open_object(text, NULL);
    text_json_cstring(text, "proof", proof->by_chain ? "chain" : "merkle");
    text_json_unsigned(text, "version", 1);
    text_json_unsigned(text, "seq", proof->seq);
    if (proof->by_chain)
        chain_to_json(&proof->chain, text);
    else
        segment_to_json(&proof->segment, text);
    anchor_to_json(&proof->anchor, "anchor", text);
    text_json_close_object(text);
}

/*--- Reading -----------------------------------------------------------------------------------*/

/* What is read, and the first member that was wrong. */
struct reading {
    const struct json *json;
    const char *wrong;
};

static void fault(struct reading *reading, const char *name)
{
    if (reading->wrong == NULL)
        reading->wrong = name;
}

/* The digits of a string without an escape. */
static struct span digits(const struct json *json, uint32_t node)
{
    const struct json_node *value = &json->nodes[node];
    if (node == 0 || value->kind != JSON_STRING || value->escaped)
        return span_of(NULL, 0);
    return span_of(json->text.bytes + value->start, value->size);
}

static void fixed(struct reading *reading, uint32_t node, const char *name, uint8_t *target,
                  size_t size)
{
    struct span text = digits(reading->json, node);
    if (text.size == 0 || !bytes_from_hex(target, size, (const char *)text.bytes, text.size))
        fault(reading, name);
}

static uint8_t *bytes_of(struct reading *reading, uint32_t parent, const char *name, size_t *size)
{
    struct span text = digits(reading->json, json_member(reading->json, parent, name));
    *size = text.size / 2;
    uint8_t *bytes = *size > 0 ? malloc(*size) : NULL;
    if (bytes == NULL || !bytes_from_hex(bytes, *size, (const char *)text.bytes, text.size))
        fault(reading, name);
    return bytes;
}

static uint64_t number(struct reading *reading, uint32_t parent, const char *name)
{
    int64_t value = 0;
    uint32_t node = json_member(reading->json, parent, name);
    if (node == 0 || !json_get_integer(reading->json, node, &value) || value < 1)
        fault(reading, name);
    return (uint64_t)value;
}

static void read_path(struct reading *reading, struct merkle_path *path)
{
    const struct json *json = reading->json;
    uint32_t list = json_member(json, 0, "path");
    if (list == 0 || json->nodes[list].kind != JSON_ARRAY ||
        json->nodes[list].count > MERKLE_DEPTH_MAX) {
        fault(reading, "path");
        return;
    }
    for (uint32_t i = json_first(json, list); i != 0; i = json_next(json, list, i))
        fixed(reading, i, "path", path->nodes[path->size++], SHA256_SIZE);
}

static void read_segment(struct reading *reading, struct proof *proof)
{
    struct log_segment_proof *segment = &proof->segment;
    uint32_t node = json_member(reading->json, 0, "segment");
    segment->record = bytes_of(reading, 0, "record", &segment->record_size);
    segment->segment_no = number(reading, node, "segment_no");
    segment->first_seq = number(reading, node, "first_seq");
    segment->last_seq = number(reading, node, "last_seq");
    fixed(reading, json_member(reading->json, node, "merkle_root"), "merkle_root",
          segment->merkle_root, SHA256_SIZE);
    segment->path.index = proof->seq - segment->first_seq;
    read_path(reading, &segment->path);
}

static void read_chain(struct reading *reading, struct log_chain_proof *chain)
{
    const struct json *json = reading->json;
    uint32_t list = json_member(json, 0, "links");
    fixed(reading, json_member(json, 0, "before"), "before", chain->before, SHA256_SIZE);
    chain->frame = bytes_of(reading, 0, "frame", &chain->frame_size);
    if (list == 0 || json->nodes[list].kind != JSON_ARRAY ||
        json->nodes[list].count > LOG_PROOF_LINKS_MAX) {
        fault(reading, "links");
        return;
    }
    chain->links = calloc(json->nodes[list].count + 1u, sizeof *chain->links);
    if (chain->links == NULL) {
        fault(reading, "links");
        return;
    }
    for (uint32_t i = json_first(json, list); i != 0; i = json_next(json, list, i)) {
        struct log_link *link = &chain->links[chain->link_count++];
        fixed(reading, json_member(json, i, "header"), "header", link->header,
              LOG_LINK_HEADER_SIZE);
        fixed(reading, json_member(json, i, "body"), "body", link->body, SHA256_SIZE);
    }
}

static int read_proof(struct proof *proof, const struct json *json, struct error *error)
{
    struct reading reading = { .json = json };
    const char *what = NULL;
    uint32_t kind = json_member(json, 0, "proof"), anchor = json_member(json, 0, "anchor");
    proof->seq = number(&reading, 0, "seq");
    if (number(&reading, 0, "version") > 1)
        return error_set(error, ERROR_NEWER, "it is a proof of a newer version: use that one");
    proof->by_chain = kind != 0 && json_string_is(json, kind, "chain");
    if (proof->by_chain)
        read_chain(&reading, &proof->chain);
    else if (kind != 0 && json_string_is(json, kind, "merkle"))
        read_segment(&reading, proof);
    else
        fault(&reading, "proof");
    if (anchor == 0)
        fault(&reading, "anchor");
    else if (anchor_of_json(&proof->anchor, json, anchor, &what) < 0)
        fault(&reading, what);
    return reading.wrong == NULL
               ? 0
               : error_set(error, ERROR_SYNTAX, "it is no proof: %s is missing or wrong",
                           reading.wrong);
}

int proof_of_json(struct proof *proof, struct span text, struct error *error)
{
    struct budget budget;
    struct arena arena;
    struct json json;
    struct json_problem problem;
    memset(proof, 0, sizeof *proof);
    budget_init(&budget, 1u << 30);
    arena_init(&arena, &budget, BUDGET_READERS, 65536);
    int code = json_parse(&json, &arena, text, &problem);
    if (code == 0)
        code = read_proof(proof, &json, error);
    else
        error_set(error, code, "it is no proof: %s",
                  code == ERROR_SYNTAX ? problem.message : error_text(code));
    arena_free(&arena);
    return code;
}
