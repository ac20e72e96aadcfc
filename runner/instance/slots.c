/*
 * slots.c: the places where instances live, made before they are needed.
 *
 * A slot is used once: a parked child with its cgroup, its network and its two user namespaces becomes one instance, and when that ends all of it is thrown away (nothing of one function can reach the next,
 * and a cgroup in which cgroup.kill was written must not be used again). The number is used again, and with it the names, addresses and ids that are functions of it.
 *
 *   making   cgroup, child cloned into it, user namespaces         (synchronous, some hundred microseconds)
 *            child enters its v1 cgroups, prepares itself, says PARKED   (its own time)
 *            network                                               (then READY)
 *   ending   kill the group, wait for the child (pidfd) and for the group to be empty, then undo in reverse; what is busy is tried again with growing delays
 *
 * A failure at any step ends the slot the same way. After a failure, making waits (doubling to 5 s), and the instances that wait for a slot are told why. For which policy a slot is made says slot_policy.c.
 */
#include "manager.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#define SLOTS_PARKING_MAX 4U /* children on their way at once: more do not help on the cores that we know */
#define UNDO_DELAY_MIN_NS (1 * NS_PER_MS)
#define UNDO_DELAY_MAX_NS (200 * NS_PER_MS)
#define FILL_AFTER_NS     (15 * NS_PER_MS) /* after the last start: making slots takes the processor, and locks of the kernel, from who is starting */

static void slot_on_channel(struct watch *w, uint32_t events);
static void slot_on_pid(struct watch *w, uint32_t events);
static void slot_undo(struct slot *s);

uint32_t slot_uid_base(const struct slot *s)
{
    const struct config *c = s->manager->p.config;

    return c->uid_base + (c->slot_base + s->number) * SANDBOX_IDS;
}

static void slot_set_state(struct slot *s, enum slot_state state)
{
    struct slots *all = &s->manager->slots;

    all->counts[s->state]--;
    all->counts[state]++;
    if (s->policy) {
        s->policy->counts[s->state]--;
        s->policy->counts[state]++;
    }
    s->state = state;
}

static void slot_on_undo_timer(struct timer *t)
{
    slot_undo(t->owner);
}

/* The EMPTY slot with the lowest number; the list is in ascending order and has no gaps. */
static struct slot *slot_pick(struct manager *m)
{
    struct slot **at = &m->slots.all, *s;
    unsigned number = 0;

    for (; *at; at = &(*at)->next, number++)
        if ((*at)->state == SLOT_EMPTY)
            return *at;
    if (number >= m->p.config->slots_max)
        return NULL;
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->manager = m;
    s->number = number;
    m->slots.counts[SLOT_EMPTY]++;
    s->undo_timer = (struct timer){.on_expire = slot_on_undo_timer, .owner = s};
    *at = s;
    return s;
}

static int slot_make_userns(struct slot *s, struct diag *d)
{
    const struct config *c = s->manager->p.config;

    s->userns_fd = sandbox_userns_new(0, slot_uid_base(s), d);
    if (s->userns_fd < 0)
        return s->userns_fd;
    s->holds |= SLOT_HAS_USERNS;
    s->idmap_fd = sandbox_userns_new(c->uid_base - SANDBOX_IDS, slot_uid_base(s), d);
    return s->idmap_fd < 0 ? s->idmap_fd : 0;
}

static int slot_park(struct slot *s, struct diag *d)
{
    struct manager *m = s->manager;
    int attach[CG_CONTROLLER_COUNT], n = cg_group_attach_open(&s->group, attach, d), r = n;

    if (n >= 0) {
        const struct sandbox_park where = {.cgroup_fd = s->group.dir_fd, .attach_fds = attach, .nattach = (unsigned)n, .scratch_dir = m->scratch};

        r = sandbox_park(m->p.kit, &where, &s->child, d);
    }
    while (n > 0)
        fd_close(attach[--n]);
    return r;
}

