/* probe_look.c: what there is, one line each, in the order of the question: compared with golden files outside. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Every family with every type: those that can be had are printed, the rest must be refused as something that does not exist. */
int probe_families(char **args)
{
    static const struct {
        int type;
        const char *name;
    } types[] = {{SOCK_STREAM, "stream"},       {SOCK_DGRAM, "dgram"}, {SOCK_RAW, "raw"},      {SOCK_RDM, "rdm"},
                 {SOCK_SEQPACKET, "seqpacket"}, {SOCK_DCCP, "dccp"},   {SOCK_PACKET, "packet"}};
    static const int refusals[] = {EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EPERM, EACCES, EINVAL};

    for (int family = 0; family <= 45; family++) {
        for (size_t i = 0; i < COUNT(types); i++) {
            int fd = socket(family, types[i].type | SOCK_CLOEXEC, 0);
            bool known = false;

            if (fd >= 0) {
                printf("%d %s\n", family, types[i].name);
                close(fd);
                continue;
            }
            for (size_t k = 0; k < COUNT(refusals); k++)
                known |= errno == refusals[k];
            probe_expect(known, "family %d type %s", family, types[i].name);
        }
    }
    return 0;
}

static const char *denial(int err)
{
    switch (err) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
    case EOPNOTSUPP:
        return "absent";
    case EACCES:
    case EPERM:
    case EROFS:
    case EISDIR:
        return "refused";
    default:
        return strerrorname_np(err);
    }
}

static const char *try_read(const char *path)
{
    char c;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, &c, 1);
    const char *result = n > 0 ? "value" : n == 0 ? "empty" : errno == EISDIR ? "directory" : denial(errno);

    if (fd >= 0)
        close(fd);
    return result;
}

/* Opening is not enough to tell: files of procfs check at write(2). The null device takes everything. */
static const char *try_write(const char *path)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : write(fd, "0", 1);
    const char *result = n < 0 ? denial(errno) : "written";

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode))
        result = "null";
    if (fd >= 0)
        close(fd);
    return result;
}

/* paths PATH...: PATH READ WRITE, one line each */
int probe_paths(char **args)
{
    for (; *args; args++) {
        const char *read_result = try_read(*args);

        printf("%s %s %s\n", *args, read_result, try_write(*args));
    }
    return 0;
}

int probe_cat(char **args)
{
    for (; *args; args++) {
        char buf[4096];
        int fd = open(*args, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        probe_expect(fd >= 0, "%s", *args);
        while ((n = read(fd, buf, sizeof(buf))) > 0)
            fwrite(buf, 1, (size_t)n, stdout);
        close(fd);
    }
    return 0;
}
