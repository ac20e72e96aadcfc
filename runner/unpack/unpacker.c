/*
 * unpacker.c: see unpacker.h. Starting: the parent makes everything that needs privilege (the staging directory as a detached mount, the maps); the child, cloned into its namespaces, waits for the maps, becomes
 * inner root, puts its descriptors in their places and executes fnd-unpack. Between clone and exec it runs the runner's code with the runner's memory, so it does nothing else there.
 */
#include "unpacker.h"

#include "diag.h"
#include "fd.h"
#include "names.h"
#include "spec.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define UNPACK_IDS        65536U
#define UNPACK_NAMESPACES (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
#define PROGRAM_BYTES_MAX (64U << 20)
#define SOCKET_BUFFER     (1 << 18) /* the spec is one message */
#define UNPACKER_END_MS   100       /* from the end of the socket to the end of the process */
#define PLACES            6U
#define CHILD_FD_FIRST    10 /* above every descriptor that has a fixed place */

struct child {
    const struct unpacker_start *start;
    int program, archive, staging, sock, go;
    int below;                  /* the runtime's tree; -1: none */
    int parent_go, parent_sock; /* the parent's ends, which the child has copies of: with them it would never see its parent go */
};

/* ---- before the clone ---- */

/* Usually the file itself. One that only root may read (a build under umask 077) is executed from a sealed copy in memory. */
static int open_program(const char *path, struct diag *d)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    cleanup_free char *data = NULL;
    struct stat st;
    ssize_t n;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return diag_errno(d, errno, "%s", path);
    if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return diag_set(d, EACCES, "%s is no executable file", path);
    if ((st.st_mode & 05) == 05)
        return take_fd(&fd);
    n = fd_read_all(fd, PROGRAM_BYTES_MAX, &data);
    r = n < 0 ? (int)n : fd_sealed_memfd("fnd-unpack", data, (size_t)n, 1);
    return r < 0 ? diag_errno(d, -r, "reading %s", path) : r;
}

/* The child could not mount a directory of the host's mount namespace; a detached mount it can put in its place. */
static int tree_mount(const struct unpacker_start *s, int tree_fd, struct diag *d)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | (s->job == UNPACKER_EXTRACT ? 0 : MOUNT_ATTR_RDONLY)};
    cleanup_fd int fd = open_tree(tree_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (fd < 0)
        return diag_errno(d, errno, "cloning the staging directory's mount");
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return diag_errno(d, errno, "mount_setattr of the staging directory");
    return take_fd(&fd);
}

static int write_maps(pid_t pid, uint32_t base)
{
    static const char *const files[] = {"uid_map", "gid_map"};
    char path[64], map[64];

    snprintf(map, sizeof(map), "0 %u %u\n", base, UNPACK_IDS);
    for (size_t i = 0; i < 2; i++) {
        int r;

        snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, files[i]);
        r = fd_write_kernel(AT_FDCWD, path, map);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- the child ---- */

/* Into its v1 groups, while the descriptors are those of the parent, who opened them: the kernel asks for the opener's rights. */
static int attach_groups(const struct unpacker_start *s, struct diag *d)
{
    for (unsigned i = 0; i < s->nattach; i++)
        if (write(s->attach_fds[i], "0", 1) != 1)
            return diag_errno(d, errno, "joining a cgroup");
    return 0;
}

static int become_inner_root(struct diag *d)
{
    sigset_t none;

    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return diag_errno(d, errno, "sigprocmask");
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return diag_errno(d, errno, "becoming root of the user namespace");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) /* behind the change of ids, which would clear it */
        return diag_errno(d, errno, "PR_SET_PDEATHSIG");
    return 0;
}

