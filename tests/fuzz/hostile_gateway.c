/*
 * hostile_gateway.c: hostile-gateway SOCKET UID GID SEED SECONDS: takes the gateway's place at the runner's socket and does to it whatever a gateway could that was taken over, until the time is over. Prints the seed and what
 * it did. It judges nothing: whoever started it looks at the runner afterwards. One campaign after the other, each on a connection of its own, chosen by the seed.
 */
#include "record_maker.h"

#include "clock.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FLOOD     3000U
#define CROWD     40U
#define IDS       64U
#define FDS_MANY  200U
#define CAMPAIGNS 7U

struct attack {
    struct maker maker;
    struct sockaddr_un addr;
    uint64_t end_ns;
    unsigned long sent, refused, connections, received;
};

static uint64_t random_id(struct attack *a)
{
    return maker_below(&a->maker, 4) ? 1 + maker_below(&a->maker, IDS) : maker_below(&a->maker, 2) ? 0 : maker_next(&a->maker);
}

static bool time_left(const struct attack *a)
{
    return clock_mono_ns() < a->end_ns;
}

static int join(struct attack *a)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    while (fd >= 0 && connect(fd, (const struct sockaddr *)&a->addr, sizeof(a->addr)) < 0) {
        if (errno != EAGAIN || !time_left(a))
            return fd_close(fd);
        poll(NULL, 0, 1);
    }
    a->connections++;
    return fd;
}

static int greet(struct attack *a)
{
    const struct record_hello hello = {.head = RECORD_INIT(RECORD_HELLO, 0), .protocol = RECORD_PROTOCOL};
    int fd = join(a);

    if (fd >= 0)
        fd_send(fd, &hello, sizeof(hello), NULL, 0, 0);
    return fd;
}

/* What has come is thrown away, descriptors too. */
static void drain(struct attack *a, int fd)
{
    static _Alignas(8) char buf[RECORD_MAX];
    int fds[FD_PASS_MAX];
    unsigned n = 0;

    while (fd_recv(fd, buf, sizeof(buf), fds, FD_PASS_MAX, &n, MSG_DONTWAIT) > 0) {
        a->received++;
        while (n > 0)
            fd_close(fds[--n]);
    }
}

static int send_made(struct attack *a, int fd, size_t len, const int *fds, unsigned nfds)
{
    struct iovec iov = {.iov_base = a->maker.record, .iov_len = len};
    char control[CMSG_SPACE(FDS_MANY * sizeof(int))] = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (nfds > 0) {
        struct cmsghdr *c;

        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    if (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0) {
        a->refused++;
        return -errno;
    }
    a->sent++;
    return 0;
}

/* Sends, reading what stands in the way; false when the connection is gone. */
static bool send_patiently(struct attack *a, int fd, size_t len, const int *fds, unsigned nfds)
{
    int r;

    while ((r = send_made(a, fd, len, fds, nfds)) == -EAGAIN && time_left(a)) {
        struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};

        poll(&p, 1, 100);
        drain(a, fd);
    }
    return r == 0 || r == -EAGAIN || r == -EMSGSIZE || r == -EINVAL || r == -ETOOMANYREFS;
}

/* ---- campaigns ---- */

static void bent_records(struct attack *a)
{
    for (unsigned n = 0; n < 30 && time_left(a); n++) {
        int fd = maker_below(&a->maker, 4) ? greet(a) : join(a);

        if (fd < 0)
            return;
        for (unsigned k = 0; k < 20; k++) {
            size_t len = maker_record(&a->maker, false, random_id(a));

            if (!send_patiently(a, fd, len, NULL, 0))
                break;
        }
        drain(a, fd);
        fd_close(fd);
    }
}

static void straight_records(struct attack *a)
{
    int fd = greet(a);

    for (unsigned n = 0; fd >= 0 && n < 500 && time_left(a); n++) {
        size_t len = maker_record(&a->maker, true, random_id(a));

        if (!send_patiently(a, fd, len, NULL, 0))
            break;
        drain(a, fd);
    }
    fd_close(fd);
}

