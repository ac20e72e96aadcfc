/*
 * execs.c: commands that somebody runs beside a function (fnctl exec).
 *
 * The runner makes the process and looks after its end, and no more: the client's connection goes to the relay in the sandbox as it came from the gateway, and no byte of it is read here. What is in the record has
 * passed through a gateway that may have been taken over: the strings are counted again, the descriptor must be a stream between local processes, the instance must live.
 *
 *   JOINING   the first child is on its way into the sandbox (sandbox_join.c); a timer guards it
 *   RUNNING   the relay has been executed: REPLY, and the gateway answers 101
 *
 * Both children are ours and in one process group. The second must be reaped whatever becomes of the first, since the sandbox's pid namespace, and with it the instance's end, waits for that: its pidfd tells when;
 * where its number never came to us, or no descriptor was left, a timer asks until the group is empty. A command holds nothing of its instance but descriptors that were its own from the start, so the instance may go
 * at any time: the kernel then ends the command.
 */
#include "manager.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "str.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define EXECS_MAX          64U
#define EXECS_INSTANCE_MAX 16U
#define JOIN_TIMEOUT_NS    (10 * NS_PER_SEC)
#define REAP_AGAIN_NS      (20 * NS_PER_MS)

struct exec {
    struct manager *manager;
    struct exec *next;
    uint64_t instance; /* its number */
    uint64_t client, id;
    struct sandbox_child child; /* the first */
    int born_fd;                /* pidfd of the second; -1 not yet, or none */
    bool replied;
    struct watch channel_watch, pid_watch, born_watch;
    struct timer timer;
    char name[NAME_INSTANCE_MAX + 1];
};

/* ---- the end ---- */

static void exec_free(void *arg)
{
    free(arg);
}

static void exec_close(struct exec *e)
{
    loop_unwatch(&e->channel_watch);
    loop_unwatch(&e->pid_watch);
    loop_unwatch(&e->born_watch);
    loop_disarm(&e->timer);
    sandbox_child_close(&e->child);
    e->born_fd = fd_close(e->born_fd);
}

static void exec_over(struct exec *e)
{
    struct exec **at = &e->manager->execs;

    exec_close(e);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    if (loop_defer(e->manager->p.loop, exec_free, e) < 0)
        log_msg(LOG_WARNING, "exec leaked", "instance=%s", e->name);
}

void execs_done(struct manager *m)
{
    while (m->execs) {
        struct exec *e = m->execs;

        m->execs = e->next;
        exec_close(e);
        free(e);
    }
}

static void exec_reply(struct exec *e, const struct diag *d)
{
    if (e->replied)
        return;
    e->replied = true;
    manager_reply(e->manager, e->client, e->id, NULL, d);
}

/* Reaps what has ended. Until the first has made its session it is in no group of its own, so it is asked for by itself. */
static bool exec_reaped(struct exec *e)
{
    siginfo_t info;
    bool first = false;
    int r;

    do {
        info.si_pid = 0;
        r = waitid(P_PIDFD, (id_t)e->child.pid_fd, &info, WEXITED | WNOHANG);
        first = r < 0 && errno == ECHILD;
    } while (r == 0 && info.si_pid != 0);
    do {
        info.si_pid = 0;
        r = waitid(P_PGID, (id_t)e->child.pid, &info, WEXITED | WNOHANG);
    } while (r == 0 && info.si_pid != 0);
    return first && r < 0 && errno == ECHILD;
}

static void exec_check(struct exec *e)
{
    struct diag d = {0};

    if (!exec_reaped(e)) {
        /* The first is gone, and no descriptor will tell of the second's end. While it joins the timer has another task. */
        if (!e->pid_watch.loop && e->born_fd < 0 && (e->child.stage == SANDBOX_DEAD || e->child.stage == SANDBOX_RUNNING))
            loop_arm_in(e->manager->p.loop, &e->timer, REAP_AGAIN_NS);
        return;
    }
    diag_set(&d, ECANCELED, "%s: the process ended while it was joining", e->name);
    exec_reply(e, &d);
    exec_over(e);
}

/* ---- events ---- */

static void exec_progress(struct exec *e);

static void exec_on_pid(struct watch *w, uint32_t events)
{
    struct exec *e = w->owner;

    loop_unwatch(w);
    if (e->channel_watch.loop) /* what it said before it ended comes first */
        exec_progress(e);
    exec_check(e);
}

