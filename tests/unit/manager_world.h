/* manager_world.h: the world of a manager in tests: a host that can fail, a store, a jail, a gateway. The kernel's side is played here; a parked child is a process that waits to be killed. */
#pragma once

#include "check.h"

#include "../../runner/instance/manager.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "ringlog.h"
#include "secret.h"
#include "str.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIDS_MAX     16
#define UNPACK_GROUP 9000 /* the descriptor of a jail's group */
#define CALLS_SANE   200U

static struct world {
    struct config config;
    struct loop *loop;
    struct manager *manager;
    char dir[64];
    uint32_t scale; /* of the function in the store */
    int make_err, kill_err, park_err;
    int staging_err, publish_err, current_err; /* of the store's disk */
    uint32_t current, stored_scale, dropped;   /* of hello */
    unsigned pruned, runtimes;                 /* calls; runtimes that got a name */
    unsigned remove_failures;                  /* so many removals fail */
    unsigned makes, pushed[INSTANCE_STATE_COUNT];
    bool exists[KIDS_MAX];
    pid_t kids[KIDS_MAX];
    uint64_t instance;
    struct record_reply reply;
    bool stopped, mute; /* mute: the gateway reports nobody ready */
    unsigned unpack_groups;
    bool jail_silent, jail_busy;
    uint64_t jail_cpu_ns;
    const char *lacks; /* limits that the host does not hold */
    bool has_stats;
    struct cg_stats stats;
    struct record_stats told;
    struct record_hits hits;
    struct record_network network;
    void (*shape_hello)(struct spec *s), (*shape_other)(struct spec *s); /* what their specs say */
    struct net_policy policies[KIDS_MAX];                                /* of the networks that were made */
    bool networks[KIDS_MAX];
    unsigned removed_networks;
    uint32_t bad_egress; /* networks of this policy cannot be made */
    int net_err;
    struct {
        unsigned calls, slots[KIDS_MAX], nslots, ndests;
        struct net_dest dests[64];
        uint32_t ttl_s;
    } opened;                    /* the last call */
    struct record_policy policy; /* of the function that was pushed last */
    bool both_policies;          /* of two versions of it at once */
    uint64_t hello, other;       /* numbers */
    unsigned live_slot;          /* of the instance that started last */
    struct record_host host;
    struct cg_limits tree; /* of all together */
    int events_fd;
    unsigned event_reads;
    uint64_t disk_used;
} w;

#include "manager_net.h"

/* ---- the host ---- */

int cg_group_make(struct cg_root *r, const char *name, struct cg_group *ret, struct diag *d)
{
    unsigned number = (unsigned)strtoul(name + 1, NULL, 10);

    if (strncmp(name, "unpack-", 7) == 0) {
        *ret = (struct cg_group){.dir_fd = UNPACK_GROUP, .oom_fd = -1};
        w.unpack_groups++;
        return 0;
    }
    assert_true(++w.makes < CALLS_SANE);
    assert_true(number < KIDS_MAX);
    if (w.make_err)
        return diag_errno(d, w.make_err, "making %s", name);
    if (w.exists[number])
        return diag_errno(d, EEXIST, "making %s", name);
    w.exists[number] = true;
    *ret = (struct cg_group){.dir_fd = (int)number + 5000, .oom_fd = -1};
    return 0;
}

int cg_group_attach_open(const struct cg_group *g, int ret_fds[CG_CONTROLLER_COUNT], struct diag *d)
{
    return 0;
}

int cg_group_limit(struct cg_group *g, const struct cg_limits *l, bool best_effort, struct diag *d)
{
    return 0;
}

int cg_group_stats(const struct cg_group *g, struct cg_stats *ret)
{
    if (g->dir_fd == UNPACK_GROUP) {
        *ret = (struct cg_stats){.cpu_ns = w.jail_busy ? ++w.jail_cpu_ns : w.jail_cpu_ns};
        return 0;
    }
    if (!w.has_stats)
        return -ENOENT;
    *ret = w.stats;
    return 0;
}

const char *cg_root_lacks(const struct cg_root *r, const struct cg_limits *l, char *buf, size_t size)
{
    snprintf(buf, size, "%s", w.lacks ? w.lacks : "");
    return buf;
}

int cg_root_limit(struct cg_root *r, const struct cg_limits *l, struct diag *d)
{
    w.tree = *l;
    return 0;
}

int cg_root_disk(struct cg_root *r, int dir_fd, struct diag *d)
{
    return diag_set(d, ENOTSUP, "no disk");
}

int cg_root_stats(struct cg_root *r, struct cg_stats *ret)
{
    *ret = (struct cg_stats){.memory_bytes = 1234};
    return 0;
}

uint64_t store_usage(struct store *s)
{
    return w.disk_used;
}

int cg_events_open(struct diag *d)
{
    w.events_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w.events_fd;
}

