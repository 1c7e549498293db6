/* What follow_run() tells, as a sentence for people, without a full stop.
 *
 * Pure. Threads: any. */
#ifndef TOOLS_REPLICATION_NEWS_H
#define TOOLS_REPLICATION_NEWS_H

#include "tools/replication/follow.h"

#include <stdbool.h>

#define NEWS_SIZE 1200u

/* False: nobody needs to be told, as of progress or of a try after the first one. */
bool news_of(const struct follow_event *event, char text[NEWS_SIZE]);

#endif
