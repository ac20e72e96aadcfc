#include "gateway_child.h"

#include "clock.h"
#include "config.h"
#include "diag.h"
#include "fd.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#define LISTENERS_MAX  (2 * CONFIG_THREADS_MAX + 2)
#define HIGH_FD        256 /* above what the listeners become */
#define BIND_TRIES     100U
#define BIND_WAIT_NS   10000000L
#define BACKLOG        4096
#define RESTART_MIN_NS (50 * NS_PER_MS)
#define RESTART_MAX_NS (5 * NS_PER_SEC)
#define STABLE_NS      (10 * NS_PER_SEC)

struct listener {
    const char *name;
    int fd;
};

struct gateway_child {
    const struct config *config;
    struct loop *loop;
    int program_fd;
    struct listener listeners[LISTENERS_MAX];
    unsigned nlisteners;
    char api_path[108];
    pid_t pid;
    int pid_fd;
    struct watch pid_watch;
    struct timer restart_timer;
    uint64_t started_ns, delay_ns;
    bool stopping;
    void (*on_end)(void *owner);
    void *owner;
};

void gateway_ids(const struct config *c, uid_t *ret_uid, gid_t *ret_gid)
{
    const struct passwd *pw = getpwnam(c->user);

    *ret_uid = pw ? pw->pw_uid : c->uid_base - 65536 - 1;
    *ret_gid = pw ? pw->pw_gid : c->uid_base - 65536 - 1;
}

/* Children of a runner that was killed a moment ago have copies of its listeners until they notice. Sets errno. */
static int bind_patiently(int fd, const struct sockaddr_in *addr)
{
    for (unsigned tries = 0;; tries++) {
        if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
            return 0;
        if (errno != EADDRINUSE || tries == BIND_TRIES)
            return -1;
        nanosleep(&(struct timespec){.tv_nsec = BIND_WAIT_NS}, NULL);
    }
}

/*
 * The first socket of an address binds without REUSEPORT, and so fails where anybody listens; only then it gets it, and with it all others bind beside it: one for each thread of the gateway, among which the kernel deals
 * connections out. It also lets bridges.c of another daemon (`fnctl run`) listen at its bridges' addresses although we have the port on all of them. Nobody else can join: it takes the effective uid of whoever made the
 * first (socket(7)), root.
 */
static int bind_beside(int fd, const struct sockaddr_in *addr, bool first)
{
    const int one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (first && bind_patiently(fd, addr) < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0 || (!first && bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0))
        return -1;
    return listen(fd, BACKLOG);
}

static int listen_tcp(const char *where, const char *key, bool first, struct diag *d)
{
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET};
    const char *colon = strrchr(where, ':');
    char host[INET_ADDRSTRLEN];
    uint64_t port = 0;

    snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
    if (fd < 0 || inet_pton(AF_INET, host, &addr.sin_addr) != 1 || str_parse_uint(colon + 1, 65535, &port) < 0)
        return diag_errno(d, errno ? errno : EINVAL, "%s = %s: cannot listen", key, where);
    addr.sin_port = htons((uint16_t)port);
    if (bind_beside(fd, &addr, first) < 0)
        return diag_errno(d, errno, "%s = %s: cannot listen%s", key, where,
                          errno == EADDRINUSE      ? " (`ss -ltnp` shows who does: stop it, or choose another address or port)"
                          : errno == EADDRNOTAVAIL ? " (this host has no such address)"
                                                   : "");
    return take_fd(&fd);
}

/* 0660 root:fnd: who may use the API decides the file system. */
static int listen_api(struct gateway_child *g, struct diag *d)
{
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const struct group *gr = getgrnam(g->config->user);

    snprintf(g->api_path, sizeof(g->api_path), "%.80s/fnd.sock", g->config->run);
    str_copy(addr.sun_path, sizeof(addr.sun_path), g->api_path);
    unlink(g->api_path);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(g->api_path, 0660) < 0 ||
        chown(g->api_path, 0, gr ? gr->gr_gid : 0) < 0 || listen(fd, BACKLOG) < 0)
        return diag_errno(d, errno, "%s: cannot listen", g->api_path);
    return take_fd(&fd);
}

