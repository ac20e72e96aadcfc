/*
 * fnd.c: the runner's start-up, main loop and end.
 *
 * Start-up goes from what only checks to what changes: options, configuration, root, then the rooms in the order of `rooms` below: subnet and ports before anything is made, the store's lock before
 * anything that another daemon could be using, leftovers of a killed daemon before anything new. They are closed in reverse. Nothing is forked before the signals are blocked.
 * The daemon is told to end by SIGTERM or SIGINT (a second one hurries); SIGHUP and the API's reload read the configuration anew.
 */
#include "cgroup.h"
#include "clock.h"
#include "config.h"
#include "control.h"
#include "diag.h"
#include "fd.h"
#include "files.h"
#include "fnd_options.h"
#include "gateway_child.h"
#include "hold.h"
#include "instance.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "network.h"
#include "notify.h"
#include "privileges.h"
#include "procfs.h"
#include "reload.h"
#include "remover.h"
#include "sandbox.h"
#include "sockmaps.h"
#include "store.h"
#include "version.h"
#include "volume.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define GATEWAY_WAIT_NS   (5 * NS_PER_SEC)
#define GATEWAY_TRIES_MAX 5U /* before it is ready for the first time */

struct runner {
    struct config config;
    struct config_source *source;
    const struct options *options;
    char program_dir[PATH_MAX];
    char unpack_path[PATH_MAX + 32];
    struct loop *loop;
    int signal_fd;
    struct watch signal_watch;
    struct cg_root *cgroups;
    struct network network;
    struct sandbox_kit *kit;
    uint32_t lacks; /* enum sandbox_lack */
    struct store *store;
    struct remover *remover;
    struct volumes *volumes;
    struct control *control;
    struct files_watch *files;
    struct manager *manager;
    struct gateway_child *gateway;
    struct sockmaps *sockmaps; /* NULL: everything goes by TCP */
    unsigned gateway_ends;
    bool ready, stopping;
    struct timer ready_timer;
    bool owns_state; /* the store's lock was ours: nobody else uses these directories */
};

/* ---- where the other programs are: beside this one, or installed ---- */

static int find_program(const struct runner *r, const char *name, char *ret, size_t size, struct diag *d)
{
    const char *const dirs[] = {r->program_dir, FND_LIBEXEC};

    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        int n = snprintf(ret, size, "%s/%s", dirs[i], name);

        if (n > 0 && (size_t)n < size && access(ret, X_OK) == 0)
            return 0;
    }
    return diag_set(d, ENOENT, "%s is neither in %.200s nor in %s: build it (make) or install it (make install)", name, dirs[0], dirs[1]);
}

static int find_program_dir(struct runner *r, struct diag *d)
{
    ssize_t n = readlink("/proc/self/exe", r->program_dir, sizeof(r->program_dir) - 1);
    char *slash;

    if (n < 0)
        return diag_errno(d, errno, "/proc/self/exe: cannot read (is /proc mounted?)");
    r->program_dir[n] = '\0';
    slash = strrchr(r->program_dir, '/');
    if (slash)
        *slash = '\0';
    return 0;
}

static int print_config(const struct runner *r, struct diag *d)
{
    char program[PATH_MAX + 32];
    struct config_row row;

    for (unsigned i = 0; config_row(&r->config, r->source, i, &row); i++)
        printf("%-26s %-24s default %-24s %s\n", row.key, row.value, row.def, row.origin);
    return find_program(r, "fnd-gateway", program, sizeof(program), d) < 0 ? 0 : files_check(&r->config, program, d);
}

/* ---- hooks ---- */

static void on_push(void *owner, const struct record_head *rec)
{
    struct runner *r = owner;

    control_push(r->control, rec);
}

static void on_reply(void *owner, uint64_t client, const struct record_head *rec, int fd)
{
    struct runner *r = owner;

    control_reply(r->control, client, rec, fd);
}

