/*
 * sockmaps_trial.c: does this kernel do what sockmaps.c relies on? A server in a cgroup of its own below that of the instances, connections to it over loopback, and every case that has been broken in some kernel: many
 * small answers, answers that begin short and go on by TCP, more messages than are allowed, the end and a reset behind an answer, an end of the requests, splice.
 * Nobody waits longer than TRIAL_MS at a time.
 */
#include "sockmaps.h"

#include "diag.h"
#include "fd.h"
#include "sockmap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIAL_MS    2000
#define SMALL       200U
#define LARGE       (1024U * 1024)
#define LARGE_PIECE 5000U
#define ROUNDS      50
#define MANY        20U

/* A request is one of these bytes, and `size` of them in a row. */
enum request { ASK_SMALL = 'a', ASK_LARGE, ASK_MANY, ASK_CLOSE, ASK_RESET, ASK_HALF };

static char pattern(size_t at)
{
    return (char)(at * 31 + at / 253);
}

static void fill(char *data, size_t at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = pattern(at + i);
}

static void bound_waits(int fd)
{
    const struct timeval tv = {.tv_sec = TRIAL_MS / 1000};
    const int one = 1;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* recv(2) that waits in poll(2), as the gateway does: who waits inside of it is told EAGAIN by an end, or by the acknowledgement of his own, that comes before the bytes (sockmaps.c, `ends`). */
static ssize_t take(int fd, char *data, size_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n = -1;

    errno = EAGAIN;
    for (int i = 0; i < ROUNDS && n < 0 && errno == EAGAIN && poll(&p, 1, TRIAL_MS) == 1; i++)
        n = recv(fd, data, len, MSG_DONTWAIT);
    return n;
}

/* ---- the server: ends with its process ---- */

static bool answer_pieces(int fd, size_t total, size_t piece)
{
    char data[LARGE_PIECE];

    for (size_t at = 0; at < total;) {
        size_t len = total - at < piece ? total - at : piece;

        fill(data, at, len);
        if (send(fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
            return false;
        at += len;
    }
    return true;
}

static bool answer(int fd, char request)
{
    const struct linger now = {.l_onoff = 1};
    char byte;

    switch (request) {
    case ASK_SMALL:
        return answer_pieces(fd, SMALL, SMALL);
    case ASK_LARGE:
        return answer_pieces(fd, LARGE, LARGE_PIECE);
    case ASK_MANY:
        return answer_pieces(fd, MANY * SMALL, SMALL);
    case ASK_CLOSE:
        answer_pieces(fd, SMALL, SMALL);
        return false;
    case ASK_RESET:
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        return false;
    default: /* ASK_HALF: the answer comes when the requests have ended */
        if (take(fd, &byte, 1) == 0)
            answer_pieces(fd, SMALL, SMALL);
        return false;
    }
}

static void serve(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        char request;

        if (fd < 0)
            _exit(1);
        bound_waits(fd);
        while (take(fd, &request, 1) == 1 && answer(fd, request))
            ;
        close(fd);
    }
}

static int listen_somewhere(struct sockaddr_in *ret_at)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(at);

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 || listen(fd, 8) < 0 || getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        return -errno;
    *ret_at = at;
    return take_fd(&fd);
}

/* The listener is made there too: what it accepts has its cgroup. */
static pid_t start_server(int group, struct sockaddr_in *ret_at)
{
    cleanup_fd int mine = -1, theirs = -1;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    mine = ends[0];
    theirs = ends[1];
    pid = fork();
    if (pid == 0) {
        int listener = -1;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (fd_write_kernel(group, "cgroup.procs", "0") == 0)
            listener = listen_somewhere(ret_at);
        if (listener >= 0 && write(theirs, ret_at, sizeof(*ret_at)) == (ssize_t)sizeof(*ret_at))
            serve(listener);
        _exit(1);
    }
    fd_close(take_fd(&theirs)); /* so that the pipe ends with the child */
    if (pid > 0 && read(mine, ret_at, sizeof(*ret_at)) != (ssize_t)sizeof(*ret_at))
        ret_at->sin_port = 0; /* the connection will fail */
    return pid;
}

/* ---- the client ---- */

static int dial(const struct sockaddr_in *to)
{
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int priority = SOCKMAP_PRIORITY;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority)) < 0)
        return -errno;
    bound_waits(fd);
    return connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 ? -errno : take_fd(&fd);
}