static int slot_make(struct slot *s, struct diag *d)
{
    struct manager *m = s->manager;
    char name[CG_NAME_MAX + 1];
    int r;

    s->holds = 0;
    s->oom = false;
    s->userns_fd = s->idmap_fd = -1;
    for (unsigned i = 0; i < CG_EVENTS_WATCHES; i++)
        s->event_watches[i] = -1;
    s->child = (struct sandbox_child){.pid = -1, .pid_fd = -1, .channel_fd = -1, .netns_fd = -1};
    s->undo_delay_ns = UNDO_DELAY_MIN_NS;
    snprintf(name, sizeof(name), "s%05u", s->number);
    r = cg_group_make(m->p.cgroups, name, &s->group, d);
    if (r < 0)
        return r;
    s->holds |= SLOT_HAS_GROUP;
    r = slot_park(s, d);
    if (r < 0)
        return r;
    s->holds |= SLOT_HAS_CHILD;
    r = loop_watch(m->p.loop, &s->pid_watch, s->child.pid_fd, EPOLLIN, slot_on_pid, s);
    if (r == 0)
        r = loop_watch(m->p.loop, &s->channel_watch, s->child.channel_fd, EPOLLIN, slot_on_channel, s);
    if (r < 0)
        return diag_errno(d, -r, "cannot watch the child");
    return slot_make_userns(s, d);
}

/* Whoever waits for a slot of this policy learns why there is none. */
static void slots_tell_failure(struct manager *m, const struct policy *p, const struct diag *d)
{
    for (struct function *f = m->functions; f; f = f->next)
        for (struct instance *i = f->instances; i; i = i->next)
            if (i->state == INSTANCE_PLANNED && i->stop == STOP_NONE && i->version->policy == p) {
                instance_start_failed(i, d);
                return; /* the list may have changed; one failure is one failed start */
            }
}

/* `backoff` is that of what failed: of all making, or of the policy's own part of it. */
static void slot_failed(struct slot *s, struct backoff *backoff, struct diag *d)
{
    struct manager *m = s->manager;
    struct policy *p = s->policy;

    diag_prefix(d, "slot %u", s->number);
    log_diag(LOG_WARNING, "slot failed", d, "slot=%u", s->number);
    backoff_failed(backoff, clock_mono_ns());
    p->users++;  /* it is needed for longer than the slot */
    slot_end(s); /* only now: its end fills up again, which without a pause ends in the same failure, deeper and deeper */
    slots_tell_failure(m, p, d);
    policy_put(p);
    slots_fill(m);
}

static void slots_make(struct manager *m, bool spares);

static void slots_on_fill_timer(struct timer *t)
{
    slots_make(t->owner, true);
}

int slots_init(struct manager *m)
{
    struct spec *s = malloc(sizeof(*s));

    m->slots.fill_timer = (struct timer){.on_expire = slots_on_fill_timer, .owner = m};
    if (!s)
        return -ENOMEM;
    spec_init(s);
    m->slots.usual = policy_get(m, 0, s);
    free(s);
    return m->slots.usual ? 0 : -ENOMEM;
}

static void wake_at(struct manager *m, uint64_t at_ns)
{
    if (!m->slots.fill_timer.loop || m->slots.fill_timer.deadline_ns > at_ns)
        loop_arm(m->p.loop, &m->slots.fill_timer, at_ns);
}

void slots_fill_soon(struct manager *m)
{
    wake_at(m, clock_mono_ns());
}

static void make_one(struct manager *m, struct policy *p)
{
    struct diag d = {0};
    struct slot *s = slot_pick(m);

    if (!s) {
        if (policy_make_room(m, p) || m->slots.counts[SLOT_ENDING] > 0 || p->waiting == 0)
            return; /* the end of a slot fills up */
        diag_set(&d, EAGAIN, "all %u slots are in use: scale something down, or raise runner.slots_max", m->p.config->slots_max);
        slots_tell_failure(m, p, &d);
        return;
    }
    slot_set_policy(s, p);
    slot_set_state(s, SLOT_PARKING);
    if (slot_make(s, &d) < 0)
        slot_failed(s, &m->slots.backoff, &d);
    else
        slots_fill_soon(m);
}

/* One slot a turn, so that requests and starts of other slots are not delayed by more than one making. Spares come from the timer alone: their making takes the processor, and locks of the kernel, from who is starting. */
static void slots_make(struct manager *m, bool spares)
{
    struct slots *all = &m->slots;
    uint64_t now = clock_mono_ns(), wake = all->backoff.until_ns;
    struct policy *p = NULL;

    if (m->stopping)
        return;
    policy_end_orphans(m);
    if (all->counts[SLOT_PARKING] >= SLOTS_PARKING_MAX)
        return;
    if (all->backoff.until_ns <= now)
        p = policy_next(m, spares && now >= all->pause_until_ns, now, &wake);
    if (p)
        make_one(m, p);
    else if (wake != UINT64_MAX)
        wake_at(m, wake);
    if (!p && (!spares || now < all->pause_until_ns))
        wake_at(m, all->pause_until_ns > now ? all->pause_until_ns : now);
}