static bool is_gateway_up(void *owner)
{
    const struct runner *r = owner;

    return control_is_up(r->control);
}

static void on_bridge(void *owner, const char *name, struct in_addr addr)
{
    struct runner *r = owner;

    network_on_bridge(&r->network, name, addr);
}

static void push_sockmaps(const struct runner *r)
{
    struct record_sockmap rec = {.head = RECORD_INIT(RECORD_SOCKMAP, 0)};

    for (rec.end = 0; r->sockmaps && rec.end < RECORD_SOCKMAP_ENDS; rec.end++)
        control_push_fd(r->control, &rec.head, sockmaps_map(r->sockmaps, rec.end));
}

static void on_snapshot(void *owner)
{
    struct runner *r = owner;

    files_push(&r->config, r->control);
    network_snapshot(&r->network);
    push_sockmaps(r);
}

static void on_listening(void *owner, const struct record_listening *rec)
{
    struct runner *r = owner;

    network_on_listening(&r->network, rec);
}

static void on_stopped(void *owner)
{
    struct runner *r = owner;

    loop_stop(r->loop, 0);
}

static void say_ready(struct runner *r)
{
    if (r->ready)
        return;
    r->ready = true;
    log_msg(LOG_INFO, "ready", "version=%s state=%s cgroup=%s listen=%s", FND_VERSION, r->config.state, cg_root_path(r->cgroups), r->config.listen);
    notify_send("READY=1");
}

static void on_gateway(void *owner)
{
    struct runner *r = owner;

    loop_disarm(&r->ready_timer);
    say_ready(r);
}

/* Functions run; only nobody reaches them. */
static void on_ready_timer(struct timer *t)
{
    log_msg(LOG_WARNING, "no gateway has connected", "socket=%s/%s", ((struct runner *)t->owner)->config.run, LISTEN_RUNNER_SOCKET);
    say_ready(t->owner);
}

/* One that never got ready will not: the host lacks what it needs, and clients would wait at its listeners for ever. Later ends are accidents, after which it is started again. */
static void on_gateway_end(void *owner)
{
    struct runner *r = owner;

    if (r->ready || r->stopping || ++r->gateway_ends < GATEWAY_TRIES_MAX)
        return;
    r->stopping = true;
    manager_stop(r->manager);
}

static int on_reload(void *owner, char *ret_restart, size_t size, struct diag *d)
{
    struct runner *r = owner;

    return reload_run(&(struct reload){r->options, &r->config, r->source, r->control}, ret_restart, size, d);
}

static void on_signal(struct watch *w, uint32_t events)
{
    struct runner *r = w->owner;
    struct signalfd_siginfo info;

    if (read(r->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP) {
        if (r->ready && !r->stopping)
            reload_on_hangup(&(struct reload){r->options, &r->config, r->source, r->control});
        return;
    }
    log_msg(LOG_INFO, "stopping", "signal=%u", info.ssi_signo);
    if (!r->stopping)
        notify_send("STOPPING=1");
    r->stopping = true;
    manager_stop(r->manager);
}

/* ---- rooms, in the order in which they are opened ---- */

static int open_signals(struct runner *r, struct diag *d)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;
    int e;

    sigaction(SIGPIPE, &ignore, NULL); /* a log that nobody reads any more must not end us */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (r->signal_fd < 0)
        return diag_errno(d, errno, "signals");
    e = loop_new(&r->loop);
    if (e == 0)
        e = loop_watch(r->loop, &r->signal_watch, r->signal_fd, EPOLLIN, on_signal, r);
    return e < 0 ? diag_errno(d, -e, "event loop") : 0;
}

/* Our own mount namespace, so that nothing that is mounted here shows on the host; mounts of the host still arrive. */
static int open_mounts(struct runner *r, struct diag *d)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return diag_errno(d, errno, "cannot make a mount namespace");
    return procfs_own(d);
}