static void flood_unread(struct attack *a)
{
    static const uint32_t asks[] = {RECORD_LOG_OPEN, RECORD_CONFIG_GET, RECORD_STATS_GET, RECORD_PLAN};
    int fd = greet(a);

    for (unsigned n = 0; fd >= 0 && n < FLOOD && time_left(a); n++) {
        uint32_t type = asks[maker_below(&a->maker, 4)];
        struct record_target *rec = (struct record_target *)a->maker.record;

        *rec = (struct record_target){.head = RECORD_INIT(type, n + 1), .fn = {.name = "hello", .env = "default"}};
        if (send_made(a, fd, record_size(type), NULL, 0) == -EAGAIN)
            poll(NULL, 0, 1);
    }
    fd_close(fd);
}

/* Descriptors of every kind, one or many, where none belong; the connection itself among them. */
static void stray_descriptors(struct attack *a)
{
    int fd = greet(a), pair[2] = {-1, -1}, many[FDS_MANY];
    int kinds[4] = {open("/dev/null", O_RDONLY | O_CLOEXEC), memfd_create("stray", MFD_CLOEXEC), -1, fd};

    if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        goto out;
    kinds[2] = pair[0];
    for (unsigned n = 0; n < 200 && time_left(a); n++) {
        static const unsigned counts[] = {1, 1, 2, FD_PASS_MAX, FD_PASS_MAX + 1, FDS_MANY};
        unsigned count = counts[maker_below(&a->maker, 6)];
        size_t len = maker_record(&a->maker, true, random_id(a));

        for (unsigned k = 0; k < count; k++)
            many[k] = kinds[maker_below(&a->maker, 4)] >= 0 ? kinds[maker_below(&a->maker, 4)] : pair[1];
        if (!send_patiently(a, fd, len, many, count)) {
            fd_close(fd);
            kinds[3] = fd = greet(a);
            if (fd < 0)
                break;
        }
        drain(a, fd);
    }
out:
    for (unsigned k = 0; k < 3; k++)
        fd_close(kinds[k]);
    fd_close(pair[1]);
    fd_close(fd);
}

static int garbage_archive(struct attack *a)
{
    char noise[4096];
    int pipes[2], fd;

    switch (maker_below(&a->maker, 4)) {
    case 0: /* never written, never closed */
        if (pipe2(pipes, O_CLOEXEC) < 0)
            return -1;
        fd_close(maker_below(&a->maker, 2) ? pipes[1] : dup(pipes[1]));
        return pipes[0];
    case 1:
        return open("/dev/zero", O_RDONLY | O_CLOEXEC);
    case 2:
        return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    default:
        fd = memfd_create("archive", MFD_CLOEXEC);
        maker_noise(&a->maker, noise, sizeof(noise));
        if (maker_below(&a->maker, 2))
            memcpy(noise, "\x1f\x8b\x08", 3);
        if (fd >= 0 && (fd_write_all(fd, noise, sizeof(noise)) < 0 || lseek(fd, 0, SEEK_SET) < 0))
            return fd_close(fd);
        return fd;
    }
}

/* What takes an archive: a function, or a runtime. */
static size_t upload_record(struct attack *a, uint64_t id)
{
    struct record_deploy *rec = (struct record_deploy *)a->maker.record;
    struct record_runtime *runtime = (struct record_runtime *)a->maker.record;

    if (maker_below(&a->maker, 2)) {
        *runtime = (struct record_runtime){.head = RECORD_INIT(RECORD_RUNTIME_PUT, id), .name = "garbage"};
        return sizeof(*runtime);
    }
    memset(rec, 0, sizeof(*rec));
    *rec = (struct record_deploy){.head = RECORD_INIT(RECORD_DEPLOY, id), .replicas = maker_below(&a->maker, 3)};
    snprintf(rec->fn.name, sizeof(rec->fn.name), "garbage");
    snprintf(rec->fn.env, sizeof(rec->fn.env), "default");
    return sizeof(*rec);
}

