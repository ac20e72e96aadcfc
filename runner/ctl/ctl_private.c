/*
 * ctl_private.c: the private daemon of `fnctl run`: found, started, waited for, ended, swept up after.
 *
 * Who ends what: the daemon runs in a session of its own, so a terminal's ^C and a signal to our group reach fnctl alone, which sends SIGTERM and waits.
 * When fnctl itself is killed the kernel sends the daemon SIGTERM
 * (PR_SET_PDEATHSIG). When the daemon is killed, `fnd --sweep` with the same settings removes what it left; when both are, the next run that takes the
 * number does.
 */
#include "ctl_private.h"

#include "api.h"
#include "clock.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_NS    (30 * NS_PER_SEC)
#define STOP_NS     (10 * NS_PER_SEC)
#define SWEEP_NS    (20 * NS_PER_SEC)
#define TAIL_MAX    16384
#define TAIL_LINES  20
#define EXIT_SUBNET 3 /* of fnd: the network is in use */

/* ---- finding and configuring ---- */

static bool take_program(struct private_daemon *p, const char *dir, size_t len, const char *below)
{
    int n = snprintf(p->program, sizeof(p->program), "%.*s%s/fnd", (int)len, dir, below);
    struct stat st;

    return n > 0 && (size_t)n < sizeof(p->program) && stat(p->program, &st) == 0 && S_ISREG(st.st_mode) && access(p->program, X_OK) == 0;
}

static int find_program(struct private_daemon *p, struct diag *d)
{
    static const struct {
        const char *dir, *below;
    } places[] = {{NULL, ""}, {NULL, "/../sbin"}, {FND_LIBEXEC, "/../../sbin"}};
    const char *path = getenv("PATH");
    char exe[PATH_MAX];

    if (ctl_exe_dir(exe, sizeof(exe)) < 0)
        return diag_set(d, ENOENT, "/proc/self/exe cannot be read: is /proc mounted?");
    for (size_t i = 0; i < CTL_COUNT(places); i++) {
        const char *dir = places[i].dir ? places[i].dir : exe;

        if (take_program(p, dir, strlen(dir), places[i].below))
            return 0;
    }
    for (size_t len; path && *path; path += len + (path[len] == ':')) {
        len = strcspn(path, ":");
        if (*path == '/' && take_program(p, path, len, ""))
            return 0;
    }
    return diag_set(d, ENOENT, "the daemon's program fnd is neither beside fnctl (%s), nor in ../sbin, " FND_LIBEXEC "/../../sbin or PATH: build or install it",
                    exe);
}

static void __attribute__((format(printf, 2, 3))) add_set(struct private_daemon *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(p->sets[p->nsets++], PRIVATE_SET_MAX, fmt, ap);
    va_end(ap);
}

/* Everything that would collide with another daemon is a function of K; the rest is the daemon's default. */
static void configure(struct private_daemon *p, const struct private_options *o)
{
    unsigned k = p->slot.k;

    p->nsets = 0;
    ctl_slot_dir(k, p->run, sizeof(p->run));
    snprintf(p->socket, sizeof(p->socket), "%s/" API_SOCKET, p->run);
    add_set(p, "runner.state=%s/state", p->run);
    add_set(p, "runner.run=%s", p->run);
    add_set(p, "runner.images=/var/cache/fnd/images");
    add_set(p, "runner.name=fnd-run-%u", k);
    add_set(p, "runner.ephemeral=yes");
    add_set(p, "runner.slot_base=%u", 32768 + 64 * k);
    add_set(p, "runner.slots_max=64");
    add_set(p, "runner.drain_timeout=2s"); /* together below STOP_NS */
    add_set(p, "runner.stop_timeout=3s");
    add_set(p, "network.bridge=fr%ub", k);
    add_set(p, "network.port=fr%uv", k);
    add_set(p, "network.subnet=10.232.%u.0/22", 4 * k);
    add_set(p, "gateway.listen=%s:%u", o->address, p->port);
    if (o->admin)
        add_set(p, "gateway.admin=127.0.0.1:%u", o->admin);
    else
        add_set(p, "gateway.admin=none");
    add_set(p, "gateway.user=fnd");
    add_set(p, "gateway.spawn=yes");
}

/* ---- starting ---- */

/* Abstract, so that it vanishes with us; that the kernel's credentials name the daemon makes up for the missing permissions. */
static int open_notify(struct private_daemon *p, struct diag *d)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t); /* autobind: unix(7) */
    int one = 1;

    p->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->notify_fd < 0 || setsockopt(p->notify_fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0 || bind(p->notify_fd, (struct sockaddr *)&sa, len) < 0)
        return diag_errno(d, errno, "notify socket");
    len = sizeof(sa);
    if (getsockname(p->notify_fd, (struct sockaddr *)&sa, &len) < 0)
        return diag_errno(d, errno, "notify socket");
    snprintf(p->notify, sizeof(p->notify), "@%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), sa.sun_path + 1);
    return 0;
}

