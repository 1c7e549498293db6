#include "tools/replication/news.h"

#include "core/base/id.h"

#include <inttypes.h>
#include <stdio.h>

static void tell_fork(const struct copier_fork *fork, char text[NEWS_SIZE])
{
    char log[UUID_TEXT_SIZE], parent[UUID_TEXT_SIZE], left[240] = "", missing[240] = "";
    uuid_to_text(log, fork->log);
    uuid_to_text(parent, fork->parent);
    if (fork->left > 0)
        (void)snprintf(left, sizeof left,
                       "; %" PRIu64 " events of log %s behind that (%" PRIu64 " to %" PRIu64
                       ") are in Postgres and not in this log: they stay there",
                       fork->left, parent, fork->seq + 1, fork->seq + fork->left);
    if (fork->missing > 0)
        (void)snprintf(missing, sizeof missing,
                       "; events %" PRIu64 " to %" PRIu64
                       " of log %s are neither in this log any more nor in Postgres: copy that log "
                       "too, where it still is",
                       fork->seq - fork->missing + 1, fork->seq, parent);
    (void)snprintf(text, NEWS_SIZE, "log %s was forked from log %s behind event %" PRIu64 "%s%s",
                   log, parent, fork->seq, left, missing);
}

#define INDEX_TROUBLE                                                                              \
    "; it is copied without an index that cannot be made now, see daa-cli database migrate: "

bool news_of(const struct follow_event *event, char text[NEWS_SIZE])
{
    char uuid[UUID_TEXT_SIZE];
    const char *trouble = event->stats->index_trouble;
    switch (event->news) {
    case FOLLOW_CONNECTED:
        uuid_to_text(uuid, event->stats->log);
        (void)snprintf(text, NEWS_SIZE,
                       "connected; log %s is in Postgres up to seq %" PRIu64 "%s%s", uuid,
                       event->stats->position, *trouble != '\0' ? INDEX_TROUBLE : "", trouble);
        return true;
    case FOLLOW_FORK:
        tell_fork(&event->stats->fork, text);
        return true;
    case FOLLOW_WITHHELD:
        (void)snprintf(text, NEWS_SIZE,
                       "event %" PRIu64 " is %s: from there on what cannot be decrypted is copied "
                       "without what workflows were given and gave; once the keys can be read, "
                       "daa-pgsync --repair puts it in",
                       event->stats->withheld.seq, event->stats->withheld.why);
        return true;
    case FOLLOW_LOST:
        (void)snprintf(text, NEWS_SIZE, "Postgres cannot be had, trying again: %s",
                       event->error->text);
        return event->tries == 1;
    case FOLLOW_TOLD:
        if (event->error == NULL)
            return false;
        (void)snprintf(text, NEWS_SIZE,
                       "the agent cannot see how far the copy is and may remove events too early: "
                       "%s",
                       event->error->text);
        return true;
    case FOLLOW_PROGRESS:
    case FOLLOW_TICK:
        break;
    }
    return false;
}