/* Before anything is made. */
static int check_kernel(struct runner *r, struct diag *d)
{
    int e = sandbox_probe(r->config.may_lack, &r->lacks, d);

    if (e == 0 && (r->lacks & SANDBOX_LACKS_TIMENS))
        log_msg(LOG_WARNING, "functions see the host's uptime", "missing=time-namespace");
    return e;
}

static int open_run_dir(struct runner *r, struct diag *d)
{
    int e = fd_mkdir_p(AT_FDCWD, r->config.run, 0755);

    return e < 0 ? diag_errno(d, -e, "%s: cannot make the run directory", r->config.run) : 0;
}

static int open_cgroups(struct runner *r, struct diag *d)
{
    const struct cg_options o = {.path = r->config.cgroup, .name = r->config.name};
    int e = cg_root_open(&o, &r->cgroups, d);

    if (e < 0)
        return e;
    for (enum cg_controller c = 0; c < CG_CONTROLLER_COUNT; c++) {
        if (cg_root_where(r->cgroups, c) != CG_ABSENT)
            continue;
        if (!r->config.best_effort)
            return diag_set(
                d,
                ENOTSUP, "cgroups: this host has no %s controller, so that limit cannot be held: boot with it enabled (`fnctl doctor` tells how), or set runner.limits = best-effort",
                cg_controller_name(c));
        log_msg(LOG_WARNING, "limit not held on this host", "controller=%s", cg_controller_name(c));
    }
    return 0;
}

static int check_subnet(struct runner *r, struct diag *d)
{
    return network_check(&r->network, &r->config, d);
}

static int open_net(struct runner *r, struct diag *d)
{
    return network_open(&r->network, &r->config, r->loop, d);
}

/* Instances of a killed daemon are ended before anything else of theirs (links, directories) is taken away. */
static int sweep_cgroups(struct runner *r, struct diag *d)
{
    int n = cg_root_sweep(r->cgroups, d);

    if (n > 0)
        log_msg(LOG_WARNING, "leftovers of a killed daemon ended", "cgroups=%d", n);
    return n < 0 ? n : 0;
}

static int open_store(struct runner *r, struct diag *d)
{
    int e = store_open(&r->config, &r->store, d);

    r->owns_state = e == 0;
    if (e == 0 && remover_new(r->loop, &r->remover) < 0)
        return diag_set(d, ENOMEM, "out of memory");
    if (e == 0)
        store_set_remover(r->store, r->remover);
    return e;
}

static int open_volumes(struct runner *r, struct diag *d)
{
    return volumes_open(&r->config, &r->volumes, d);
}

/* Whether instances can be started from where the images are: said now, with the remedy, and not by the first deploy. */
static int check_images(struct runner *r, struct diag *d)
{
    uint32_t base = r->config.uid_base;
    cleanup_fd int dir = open(r->config.images, O_RDONLY | O_DIRECTORY | O_CLOEXEC), map = -1, mount = -1;
    struct statvfs vfs;

    if (dir < 0 || fstatvfs(dir, &vfs) < 0)
        return diag_errno(d, errno, "%s: cannot open the directory of the images", r->config.images);
    if (vfs.f_flag & ST_NOEXEC)
        return diag_set(
            d, EACCES,
            "%s is on a file system that is mounted noexec, so no function could be executed: mount it without, or set runner.state to a directory elsewhere",
            r->config.images);
    map = sandbox_userns_new(base - SANDBOX_IDS, base, d);
    if (map < 0)
        return map;
    mount = sandbox_image_mount(dir, map, d);
    if (mount < 0) {
        diag_prefix(d, "%s", r->config.images);
        return mount;
    }
    return 0;
}

static int open_listeners(struct runner *r, struct diag *d)
{
    char program[PATH_MAX + 32];
    int e;

    if (!r->config.spawn)
        return 0;
    e = find_program(r, "fnd-gateway", program, sizeof(program), d);
    return e < 0 ? e : gateway_child_new(&r->config, r->loop, program, &r->gateway, d);
}