static void __attribute__((noreturn)) child_exec(const struct private_daemon *p, char *const *argv, int out_fd, pid_t parent)
{
    static const int defaults[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;

    setsid();
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent) /* it may have died before the call */
        _exit(126);
    for (size_t i = 0; i < CTL_COUNT(defaults); i++)
        signal(defaults[i], SIG_DFL);
    signal(SIGPIPE, SIG_IGN); /* what it says goes into our pipe, which breaks when we are killed: it must live to clean up */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (p->notify[0])
        setenv("NOTIFY_SOCKET", p->notify, 1);
    else
        unsetenv("NOTIFY_SOCKET");
    dup2(null, STDIN_FILENO);
    dup2(out_fd < 0 ? null : out_fd, STDOUT_FILENO);
    dup2(out_fd < 0 ? null : out_fd, STDERR_FILENO);
    fcntl(p->slot.lock_fd, F_SETFD, 0); /* see ctl_private.h */
    execv(p->program, argv);
    dprintf(STDERR_FILENO, "%s: %s\n", p->program, strerror(errno));
    _exit(127);
}

/* The program and its settings: without --config it reads no file. extra may be NULL. */
static pid_t spawn(struct private_daemon *p, const char *extra, int out_fd)
{
    const char *argv[2 * PRIVATE_SETS + 4] = {p->program};
    unsigned n = 1;
    pid_t parent = getpid(), pid;

    for (unsigned i = 0; i < p->nsets; i++) {
        argv[n++] = "--set";
        argv[n++] = p->sets[i];
    }
    if (extra)
        argv[n++] = extra;
    pid = fork();
    if (pid == 0)
        child_exec(p, (char *const *)argv, out_fd, parent);
    return pid < 0 ? -errno : pid;
}

static int on_exit_event(void *arg)
{
    struct private_daemon *p = arg;

    if (waitpid(p->pid, &p->status, WNOHANG) != p->pid)
        return 0;
    p->died = true;
    p->pid = 0;
    ctl_unwatch(p->ctl, p->pid_fd);
    return p->ready ? STOP_DAEMON : 0;
}

static int read_output(void *arg)
{
    struct private_daemon *p = arg;
    char buf[4096];
    ssize_t n = read(p->err_fd, buf, sizeof(buf));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        ctl_unwatch(p->ctl, p->err_fd);
        return 0;
    }
    if (p->ctl->o->verbose)
        (void)!write(STDERR_FILENO, buf, (size_t)n);
    strbuf_add(&p->tail, buf, (size_t)n);
    if (p->tail.len > 2 * TAIL_MAX) {
        memmove(p->tail.data, p->tail.data + p->tail.len - TAIL_MAX, TAIL_MAX + 1);
        p->tail.len = TAIL_MAX;
    }
    return 0;
}

static bool from_daemon(struct msghdr *msg, pid_t pid)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        struct ucred cred;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
            continue;
        memcpy(&cred, CMSG_DATA(c), sizeof(cred));
        return cred.pid == pid;
    }
    return false;
}

/* sd_notify(3): lines of NAME=VALUE. */
static int on_notify(void *arg)
{
    struct private_daemon *p = arg;
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(struct ucred))]; /* the credentials come first: no room for descriptors, which anybody could send, is what keeps them out */
    } control = {0};
    char text[1024];
    struct iovec iov = {.iov_base = text, .iov_len = sizeof(text) - 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
    ssize_t n = recvmsg(p->notify_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n <= 0 || !from_daemon(&msg, p->pid))
        return 0;
    text[n] = '\0';
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (strncmp(line, "READY=1", 7) == 0 && (line[7] == '\n' || !line[7]))
            p->ready = true;
    return 0;
}

static void forget(struct private_daemon *p)
{
    ctl_unwatch(p->ctl, p->pid_fd);
    ctl_unwatch(p->ctl, p->err_fd);
    ctl_unwatch(p->ctl, p->notify_fd);
    p->pid_fd = fd_close(p->pid_fd);
    p->err_fd = fd_close(p->err_fd);
    p->notify_fd = fd_close(p->notify_fd);
    p->notify[0] = '\0';
}

