/*
 * team.c: see team.h.
 *
 * A broadcast is one copy of a record with one letter for each other worker; who reads the last one frees it. Flow control: worker i says in applied[i] which broadcast it has applied last. When the slowest is TELL_MANY
 * behind, worker 0 stops to read from the runner until he is only TELL_FEW behind, looking again every LOOK_NS; the runner's own queue bounds the rest. Held replies are looked at by the same timer.
 *
 * The end: worker 0 posts a letter to each, each stops on its own (worker_stop) and its thread ends; its last act is a letter to worker 0, whose loop goes on until it has all of them, for the others may need its link.
 */
#include "team.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "team_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define TELL_MANY 256U
#define TELL_FEW  64U
#define LOOK_NS   (100 * NS_PER_US)
#define STACK     (1024UL * 1024)

/* ---- what worker 0 tells ---- */

struct broadcast;

struct broadcast_letter {
    struct letter letter;
    struct broadcast *broadcast;
    struct member *to;
};

struct broadcast {
    _Atomic unsigned refs;
    struct shared_function *function; /* references, or NULL */
    struct shared_instance *instance;
    uint64_t number;
    struct broadcast_letter *letters;
    _Alignas(8) char data[];
};

static struct team *team_of(const struct worker *w)
{
    return w->team;
}

static uint64_t slowest(const struct team *t)
{
    uint64_t least = t->told;

    for (unsigned i = 1; i < t->gateway->workers; i++) {
        uint64_t applied = atomic_load_explicit(&t->members[i].applied, memory_order_acquire);

        if (applied < least)
            least = applied;
    }
    return least;
}

static void broadcast_free(struct broadcast *b)
{
    shared_function_unref(b->function);
    shared_instance_unref(b->instance);
    free(b->letters);
    free(b);
}

static void broadcast_done(struct letter *l)
{
    struct broadcast *b = ((struct broadcast_letter *)l)->broadcast;

    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        broadcast_free(b);
}

static void read_broadcast(struct letter *l)
{
    struct broadcast_letter *m = (struct broadcast_letter *)l;
    struct member *to = m->to;
    uint64_t number = m->broadcast->number;

    worker_apply(to->worker, (const struct record_head *)m->broadcast->data, m->broadcast->function, m->broadcast->instance);
    broadcast_done(l);
    atomic_store_explicit(&to->applied, number, memory_order_release);
}

/* What the others get with it: worker 0's objects. */
static void attach(struct broadcast *b, const struct picture *p, const struct record_head *rec)
{
    if (rec->type == RECORD_FUNCTION) {
        const struct gw_function *f = picture_function(p, &((const struct record_function *)rec)->fn);

        b->function = f ? shared_function_ref(f->shared) : NULL;
    } else if (rec->type == RECORD_INSTANCE) {
        const struct gw_instance *i = picture_instance(p, ((const struct record_instance *)rec)->instance);

        b->instance = i ? shared_instance_ref(i->shared) : NULL;
    }
}

static struct broadcast *broadcast_new(struct team *t, const struct record_head *rec)
{
    struct broadcast *b = calloc(1, sizeof(*b) + rec->size);

    if (!b)
        return NULL;
    b->letters = calloc(t->gateway->workers, sizeof(*b->letters));
    if (!b->letters) {
        free(b);
        return NULL;
    }
    memcpy(b->data, rec, rec->size);
    attach(b, &t->first->picture, rec);
    return b;
}

static void look_soon(struct team *t)
{
    if (!t->look.loop)
        loop_arm_in(t->first->loop, &t->look, LOOK_NS);
}