void slots_fill(struct manager *m)
{
    slots_make(m, false);
}

/* The child has parked: the rest of the slot, then give it to who waits, or keep it. */
static int slot_finish(struct slot *s, struct diag *d)
{
    struct manager *m = s->manager;
    int r = net_slot_make(m->p.net, s->number, s->child.netns_fd, &s->policy->net, &s->net, d);

    if (r < 0)
        return r;
    s->holds |= SLOT_HAS_NET;
    s->child.netns_fd = fd_close(s->child.netns_fd);
    if (m->p.hooks.on_bridge)
        m->p.hooks.on_bridge(m->p.owner, s->net.bridge, s->net.bridge_addr);
    return policy_open_slot(s, d);
}

static struct instance *first_waiting(struct manager *m, const struct policy *p)
{
    struct instance *first = NULL;

    for (struct function *f = m->functions; f; f = f->next)
        for (struct instance *i = f->instances; i; i = i->next)
            if (i->state == INSTANCE_PLANNED && i->stop == STOP_NONE && i->version->policy == p && (!first || i->number < first->number))
                first = i;
    return first;
}

/* v1 memory has no oom.group: the kernel killed one process, the instance dies whole. */
static void slot_on_oom(struct watch *w, uint32_t events)
{
    struct slot *s = w->owner;

    if (slot_had_oom(s))
        cg_group_kill(&s->group);
}

/* Our kill may come before the kernel's own, which then does not count one: the event is what can be relied on. */
bool slot_had_oom(struct slot *s)
{
    struct cg_stats now = {0};
    eventfd_t count;

    if (s->group.oom_fd < 0 || eventfd_read(s->group.oom_fd, &count) < 0)
        return s->oom;
    /* The kernel tells all groups below the one that is full: when that is the one of all instances, only who was hit may die. */
    if (cg_group_stats(&s->group, &now) < 0 || now.ooms > 0 || now.oom_kills > 0)
        s->oom = true;
    else
        hits_soon(s->manager);
    return s->oom;
}

static void slot_mark_taken(struct slot *s)
{
    slot_set_state(s, SLOT_TAKEN);
    if (s->group.oom_fd >= 0)
        loop_watch(s->manager->p.loop, &s->oom_watch, s->group.oom_fd, EPOLLIN, slot_on_oom, s);
}

static void slot_parked(struct slot *s)
{
    struct manager *m = s->manager;
    struct instance *i;
    struct diag d = {0};

    m->slots.backoff = (struct backoff){0};
    if (slot_finish(s, &d) < 0) {
        slot_failed(s, &s->policy->backoff, &d);
        return;
    }
    s->policy->backoff = (struct backoff){0};
    hits_watch(s);
    slot_set_state(s, SLOT_READY);
    i = first_waiting(m, s->policy);
    if (i) {
        slot_mark_taken(s);
        instance_on_slot(i, s);
    }
    slots_fill(m);
}

static void slot_on_channel(struct watch *w, uint32_t events)
{
    struct slot *s = w->owner;
    enum sandbox_stage before = s->child.stage;
    struct diag d = {0};
    int r = sandbox_on_channel(&s->child, &d);

    if (r == -EAGAIN)
        return;
    if (r < 0) {
        loop_unwatch(&s->channel_watch);
        if (s->instance)
            instance_start_failed(s->instance, &d);
        else
            slot_failed(s, &s->manager->slots.backoff, &d);
        return;
    }
    if (before == SANDBOX_PARKING && s->child.stage == SANDBOX_PARKED)
        slot_parked(s);
    if (s->child.stage == SANDBOX_RUNNING) {
        loop_unwatch(&s->channel_watch);
        if (s->instance)
            instance_on_running(s->instance);
    }
}

struct slot *slots_take(struct manager *m, const struct policy *p)
{
    for (struct slot *s = m->slots.all; s; s = s->next) {
        if (s->state != SLOT_READY || s->policy != p)
            continue;
        slot_mark_taken(s);
        m->slots.pause_until_ns = clock_mono_ns() + FILL_AFTER_NS;
        wake_at(m, m->slots.pause_until_ns);
        return s;
    }
    return NULL;
}

