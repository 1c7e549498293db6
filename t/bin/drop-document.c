/* Deletes the first document of a kind from the database of an agent that does not run, as no agent
 * would: drop-document DIR KIND. Prints its key. */
#include "mmapstore/kv.h"

#include <stdio.h>
#include <string.h>

static int drop(struct kv *kv, const char *kind, struct error *error)
{
    struct kv_reader *reader;
    struct kv_writer *writer;
    struct span found, value;
    uint8_t key[KV_KEY_SIZE_MAX];
    size_t size = 0;
    int status = kv_reader_open(kv, &reader, error);
    if (status < 0)
        return status;
    status = kv_read_begin(reader, error);
    if (status == 0) {
        if (kv_seek(reader, span_of_text(kind), false, &found, &value) == 1 &&
            found.bytes[0] == (uint8_t)kind[0]) {
            size = found.size;
            memcpy(key, found.bytes, size);
        }
        kv_read_end(reader);
    }
    kv_reader_close(reader);
    if (size == 0)
        return error_set(error, ERROR_NOT_FOUND, "there is no document of the kind %s", kind);
    if ((status = kv_begin(kv, &writer, error)) < 0)
        return status;
    kv_delete(writer, span_of(key, size));
    putchar(key[0]);
    for (size_t i = 1; i < size; i++)
        printf("%02x", key[i]);
    putchar('\n');
    return kv_commit(writer, error);
}

int main(int argc, char **argv)
{
    struct kv *kv;
    struct error error = { 0 };
    if (argc != 3 || strlen(argv[2]) != 1)
        return 2;
    int status = kv_open(&kv, &(struct kv_options){ .dir = argv[1] }, &error);
    if (status == 0) {
        status = drop(kv, argv[2], &error);
        kv_close(kv);
    }
    if (status < 0)
        fprintf(stderr, "%s\n", error.text);
    return status < 0;
}
