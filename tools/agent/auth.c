#include "tools/agent/auth.h"

#include "core/base/bytes.h"
#include "core/event/event.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

static int read_token(struct auth *auth, const char *path, struct error *error)
{
    char text[256];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t size = read(fd, text, sizeof text);
    close(fd);
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == ' '))
        size--;
    uint8_t bytes[AUTH_TOKEN_BYTES];
    if (size != AUTH_TOKEN_BYTES * 2 || !bytes_from_hex(bytes, sizeof bytes, text, (size_t)size))
        return error_set(error, ERROR_INVALID,
                         "%s does not hold %d hexadecimal digits; remove it, and the next start "
                         "makes a new one",
                         path, AUTH_TOKEN_BYTES * 2);
    memcpy(auth->token, text, (size_t)size);
    auth->token[size] = 0;
    return 0;
}

/* Written beside and renamed, so that a crash leaves none or a whole one. */
static int make_token(struct auth *auth, const char *path, struct error *error)
{
    char beside[PATH_MAX];
    uint8_t bytes[AUTH_TOKEN_BYTES];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", path);
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return error_set(error, -EIO, "no randomness for the admin token");
    bytes_to_hex(auth->token, bytes, sizeof bytes);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(error, -errno, "cannot make %s: %s", beside, error_text(-errno));
    char line[AUTH_TOKEN_BYTES * 2 + 2];
    int size = snprintf(line, sizeof line, "%s\n", auth->token);
    int status = write(fd, line, (size_t)size) == size && fsync(fd) == 0 ? 0 : -EIO;
    close(fd);
    if (status == 0 && rename(beside, path) < 0)
        status = -errno;
    if (status < 0)
        return error_set(error, status, "cannot write %s: %s", path, error_text(status));
    return 0;
}

int auth_open(struct auth *auth, const char *data_dir, bool anonymous, struct error *error)
{
    char path[PATH_MAX];
    auth->anonymous = anonymous;
    if (snprintf(path, sizeof path, "%s/admin.token", data_dir) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "data directory: the path is too long");
    int status = read_token(auth, path, error);
    if (status == -ENOENT)
        return make_token(auth, path, error);
    if (status < 0 && status != ERROR_INVALID)
        return error_set(error, status, "cannot read %s: %s", path, error_text(status));
    return status;
}

/* In a time that does not tell how much was right. */
static bool same_token(const char *token, const char *given)
{
    size_t size = strlen(token);
    if (strlen(given) != size)
        return false;
    unsigned char different = 0;
    for (size_t i = 0; i < size; i++)
        different |= (unsigned char)(token[i] ^ given[i]);
    return different == 0;
}

bool auth_of_loopback(const struct auth *auth, const char *authorization,
                      struct principal *principal)
{
    *principal = (struct principal){ .actor_type = DAA__ACTOR__TYPE__ANONYMOUS, .id = "anonymous" };
    if (!authorization) {
        principal->scopes = auth->anonymous ? AUTH_READ | AUTH_SUBMIT : AUTH_NOTHING;
        return true;
    }
    if (strncasecmp(authorization, "Bearer ", 7) != 0)
        return false;
    const char *given = authorization + 7;
    if (!same_token(auth->token, given + strspn(given, " ")))
        return false;
    *principal = (struct principal){ .scopes = AUTH_READ | AUTH_SUBMIT | AUTH_ADMIN,
                                     .actor_type = DAA__ACTOR__TYPE__TOKEN,
                                     .id = "admin" };
    return true;
}

void auth_of_uid(uid_t uid, struct principal *principal)
{
    *principal = (struct principal){ .actor_type = DAA__ACTOR__TYPE__UID };
    if (uid == geteuid() || uid == 0)
        principal->scopes = AUTH_READ | AUTH_SUBMIT | AUTH_ADMIN;
    snprintf(principal->id, sizeof principal->id, "%u", (unsigned)uid);
}

/* Without the port; brackets of IPv6 stay. */
static struct span host_of(const char *text)
{
    const char *end = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
    if (text[0] == '[')
        return end ? span_of(text, (size_t)(end + 1 - text)) : span_of_text(text);
    return end ? span_of(text, (size_t)(end - text)) : span_of_text(text);
}

static bool span_is_host(struct span span, const char *host)
{
    return span.size == strlen(host) && strncasecmp((const char *)span.bytes, host, span.size) == 0;
}

bool auth_host_is_ours(const struct auth *auth, const char *host)
{
    static const char *const loopback[] = { "localhost", "127.0.0.1", "[::1]" };
    struct span name = host_of(host);
    for (size_t i = 0; i < sizeof loopback / sizeof loopback[0]; i++)
        if (span_is_host(name, loopback[i]))
            return true;
    return span_is_host(name, auth->host);
}

bool auth_origin_is_ours(const struct auth *auth, const char *origin)
{
    return strncasecmp(origin, "http://", 7) == 0 && auth_host_is_ours(auth, origin + 7);
}