void cg_events_watch(int events_fd, const struct cg_group *g, int ret_watches[CG_EVENTS_WATCHES])
{
    ret_watches[0] = -1;
    ret_watches[1] = g->dir_fd; /* any number that says which */
}

void cg_events_unwatch(int events_fd, int watches[CG_EVENTS_WATCHES])
{
    watches[1] = -1;
}

int cg_events_read(int events_fd, int *ret_watches, unsigned n)
{
    eventfd_t count;

    if (eventfd_read(events_fd, &count) < 0)
        return 0;
    ret_watches[0] = (int)count;
    w.event_reads++;
    return 1;
}

int cg_group_kill(struct cg_group *g)
{
    if (w.kill_err)
        return -w.kill_err;
    g->killed = true;
    if (w.kids[g->dir_fd - 5000] > 0)
        kill(w.kids[g->dir_fd - 5000], SIGKILL);
    return 0;
}

bool cg_group_populated(const struct cg_group *g)
{
    return false;
}

int cg_group_remove(struct cg_group *g)
{
    if (g->dir_fd == UNPACK_GROUP) {
        w.unpack_groups--;
        return 0;
    }
    if (w.remove_failures > 0) {
        w.remove_failures--;
        return -EMFILE;
    }
    w.exists[g->dir_fd - 5000] = false;
    g->dir_fd = -1;
    return 0;
}

int sandbox_userns_new(uint32_t inner, uint32_t outer, struct diag *d)
{
    return eventfd(0, EFD_CLOEXEC);
}

int sandbox_volume_mount(int volume_dir_fd, int idmap_fd, struct diag *d)
{
    return -1;
}

int volumes_mount(struct volumes *v, const struct fn_id *id, const struct spec *spec, bool in_use, int *ret_dirs, struct diag *d)
{
    return 0;
}

int volumes_check(struct volumes *v, const struct fn_id *id, const struct spec *spec, struct diag *d)
{
    return 0;
}

int volumes_remove(struct volumes *v, const struct fn_id *id, bool erase, struct diag *d)
{
    return 0;
}

int sandbox_image_mount(int image_dir_fd, int idmap_fd, struct diag *d)
{
    return eventfd(0, EFD_CLOEXEC);
}

int sandbox_park(const struct sandbox_kit *k, const struct sandbox_park *where, struct sandbox_child *ret, struct diag *d)
{
    pid_t pid;

    if (w.park_err)
        return diag_errno(d, w.park_err, "clone3");
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGTERM, SIG_IGN);
        for (;;)
            pause();
    }
    w.kids[where->cgroup_fd - 5000] = pid;
    *ret = (struct sandbox_child){.pid = pid, .netns_fd = -1, .stage = SANDBOX_PARKING};
    ret->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    ret->channel_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(ret->pid_fd >= 0 && ret->channel_fd >= 0);
    return 0;
}

int sandbox_on_channel(struct sandbox_child *c, struct diag *d)
{
    eventfd_t n;

    if (eventfd_read(c->channel_fd, &n) < 0)
        return -EAGAIN;
    c->stage = c->stage == SANDBOX_PARKING ? SANDBOX_PARKED : SANDBOX_RUNNING;
    return 0;
}

int sandbox_start(struct sandbox_child *c, const struct sandbox_start *s, struct diag *d)
{
    c->stage = SANDBOX_STARTING;
    return eventfd_write(c->channel_fd, 1);
}

void sandbox_child_close(struct sandbox_child *c)
{
    c->pid_fd = fd_close(c->pid_fd);
    c->channel_fd = fd_close(c->channel_fd);
    c->netns_fd = fd_close(c->netns_fd);
}

bool net_slot_gone(struct net *n, unsigned slot)
{
    return true;
}

#include "manager_store.h"

/* ---- the gateway ---- */

static void report(uint32_t type, uint64_t instance)
{
    struct record_report rec = {.head = RECORD_INIT(type, 0), .instance = instance, .text = "GET /ping: status 500"};

    manager_request(w.manager, 1, &rec.head, -1);
}

static void say_ready(struct timer *t)
{
    report(RECORD_READY, w.instance);
}

static struct timer ready_timer = {.on_expire = say_ready};

static void on_push(void *owner, const struct record_head *rec)
{
    const struct record_instance *i = (const struct record_instance *)rec;

    if (rec->type == RECORD_POLICY)
        w.policy = *(const struct record_policy *)rec;
    w.both_policies |= rec->type == RECORD_POLICY && w.policy.egress == SPEC_EGRESS_INTERNET && w.policy.nhosts > 0;
    if (rec->type == RECORD_FUNCTION && strcmp(((const struct record_function *)rec)->fn.name, "hello") == 0)
        w.hello = ((const struct record_function *)rec)->function;
    else if (rec->type == RECORD_FUNCTION)
        w.other = ((const struct record_function *)rec)->function;
    if (rec->type != RECORD_INSTANCE)
        return;
    assert_true(++w.pushed[i->state] < CALLS_SANE);
    if (i->state == INSTANCE_STARTING) {
        w.instance = i->instance;
        w.live_slot = i->slot;
        if (!w.mute)
            loop_arm_in(w.loop, &ready_timer, 0);
    }
}