/* Archives that are none, ends that never come, come twice, or come for another. */
static void deploys(struct attack *a)
{
    int fd = greet(a);

    for (unsigned n = 0; fd >= 0 && n < 40 && time_left(a); n++) {
        uint64_t id = 1 + maker_below(&a->maker, 8);
        size_t len = upload_record(a, id);
        int archive = garbage_archive(a);

        if (!send_patiently(a, fd, len, &archive, archive >= 0))
            n = 1000;
        fd_close(archive);
        for (unsigned k = maker_below(&a->maker, 3); k > 0; k--) {
            struct record_deploy_end *end = (struct record_deploy_end *)a->maker.record;

            *end = (struct record_deploy_end){.head = RECORD_INIT(RECORD_DEPLOY_END, maker_below(&a->maker, 3) ? id : random_id(a)),
                                              .complete = maker_below(&a->maker, 2)};
            send_patiently(a, fd, sizeof(*end), NULL, 0);
        }
        drain(a, fd);
    }
    fd_close(fd);
}

/* A function's files into what is no pipe's writing end, into one that nobody reads or that is closed; given up, or not. */
static void exports(struct attack *a)
{
    int fd = greet(a);

    for (unsigned n = 0; fd >= 0 && n < 40 && time_left(a); n++) {
        struct record_export *rec = (struct record_export *)a->maker.record;
        uint64_t id = 1 + maker_below(&a->maker, 8);
        int pipes[2] = {-1, -1}, out;

        if (pipe2(pipes, O_CLOEXEC) < 0)
            break;
        out = maker_below(&a->maker, 4) ? pipes[1] : maker_below(&a->maker, 2) ? pipes[0] : fd;
        *rec = (struct record_export){.head = RECORD_INIT(RECORD_EXPORT, id), .fn = {.name = "hello", .env = "default"}, .version = maker_below(&a->maker, 3)};
        if (!send_patiently(a, fd, sizeof(*rec), &out, maker_below(&a->maker, 8) > 0))
            n = 1000;
        if (maker_below(&a->maker, 3) == 0) {
            struct record_deploy_end *end = (struct record_deploy_end *)a->maker.record;

            *end = (struct record_deploy_end){.head = RECORD_INIT(RECORD_DEPLOY_END, id), .complete = maker_below(&a->maker, 2)};
            send_patiently(a, fd, sizeof(*end), NULL, 0);
        }
        fd_close(pipes[0]);
        fd_close(pipes[1]);
        drain(a, fd);
    }
    fd_close(fd);
}

/* Connections that say nothing, one replacing the other. */
static void crowd(struct attack *a)
{
    int fds[CROWD];

    for (unsigned n = 0; n < CROWD; n++)
        fds[n] = maker_below(&a->maker, 2) ? join(a) : greet(a);
    for (unsigned n = 0; n < CROWD; n++)
        fd_close(fds[n]);
}

int main(int argc, char **argv)
{
    static void (*const campaigns[CAMPAIGNS])(struct attack *) = {bent_records, straight_records, flood_unread, stray_descriptors, deploys, exports, crowd};
    static struct attack a = {.addr = {.sun_family = AF_UNIX}};

    uid_t uid;
    gid_t gid;

    if (argc != 6) {
        fputs("usage: hostile-gateway SOCKET UID GID SEED SECONDS\n", stderr);
        return 2;
    }
    snprintf(a.addr.sun_path, sizeof(a.addr.sun_path), "%s", argv[1]);
    a.maker.state = strtoull(argv[4], NULL, 0) | 1;
    a.end_ns = clock_mono_ns() + strtoull(argv[5], NULL, 10) * NS_PER_SEC;
    uid = (uid_t)strtoul(argv[2], NULL, 10);
    gid = (gid_t)strtoul(argv[3], NULL, 10);
    printf("seed %s\n", argv[4]);
    fflush(stdout);
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) {
        perror("hostile-gateway: taking the gateway's ids");
        return 1;
    }
    for (unsigned n = 0; time_left(&a); n++)
        campaigns[n < CAMPAIGNS ? n : maker_below(&a.maker, CAMPAIGNS)](&a);
    printf("connections %lu sent %lu refused %lu received %lu\n", a.connections, a.sent, a.refused, a.received);
    return a.sent > 0 ? 0 : 1;
}
