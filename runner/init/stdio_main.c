/*
 * stdio_main.c: fn-init as the server of a function of mode stdio.
 *
 * Stages: (1) as in fn_init.c it takes the function's uid as its real one, keeps 1 as effective and saved, and drops all capabilities: it can become the function in its children, and the function cannot trace it,
 * nor reach its memory or descriptors. (2) Working directory and the command's place are looked up once, as the function would. (3) Listener, cgroup, standard error's pipe; one mapping for all memory. (4) The loop:
 * poll, the head of a request, pipes, clone3 into the request's cgroup, exec; body to standard input, standard output to the answer, standard error to the log; reap; the group must be empty, or it is killed and
 * removed. (5) SIGTERM from outside: no new requests, those that run go on to their end, exit.
 *
 * What separates requests: descriptors (all are close-on-exec, pipes are made anew), and the group. Processes of one function have one uid, so while they run at the same time they can do to each other what processes of one
 * user can. What they cannot reach is this process: the answer of another request, its connection, the groups.
 *
 * There is no narrow filter of our own as in http mode: children would inherit it. The function's is on, with a key to what we need more (init_filter.c). Who took this process over by its parser would be another uid in the same sandbox, without a capability, with clone3 besides what the function has;
 * the slot's user namespace allows no further one (sandbox_userns.c), and namespaces of other kinds need capabilities.
 */
#include "stdio_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG          1024
#define LOCK_PATH        "/tmp/.lock"
#define ALONE_PORT       3000U
#define ALONE_TIMEOUT_MS 60000U
#define ALONE_MEMORY     (UINT64_C(128) << 20)
#define TIMEOUT_ROOM_NS  UINT64_C(1000000000) /* the gateway is the judge of [limits] timeout; this much later we end what it may have forgotten */

static int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;

    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || v > max)
            return -EINVAL;
        v = v * 10 + (uint64_t)(*text - '0');
    }
    if (v > max)
        return -EINVAL;
    *ret = v;
    return 0;
}

/* FN_STDIO_ARGS */
static int parse_arguments(struct stdio *s, int argc, char **argv, uint64_t *ret_port)
{
    uint64_t ms, memory;

    if (argc <= FN_STDIO_ARGS || strcmp(argv[FN_STDIO_ARGS - 1], "--") != 0)
        return -EINVAL;
    if (init_ids_parse(argv[1], &s->in.uid) < 0 || init_ids_parse(argv[2], &s->in.gid) < 0)
        return -EINVAL;
    if (parse_number(argv[4], 65535, ret_port) < 0 || parse_number(argv[6], UINT64_C(1) << 40, &ms) < 0 || parse_number(argv[7], UINT64_C(1) << 50, &memory) < 0)
        return -EINVAL;
    s->in.cwd = argv[3];
    s->health = argv[5];
    s->timeout_ns = ms * 1000000 + TIMEOUT_ROOM_NS;
    s->spool_max = memory / 4;
    s->in.command = argv + FN_STDIO_ARGS;
    return 0;
}

/* What is said for a place without a sandbox; an image's administrator may say otherwise there. */
static int take_alone(struct stdio *s, int argc, char **argv, uint64_t *ret_port)
{
    const char *port = getenv("PORT"), *health = getenv("FND_HEALTH_PATH"), *timeout = getenv("FND_TIMEOUT_MS"), *memory = getenv("FND_MEMORY");
    uint64_t ms = ALONE_TIMEOUT_MS, bytes = ALONE_MEMORY;

    *ret_port = ALONE_PORT;
    if (argc < 2 || (port && parse_number(port, 65535, ret_port) < 0) || (timeout && parse_number(timeout, UINT64_C(1) << 40, &ms) < 0) ||
        (memory && parse_number(memory, UINT64_C(1) << 50, &bytes) < 0))
        return -EINVAL;
    s->in.uid = geteuid();
    s->in.gid = getegid();
    s->health = health ? health : "";
    s->timeout_ns = ms * 1000000 + TIMEOUT_ROOM_NS;
    s->spool_max = bytes / 4;
    s->in.command = argv + 1;
    return 0;
}