static int spawn_daemon(struct private_daemon *p, struct diag *d)
{
    int out[2], r = open_notify(p, d);

    if (r < 0)
        return r;
    if (pipe2(out, O_CLOEXEC) < 0)
        return diag_errno(d, errno, "pipe");
    p->err_fd = out[0];
    fd_set_nonblock(out[0], 1);
    p->died = p->ready = false;
    p->tail.len = 0;
    r = spawn(p, NULL, out[1]);
    fd_close(out[1]);
    if (r < 0)
        return diag_errno(d, -r, "fork");
    p->pid = r;
    p->pid_fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (p->pid_fd < 0)
        return diag_errno(d, errno, "pidfd_open");
    ctl_watch(p->ctl, p->err_fd, read_output, p);
    ctl_watch(p->ctl, p->notify_fd, on_notify, p);
    ctl_watch(p->ctl, p->pid_fd, on_exit_event, p);
    return 0;
}

static int wait_ready(struct private_daemon *p, struct diag *d)
{
    uint64_t end = clock_mono_ns() + READY_NS;

    while (!p->ready && !p->died) {
        uint64_t now = clock_mono_ns();

        if (now >= end)
            return diag_set(d, ETIMEDOUT, "the private daemon is not ready after %u s", (unsigned)(READY_NS / NS_PER_SEC));
        if (ctl_wait(p->ctl, -1, 0, (int)((end - now) / NS_PER_MS) + 1) == -ECANCELED)
            return -ECANCELED;
    }
    return p->ready ? 0 : diag_set(d, ECHILD, "the private daemon did not start");
}

/* ---- ending ---- */

/* Waits for a child without serving signals: this is what they asked for. */
static bool wait_end(struct private_daemon *p, uint64_t limit_ns)
{
    uint64_t end = clock_mono_ns() + limit_ns;

    while (p->pid > 0) {
        struct pollfd fds[2] = {{.fd = p->pid_fd, .events = POLLIN}, {.fd = p->err_fd, .events = POLLIN}};
        uint64_t now = clock_mono_ns();

        if (now >= end)
            return false;
        poll(fds, 2, (int)((end - now) / NS_PER_MS) + 1);
        if (fds[1].revents & POLLIN)
            read_output(p);
        else if (fds[1].revents)
            p->err_fd = fd_close(p->err_fd);
        on_exit_event(p);
    }
    return true;
}

/* Removes what a daemon of these settings left: `fnd --sweep`, then the run directory. */
static int sweep(struct private_daemon *p, struct diag *d)
{
    int r;

    forget(p);
    p->died = false;
    r = spawn(p, "--sweep", p->ctl->o->verbose ? STDERR_FILENO : -1);
    if (r < 0)
        return diag_errno(d, -r, "fnd --sweep");
    p->pid = r;
    p->pid_fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (!wait_end(p, SWEEP_NS)) {
        kill(p->pid, SIGKILL);
        wait_end(p, NS_PER_SEC);
        p->status = -1;
    }
    p->pid_fd = fd_close(p->pid_fd);
    if (p->status != 0)
        return diag_set(d, EIO, "%s --sweep failed: interfaces fr%u*, cgroups fnd-run-%u or mounts below %s may be left (run it again with -v)", p->program,
                        p->slot.k, p->slot.k, p->run);
    return 0;
}

static bool exited_well(const struct private_daemon *p)
{
    return WIFEXITED(p->status) && WEXITSTATUS(p->status) == 0;
}

int ctl_private_stop(struct private_daemon *p, struct diag *d)
{
    bool was_running = p->pid > 0, swept = false;
    int r = 0;

    if (p->slot.lock_fd < 0)
        return 0;
    if (was_running) {
        kill(p->pid, SIGTERM);
        if (!wait_end(p, STOP_NS)) {
            kill(p->pid, SIGKILL);
            wait_end(p, NS_PER_SEC);
            swept = true;
        }
    }
    forget(p);
    if (p->died && (swept || !exited_well(p)))
        r = sweep(p, d);
    if (ctl_slot_release(&p->slot) < 0 && r == 0)
        r = diag_set(d, EBUSY, "%s cannot be removed: something is mounted or still running there", p->run);
    strbuf_done(&p->tail);
    return r;
}

void ctl_private_print_tail(const struct private_daemon *p)
{
    struct strbuf text cleanup_strbuf = {0};
    struct text_filter filter = {0};
    const char *at;
    unsigned lines = 0;

    if (p->ctl->o->verbose || !p->tail.len || p->tail.failed) /* -v has shown it */
        return;
    for (at = p->tail.data + p->tail.len - 1; at > p->tail.data && lines < TAIL_LINES; at--)
        lines += at[-1] == '\n';
    at += lines == TAIL_LINES;
    ctl_text_filter(&filter, at, strlen(at), &text);
    if (text.len)
        fprintf(stderr, "%s%s", text.data, text.data[text.len - 1] == '\n' ? "" : "\n");
}

