#include "tools/agent/errand.h"

/* A request is the first of its owner. */
static void answered(struct request *request)
{
    struct errand *errand = (struct errand *)request;
    pthread_mutex_lock(&errand->lock);
    errand->answered = true;
    pthread_cond_signal(&errand->news);
    pthread_mutex_unlock(&errand->lock);
}

void errand_init(struct errand *errand, struct inbox *inbox)
{
    *errand = (struct errand){ .inbox = inbox };
    pthread_mutex_init(&errand->lock, NULL);
    pthread_cond_init(&errand->news, NULL);
}

void errand_free(struct errand *errand)
{
    pthread_mutex_destroy(&errand->lock);
    pthread_cond_destroy(&errand->news);
}

bool errand_run(struct errand *errand, const struct command *command)
{
    errand->request = (struct request){ .command = *command, .done = answered };
    errand->answered = false;
    if (inbox_put_request(errand->inbox, &errand->request) < 0)
        return false;
    pthread_mutex_lock(&errand->lock);
    while (!errand->answered)
        pthread_cond_wait(&errand->news, &errand->lock);
    pthread_mutex_unlock(&errand->lock);
    return errand->request.answer == REQUEST_DURABLE;
}
