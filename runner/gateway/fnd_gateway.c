/*
 * fnd_gateway.c: start-up of fnd-gateway. Listeners come as descriptors (listen.h), settings as environment:
 *
 *   LISTEN_FDS LISTEN_FDNAMES LISTEN_PID   public, tls, admin, api
 *   FND_RUNNER_SOCKET                      /run/fnd/gw/runner.sock
 *   FND_GATEWAY_UID FND_GATEWAY_GID        what to become, when started as root
 *   FND_GATEWAY_CHILD=1                    ends with the process that started it
 *
 * It confines itself before it accepts or reads anything.
 */
#include "auth/auth.h"
#include "clock.h"
#include "confine.h"
#include "diag.h"
#include "fd.h"
#include "listen.h"
#include "log.h"
#include "notify.h"
#include "str.h"
#include "team.h"
#include "tls/tls.h"
#include "version.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>

#define DEFAULT_SOCKET "/run/fnd/" LISTEN_RUNNER_SOCKET
#define STOP_GRACE_NS  (5 * NS_PER_SEC)

struct start {
    char socket[108], socket_dir[108];
    bool as_root, is_child;
    uid_t uid;
    gid_t gid;
    pid_t parent;
    unsigned cpus, nlisteners;
    struct listener_type types[WORKER_LISTENERS_MAX];
};

struct signals {
    struct watch watch;
    struct worker *worker;
    bool is_child;
    int fd;
};

static int get_id(const char *name, uint64_t *ret, struct diag *d)
{
    const char *text = getenv(name);

    if (!text || str_parse_uint(text, UINT32_MAX - 1, ret) < 0 || *ret == 0)
        return diag_set(d, EINVAL, "started as root, so %s must name the id to become (not 0)", name);
    return 0;
}

static int read_ids(struct start *s, struct diag *d)
{
    uint64_t uid = 0, gid = 0;
    int r;

    s->as_root = geteuid() == 0;
    if (!s->as_root)
        return 0;
    r = get_id("FND_GATEWAY_UID", &uid, d);
    if (r == 0)
        r = get_id("FND_GATEWAY_GID", &gid, d);
    s->uid = (uid_t)uid;
    s->gid = (gid_t)gid;
    return r;
}

static int read_socket(struct start *s, struct diag *d)
{
    const char *path = getenv(LISTEN_RUNNER_ENV);
    char *slash;

    if (!path || !*path)
        path = DEFAULT_SOCKET;
    if (path[0] != '/' || str_copy(s->socket, sizeof(s->socket), path) < 0)
        return diag_set(d, EINVAL, "%s=%s: an absolute path of at most %zu bytes is needed", LISTEN_RUNNER_ENV, path, sizeof(s->socket) - 1);
    str_copy(s->socket_dir, sizeof(s->socket_dir), path);
    slash = strrchr(s->socket_dir, '/');
    *slash = '\0';
    return 0;
}

static int listener_type_of(const char *name, size_t len, struct listener_type *ret)
{
    static const struct {
        const char *name;
        struct listener_type type;
    } types[] = {{LISTEN_NAME_PUBLIC, {.kind = LISTENER_PUBLIC}},
                 {LISTEN_NAME_TLS, {.kind = LISTENER_PUBLIC, .tls = true}},
                 {LISTEN_NAME_ADMIN, {.kind = LISTENER_ADMIN}},
                 {LISTEN_NAME_API, {.kind = LISTENER_API}}};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strlen(types[i].name) == len && memcmp(types[i].name, name, len) == 0) {
            *ret = types[i].type;
            return 0;
        }
    return -EINVAL;
}

/* sd_listen_fds(3): LISTEN_PID guards against descriptors that were meant for a parent. */
static int read_listeners(struct start *s, struct diag *d)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS"), *name = getenv("LISTEN_FDNAMES");
    uint64_t for_pid = 0, n = 0;

    if (!fds || !name || (pid && (str_parse_uint(pid, INT32_MAX, &for_pid) < 0 || (pid_t)for_pid != getpid())))
        return diag_set(d, EINVAL, "no listeners: fnd-gateway is started by systemd (fnd.socket) or by fnd, which pass them (LISTEN_FDS, LISTEN_FDNAMES)");
    if (str_parse_uint(fds, WORKER_LISTENERS_MAX, &n) < 0 || n == 0)
        return diag_set(d, EINVAL, "LISTEN_FDS=%s: 1 to %d listeners", fds, WORKER_LISTENERS_MAX);
    for (s->nlisteners = 0; s->nlisteners < n; s->nlisteners++) {
        size_t len = strcspn(name, ":");
        int fd = LISTEN_FDS_START + (int)s->nlisteners;

        if (listener_type_of(name, len, &s->types[s->nlisteners]) < 0)
            return diag_set(d, EINVAL, "LISTEN_FDNAMES: \"%.*s\" is not public, tls, admin or api", (int)len, name);
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            return diag_errno(d, errno, "listener %d", fd);
        name += name[len] ? len + 1 : len;
    }
    return 0;
}

