#include "tools/log/digests.h"

#include "iouring/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int failed(const struct digests *digests, int code, const char *what, struct error *error)
{
    return error_set(error, code, "cannot %s a file without a name in %s: %s", what, digests->dir,
                     error_text(code));
}

int digests_open(struct digests *digests, const char *dir, struct error *error)
{
    *digests = (struct digests){ .dir = dir };
    int fd = file_open_nameless(dir);
    if (fd < 0)
        return failed(digests, fd, "make", error);
    (void)fcntl(fd, F_SETFL, 0); /* O_DIRECT wants whole blocks */
    digests->file = fdopen(fd, "w+");
    if (digests->file != NULL)
        return 0;
    int code = -errno;
    close(fd);
    return failed(digests, code, "make", error);
}

void digests_close(struct digests *digests)
{
    if (digests->file != NULL)
        (void)fclose(digests->file);
    digests->file = NULL;
}

int digests_add(struct digests *digests, const uint8_t digest[DIGEST_SIZE], struct error *error)
{
    digests->behind = true;
    if (fwrite(digest, DIGEST_SIZE, 1, digests->file) == 1)
        return 0;
    return failed(digests, errno != 0 ? -errno : -EIO, "write", error);
}

int digests_compare(struct digests *digests, uint64_t number, const uint8_t digest[DIGEST_SIZE],
                    struct error *error)
{
    uint8_t known[DIGEST_SIZE];
    if (digests->behind && fflush(digests->file) != 0)
        return failed(digests, -errno, "write", error);
    digests->behind = false;
    int64_t got =
        file_read_at(fileno(digests->file), known, sizeof known, (number - 1) * DIGEST_SIZE);
    if (got != sizeof known)
        return failed(digests, got < 0 ? (int)got : -EIO, "read", error);
    return memcmp(known, digest, sizeof known) == 0;
}