static int state_of(int fd, int state_map, struct sockmap_state *ret)
{
    struct sockaddr_in local = {0}, remote = {0};
    socklen_t len = sizeof(local);
    struct sockmap_key key;
    union bpf_attr attr;

    if (getsockname(fd, (struct sockaddr *)&local, &len) < 0 || getpeername(fd, (struct sockaddr *)&remote, &len) < 0)
        return -errno;
    key = (struct sockmap_key){local.sin_addr.s_addr, remote.sin_addr.s_addr, ntohs(local.sin_port), ntohs(remote.sin_port)};
    memset(&attr, 0, sizeof(attr));
    attr.map_fd = (uint32_t)state_map;
    attr.key = (uint64_t)(uintptr_t)&key;
    attr.value = (uint64_t)(uintptr_t)ret;
    return sockmaps_bpf(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr));
}

static int expect(int fd, size_t at, size_t len)
{
    char data[4096];

    while (len > 0) {
        ssize_t n = take(fd, data, len < sizeof(data) ? len : sizeof(data));

        if (n <= 0)
            return n < 0 ? -errno : -ECONNRESET;
        for (ssize_t i = 0; i < n; i++)
            if (data[i] != pattern(at + (size_t)i))
                return -EBADMSG;
        at += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int expect_end(int fd)
{
    char byte;
    ssize_t n = take(fd, &byte, 1);

    return n == 0 ? 0 : n < 0 ? -errno : -EBADMSG;
}

/* What is behind the first SOCKMAP_BYTES, through a pipe. */
static int expect_spliced(int fd, size_t at, size_t len)
{
    cleanup_fd int in = -1, out = -1;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    out = ends[0];
    in = ends[1];
    while (len > 0) {
        char data[4096];
        ssize_t n = splice(fd, NULL, in, NULL, len < sizeof(data) ? len : sizeof(data), 0);

        if (n <= 0)
            return n < 0 ? -errno : -ECONNRESET;
        if (read(out, data, (size_t)n) != n)
            return -EIO;
        for (ssize_t i = 0; i < n; i++)
            if (data[i] != pattern(at + (size_t)i))
                return -EBADMSG;
        at += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int ask(int fd, char request)
{
    return send(fd, &request, 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* want: messages of the answer that went the short way. */
static int exchange(int fd, int state_map, char request, size_t total, unsigned want)
{
    const size_t first = total > 2 * (size_t)SOCKMAP_BYTES ? 2 * (size_t)SOCKMAP_BYTES : total;
    struct sockmap_state state = {0};
    int r = ask(fd, request);

    if (r == 0)
        r = expect(fd, 0, first);
    if (r == 0 && total > first)
        r = expect_spliced(fd, first, total - first);
    if (r == 0)
        r = state_of(fd, state_map, &state);
    return r < 0 ? r : state.plain || state.count != want ? -ENOLINK : 0;
}

static int try_answers(int fd, int state_map)
{
    int r = 0;

    for (int i = 0; i < ROUNDS && r == 0; i++)
        r = exchange(fd, state_map, ASK_SMALL, SMALL, 1);
    if (r == 0)
        r = exchange(fd, state_map, ASK_LARGE, LARGE, SOCKMAP_MESSAGES);
    if (r == 0)
        r = exchange(fd, state_map, ASK_MANY, (size_t)MANY * SMALL, SOCKMAP_MESSAGES);
    if (r == 0)
        r = exchange(fd, state_map, ASK_SMALL, SMALL, 1);
    if (r == 0)
        r = ask(fd, ASK_CLOSE);
    if (r == 0)
        r = expect(fd, 0, SMALL);
    return r < 0 ? r : expect_end(fd);
}

static int try_reset(int fd, int state_map)
{
    char byte;
    int r = exchange(fd, state_map, ASK_SMALL, SMALL, 1);

    if (r == 0)
        r = ask(fd, ASK_RESET);
    if (r < 0)
        return r;
    return take(fd, &byte, 1) < 0 && errno == ECONNRESET ? 0 : -EBADMSG;
}

static int try_half(int fd, int state_map)
{
    int r = exchange(fd, state_map, ASK_SMALL, SMALL, 1);

    if (r == 0)
        r = ask(fd, ASK_HALF);
    if (r == 0 && shutdown(fd, SHUT_WR) < 0)
        r = -errno;
    if (r == 0)
        r = expect(fd, 0, SMALL);
    return r < 0 ? r : expect_end(fd);
}

static int try_all(const struct sockaddr_in *to, int state_map, struct diag *d)
{
    static const struct {
        const char *what;
        int (*try)(int fd, int state_map);
    } tries[] = {{"answers", try_answers}, {"a reset", try_reset}, {"an end of the requests", try_half}};

    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        cleanup_fd int fd = dial(to);
        int r = fd < 0 ? fd : tries[i].try(fd, state_map);

        if (r < 0)
            return diag_errno(d, -r, "a trial of %s", tries[i].what);
    }
    return 0;
}

int sockmaps_trial(int group, int state_map, struct diag *d)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    pid_t pid = start_server(group, &at);
    int r;

    if (pid < 0)
        return diag_errno(d, errno, "a trial's server");
    r = try_all(&at, state_map, d);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return r;
}
