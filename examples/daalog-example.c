/* A program with an event log of its own: appends the life of an order, makes it durable, reads it
 * back, and follows the log until a payment that another thread appends is there.
 *
 *   cc daalog-example.c $(pkg-config --cflags --libs daalog) -o daalog-example
 *   ./daalog-example DIR        the directory is made; again, it goes on there
 *   daa-log verify DIR */
#include <daalog.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Kinds are the program's own: numbers that never change their meaning. */
enum { ORDER_PLACED = DAALOG_KIND_FIRST, ORDER_PACKED, ORDER_PAID };

static const char *const names[] = { "order.placed", "order.packed", "order.paid" };

struct shop {
    const char *dir;
    uint64_t order;   /* its stream: the number of its first event */
    uint64_t packed;  /* the newest event of it, when the reader begins */
    pthread_t reader; /* another thread; it could as well be another process */
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static struct daalog_event event_of(uint16_t kind, const char *payload)
{
    struct daalog_event event = { 0 };
    event.kind = kind;
    event.payload = payload;
    event.payload_size = strlen(payload);
    return event;
}

static void print(const struct daalog_event *event)
{
    printf("%s", names[event->kind - DAALOG_KIND_FIRST]);
    if (event->stream_prev_seq != 0)
        printf(", %" PRIu64 " behind the event before it", event->seq - event->stream_prev_seq);
    printf(": %.*s\n", (int)event->payload_size, (const char *)event->payload);
}

/* Prints the events of this order as they become durable, until it is paid. */
static void *follow(void *context)
{
    const struct shop *shop = context;
    struct daalog_reader *reader;
    struct daalog_event event;
    char why[DAALOG_WHY_SIZE];
    int found;
    if (daalog_reader_open(&reader, shop->dir, NULL, why, sizeof why) < 0)
        fail("open to read", why);
    if (daalog_reader_seek(reader, shop->order) < 0)
        fail("seek", daalog_reader_error(reader));
    for (;;) {
        while ((found = daalog_reader_next(reader, &event)) == 1) {
            if (event.stream != shop->order)
                continue; /* of another order, or the log's own */
            print(&event);
            if (event.kind == ORDER_PAID) {
                daalog_reader_close(reader);
                return NULL;
            }
        }
        if (found < 0)
            fail("read", daalog_reader_error(reader));
        (void)daalog_reader_wait(reader, 1000);
    }
}

/* Two events that are in the log together or not at all; the second refers to the first, whose
 * number is not known before. */
static void place_order(struct daalog *log, struct shop *shop)
{
    struct daalog_event batch[2];
    batch[0] = event_of(ORDER_PLACED, "{\"item\":\"tea\"}");
    batch[0].stream = DAALOG_IN_BATCH(0);
    batch[1] = event_of(ORDER_PACKED, "{\"boxes\":1}");
    batch[1].stream = batch[1].cause = batch[1].stream_prev_seq = DAALOG_IN_BATCH(0);
    if (daalog_append(log, batch, 2, &shop->order) < 0 || daalog_sync(log) < 0)
        fail("place the order", daalog_error(log));
    shop->packed = shop->order + 1;
}

static void pay(struct daalog *log, const struct shop *shop)
{
    struct daalog_event paid = event_of(ORDER_PAID, "{\"amount\":\"4.20\"}");
    paid.stream = shop->order;
    paid.cause = paid.stream_prev_seq = shop->packed;
    if (daalog_append(log, &paid, 1, NULL) < 0 || daalog_sync(log) < 0)
        fail("pay", daalog_error(log));
}

static void verify(const char *dir)
{
    struct daalog_verified verified = { sizeof verified, 0, 0, 0, 0, 0, 0, 0, 0, { 0 } };
    char why[DAALOG_WHY_SIZE];
    if (daalog_verify(dir, 0, NULL, NULL, &verified, why, sizeof why) < 0)
        fail("verify", why);
    printf("%s\n", verified.verdict == DAALOG_IS_SOUND ? "sound" : "not sound");
}

int main(int argc, char **argv)
{
    struct shop shop = { 0 };
    struct daalog *log;
    char why[DAALOG_WHY_SIZE];
    if (argc != 2)
        fail("usage", "daalog-example DIR");
    shop.dir = argv[1];
    if (daalog_open(&log, shop.dir, NULL, why, sizeof why) < 0)
        fail("open", why);
    if (daalog_found(log)[0] != '\0')
        fprintf(stderr, "left out, from before a crash: %s\n", daalog_found(log));
    place_order(log, &shop);
    if (pthread_create(&shop.reader, NULL, follow, &shop) != 0)
        fail("thread", "cannot be made");
    pay(log, &shop);
    pthread_join(shop.reader, NULL);
    if (daalog_close(log, why, sizeof why) < 0)
        fail("close", why);
    verify(shop.dir);
    return 0;
}