static int add_listener(struct gateway_child *g, const char *name, int fd)
{
    if (fd < 0)
        return fd;
    g->listeners[g->nlisteners++] = (struct listener){.name = name, .fd = fd};
    return 0;
}

static int open_listeners(struct gateway_child *g, struct diag *d)
{
    const struct config *c = g->config;
    const struct {
        const char *name, *where, *key;
        unsigned count;
    } wanted[] = {
        {LISTEN_NAME_PUBLIC, c->listen, "gateway.listen", config_threads(c)},
        {LISTEN_NAME_TLS, c->tls_listen, "gateway.tls_listen", config_threads(c)},
        {LISTEN_NAME_ADMIN, c->admin, "gateway.admin", 1},
    };
    int r = 0;

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        for (unsigned n = 0; r == 0 && n < wanted[i].count && strcmp(wanted[i].where, "none") != 0; n++)
            r = add_listener(g, wanted[i].name, listen_tcp(wanted[i].where, wanted[i].key, n == 0, d));
    return r;
}

int gateway_child_listen_api(struct gateway_child *g, struct diag *d)
{
    return add_listener(g, LISTEN_NAME_API, listen_api(g, d));
}

static void on_restart(struct timer *t)
{
    struct gateway_child *g = t->owner;
    struct diag d = {0};

    if (gateway_child_start(g, &d) < 0) {
        log_diag(LOG_ERR, "gateway not started", &d, NULL);
        loop_arm_in(g->loop, &g->restart_timer, RESTART_MAX_NS);
    }
}

int gateway_child_new(const struct config *c, struct loop *loop, const char *program, struct gateway_child **ret, struct diag *d)
{
    struct gateway_child *g = calloc(1, sizeof(*g));
    int r;

    if (!g)
        return diag_set(d, ENOMEM, "out of memory");
    *g = (struct gateway_child){.config = c, .loop = loop, .pid_fd = -1, .delay_ns = RESTART_MIN_NS};
    g->restart_timer = (struct timer){.on_expire = on_restart, .owner = g};
    g->program_fd = open(program, O_RDONLY | O_CLOEXEC);
    r = g->program_fd < 0 ? diag_errno(d, errno, "%s: cannot open", program) : open_listeners(g, d);
    if (r < 0) {
        gateway_child_free(g);
        return r;
    }
    *ret = g;
    return 0;
}

struct child_env {
    char fds[32], names[LISTENERS_MAX * 8], pid[32], uid[48], gid[48], socket[160], child[32], journal[128], tz[128];
    char *envp[10];
};

static void build_env(const struct gateway_child *g, struct child_env *e)
{
    const char *journal = getenv("JOURNAL_STREAM"), *tz = getenv("TZ");
    unsigned n = 0;
    uid_t uid;
    gid_t gid;

    gateway_ids(g->config, &uid, &gid);
    snprintf(e->fds, sizeof(e->fds), "LISTEN_FDS=%u", g->nlisteners);
    snprintf(e->names, sizeof(e->names), "LISTEN_FDNAMES=");
    for (unsigned i = 0; i < g->nlisteners; i++) {
        size_t len = strlen(e->names);

        snprintf(e->names + len, sizeof(e->names) - len, "%s%s", i ? ":" : "", g->listeners[i].name);
    }
    snprintf(e->pid, sizeof(e->pid), "LISTEN_PID=%d", (int)getpid());
    snprintf(e->uid, sizeof(e->uid), "FND_GATEWAY_UID=%u", uid);
    snprintf(e->gid, sizeof(e->gid), "FND_GATEWAY_GID=%u", gid);
    snprintf(e->child, sizeof(e->child), "FND_GATEWAY_CHILD=1");
    snprintf(e->socket, sizeof(e->socket), "%s=%.100s/%s", LISTEN_RUNNER_ENV, g->config->run, LISTEN_RUNNER_SOCKET);
    e->envp[n++] = e->fds;
    e->envp[n++] = e->names;
    e->envp[n++] = e->pid;
    e->envp[n++] = e->uid;
    e->envp[n++] = e->gid;
    e->envp[n++] = e->child;
    e->envp[n++] = e->socket;
    if (journal && snprintf(e->journal, sizeof(e->journal), "JOURNAL_STREAM=%s", journal) < (int)sizeof(e->journal))
        e->envp[n++] = e->journal;
    if (tz && snprintf(e->tz, sizeof(e->tz), "TZ=%s", tz) < (int)sizeof(e->tz))
        e->envp[n++] = e->tz;
    e->envp[n] = NULL;
}