static void exec_kill(struct exec *e)
{
    syscall(SYS_pidfd_send_signal, e->child.pid_fd, SIGKILL, NULL, 0);
    if (e->born_fd >= 0)
        syscall(SYS_pidfd_send_signal, e->born_fd, SIGKILL, NULL, 0);
}

static void exec_on_timer(struct timer *t)
{
    struct exec *e = t->owner;

    if (e->child.stage == SANDBOX_PARKING || e->child.stage == SANDBOX_PARKED) {
        struct diag d = {0};

        diag_set(&d, ETIMEDOUT, "%s: the process could not join within %d s", e->name, (int)(JOIN_TIMEOUT_NS / NS_PER_SEC));
        e->child.stage = SANDBOX_DEAD;
        loop_unwatch(&e->channel_watch);
        exec_reply(e, &d);
        exec_kill(e);
    }
    exec_check(e);
}

/* Still our unreaped child, so the number is good. Without a descriptor it goes on, and the timer sees to its end. */
static void exec_born(struct exec *e, pid_t pid)
{
    e->born_fd = pidfd_open(pid, 0);
    if (e->born_fd >= 0 && loop_watch(e->manager->p.loop, &e->born_watch, e->born_fd, EPOLLIN, exec_on_pid, e) < 0)
        e->born_fd = fd_close(e->born_fd);
}

static void explain(const struct exec *e, struct diag *d)
{
    diag_prefix(d, "%s", e->name);
    if (d->err == ECHILD)
        d->err = ECANCELED;
    if (d->err == EAGAIN)
        diag_set(d, EAGAIN, "%s: no further process can be started in it: its limit ([limits] pids) is reached", e->name);
}

static void exec_progress(struct exec *e)
{
    struct diag d = {0};
    pid_t born = 0;
    int r;

    while ((r = sandbox_join_on_channel(&e->child, &born, &d)) == 0 && e->child.stage == SANDBOX_PARKED)
        exec_born(e, born);
    if (r == -EAGAIN && e->child.stage != SANDBOX_DEAD)
        return;
    loop_unwatch(&e->channel_watch);
    loop_disarm(&e->timer);
    if (r < 0)
        explain(e, &d);
    exec_reply(e, &d);
}

static void exec_on_channel(struct watch *w, uint32_t events)
{
    struct exec *e = w->owner;

    exec_progress(e);
    exec_check(e);
}

/* ---- the request ---- */

static bool term_valid(const char *term)
{
    return strspn(term, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-+._") == strlen(term);
}

/* Fills argv[0..argc); every string ends inside, and nothing is behind the last. */
static int split_args(const struct record_exec *rec, const char **argv, struct diag *d)
{
    size_t at = 0;
    uint32_t n = 0;

    if (rec->argc < 1 || rec->argc > SPEC_ARGS_MAX)
        return diag_set(d, EINVAL, "a command of %u words: 1 to %u are possible", rec->argc, SPEC_ARGS_MAX);
    for (; n < rec->argc && at < rec->args_len; n++) {
        size_t len = strnlen(rec->args + at, rec->args_len - at);

        if (at + len == rec->args_len)
            return diag_set(d, EINVAL, "the command's last word does not end");
        argv[n] = rec->args + at;
        at += len + 1;
    }
    if (n != rec->argc || at != rec->args_len)
        return diag_set(d, EINVAL, "the command has not the number of words that it should have");
    if (!argv[0][0])
        return diag_set(d, EINVAL, "the command's name is empty");
    return 0;
}

static int check_socket(int fd, struct diag *d)
{
    int domain = 0, type = 0;
    socklen_t len = sizeof(int);

    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || domain != AF_UNIX ||
        type != SOCK_STREAM)
        return diag_set(d, EINVAL, "what came with the request is no connection of a local client");
    return 0;
}

static int find_instance(const struct function *f, const char *name, struct instance **ret, struct diag *d)
{
    struct instance *i = f->instances;

    while (i && strcmp(i->name, name) != 0)
        i = i->next;
    if (!i)
        return diag_set(d, ESRCH, "%s has no instance %.64s: `fnctl status %s` lists them", f->id.name, name, f->id.name);
    if (!i->slot || i->slot->child.stage != SANDBOX_RUNNING || i->stop == STOP_KILL)
        return diag_set(d, EBUSY, "%s is not running: it is %s", i->name, i->stop == STOP_NONE ? "starting" : "ending");
    *ret = i;
    return 0;
}