int stdio_ids(const struct stdio *s, bool function)
{
    if (s->alone)
        return 0;
    return function ? init_ids_effective(s->in.uid, s->in.gid, &s->in.key) : init_ids_effective(FN_INIT_ID, FN_INIT_ID, &s->in.key);
}

/* The function's own variables; those that the server makes are never its own, since the first of two is what most programs see. */
static int take_environment(struct stdio *s)
{
    const size_t prefix = s->alone ? 0 : strlen(FN_INIT_ENV_PREFIX);

    watchdog_init(&s->set);
    for (char **e = environ; *e; e++)
        (void)watchdog_take(&s->set, *e + prefix); /* fnd-unpack has refused what does not fit */
    for (char **e = environ; *e; e++) {
        char *variable = *e + prefix;

        if (s->set.cgi_headers && strncmp(variable, "Http_", 5) == 0)
            continue;
        if (s->base_env + STDIO_FIELDS_MAX + 16 > STDIO_ENV_MAX)
            return -E2BIG;
        s->env[s->base_env++] = variable;
    }
    s->in.env = s->env;
    return 0;
}

static int listen_at(uint64_t port)
{
    const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_ANY)}};
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(fd, BACKLOG) < 0)
        return -errno;
    return fd;
}

static int open_signals(void)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* Under the function's effective ids: its directory, its programs, its lock file, its standard error. */
static int look_around(struct stdio *s, int errors[2], const char **ret_what, int *ret_program)
{
    enum init_step step;
    int r = stdio_ids(s, true), lock;

    *ret_what = "working directory";
    if (r == 0 && !s->alone)
        r = init_cwd(s->in.cwd);
    if (r == 0)
        *ret_program = stdio_find_program(&s->in, s->program, sizeof(s->program), &step);
    if (r == 0 && pipe2(errors, O_CLOEXEC) < 0)
        r = -errno;
    if (r == 0 && !s->set.suppress_lock) {
        lock = open(LOCK_PATH, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
        if (lock >= 0)
            close(lock);
        else
            s->set.suppress_lock = true; /* a volume is there */
    }
    if (stdio_ids(s, false) < 0)
        return -errno;
    return r == 0 && fcntl(errors[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : r;
}

static int seal(struct init *in)
{
    int r;

    if (getrandom(&in->key, sizeof(in->key), 0) != (ssize_t)sizeof(in->key))
        return -EIO;
    r = init_filter_keyed(&in->key);
    in->sealed = r == 0;
    return r;
}

static int start(struct stdio *s, uint64_t port, const char **ret_what, int *ret_program)
{
    const size_t conns = STDIO_CONNS_MAX * sizeof(struct stdio_conn);
    int errors[2] = {-1, -1}, r = look_around(s, errors, ret_what, ret_program);
    char *memory;

    if (r < 0)
        return r;
    s->err_fd = errors[0];
    s->err_write_fd = errors[1];
    s->in.cwd = NULL;
    *ret_what = "memory";
    memory = mmap(NULL, conns + STDIO_STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    s->stack = memory;
    s->conns = (struct stdio_conn *)(memory + STDIO_STACK_SIZE);
    for (unsigned i = 0; i < STDIO_CONNS_MAX; i++)
        s->order[i] = (uint16_t)i;
    *ret_what = "signals";
    s->in.signal_fd = open_signals();
    if (s->in.signal_fd < 0)
        return s->in.signal_fd;
    *ret_what = "port";
    s->listen_fd = listen_at(port);
    if (s->listen_fd < 0)
        return s->listen_fd;
    *ret_what = "system call filter";
    return seal(&s->in);
}

static void say(char reason[RINGLOG_REASON_MAX], const char *what, const char *name, int err)
{
    const char *error = strerrordesc_np(err);
    char path[RINGLOG_REASON_MAX - 64] = "";

    init_puts(path, sizeof(path), name);
    init_puts(init_puts(reason, RINGLOG_REASON_MAX, what), RINGLOG_REASON_MAX, path);
    init_puts(init_puts(reason, RINGLOG_REASON_MAX, ": "), RINGLOG_REASON_MAX, error ? error : "unknown error");
}

static void fail(struct stdio *s, const char *what, const char *name, int err) __attribute__((noreturn));

static void fail(struct stdio *s, const char *what, const char *name, int err)
{
    char reason[RINGLOG_REASON_MAX] = "";

    say(reason, what, name, err);
    if (s->alone) {
        stdio_log(s, reason);
        stdio_log(s, "\n");
        _exit(FN_INIT_EXEC_FAILED);
    }
    ringlog_finish(&s->in.log, RINGLOG_EXEC_FAILED, err, reason);
    _exit(FN_INIT_EXEC_FAILED);
}

static int begin(const struct stdio *s)
{
    int r = fcntl(FN_STDIO_GROUP_FD, F_SETFD, FD_CLOEXEC) < 0 ? -errno : init_ids_take(s->in.uid, s->in.gid);

    return r == 0 && prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : r;
}

/* What the sandbox has done otherwise: signals are blocked, none is ignored; and no program may gain by its mode, or the second filter could not be loaded. */
static int begin_alone(void)
{
    sigset_t all;

    sigfillset(&all);
    return sigprocmask(SIG_SETMASK, &all, NULL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* Of the program and the C library what only the start has used goes back to the page cache: 160 KB less are resident. What is needed comes back without reading. */
static int forget_segment(struct dl_phdr_info *info, size_t size, void *arg)
{
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        const uintptr_t at = (info->dlpi_addr + h->p_vaddr) & ~(uintptr_t)(STDIO_PAGE - 1);

        if (h->p_type == PT_LOAD && !(h->p_flags & PF_W))
            (void)madvise((void *)at /* NOLINT(performance-no-int-to-ptr): addresses in the program's headers are numbers */,
                          info->dlpi_addr + h->p_vaddr + h->p_memsz - at, MADV_DONTNEED);
    }
    return 0;
}

void stdio_main(int argc, char **argv)
{
    struct stdio *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int program = 0, r;
    const char *what = "";
    uint64_t port;

    if (s == MAP_FAILED)
        _exit(FN_INIT_EXEC_FAILED);
    s->alone = strcmp(argv[0], FN_ALONE_NAME) == 0;
    if (!s->alone && (fcntl(FN_INIT_LOG_FD, F_SETFD, FD_CLOEXEC) < 0 || ringlog_writer_init(&s->in.log, FN_INIT_LOG_FD) < 0))
        _exit(FN_INIT_EXEC_FAILED);
    prctl(PR_SET_NAME, FN_STDIO_NAME);
    s->listen_fd = s->err_fd = s->err_write_fd = -1;
    s->groups.base_fd = s->alone ? -1 : FN_STDIO_GROUP_FD;
    r = s->alone ? take_alone(s, argc, argv, &port) : parse_arguments(s, argc, argv, &port);
    if (r == 0)
        r = take_environment(s);
    if (r < 0)
        fail(s, "fn-init: ", "arguments", -r);
    r = s->alone ? begin_alone() : begin(s);
    if (r < 0)
        fail(s, "fn-init: ", "ids", -r);
    r = start(s, port, &what, &program);
    if (r < 0)
        fail(s, "fn-init: ", what, -r);
    if (program)
        fail(s, "cannot execute ", s->in.command[0], program);
    (void)dl_iterate_phdr(forget_segment, NULL);
    stdio_loop(s);
    if (s->alone)
        _exit(0);
    ringlog_finish(&s->in.log, RINGLOG_EXITED, 0, "exited with status 0");
    _exit(0);
}