/* After the store's lock: the socket of another daemon that lives must not be taken away. */
static int open_api(struct runner *r, struct diag *d)
{
    return r->gateway ? gateway_child_listen_api(r->gateway, d) : 0;
}

static int open_kit(struct runner *r, struct diag *d)
{
    char program[PATH_MAX + 32];
    int e = find_program(r, "fn-init", program, sizeof(program), d);

    return e < 0 ? e : sandbox_kit_new(program, r->lacks, &r->kit, d);
}

static int open_control(struct runner *r, struct diag *d)
{
    struct control_parts parts = {.config = &r->config,
                                  .source = r->source,
                                  .loop = r->loop,
                                  .on_snapshot = on_snapshot,
                                  .on_gateway = on_gateway,
                                  .on_listening = on_listening,
                                  .on_reload = on_reload,
                                  .owner = r};

    int e;

    gateway_ids(&r->config, &parts.gateway_uid, &parts.gateway_gid);
    e = control_new(&parts, &r->control, d);
    return e < 0 ? e : control_open_accounts(r->control, d);
}

static int open_files(struct runner *r, struct diag *d)
{
    int e = files_init(&r->config, d);

    if (e == 0)
        r->files = files_watch_new(&r->config, r->loop, r->control);
    return e == 0 && !r->files ? diag_set(d, ENOMEM, "out of memory") : e;
}

static int open_bridges(struct runner *r, struct diag *d)
{
    return network_serve(&r->network, r->control, d);
}

static int open_manager(struct runner *r, struct diag *d)
{
    struct manager_parts parts = {.config = &r->config,
                                  .loop = r->loop,
                                  .store = r->store,
                                  .volumes = r->volumes,
                                  .cgroups = r->cgroups,
                                  .net = r->network.net,
                                  .net_options = &r->network.options,
                                  .kit = r->kit,
                                  .unpack_path = r->unpack_path,
                                  .hooks = {.push = on_push, .reply = on_reply, .gateway_up = is_gateway_up, .on_bridge = on_bridge, .on_stopped = on_stopped},
                                  .owner = r};
    int e = find_program(r, "fnd-unpack", r->unpack_path, sizeof(r->unpack_path), d);

    if (e == 0)
        e = manager_new(&parts, &r->manager, d);
    if (e == 0)
        control_set_manager(r->control, r->manager);
    return e;
}

/* Not having it is no error: it only costs CPU. */
static int open_sockmaps(struct runner *r, struct diag *d)
{
    struct diag why = {0};

    (void)d;
    if (!r->config.sockmap)
        return 0;
    if (!r->gateway)
        diag_set(&why, ENOTSUP, "the gateway is not this process's child"); /* its cgroup comes and goes with its service */
    else if (sockmaps_open(r->cgroups, &r->sockmaps, &why) == 0)
        return 0;
    log_diag(LOG_INFO, "requests go to functions by TCP only", &why, "setting=\"gateway.sockmap = auto\"");
    return 0;
}

static int open_privileges(struct runner *r, struct diag *d)
{
    int e = privileges_bound(d);

    return e < 0 ? e : privileges_deny(EPERM, d);
}

static int open_gateway(struct runner *r, struct diag *d)
{
    if (!r->gateway)
        return 0;
    gateway_child_set_hook(r->gateway, on_gateway_end, r);
    return gateway_child_start(r->gateway, d);
}

static int open_functions(struct runner *r, struct diag *d)
{
    int e = manager_load(r->manager, d);

    /* The service manager has started the gateway, which now comes: who starts the service and calls the API at once must find it whole. */
    if (e == 0 && !r->gateway && !control_is_up(r->control))
        loop_arm_in(r->loop, &r->ready_timer, GATEWAY_WAIT_NS);
    return e;
}

