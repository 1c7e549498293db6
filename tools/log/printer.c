#include "log/event.h"
#include "log/storage.h"
#include "tools/log/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One event of 8 MiB as JSON, each byte of it escaped, and room to unpack it. */
#define PRINTER_MEMORY_MAX (256u << 20)

const char *kind_name(uint16_t kind)
{
    static char unknown[16];
    const char *name = record_own_kind_name(kind);
    if (name == NULL)
        name = event_kind_name(kind);
    if (name == NULL) {
        snprintf(unknown, sizeof unknown, "kind-%u", kind);
        name = unknown;
    }
    return name;
}

void printer_begin(struct printer *printer, bool json, struct decryption *decryption)
{
    *printer = (struct printer){ .json = json, .decryption = decryption };
    budget_init(&printer->budget, PRINTER_MEMORY_MAX);
    arena_init(&printer->arena, &printer->budget, BUDGET_READERS, 4096);
    text_init(&printer->line);
    printer->line.size_max = PRINTER_MEMORY_MAX;
}

void printer_end(struct printer *printer)
{
    arena_free(&printer->arena);
    text_free(&printer->line);
}

/* "actor" and what else the envelope has, and "payload". `event` is NULL for one that is the log's
 * own or cannot be unpacked. */
static void add_content(struct printer *printer, const struct record *record,
                        const Daa__Event *event)
{
    struct text *line = &printer->line;
    if (record->kind > LOG_KIND_OWN_MAX) {
        struct event_header header = event_header_of(record);
        event_opened_to_json(&header, record->payload, event, &printer->arena, line);
        return;
    }
    text_json_null(line, "actor");
    text_json_open_object(line, "payload");
    if (record_own_kind_name(record->kind) == NULL ||
        storage_to_json(record->kind, record->payload, line) < 0)
        text_json_hex(line, "undecoded", record->payload);
    text_json_close_object(line);
}

static void add_json(struct printer *printer, const struct record *record, const Daa__Event *event)
{
    struct text *line = &printer->line;
    text_json_open_object(line, NULL);
    text_json_unsigned(line, "seq", record->seq);
    text_json_time(line, "time", record->time_ns);
    text_json_unsigned(line, "stream", record->stream);
    text_json_cstring(line, "kind", kind_name(record->kind));
    if (record->cause != 0)
        text_json_unsigned(line, "cause", record->cause);
    else
        text_json_null(line, "cause");
    add_content(printer, record, event);
    text_json_close_object(line);
}

static void add_time(struct text *line, uint64_t time_ns)
{
    char text[32];
    time_t seconds = (time_t)(time_ns / 1000000000u);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    text_printf(line, "%s.%06u", text, (unsigned)(time_ns % 1000000000u / 1000));
}

static void add_mark(struct text *line, int decrypted)
{
    static const char *const marks[] = {
        [DECRYPTION_NO_KEYS] = "encrypted, and no keys",
        [DECRYPTION_ERASED] = "erased",
        [DECRYPTION_UNAVAILABLE] = "encrypted, and its key cannot be read",
        [DECRYPTION_MISFIT] = "encrypted, and its key does not fit",
    };
    if (decrypted >= DECRYPTION_NO_KEYS)
        text_printf(line, "%s[%s]%s ", command_style(stdout, COMMAND_YELLOW), marks[decrypted],
                    command_style(stdout, COMMAND_PLAIN));
}

static void add_text(struct printer *printer, const struct record *record, const Daa__Event *event,
                     int decrypted)
{
    struct text *line = &printer->line;
    text_printf(line, "%s%10llu%s  ", command_style(stdout, COMMAND_BOLD),
                (unsigned long long)record->seq, command_style(stdout, COMMAND_PLAIN));
    add_time(line, record->time_ns);
    text_printf(line, "  %-8llu %s%-22s%s ", (unsigned long long)record->stream,
                command_style(stdout, COMMAND_GREEN), kind_name(record->kind),
                command_style(stdout, COMMAND_PLAIN));
    add_mark(line, decrypted);
    line->comma = false;
    text_json_open_object(line, NULL);
    add_content(printer, record, event);
    text_json_close_object(line);
}

const char *printer_line(struct printer *printer, const struct record *record)
{
    struct text *line = &printer->line;
    Daa__Event *event = NULL;
    int decrypted = DECRYPTION_NONE;
    text_clear(line);
    if (record->kind > LOG_KIND_OWN_MAX)
        decrypted = decryption_show(printer->decryption, record, &printer->arena, &event);
    if (printer->json)
        add_json(printer, record, event);
    else
        add_text(printer, record, event, decrypted);
    arena_reset(&printer->arena);
    if (line->failed != 0) {
        int failed = line->failed;
        text_clear(line);
        text_printf(line, "{\"seq\":%llu,\"failed\":\"%s\"}", (unsigned long long)record->seq,
                    error_text(failed));
    }
    return text_string(line);
}

int printer_event(struct printer *printer, const struct record *record)
{
    struct text *line = &printer->line;
    (void)printer_line(printer, record);
    if (fwrite(line->bytes, 1, line->size, stdout) != line->size || putchar('\n') == EOF)
        return errno != 0 ? -errno : -EIO;
    return 0;
}

struct log_reader *open_reader(const struct command *command, const char *dir, bool skip_damage)
{
    struct log_reader *reader;
    struct error error;
    struct log_reader_options options = { .dir = dir, .skip_damage = skip_damage };
    if (log_reader_open(&reader, &options, &error) < 0) {
        (void)command_failed_error(command, &error);
        return NULL;
    }
    if (log_reader_first_seq(reader) > 0 || log_reader_live(reader))
        return reader;
    (void)command_failed(command, "%s holds no segment of a log", dir);
    log_reader_close(reader);
    return NULL;
}