static void slot_on_pid(struct watch *w, uint32_t events)
{
    struct slot *s = w->owner;
    struct instance *i = s->instance;
    siginfo_t info = {0};

    loop_unwatch(&s->pid_watch);
    if (waitid(P_PIDFD, (id_t)s->child.pid_fd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
        info.si_code = CLD_KILLED;
    s->holds &= ~(unsigned)SLOT_HAS_CHILD;
    if (i) {
        instance_on_exit(i, info.si_status, info.si_code); /* it ends the slot too, which may be on its way to its next life when that returns */
        return;
    }
    if (s->state == SLOT_PARKING || s->state == SLOT_READY) {
        struct diag d = {0};

        diag_set(&d, ECHILD, "the parked process died (%s %d)", info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
        slot_failed(s, &s->manager->slots.backoff, &d);
    } else if (s->state == SLOT_ENDING) {
        slot_undo(s);
    } else {
        slot_end(s);
    }
}

void slot_end(struct slot *s)
{
    if (s->state == SLOT_ENDING || s->state == SLOT_EMPTY)
        return;
    slot_set_state(s, SLOT_ENDING);
    s->instance = NULL;
    loop_unwatch(&s->channel_watch);
    loop_unwatch(&s->oom_watch);
    hits_unwatch(s);
    slot_undo(s);
}

static void slot_undo_again(struct slot *s)
{
    loop_arm_in(s->manager->p.loop, &s->undo_timer, s->undo_delay_ns);
    if (s->undo_delay_ns < UNDO_DELAY_MAX_NS)
        s->undo_delay_ns *= 2;
}

/* Walks the mask; returns to the loop wherever it has to wait. */
static void slot_undo(struct slot *s)
{
    struct manager *m = s->manager;
    struct diag d = {0};

    if (s->holds & SLOT_HAS_CHILD) {
        if (!s->group.killed || cg_group_populated(&s->group))
            cg_group_kill(&s->group);
        slot_undo_again(s); /* its pidfd is watched and comes first as a rule */
        return;
    }
    loop_disarm(&s->undo_timer);
    if (s->pid_watch.loop)
        loop_unwatch(&s->pid_watch);
    sandbox_child_close(&s->child);
    if (s->holds & SLOT_HAS_USERNS) {
        s->userns_fd = fd_close(s->userns_fd);
        s->idmap_fd = fd_close(s->idmap_fd);
        s->holds &= ~(unsigned)SLOT_HAS_USERNS;
    }
    if ((s->holds & SLOT_HAS_NET) && !net_slot_gone(m->p.net, s->number) && s->undo_delay_ns < UNDO_DELAY_MAX_NS) {
        slot_undo_again(s); /* the kernel takes the port away with the namespace; taking it away ourselves would block for a grace period */
        return;
    }
    if (s->holds & SLOT_HAS_NET) {
        if (net_slot_remove(m->p.net, s->number, &d) < 0)
            log_diag(LOG_WARNING, "slot network not removed", &d, "slot=%u", s->number);
        s->holds &= ~(unsigned)SLOT_HAS_NET;
    }
    if (s->holds & SLOT_HAS_GROUP) {
        if (cg_group_populated(&s->group))
            cg_group_kill(&s->group);
        if (cg_group_remove(&s->group) < 0) { /* whatever the reason: given up, its name would make every later life of this slot fail */
            slot_undo_again(s);
            return;
        }
        s->holds &= ~(unsigned)SLOT_HAS_GROUP;
    }
    slot_set_state(s, SLOT_EMPTY);
    slot_set_policy(s, NULL);
    if (m->stopping)
        manager_check_stopped(m);
    else
        slots_fill(m);
}

void slots_end_idle(struct manager *m)
{
    loop_disarm(&m->slots.fill_timer);
    for (struct slot *s = m->slots.all; s; s = s->next)
        if (s->state == SLOT_PARKING || s->state == SLOT_READY)
            slot_end(s);
}

bool slots_empty(const struct manager *m)
{
    const unsigned *counts = m->slots.counts;

    return counts[SLOT_PARKING] + counts[SLOT_READY] + counts[SLOT_TAKEN] + counts[SLOT_ENDING] == 0;
}

void slots_done(struct manager *m)
{
    while (m->slots.all) {
        struct slot *s = m->slots.all;

        m->slots.all = s->next;
        loop_unwatch(&s->channel_watch);
        loop_unwatch(&s->pid_watch);
        loop_unwatch(&s->oom_watch);
        loop_disarm(&s->undo_timer);
        slot_set_policy(s, NULL);
        free(s);
    }
    loop_disarm(&m->slots.fill_timer);
    policy_put(m->slots.usual);
    m->slots.usual = NULL;
}