static void on_reply(void *owner, uint64_t client, const struct record_head *rec, int fd)
{
    if (rec->type == RECORD_REPLY)
        w.reply = *(const struct record_reply *)rec;
    if (rec->type == RECORD_STATS)
        w.told = *(const struct record_stats *)rec;
    if (rec->type == RECORD_NETWORK)
        w.network = *(const struct record_network *)rec;
    if (rec->type == RECORD_HITS)
        w.hits = *(const struct record_hits *)rec;
    if (rec->type == RECORD_HOST)
        w.host = *(const struct record_host *)rec;
}

static bool gateway_up(void *owner)
{
    return true;
}

static void on_stopped(void *owner)
{
    w.stopped = true;
}

/* ---- running ---- */

static void out_of_time(struct timer *t)
{
    loop_stop(w.loop, 1);
}

/* Turns the loop until the condition holds, or some seconds are over: false. */
static bool until(bool (*condition)(void))
{
    uint64_t end = clock_mono_ns() + 5 * NS_PER_SEC;
    struct timer turn = {.on_expire = out_of_time};

    while (!condition() && clock_mono_ns() < end) {
        loop_arm_in(w.loop, &turn, NS_PER_MS);
        loop_run(w.loop);
        loop_disarm(&turn);
    }
    return condition();
}

static int set_up(void **state)
{
    w = (struct world){.scale = 1, .current = 1, .stored_scale = 1};
    snprintf(w.dir, sizeof(w.dir), "/tmp/test-manager-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    w.config = (struct config){.uid_base = 0x70000000, .slots_ready = 0, .slots_max = 4, .prefix_len = 16};
    w.config.start_timeout_ns = w.config.drain_timeout_ns = w.config.stop_timeout_ns = 50 * NS_PER_MS;
    w.config.memory_overcommit = w.config.cpu_overcommit = 1;
    w.config.unpack_timeout_ns = w.config.unpack_stall_ns = 10 * NS_PER_SEC;
    str_copy(w.config.run, sizeof(w.config.run), w.dir);
    assert_int_equal(loop_new(&w.loop), 0);
    return 0;
}

static void start(void)
{
    static const struct net_options net = {.subnet = {.s_addr = 10}, .prefix_len = 16, .bridge = "fn", .port = "vf"};
    const struct manager_parts parts = {.config = &w.config,
                                        .loop = w.loop,
                                        .net_options = &net,
                                        .hooks = {.push = on_push, .reply = on_reply, .gateway_up = gateway_up, .on_stopped = on_stopped}};
    struct diag d = {0};

    assert_int_equal(manager_new(&parts, &w.manager, &d), 0);
    assert_int_equal(manager_load(w.manager, &d), 0);
}

static bool is_stopped(void)
{
    return w.stopped;
}

static int tear_down(void **state)
{
    w.make_err = w.kill_err = w.park_err = 0;
    w.remove_failures = 0;
    manager_stop(w.manager);
    manager_stop(w.manager);
    assert_true(until(is_stopped));
    manager_free(w.manager);
    assert_int_equal(w.unpack_groups, 0);
    loop_disarm(&ready_timer);
    loop_free(w.loop);
    fd_remove_tree(AT_FDCWD, w.dir);
    return 0;
}

static inline bool is_ready(void)
{
    return w.pushed[INSTANCE_READY] > 0;
}

static inline bool is_gone(void)
{
    return w.pushed[INSTANCE_GONE] > 0;
}

static inline bool is_answered(void)
{
    return w.reply.head.id == 7;
}

static inline bool is_ready_again(void)
{
    return w.pushed[INSTANCE_READY] > 1;
}

/* A deploy of a whole archive. */
static inline void begin_deploy(const char *name, uint32_t replicas)
{
    struct record_deploy_end end = {.head = RECORD_INIT(RECORD_DEPLOY_END, 7), .complete = 1};
    struct record_deploy *rec = calloc(1, sizeof(*rec));

    assert_non_null(rec);
    rec->head = (struct record_head)RECORD_INIT(RECORD_DEPLOY, 7);
    str_copy(rec->fn.name, sizeof(rec->fn.name), name);
    rec->replicas = replicas;
    w.reply.head.id = 0;
    manager_request(w.manager, 1, &rec->head, eventfd(0, EFD_CLOEXEC));
    manager_request(w.manager, 1, &end.head, -1);
    free(rec);
}

/* The same up to its reply. */
static inline int deploy(const char *name, uint32_t replicas)
{
    begin_deploy(name, replicas);
    assert_true(until(is_answered));
    return w.reply.diag.err;
}