/* In the child: the listeners become 3, 4, 5 ... (from high copies, so that none is overwritten before it was moved), everything else is closed at exec. */
static void exec_gateway(const struct gateway_child *g, pid_t parent)
{
    static char *const argv[] = {(char *)"fnd-gateway", NULL};
    int high[LISTENERS_MAX], program;
    struct child_env env;
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != parent)
        _exit(127);
    build_env(g, &env);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (unsigned i = 0; i < g->nlisteners; i++)
        if ((high[i] = fcntl(g->listeners[i].fd, F_DUPFD_CLOEXEC, HIGH_FD)) < 0)
            _exit(127);
    program = fcntl(g->program_fd, F_DUPFD_CLOEXEC, HIGH_FD);
    for (unsigned i = 0; i < g->nlisteners; i++)
        if (dup2(high[i], LISTEN_FDS_START + (int)i) < 0) /* no CLOEXEC: handed over to the gateway by exec */
            _exit(127);
    /* A descriptor that whoever started us left open is not the gateway's business either. */
    close_range(LISTEN_FDS_START + g->nlisteners, ~0U, CLOSE_RANGE_CLOEXEC);
    syscall(SYS_execveat, program, "", argv, env.envp, AT_EMPTY_PATH);
    _exit(127);
}

static void on_exit_of_child(struct watch *w, uint32_t events)
{
    struct gateway_child *g = w->owner;
    siginfo_t info = {0};

    loop_unwatch(w);
    waitid(P_PIDFD, (id_t)g->pid_fd, &info, WEXITED);
    g->pid_fd = fd_close(g->pid_fd);
    g->pid = 0;
    if (g->stopping)
        return;
    log_msg(LOG_WARNING, "gateway ended", "%s=%d", info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
    if (clock_mono_ns() - g->started_ns > STABLE_NS)
        g->delay_ns = RESTART_MIN_NS;
    loop_arm_in(g->loop, &g->restart_timer, g->delay_ns);
    g->delay_ns = g->delay_ns * 2 < RESTART_MAX_NS ? g->delay_ns * 2 : RESTART_MAX_NS;
    if (g->on_end)
        g->on_end(g->owner);
}

void gateway_child_set_hook(struct gateway_child *g, void (*on_end)(void *owner), void *owner)
{
    g->on_end = on_end;
    g->owner = owner;
}

int gateway_child_start(struct gateway_child *g, struct diag *d)
{
    pid_t parent = getpid();

    g->pid = fork();
    if (g->pid < 0)
        return diag_errno(d, errno, "fnd-gateway: cannot fork");
    if (g->pid == 0)
        exec_gateway(g, parent);
    g->started_ns = clock_mono_ns();
    g->pid_fd = (int)syscall(SYS_pidfd_open, g->pid, 0);
    if (g->pid_fd < 0 || loop_watch(g->loop, &g->pid_watch, g->pid_fd, EPOLLIN, on_exit_of_child, g) < 0) {
        int err = errno;

        kill(g->pid, SIGKILL);
        waitpid(g->pid, NULL, 0);
        g->pid = 0;
        return diag_errno(d, err, "fnd-gateway: cannot watch it");
    }
    return 0;
}

void gateway_child_stop(struct gateway_child *g)
{
    g->stopping = true;
    loop_disarm(&g->restart_timer);
    if (g->pid > 0)
        kill(g->pid, SIGTERM);
}

void gateway_child_free(struct gateway_child *g)
{
    if (!g)
        return;
    gateway_child_stop(g);
    loop_unwatch(&g->pid_watch);
    if (g->pid > 0) {
        struct pollfd p = {.fd = g->pid_fd, .events = POLLIN};

        if (poll(&p, 1, 1000) <= 0)
            kill(g->pid, SIGKILL);
        waitpid(g->pid, NULL, 0);
    }
    fd_close(g->pid_fd);
    fd_close(g->program_fd);
    for (unsigned i = 0; i < g->nlisteners; i++)
        fd_close(g->listeners[i].fd);
    if (g->api_path[0])
        unlink(g->api_path);
    free(g);
}