/* Without memory the others would have a hole in their pictures: a new snapshot fills it. */
static void tell(struct team *t, const struct record_head *rec)
{
    const unsigned workers = t->gateway->workers;
    struct broadcast *b;

    if (workers == 1)
        return;
    b = broadcast_new(t, rec);
    if (!b) {
        link_hang_up(t->first->link);
        return;
    }
    b->number = ++t->told;
    atomic_init(&b->refs, workers - 1);
    for (unsigned i = 1; i < workers; i++)
        b->letters[i] = (struct broadcast_letter){.letter = {.read = read_broadcast, .unread = broadcast_done}, .broadcast = b, .to = &t->members[i]};
    for (unsigned i = 1; i < workers; i++) { /* b may be freed behind the last */
        struct letter *l = &b->letters[i].letter;

        mailbox_post(&t->members[i].box, l);
    }
    if (t->told - slowest(t) >= TELL_MANY) {
        link_pause(t->first->link, true);
        look_soon(t);
    }
}

/* ---- replies that wait ---- */

struct held {
    struct held *next;
    uint64_t number;
    int fd;
    struct record_reply rec;
};

bool team_hold(struct team *t, const struct record_reply *rec, int fd)
{
    struct held *h;

    if (!t->held && slowest(t) == t->told)
        return false;
    h = malloc(sizeof(*h));
    if (!h)
        return false;
    *h = (struct held){.number = t->told, .fd = fd, .rec = *rec};
    *t->held_last = h;
    t->held_last = &h->next;
    look_soon(t);
    return true;
}

static struct held *held_first(struct team *t)
{
    struct held *h = t->held;

    t->held = h->next;
    if (!t->held)
        t->held_last = &t->held;
    return h;
}

static void on_look(struct timer *timer)
{
    struct team *t = timer->owner;
    const uint64_t least = slowest(t);

    while (t->held && t->held->number <= least) {
        struct held *h = held_first(t);

        link_answer(t->first->link, &h->rec.head, h->fd);
        free(h);
    }
    if (t->told - least <= TELL_FEW)
        link_pause(t->first->link, false);
    if (t->held || t->told - least > TELL_FEW)
        look_soon(t);
}

/* ---- the threads ---- */

static void read_ended(struct letter *l)
{
    struct member *m = (struct member *)l;
    struct team *t = m->team;

    t->running--;
    atomic_store_explicit(&m->applied, UINT64_MAX, memory_order_release); /* nobody waits for him */
    if (!t->first->stopping) {
        log_msg(LOG_ERR, "a worker ended", "worker=%u error=\"%s\"", m->number, m->diag.text);
        t->failed = true;
        worker_stop(t->first, 0);
    }
    worker_over(t->first);
}

static void unread_nothing(struct letter *l)
{
}

/* Everything of a worker is made, used and freed by its thread. */
static int member_run(struct member *m, struct diag *d)
{
    struct loop *loop = NULL;
    int r = loop_new(&loop);

    if (r == 0)
        r = mailbox_attach(&m->box, loop);
    if (r < 0)
        diag_errno(d, -r, "event loop");
    else
        r = worker_new(&(struct worker_parts){.loop = loop, .team = m->team, .gateway = m->team->gateway, .number = m->number, .real_link = m->team->first->link},
                       &m->worker, d);
    for (unsigned i = 0; r == 0 && i < m->nlisteners; i++)
        r = worker_listen(m->worker, take_fd(&m->listeners[i].fd), m->listeners[i].type, m->listeners[i].shared, d);
    if (r == 0)
        r = loop_run(loop);
    worker_free(m->worker);
    mailbox_detach(&m->box);
    loop_free(loop);
    return r;
}

static void *member_main(void *arg)
{
    struct member *m = arg;

    member_run(m, &m->diag);
    m->ended = (struct letter){.read = read_ended, .unread = unread_nothing};
    mailbox_post(&m->team->members[0].box, &m->ended);
    return NULL;
}

static int member_start(struct member *m)
{
    pthread_attr_t attr;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    r = pthread_create(&m->thread, &attr, member_main, m);
    pthread_attr_destroy(&attr);
    m->started = r == 0;
    return -r;
}