typedef int room_fn(struct runner *r, struct diag *d);
static room_fn *const rooms[] = {
    open_signals, open_mounts,  check_kernel,  check_subnet,    open_listeners, open_run_dir,   open_store,   open_volumes,
    check_images, open_api,     open_cgroups,  sweep_cgroups,   open_net,       open_kit,       open_control, open_files,
    open_bridges, open_manager, open_sockmaps, open_privileges, open_gateway,   open_functions,
};

/* The reverse; every part may be missing. Gives back what a killed daemon's sweep would take away too. */
static void close_rooms(struct runner *r)
{
    struct diag d = {0};

    loop_disarm(&r->ready_timer);
    gateway_child_free(r->gateway);
    sockmaps_free(r->sockmaps);
    if (r->control)
        control_set_manager(r->control, NULL);
    manager_free(r->manager);
    network_unserve(&r->network);
    files_watch_free(r->files);
    control_free(r->control);
    sandbox_kit_free(r->kit);
    network_close(&r->network);
    if (r->cgroups && cg_root_remove(r->cgroups, &d) < 0)
        log_diag(LOG_WARNING, "cgroups not removed", &d, NULL);
    cg_root_free(r->cgroups);
    volumes_close(r->volumes);
    store_free(r->store);
    remover_free(r->remover);
    if (r->loop)
        loop_unwatch(&r->signal_watch);
    loop_free(r->loop);
    fd_close(r->signal_fd);
}

static void remove_ephemeral(const struct runner *r)
{
    if (!r->config.ephemeral || !r->owns_state)
        return;
    fd_remove_tree(AT_FDCWD, r->config.state);
    fd_remove_tree(AT_FDCWD, r->config.run);
}

static int serve(struct runner *r, struct diag *d)
{
    int e = 0;

    for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]) && e == 0; i++)
        e = rooms[i](r, d);
    if (e == 0)
        e = loop_run(r->loop);
    if (e == 0 && r->gateway_ends >= GATEWAY_TRIES_MAX)
        e = diag_set(d, EIO, "fnd-gateway ended %u times and was never ready: its own message says why; `fnctl doctor` tries what fnd needs of this host",
                     r->gateway_ends);
    close_rooms(r);
    remove_ephemeral(r);
    return e;
}

/* Opening and closing what a daemon holds is what ends and removes its leftovers; the store's lock says that none is alive. */
static int sweep(struct runner *r, struct diag *d)
{
    static room_fn *const needed[] = {open_signals, open_mounts, open_store, open_volumes, open_cgroups, sweep_cgroups, open_net};
    int e = 0;

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]) && e == 0; i++)
        e = needed[i](r, d);
    close_rooms(r);
    remove_ephemeral(r);
    return e;
}

static int finish(struct runner *r, int e, const struct diag *d)
{
    config_source_free(r->source);
    if (e >= 0)
        return 0;
    log_diag(LOG_ERR, "fnd", d, NULL);
    return e == -EADDRINUSE ? 3 : 1; /* 3: an address or the subnet is in use; who chose it may choose another */
}

int main(int argc, char **argv)
{
    struct runner r = {.signal_fd = -1, .ready_timer = {.on_expire = on_ready_timer, .owner = &r}};
    struct options o = {0};
    struct diag d = {0};
    int e;

    e = fnd_options_parse(argc, argv, &o);
    if (e)
        return e;
    if (o.verbose)
        log_set_level(LOG_DEBUG);
    if (o.hold)
        return hold_main();
    r.options = &o;
    e = config_load(o.config, o.sets, o.nsets, &r.config, &r.source, &d);
    if (e == 0)
        e = find_program_dir(&r, &d);
    if (e == 0 && o.check)
        return finish(&r, print_config(&r, &d), &d);
    if (e == 0 && geteuid() != 0)
        e = diag_set(&d, EPERM, "fnd makes namespaces, cgroups and mounts and must be started as root: use sudo, or `systemctl start fnd`");
    umask(0022);
    fd_raise_limit();
    if (e == 0)
        e = o.sweep ? sweep(&r, &d) : serve(&r, &d);
    return finish(&r, e, &d);
}
