/* Where the keys of a log begin: no key of a directory is for two logs. */
#include "log/keyring.h"

#include "scratch.h"
#include "tap.h"

static struct error error;

static struct keyring *open_keys(void)
{
    struct keyring *keyring;
    struct keyring_options options = { .dir = scratch_path("keys"), .mode = KEYRING_WRITE };
    if (keyring_open(&keyring, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    return keyring;
}

static uint32_t begin(struct keyring *keyring, uint8_t log)
{
    uint8_t uuid[16] = { log };
    uint32_t before = UINT32_MAX;
    is_int(keyring_begin(keyring, uuid, &before, &error), 0, "log %d begins", log);
    return before;
}

int main(void)
{
    uint64_t end;
    struct keyring *keyring = open_keys();
    ok(keyring_end(keyring, &end, &error) == 0 && end == 0, "there are no keys at first");
    is_int(begin(keyring, 1), 0, "the first log begins with the first key");
    if (keyring_prepare(keyring, 1, &error) < 0)
        tap_bail_out("%s", error.text);
    ok(keyring_end(keyring, &end, &error) == 0 && end == 131072, "files end where their keys do");
    is_int(begin(keyring, 1), 0, "a log that is known begins where it began");
    is_int(begin(keyring, 2), 131071, "another begins behind what is there");
    keyring_close(keyring);
    keyring = open_keys();
    if (keyring_prepare(keyring, 131072, &error) < 0)
        tap_bail_out("%s", error.text);
    is_int(begin(keyring, 2), 131071, "and there, when there are more");
    is_int(begin(keyring, 3), 196607, "a third begins behind these");
    is_int(begin(keyring, 1), 0, "which nothing is to the first");
    keyring_close(keyring);
    return tap_done();
}