static void start_threads(struct team *t, unsigned n)
{
    unsigned made = 1;
    int r = 0;

    n = n ? n : t->cpus;
    n = n > WORKERS_MAX ? WORKERS_MAX : n;
    while (made < n && r == 0) {
        r = mailbox_open(&t->members[made].box);
        made += r == 0;
    }
    t->gateway->workers = made; /* nobody else is there yet, and no function */
    team_share_listeners(t);
    for (unsigned i = 1; i < made; i++) {
        r = member_start(&t->members[i]);
        if (r < 0) { /* the others count on it */
            log_msg(LOG_ERR, "a thread cannot be started", "error=\"%s\" remedy=\"set gateway.threads to fewer\"", strerror(-r));
            t->failed = true;
            worker_stop(t->first, 0);
            break;
        }
        t->running++;
    }
    team_serve_listeners(t, 0);
    log_msg(LOG_INFO, "workers", "threads=%u", made);
}

void team_on_welcome(struct team *t, const struct record_welcome *rec)
{
    if (t->threads_started)
        return;
    t->threads_started = true;
    start_threads(t, rec->threads);
}

void team_on_record(struct team *t, const struct record_head *rec)
{
    if (rec->type != RECORD_RESOLVERS && rec->type != RECORD_POLICY) /* dns/ is worker 0's */
        tell(t, rec);
}

/* ---- descriptors ---- */

struct descriptor_letter {
    struct letter letter;
    struct member *to;
    int fd;
    _Alignas(8) char data[];
};

static void descriptor_free(struct letter *l)
{
    struct descriptor_letter *m = (struct descriptor_letter *)l;

    fd_close(m->fd);
    free(m);
}

static void read_descriptor(struct letter *l)
{
    struct descriptor_letter *m = (struct descriptor_letter *)l;

    worker_apply_descriptor(m->to->worker, (const struct record_head *)m->data, take_fd(&m->fd));
    descriptor_free(l);
}

static void post_descriptor(struct member *to, const struct record_head *rec, int fd)
{
    cleanup_fd int owned = fd;
    struct descriptor_letter *m = calloc(1, sizeof(*m) + rec->size);

    if (!m) {
        log_msg(LOG_ERR, "record lost", "type=%s worker=%u", record_name(rec->type), to->number);
        return;
    }
    m->letter = (struct letter){.read = read_descriptor, .unread = descriptor_free};
    m->to = to;
    m->fd = take_fd(&owned);
    memcpy(m->data, rec, rec->size);
    mailbox_post(&to->box, &m->letter);
}

bool team_on_descriptor(struct team *t, const struct record_head *rec, int fd)
{
    const struct record_listener *l = (const struct record_listener *)rec;
    unsigned to = rec->type == RECORD_LISTENER && l->kind == RECORD_LISTENER_PUBLIC ? l->index % t->gateway->workers : 0;

    if (to > 0)
        post_descriptor(&t->members[to], rec, fd);
    return to > 0;
}

/* ---- what the probes found out ---- */

struct eject_letter {
    struct letter letter;
    struct member *to;
    uint64_t instance;
};

static void eject_free(struct letter *l)
{
    free(l);
}

static void read_eject(struct letter *l)
{
    const struct eject_letter *m = (const struct eject_letter *)l;
    struct gw_instance *inst = picture_instance(&m->to->worker->picture, m->instance);

    if (inst && inst->upstream)
        upstream_eject(m->to->worker, inst);
    free(l);
}

void worker_set_ready(struct worker *w, struct gw_instance *inst)
{
    struct record_instance rec = inst->rec;

    rec.state = INSTANCE_READY;
    picture_set_state(&w->picture, inst, INSTANCE_READY);
    tell(team_of(w), &rec.head);
}

void worker_eject(struct worker *w, struct gw_instance *inst)
{
    struct team *t = team_of(w);
    const uint64_t number = inst->rec.instance;

    upstream_eject(w, inst);
    for (unsigned i = 1; i < t->gateway->workers; i++) {
        struct eject_letter *m = calloc(1, sizeof(*m));

        if (!m) /* its list is made anew with the next change of the function's instances */
            return;
        *m = (struct eject_letter){.letter = {.read = read_eject, .unread = eject_free}, .to = &t->members[i], .instance = number};
        mailbox_post(&t->members[i].box, &m->letter);
    }
}