static int read_start(struct start *s, struct diag *d)
{
    const char *child = getenv("FND_GATEWAY_CHILD");
    int r;

    s->is_child = child && strcmp(child, "1") == 0;
    s->parent = getppid();
    r = read_ids(s, d);
    if (r == 0)
        r = read_socket(s, d);
    if (r == 0)
        r = read_listeners(s, d);
    return r;
}

/* Those that this process may run on; a thread more would take turns with another. */
static unsigned count_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static int confine(const struct start *s, struct diag *d)
{
    int r = 0;

    if (s->as_root)
        r = confine_root(s->socket_dir, d);
    if (r == 0 && s->as_root)
        r = confine_ids(s->uid, s->gid, d);
    if (r == 0 && s->is_child) { /* after the ids: changing them clears it (prctl(2)) */
        prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
        if (getppid() != s->parent)
            r = diag_set(d, ESRCH, "the process that started the gateway is gone");
    }
    return r;
}

static void on_signal(struct watch *w, uint32_t events)
{
    struct signals *s = w->owner;
    struct signalfd_siginfo info;

    while (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGTERM && s->is_child) /* from a terminal: who started us decides */
            continue;
        log_msg(LOG_INFO, "gateway stops", "signal=%u", info.ssi_signo);
        worker_stop(s->worker, STOP_GRACE_NS);
    }
}

static int watch_signals(struct signals *s, struct loop *loop, struct diag *d)
{
    sigset_t set;
    int r;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return diag_errno(d, errno, "signals");
    s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->fd < 0)
        return diag_errno(d, errno, "signals");
    r = loop_watch(loop, &s->watch, s->fd, EPOLLIN, on_signal, s);
    return r < 0 ? diag_errno(d, -r, "signals") : 0;
}

static int serve(const struct start *s, struct loop *loop, struct tls *tls, struct diag *d)
{
    struct signals signals = {.is_child = s->is_child, .fd = -1};
    struct shared_gateway *gateway = shared_gateway_new(1);
    struct team *team = NULL;
    struct worker *w = NULL;
    int r;

    if (!gateway)
        return diag_set(d, ENOMEM, "out of memory");
    gateway->tls = tls;
    r = watch_signals(&signals, loop, d);
    if (r == 0)
        r = confine_calls(d);
    if (r == 0)
        r = worker_new(&(struct worker_parts){.loop = loop, .gateway = gateway, .link_path = s->socket}, &w, d);
    if (r == 0)
        r = team_new(w, s->cpus, &team, d);
    for (unsigned i = 0; r == 0 && i < s->nlisteners; i++)
        r = team_listen(team, LISTEN_FDS_START + (int)i, s->types[i], d);
    if (r == 0) {
        signals.worker = w;
        notify_send("READY=1"); /* under systemd we are no root, so its socket is still in sight */
        r = loop_run(loop);
        if (r < 0)
            diag_errno(d, -r, "event loop");
    }
    if (team_free(team) < 0 && r == 0)
        r = diag_set(d, EIO, "a worker ended");
    worker_free(w);
    shared_gateway_free(gateway);
    loop_unwatch(&signals.watch);
    fd_close(signals.fd);
    return r;
}

static int run(struct diag *d)
{
    struct start s = {0};
    struct loop *loop = NULL;
    struct tls *tls = NULL;
    int r = read_start(&s, d);

    if (r < 0)
        return r;
    fd_raise_limit();
    auth_prepare();
    s.cpus = count_cpus();
    mallopt(M_ARENA_MAX, WORKERS_MAX); /* or malloc would count CPUs itself, in files that are out of sight */
    tzset();                           /* reads the host's time zone while there is one */
    r = loop_new(&loop);
    if (r < 0)
        return diag_errno(d, -r, "event loop");
    r = tls_new(&tls, d);
    if (r == 0)
        r = confine(&s, d);
    if (r == 0)
        r = serve(&s, loop, tls, d);
    tls_free(tls);
    loop_free(loop);
    return r;
}

static int check_certificates(const char *dir, struct diag *d)
{
    struct start s = {0};
    int r = read_ids(&s, d);

    if (r == 0 && !s.as_root)
        r = diag_set(d, EPERM, "only root can read the keys");
    return r == 0 ? tls_check(dir, s.uid, s.gid, d) : r;
}

int main(int argc, char **argv)
{
    struct diag d = {0};

    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("fnd-gateway %s\n", FND_VERSION);
        return 0;
    }
    if ((argc == 3 && strcmp(argv[1], LISTEN_CHECK_OPTION) == 0 ? check_certificates(argv[2], &d) : run(&d)) < 0) {
        log_diag(LOG_ERR, "fnd-gateway", &d, NULL);
        return 1;
    }
    return 0;
}