/* ---- all together ---- */

/* Why did it not start, and does another number or port help? 1: try again with what has changed. */
static int again(struct private_daemon *p, const struct private_options *o, unsigned *k, unsigned *port)
{
    struct diag d = {0};

    if ((WIFEXITED(p->status) && WEXITSTATUS(p->status) == EXIT_SUBNET) || ctl_slot_subnet_free(p->slot.k, &d) == -EADDRINUSE) {
        *k = p->slot.k + 1;
        return 1;
    }
    if (!o->port && ctl_port_free(o->address, p->port, &d) == -EADDRINUSE) {
        *port = p->port + 1;
        return 1;
    }
    return 0;
}

/* What a daemon left that was killed with its fnctl. 1: it is removed, and with it the directory that is our lock: to be taken anew. */
static int sweep_leftovers(struct private_daemon *p, struct diag *d)
{
    char state[SLOT_DIR_MAX + 8];
    struct stat st;
    int r;

    snprintf(state, sizeof(state), "%s/state", p->run);
    if (lstat(state, &st) < 0)
        return 0;
    r = sweep(p, d);
    if (r < 0)
        return r;
    r = ctl_slot_release(&p->slot);
    return r < 0 ? diag_errno(d, -r, "%s cannot be removed", p->run) : 1;
}

/* With a number taken: port, leftovers, network, then the daemon. 1: to be tried again with *k and *port. */
static int start_taken(struct private_daemon *p, const struct private_options *o, unsigned *k, unsigned *port, struct diag *d)
{
    int r;

    p->port = o->port;
    r = o->port ? ctl_port_free(o->address, o->port, d) : ctl_port_find(o->address, *port, &p->port, d);
    if (r < 0)
        return r;
    configure(p, o);
    r = sweep_leftovers(p, d);
    if (r != 0)
        return r;
    r = ctl_slot_subnet_free(p->slot.k, d);
    if (r == -EADDRINUSE) {
        *k = p->slot.k + 1;
        return 1;
    }
    if (r == 0)
        r = spawn_daemon(p, d);
    if (r == 0)
        r = wait_ready(p, d);
    if (r < 0 && p->died && again(p, o, k, port))
        return 1;
    if (r < 0 && r != -ECANCELED)
        ctl_private_print_tail(p);
    return r;
}

static int start_once(struct private_daemon *p, const struct private_options *o, unsigned *k, unsigned *port, struct diag *d)
{
    struct diag end = {0};
    int r = ctl_slot_take(*k, &p->slot, d);

    if (r < 0)
        return r;
    *k = p->slot.k;
    r = start_taken(p, o, k, port, d);
    if (r != 0 && ctl_private_stop(p, &end) < 0 && r > 0) {
        *d = end;
        r = -end.err;
    }
    return r;
}

int ctl_private_start(struct ctl *ctl, const struct private_options *o, struct private_daemon *p, struct diag *d)
{
    unsigned k = SLOT_FIRST, port = PORT_FIRST;
    int r;

    *p = (struct private_daemon){.ctl = ctl, .slot = {.lock_fd = -1}, .pid_fd = -1, .err_fd = -1, .notify_fd = -1};
    r = find_program(p, d);
    if (r < 0)
        return r;
    do
        r = start_once(p, o, &k, &port, d);
    while (r == 1 && k <= SLOT_LAST && port <= PORT_LAST && !ctl->stop);
    if (r == 1)
        return diag_set(d, EBUSY, "the private daemon found no free network or port");
    return r;
}

int ctl_private_with(struct ctl *ctl, const struct private_options *o, int (*fn)(struct ctl *ctl, void *arg), void *arg)
{
    cleanup_fd int signals = -1;
    const char *socket_before = ctl->socket;
    struct private_daemon p;
    struct diag d = {0};
    int r;

    if (ctl_signals_watch(ctl, &signals) < 0)
        return ctl_fail(CTL_FAILED, "signalfd: %s", strerror(errno));
    r = ctl_private_start(ctl, o, &p, &d);
    if (r == 0) {
        ctl->socket = p.socket;
        ctl->is_private = true;
        ctl_remote_none(ctl);
        r = fn(ctl, arg);
        if (ctl->stop == STOP_DAEMON) {
            ctl_private_print_tail(&p);
            r = ctl_fail(CTL_FAILED, "the private daemon ended by itself");
        }
        if (ctl_private_stop(&p, &d) < 0)
            r = ctl_fail_diag(CTL_FAILED, &d);
        ctl->socket = socket_before;
    } else {
        r = r == -ECANCELED ? CTL_FAILED : ctl_fail_diag(CTL_FAILED, &d);
    }
    ctl_unwatch(ctl, signals);
    return r;
}