/* ---- who waits in another worker ---- */

struct wake_letter {
    struct letter letter;
    struct member *to;
    struct shared_function *function; /* a reference: told from another one of that name */
    struct fn_id id;
};

static void wake_free(struct letter *l)
{
    struct wake_letter *m = (struct wake_letter *)l;

    shared_function_unref(m->function);
    free(m);
}

static void read_wake(struct letter *l)
{
    struct wake_letter *m = (struct wake_letter *)l;
    struct gw_function *f = picture_function(&m->to->worker->picture, &m->id);

    atomic_fetch_and(&m->function->woken_workers, ~(1ULL << m->to->number)); /* before it looks for a place: whoever frees one from here on wakes again */
    if (f && f->shared == m->function && f->queue)
        upstream_woken(m->to->worker, f);
    wake_free(l);
}

void team_wake(struct worker *w, unsigned number, struct gw_function *f)
{
    struct team *t = team_of(w);
    const uint64_t bit = 1ULL << number;
    struct wake_letter *m;

    if (atomic_fetch_or(&f->shared->woken_workers, bit) & bit)
        return;
    m = calloc(1, sizeof(*m));
    if (!m) {
        atomic_fetch_and(&f->shared->woken_workers, ~bit);
        return;
    }
    *m = (struct wake_letter){
        .letter = {.read = read_wake, .unread = wake_free}, .to = &t->members[number], .function = shared_function_ref(f->shared), .id = f->rec.fn};
    mailbox_post(&t->members[number].box, &m->letter);
}

/* ---- beginning and end ---- */

struct mailbox *team_box(struct team *t, unsigned number)
{
    return &t->members[number].box;
}

int team_new(struct worker *first, unsigned cpus, struct team **ret, struct diag *d)
{
    struct team *t = aligned_alloc(CACHE_LINE, (sizeof(*t) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    int r;

    if (!t)
        return diag_set(d, ENOMEM, "out of memory");
    memset(t, 0, sizeof(*t));
    t->first = first;
    t->gateway = first->picture.gateway;
    t->cpus = cpus;
    t->held_last = &t->held;
    t->look = (struct timer){.on_expire = on_look, .owner = t};
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        t->members[i].team = t;
        t->members[i].number = i;
        t->members[i].box.event_fd = -1;
    }
    t->members[0].worker = first;
    first->team = t;
    r = mailbox_open(&t->members[0].box);
    if (r == 0)
        r = mailbox_attach(&t->members[0].box, first->loop);
    if (r < 0) {
        mailbox_close(&t->members[0].box);
        free(t);
        return diag_errno(d, -r, "event loop");
    }
    *ret = t;
    return 0;
}

static void read_stop(struct letter *l)
{
    struct member *m = (struct member *)((char *)l - offsetof(struct member, stop));

    worker_stop(m->worker, m->grace_ns);
}

void team_stop(struct team *t, uint64_t grace_ns)
{
    atomic_store(&t->gateway->stopping, true);
    for (unsigned i = 1; i < t->gateway->workers; i++) {
        struct member *m = &t->members[i];

        if (!m->started || m->grace_ns)
            continue;
        m->grace_ns = grace_ns + 1;
        m->stop = (struct letter){.read = read_stop, .unread = unread_nothing};
        mailbox_post(&m->box, &m->stop);
    }
}

bool team_is_over(const struct team *t)
{
    return t->running == 0;
}

int team_free(struct team *t)
{
    bool failed;

    if (!t)
        return 0;
    failed = t->failed;
    team_stop(t, 0);
    for (unsigned i = 1; i < WORKERS_MAX; i++)
        if (t->members[i].started)
            pthread_join(t->members[i].thread, NULL);
    mailbox_detach(&t->members[0].box);
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        mailbox_close(&t->members[i].box);
    loop_disarm(&t->look);
    while (t->held) {
        struct held *h = held_first(t);

        fd_close(h->fd);
        free(h);
    }
    team_forget_listeners(t);
    t->first->team = NULL;
    free(t);
    return failed ? -EIO : 0;
}
