#include "acme.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define TOKEN_MAX 128 /* base64url of at least 128 bits: 43 characters where we have seen any */

bool acme_is_path(const char *path, size_t len)
{
    return len >= sizeof(ACME_PATH) - 1 && memcmp(path, ACME_PATH, sizeof(ACME_PATH) - 1) == 0;
}

static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '-' || s[i] == '_'))
            return false;
    return len > 0 && len <= TOKEN_MAX;
}

/* A regular file and nothing that could block, whatever somebody has put there. */
static int open_answer(int dir, const char *token, size_t len)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    char path[sizeof(ACME_PATH) + TOKEN_MAX];
    cleanup_fd int fd = -1;
    struct stat st;

    snprintf(path, sizeof(path), "%s%.*s", &ACME_PATH[1], (int)len, token);
    fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > ACME_TEXT_MAX)
        return -ENOENT;
    return take_fd(&fd);
}

ssize_t acme_read(int dir, const char *path, size_t len, char buf[ACME_TEXT_MAX])
{
    const char *token = path + sizeof(ACME_PATH) - 1;
    cleanup_fd int fd = -1;
    ssize_t n;

    if (dir < 0 || !acme_is_path(path, len) || !is_token(token, len - (sizeof(ACME_PATH) - 1)))
        return -ENOENT;
    fd = open_answer(dir, token, len - (sizeof(ACME_PATH) - 1));
    if (fd < 0)
        return fd;
    n = pread(fd, buf, ACME_TEXT_MAX, 0);
    return n < 0 ? -ENOENT : n;
}