static int check_room(const struct manager *m, const struct instance *i, struct diag *d)
{
    unsigned all = 0, here = 0;

    for (const struct exec *e = m->execs; e; e = e->next) {
        all++;
        here += e->instance == i->number;
    }
    if (here >= EXECS_INSTANCE_MAX)
        return diag_set(d, EBUSY, "%s: %u commands are running in it already", i->name, here);
    if (all >= EXECS_MAX)
        return diag_set(d, EBUSY, "%u commands are running already", all);
    return 0;
}

static int exec_join(struct exec *e, const struct instance *i, const struct plan_command *cmd, int socket_fd, struct diag *d)
{
    struct manager *m = e->manager;
    int attach[CG_CONTROLLER_COUNT], n = 0, r;
    cleanup_fd int master = -1, slave = -1;
    struct plan *plan = NULL;
    struct plan_input in;

    r = instance_plan_input(i, &in, d);
    if (r == 0 && cmd->tty)
        r = sandbox_terminal(in.uid_base + in.spec->uid, in.uid_base + in.spec->gid, &master, &slave, d);
    if (r == 0)
        r = plan_join(&in, cmd, &plan, d);
    if (r < 0)
        return r;
    r = n = cg_group_attach_open(&i->slot->group, attach, d);
    if (n >= 0) {
        const struct sandbox_park at = {.cgroup_fd = i->slot->group.dir_fd, .attach_fds = attach, .nattach = (unsigned)n};
        const struct sandbox_join j = {
            .plan = plan, .at = &at, .pid_fd = i->slot->child.pid_fd, .userns_fd = i->slot->userns_fd, .socket_fd = socket_fd, .master_fd = master, .slave_fd = slave};

        r = sandbox_join(m->p.kit, &j, &e->child, d);
    }
    while (n > 0)
        fd_close(attach[--n]);
    plan_free(plan);
    return r;
}

/* Who did what, where: the gateway says who. One word of the command, since the others may hold what is nobody's business. */
static void audit(const struct exec *e, const struct function *f, const struct record_exec *rec, const char *word)
{
    char fn[NAME_FUNCTION_MAX + 1];
    struct diag clean = {0};

    str_copy(clean.text, sizeof(clean.text), word);
    diag_clean(&clean);
    function_log_name(f, fn);
    log_msg(LOG_NOTICE, "exec", "function=%s instance=%s uid=%u terminal=%u command=\"%.80s\"", fn, e->name, rec->uid, rec->tty, clean.text);
}

int execs_start(struct manager *m, struct function *f, uint64_t client, const struct record_exec *rec, int socket_fd, struct diag *d)
{
    const char *argv[SPEC_ARGS_MAX] = {NULL};
    const struct plan_command cmd = {.argv = argv, .argc = rec->argc, .tty = rec->tty != 0, .term = rec->tty ? rec->term : NULL};
    struct instance *i = NULL;
    struct exec *e;
    int r = split_args(rec, argv, d);

    if (r == 0 && (rec->tty > 1 || !term_valid(rec->term)))
        r = diag_set(d, EINVAL, "the terminal is described in no way that is known");
    if (r == 0)
        r = check_socket(socket_fd, d);
    if (r == 0)
        r = find_instance(f, rec->instance, &i, d);
    if (r == 0 && i)
        r = check_room(m, i, d);
    if (r < 0 || !i)
        return r;
    e = calloc(1, sizeof(*e));
    if (!e)
        return diag_set(d, ENOMEM, "out of memory");
    *e = (struct exec){.manager = m, .instance = i->number, .client = client, .id = rec->head.id, .born_fd = -1};
    e->timer = (struct timer){.on_expire = exec_on_timer, .owner = e};
    memcpy(e->name, i->name, sizeof(e->name));
    r = exec_join(e, i, &cmd, socket_fd, d);
    if (r < 0) {
        explain(e, d);
        free(e);
        return r;
    }
    audit(e, f, rec, argv[0]);
    e->next = m->execs;
    m->execs = e;
    if (loop_watch(m->p.loop, &e->pid_watch, e->child.pid_fd, EPOLLIN, exec_on_pid, e) < 0 ||
        loop_watch(m->p.loop, &e->channel_watch, e->child.channel_fd, EPOLLIN, exec_on_channel, e) < 0) {
        e->child.stage = SANDBOX_DEAD;
        exec_kill(e); /* the timer reaps it */
    }
    loop_arm_in(m->p.loop, &e->timer, e->child.stage == SANDBOX_DEAD ? REAP_AGAIN_NS : JOIN_TIMEOUT_NS);
    return 1;
}
