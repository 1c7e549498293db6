#include "tools/agent/loop_inside.h"

#include <stdlib.h>

struct turn *turn_open(struct loop *loop)
{
    if (loop->open)
        return loop->open;
    struct turn *turn = loop->spare;
    if (turn)
        loop->spare = turn->next;
    else
        turn = malloc(sizeof *turn);
    CHECK(turn);
    *turn = (struct turn){ 0 };
    turn->requests_last = &turn->requests;
    turn->effects_last = &turn->effects;
    return loop->open = turn;
}

static void take_change(struct span key, struct span bytes, void *context)
{
    struct loop *loop = context;
    struct turn *turn = turn_open(loop);
    if (!turn->batch)
        turn->batch = state_batch_new(loop->options.state);
    state_batch_add(key, bytes, turn->batch);
}

void turn_close(struct loop *loop)
{
    if (loop->changed) {
        if (agent_take_changes(loop->options.agent, take_change, loop) < 0) {
            if (loop->open) { /* all of them come again */
                state_batch_free(loop->open->batch);
                loop->open->batch = NULL;
            }
            return;
        }
        loop->changed = false;
    }
    for (struct effect *effect; (effect = agent_next_effect(loop->options.agent));) {
        struct turn *turn = turn_open(loop);
        effect->next = NULL;
        *turn->effects_last = effect;
        turn->effects_last = &effect->next;
    }
    struct turn *turn = loop->open;
    if (!turn)
        return;
    turn->last_seq = log_next_seq(loop->options.log) - 1;
    turn->next = NULL;
    *loop->last = turn;
    loop->last = &turn->next;
    loop->open = NULL;
}

static void start_effects(struct loop *loop, struct turn *turn)
{
    for (struct effect *effect = turn->effects, *next; effect; effect = next) {
        next = effect->next;
        /* Once drained, the effects may be ended: what is intended now is for the next start. */
        if (effect->kind != EFFECT_FINISHED && !loop->drained) {
            effects_start(loop->options.effects, effect);
            continue;
        }
        if (effect->kind != EFFECT_FINISHED) {
            effect_free(effect);
            continue;
        }
        if (!loop->drained && effect->status != DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED &&
            effects_underway(loop->options.effects) > 0)
            effects_cancel(loop->options.effects, effect->stream);
        loop->options.ended(effect->stream, loop->options.context);
        effect_free(effect);
    }
}

static void answer_requests(struct loop *loop, struct turn *turn, enum request_answer answer)
{
    for (struct request *request = turn->requests, *next; request; request = next) {
        next = request->next;
        if (request->answer != REQUEST_REFUSED)
            request->answer = answer;
        inbox_answered(loop->options.inbox, request);
    }
}

void turns_complete(struct loop *loop)
{
    uint64_t durable_seq = log_durable_seq(loop->options.log), mark_seq;
    uint8_t chain[SHA256_SIZE];
    while (loop->first && loop->first->last_seq <= durable_seq) {
        struct turn *turn = loop->first;
        loop->first = turn->next;
        if (!loop->first)
            loop->last = &loop->first;
        if (turn->batch)
            state_hand_over(loop->options.state, turn->batch, turn->last_seq);
        answer_requests(loop, turn, REQUEST_DURABLE);
        start_effects(loop, turn);
        turn->next = loop->spare;
        loop->spare = turn;
    }
    log_durable_mark(loop->options.log, &mark_seq, chain);
    state_mark(loop->options.state, mark_seq, chain);
}

void turns_abandon(struct loop *loop)
{
    turn_close(loop);
    if (loop->open) {
        *loop->last = loop->open;
        loop->open = NULL;
    }
    while (loop->first) {
        struct turn *turn = loop->first;
        loop->first = turn->next;
        answer_requests(loop, turn, REQUEST_UNKNOWN);
        state_batch_free(turn->batch);
        for (struct effect *effect = turn->effects, *next; effect; effect = next) {
            next = effect->next;
            effect_free(effect);
        }
        free(turn);
    }
    loop->last = &loop->first;
}

void turn_answer(struct loop *loop, struct request *request, enum request_answer answer)
{
    if (!request)
        return;
    struct turn *turn = turn_open(loop);
    request->answer = answer;
    request->next = NULL;
    *turn->requests_last = request;
    turn->requests_last = &request->next;
}