/* Everything is first copied above the places, so that no copy closes what another one still needs. */
static int place_descriptors(struct child *c, struct diag *d)
{
    const bool exported = c->start->job == UNPACKER_EXPORT;
    const struct {
        int from, to;
    } places[] = {{c->archive, UNPACK_FD_INPUT},
                  {c->staging, UNPACK_FD_STAGING},
                  {c->sock, UNPACK_FD_SOCKET},
                  {c->below, UNPACK_FD_RUNTIME},
                  {exported ? c->start->program_fd : -1, UNPACK_FD_PROGRAM},
                  {c->program, -1}};
    int high[PLACES];

    static_assert(sizeof(places) / sizeof(places[0]) == PLACES, "a copy for each");
    for (size_t i = 0; i < PLACES; i++) {
        high[i] = places[i].from < 0 ? -1 : fcntl(places[i].from, F_DUPFD_CLOEXEC, CHILD_FD_FIRST);
        if (high[i] < 0 && places[i].from >= 0)
            return diag_errno(d, errno, "placing descriptors");
    }
    c->sock = high[2];
    if (close_range(UNPACK_FD_STAGING, CHILD_FD_FIRST - 1, 0) < 0) /* a place that stays empty is none of the runner's descriptors */
        return diag_errno(d, errno, "close_range");
    for (size_t i = 0; i < PLACES - 1; i++)
        if (high[i] >= 0 && dup2(high[i], places[i].to) < 0) /* no CLOEXEC: these are what the program gets */
            return diag_errno(d, errno, "placing descriptors");
    close(STDOUT_FILENO);
    if (close_range(UNPACK_FD_PROGRAM + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return diag_errno(d, errno, "close_range");
    c->program = high[PLACES - 1];
    c->sock = UNPACK_FD_SOCKET;
    return 0;
}

static _Noreturn void run_child(struct child c)
{
    static const char *const envp[] = {NULL};
    static const char *const jobs[UNPACKER_JOB_COUNT] = {[UNPACKER_SURVEY] = UNPACK_SURVEY, [UNPACKER_EXPORT] = UNPACK_EXPORT};
    const char *const argv[] = {"fnd-unpack", jobs[c.start->job], NULL};
    struct unpack_result res = {.magic = UNPACK_MAGIC};
    char go;
    int r;

    fd_close(c.parent_go);
    fd_close(c.parent_sock);
    if (read(c.go, &go, 1) != 1) /* the parent failed, or is gone */
        _exit(1);
    r = attach_groups(c.start, &res.diag);
    if (r == 0)
        r = become_inner_root(&res.diag);
    if (r == 0)
        r = place_descriptors(&c, &res.diag);
    if (r == 0) {
        syscall(SYS_execveat, c.program, "", argv, envp, AT_EMPTY_PATH);
        diag_errno(&res.diag, errno, "executing fnd-unpack");
    }
    fd_send(c.sock, &res, sizeof(res), NULL, 0, 0);
    _exit(1);
}

/* ---- start ---- */

static int make_socket(int ret[2], struct diag *d)
{
    const int size = SOCKET_BUFFER;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0)
        return diag_errno(d, errno, "socketpair");
    for (size_t i = 0; i < 2; i++)
        if (setsockopt(ret[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
            return diag_errno(d, errno, "SO_SNDBUF");
    return 0;
}

static pid_t clone_child(const struct child *c, int *ret_pid_fd, struct diag *d)
{
    struct clone_args args = {.flags = UNPACK_NAMESPACES | CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = (uint64_t)(uintptr_t)ret_pid_fd};
    long pid;

    if (c->start->cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)c->start->cgroup_fd;
    }
    pid = syscall(SYS_clone3, &args, sizeof(args));

    if (pid == 0)
        run_child(*c);
    if (pid < 0)
        return diag_errno(d, errno, "cloning into new namespaces (is kernel.unprivileged_userns_clone or user.max_user_namespaces 0?)");
    return (pid_t)pid;
}

static int unpacker_run(const struct child *c, int go, const struct unpack_request *req, struct unpacker *u, struct diag *d)
{
    int r;

    u->pid = clone_child(c, &u->pid_fd, d);
    if (u->pid < 0)
        return u->pid;
    r = write_maps(u->pid, c->start->image_uid_base);
    if (r < 0)
        return diag_errno(d, -r, "mapping the image range %u", c->start->image_uid_base);
    r = fd_send(u->socket_fd, req, sizeof(*req), NULL, 0, MSG_DONTWAIT);
    if (r == 0 && c->start->job == UNPACKER_EXPORT)
        r = fd_send(u->socket_fd, c->start->spec, spec_size(c->start->spec), NULL, 0, MSG_DONTWAIT);
    if (r == 0)
        r = fd_write_all(go, "g", 1);
    return r < 0 ? diag_errno(d, -r, "sending the request") : 0;
}

/* What the process reads as its archive, or writes it to. */
static int open_input(const struct unpacker_start *s, struct diag *d)
{
    int fd = s->job == UNPACKER_SURVEY ? open("/dev/null", O_RDONLY | O_CLOEXEC) : fcntl(s->archive_fd, F_DUPFD_CLOEXEC, 0);

    return fd < 0 ? diag_errno(d, errno, "the archive's descriptor") : fd;
}

int unpacker_start(const struct unpacker_start *s, const struct unpack_request *req, struct unpacker *ret, struct diag *d)
{
    cleanup_fd int program = -1, input = -1, mount_fd = -1, below = -1, child_sock = -1, child_go = -1, go = -1;
    struct unpacker u = UNPACKER_NONE;
    int sock[2], pipes[2], r;

    program = open_program(s->program, d);
    if (program < 0)
        return program;
    input = open_input(s, d);
    if (input < 0)
        return input;
    mount_fd = tree_mount(s, s->staging_fd, d);
    if (mount_fd < 0)
        return mount_fd;
    if (s->job == UNPACKER_EXPORT && s->runtime_fd >= 0) {
        below = tree_mount(s, s->runtime_fd, d);
        if (below < 0)
            return below;
    }
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return diag_errno(d, errno, "pipe");
    child_go = pipes[0];
    go = pipes[1];
    r = make_socket(sock, d);
    if (r < 0)
        return r;
    u.socket_fd = sock[0];
    child_sock = sock[1];
    u.job = s->job;
    u.kind = req->kind;
    u.limits = req->limits;
    u.staging_fd = fcntl(s->staging_fd, F_DUPFD_CLOEXEC, 0);
    r = u.staging_fd < 0 ? diag_errno(d, errno, "staging directory") : fd_set_nonblock(u.socket_fd, 1);
    if (r == 0) {
        struct child c = {.start = s,
                          .program = program,
                          .archive = input,
                          .staging = mount_fd,
                          .below = below,
                          .sock = child_sock,
                          .go = child_go,
                          .parent_go = go,
                          .parent_sock = u.socket_fd};

        r = unpacker_run(&c, go, req, &u, d);
    }
    if (r < 0) {
        unpacker_kill_close(&u);
        return r;
    }
    *ret = u;
    return 0;
}

/* ---- the end ---- */

/* Ended and reaped; *ret says how. It is killed first: a process that is ending by itself does not change its reason. */
static void unpacker_reap(struct unpacker *u, siginfo_t *ret)
{
    *ret = (siginfo_t){0};
    if (u->pid_fd < 0)
        return;
    syscall(SYS_pidfd_send_signal, u->pid_fd, SIGKILL, NULL, 0);
    while (waitid(P_PIDFD, (id_t)u->pid_fd, ret, WEXITED) < 0 && errno == EINTR)
        ;
    u->pid_fd = fd_close(u->pid_fd);
    u->pid = -1;
}

void unpacker_kill_close(struct unpacker *u)
{
    siginfo_t how;

    unpacker_reap(u, &how);
    u->socket_fd = fd_close(u->socket_fd);
    u->staging_fd = fd_close(u->staging_fd);
}

/* The socket ended without a result. */
static int unpacker_ended(struct unpacker *u, struct diag *d)
{
    struct pollfd p = {.fd = u->pid_fd, .events = POLLIN};
    siginfo_t how;

    if (u->pid_fd >= 0)
        poll(&p, 1, UNPACKER_END_MS);
    unpacker_reap(u, &how);
    if (how.si_code == CLD_EXITED)
        return diag_set(d, EPROTO, "fnd-unpack ended with status %d without a result", how.si_status);
    if (how.si_code == CLD_KILLED || how.si_code == CLD_DUMPED)
        return diag_set(d, EPROTO, "fnd-unpack was ended by signal %d (%s): out of memory or of processor time, or a package made to break it", how.si_status,
                        strsignal(how.si_status));
    return diag_set(d, EPROTO, "fnd-unpack ended without a result");
}

/* ---- what it says ---- */

static bool sha256_ok(const char *s)
{
    return strnlen(s, 65) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static bool sends_spec(const struct unpacker *u)
{
    return u->job == UNPACKER_EXTRACT && u->kind == UNPACK_FUNCTION;
}

static bool spec_bytes_ok(const struct unpacker *u, const struct unpack_result *res)
{
    if (!sends_spec(u))
        return res->spec_bytes == 0;
    return res->spec_bytes >= sizeof(struct spec) && res->spec_bytes <= sizeof(struct spec) + SPEC_STRINGS_MAX;
}

/* Lines of printable text, whatever came. */
static void clean_notes(char *s, size_t size)
{
    s[size - 1] = '\0';
    for (; *s; s++)
        if (((unsigned char)*s < 0x20 && *s != '\n') || *s == 0x7f)
            *s = '?';
}

static int check_result(const struct unpacker *u, struct unpack_result *res, size_t size, struct diag *d)
{
    if (size != sizeof(*res) || res->magic != UNPACK_MAGIC)
        return diag_set(d, EPROTO, "fnd-unpack sent no result (%zu bytes)", size);
    diag_clean(&res->diag);
    clean_notes(res->notes, sizeof(res->notes));
    if (res->diag.err) {
        if (d)
            *d = res->diag;
        return -res->diag.err;
    }
    if (res->bytes > u->limits.max_bytes || res->entries > u->limits.max_entries || !(u->job == UNPACKER_SURVEY ? sha256_ok(res->sha256) : spec_bytes_ok(u, res)))
        return diag_set(d, EPROTO, "fnd-unpack sent a result that cannot be");
    if (u->job != UNPACKER_SURVEY)
        res->sha256[0] = '\0';
    return 0;
}

/* A process that ends before it has read its request leaves ECONNRESET in front of what it said. */
static ssize_t receive(const struct unpacker *u, void *buf, size_t size)
{
    ssize_t n = fd_recv(u->socket_fd, buf, size, NULL, 0, NULL, MSG_DONTWAIT);

    return n == -ECONNRESET ? fd_recv(u->socket_fd, buf, size, NULL, 0, NULL, MSG_DONTWAIT) : n;
}

static int receive_result(struct unpacker *u, struct diag *d)
{
    struct unpack_result res;
    ssize_t n = receive(u, &res, sizeof(res));
    int r;

    if (n == -EAGAIN)
        return -EAGAIN;
    if (n == 0 || n == -ECONNRESET)
        return unpacker_ended(u, d);
    if (n < 0)
        return diag_errno(d, (int)-n, "fnd-unpack: receiving the result");
    r = check_result(u, &res, (size_t)n, d);
    if (r < 0) /* -EAGAIN would mean: not yet */
        return r == -EAGAIN ? -EIO : r;
    u->result = res;
    u->have_result = true;
    return 0;
}

static int receive_spec(struct unpacker *u, struct spec **ret, struct diag *d)
{
    const size_t room = sizeof(struct spec) + SPEC_STRINGS_MAX;
    cleanup_free struct spec *spec = malloc(room);
    struct spec *shrunk;
    ssize_t n;
    int r;

    if (!spec)
        return diag_set(d, ENOMEM, "out of memory");
    n = receive(u, spec, room);
    if (n == -EAGAIN)
        return -EAGAIN;
    if (n == 0 || n == -ECONNRESET)
        return unpacker_ended(u, d);
    if (n < 0)
        return diag_errno(d, (int)-n, "fnd-unpack: receiving the spec");
    r = spec_check(spec, (size_t)n, d);
    if (r < 0) {
        diag_prefix(d, "fnd-unpack");
        return r;
    }
    if ((size_t)n != u->result.spec_bytes || !name_valid(spec->name))
        return diag_set(d, EPROTO, "fnd-unpack sent another spec than it said");
    shrunk = realloc(spec, (size_t)n); /* it may be kept for long */
    if (shrunk)
        spec = shrunk;
    *ret = take_ptr(spec);
    return 0;
}

/* The names that the runner is going to use are what they should be; what is below rootfs/ is the function's own affair. */
static int check_staging(const struct unpacker *u, struct diag *d)
{
    struct stat st;

    if (fstatat(u->staging_fd, UNPACK_ROOTFS, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return diag_errno(d, errno, "fnd-unpack left no " UNPACK_ROOTFS);
    if (!S_ISDIR(st.st_mode) || (st.st_mode & 07777) != 0755)
        return diag_set(d, EPROTO, "fnd-unpack left a " UNPACK_ROOTFS " that is no directory with mode 0755");
    if (fstatat(u->staging_fd, UNPACK_INI, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : diag_errno(d, errno, UNPACK_INI);
    return S_ISREG(st.st_mode) ? 0 : diag_set(d, EPROTO, "fnd-unpack left a " UNPACK_INI " that is no file");
}

int unpacker_on_socket(struct unpacker *u, struct unpack_result *ret, struct spec **ret_spec, struct diag *d)
{
    struct spec *spec = NULL;
    siginfo_t how;
    int r = u->have_result ? 0 : receive_result(u, d);

    if (r == 0 && sends_spec(u))
        r = receive_spec(u, &spec, d);
    if (r == 0) {
        unpacker_reap(u, &how);
        r = u->job == UNPACKER_EXPORT ? 0 : check_staging(u, d);
    }
    if (r < 0) {
        free(spec);
        return r;
    }
    *ret = u->result;
    *ret_spec = spec;
    return 0;
}
