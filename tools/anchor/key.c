#include "tools/anchor/key.h"

#include "iouring/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files that are longer are no keys. */
#define FILE_SIZE_MAX 4096u

/* Its bytes; the size, or a negative errno. */
static int64_t read_small(const char *path, char bytes[FILE_SIZE_MAX], struct stat *status)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int64_t size = fstat(fd, status) < 0 ? -errno : file_read_at(fd, bytes, FILE_SIZE_MAX, 0);
    close(fd);
    return size;
}

static int read_private(const char *path, uint8_t key[ED25519_KEY_SIZE], struct error *error)
{
    char bytes[FILE_SIZE_MAX];
    struct stat status;
    int64_t size = read_small(path, bytes, &status);
    if (size < 0)
        return error_set(error, (int)size, "cannot read %s: %s", path, error_text((int)size));
    bool good = ed25519_private_from_pem(key, span_of(bytes, (size_t)size));
    explicit_bzero(bytes, sizeof bytes);
    if (!good)
        return error_set(error, ERROR_INVALID,
                         "%s is no Ed25519 private key in PEM: put back the one that was there, or "
                         "remove it, and the next start makes a new one",
                         path);
    if ((status.st_mode & 077) != 0)
        return error_set(error, ERROR_INVALID,
                         "%s may be read by others (mode %04o): chmod 600 it, or remove it if "
                         "somebody may have read it, and the next start makes a new one",
                         path, status.st_mode & 07777u);
    return 0;
}

/* A whole file or none, under a name that is durable; never over another one. */
static int write_new(const char *path, const char *text, mode_t mode)
{
    char beside[PATH_MAX], dir[PATH_MAX];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside)
        return -ENAMETOOLONG;
    if (unlink(beside) < 0 && errno != ENOENT)
        return -errno;
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    int code = fchmod(fd, mode) < 0 ? -errno : file_write_at(fd, text, strlen(text), 0);
    if (code == 0 && fsync(fd) < 0)
        code = -errno;
    close(fd);
    if (code == 0 && rename(beside, path) < 0)
        code = -errno;
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash != NULL)
        slash[slash == dir] = '\0';
    return code < 0 ? code : file_sync_dir(slash != NULL ? dir : ".", NULL);
}

static int make_private(const char *path, uint8_t key[ED25519_KEY_SIZE], struct error *error)
{
    char text[ED25519_PEM_SIZE];
    if (getrandom(key, ED25519_KEY_SIZE, 0) != ED25519_KEY_SIZE)
        return error_set(error, -EIO, "no randomness for the key that signs anchors");
    ed25519_private_to_pem(text, key);
    int code = write_new(path, text, 0600);
    explicit_bzero(text, sizeof text);
    return code < 0 ? error_set(error, code, "cannot make %s: %s", path, error_text(code)) : 0;
}

static int write_public(const char *dir, const uint8_t private_key[ED25519_KEY_SIZE],
                        struct error *error)
{
    uint8_t public_key[ED25519_KEY_SIZE], there[ED25519_KEY_SIZE];
    char text[ED25519_PEM_SIZE], path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/" ANCHOR_PUBLIC_NAME, dir) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", dir);
    ed25519_public_key(public_key, private_key);
    if (anchor_key_read_public(path, there, NULL) == 0 &&
        memcmp(there, public_key, ED25519_KEY_SIZE) == 0)
        return 0;
    ed25519_public_to_pem(text, public_key);
    int code = write_new(path, text, 0644);
    return code < 0 ? error_set(error, code, "cannot write %s: %s", path, error_text(code)) : 0;
}

int anchor_key_open(const char *path, const char *dir, uint8_t private_key[ED25519_KEY_SIZE],
                    struct error *error)
{
    int code = access(path, F_OK) < 0 && errno == ENOENT ? make_private(path, private_key, error)
                                                         : read_private(path, private_key, error);
    return code < 0 ? code : write_public(dir, private_key, error);
}

int anchor_key_read_public(const char *path, uint8_t public_key[ED25519_KEY_SIZE],
                           struct error *error)
{
    char bytes[FILE_SIZE_MAX];
    struct stat status;
    int64_t size = read_small(path, bytes, &status);
    if (size < 0)
        return error_set(error, (int)size, "cannot read %s: %s", path, error_text((int)size));
    if (!ed25519_public_from_pem(public_key, span_of(bytes, (size_t)size)))
        return error_set(error, ERROR_INVALID, "%s is no Ed25519 public key in PEM", path);
    return 0;
}
