/*
 * link_stub.c: the link of workers other than the first. Each call becomes a letter to worker 0, which makes it on the real link; what comes back becomes a letter to the worker that asked.
 *
 * A request has two numbers: the stub's, which who asked knows, and the real link's, which the runner knows. `served`, on the real side, has both until the REPLY. The letter that carries the REPLY is made before the request
 * goes out, so that want of memory cannot keep somebody waiting for ever.
 * The stub may be freed while letters to it are under way: they stay unread, for its worker's loop has ended.
 */
#include "link_private.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct link_letter {
    struct letter letter;
    struct link *to;   /* the real one; or the stub */
    struct link *from; /* to the real one: the stub */
    struct mailbox *back;
    struct link_letter *spare; /* for the REPLY */
    uint64_t id;               /* the stub's */
    int fd;
    _Alignas(8) char data[];
};

struct link_served {
    struct link_served *next;
    struct link *real, *stub;
    struct mailbox *back;
    struct link_letter *spare;
    uint64_t stub_id, real_id;
};

static void letter_free(struct letter *l)
{
    struct link_letter *m = (struct link_letter *)l;

    if (m->spare)
        letter_free(&m->spare->letter);
    fd_close(m->fd);
    free(m);
}

static struct link_letter *letter_new(size_t size)
{
    struct link_letter *m = calloc(1, sizeof(*m) + size);

    if (!m)
        return NULL;
    m->letter.unread = letter_free;
    m->fd = -1;
    return m;
}

static struct link_letter *letter_with(const struct record_head *rec)
{
    struct link_letter *m = letter_new(rec->size);

    if (m)
        memcpy(m->data, rec, rec->size);
    return m;
}

static struct record_head *letter_record(struct link_letter *m)
{
    return (struct record_head *)m->data;
}

/* ---- the real side, in worker 0 ---- */

static struct link_served **served_place(struct link *real, const struct link *stub, uint64_t stub_id)
{
    struct link_served **at = &real->served;

    while (*at && ((*at)->stub != stub || (*at)->stub_id != stub_id))
        at = &(*at)->next;
    return at;
}

static void served_remove(struct link_served **at)
{
    struct link_served *s = *at;

    if (!s)
        return;
    *at = s->next;
    if (s->spare)
        letter_free(&s->spare->letter);
    free(s);
}

void served_clear(struct link *l)
{
    while (l->served)
        served_remove(&l->served);
}

/* In the stub's worker. */
static void read_answer(struct letter *l)
{
    struct link_letter *m = (struct link_letter *)l;

    link_answer(m->to, letter_record(m), m->fd);
    m->fd = -1;
    letter_free(l);
}

static void post_answer(const struct link_served *s, struct link_letter *m, const struct record_head *rec, int fd)
{
    memcpy(m->data, rec, rec->size);
    letter_record(m)->id = s->stub_id;
    m->letter.read = read_answer;
    m->to = s->stub;
    m->fd = fd;
    mailbox_post(s->back, &m->letter);
}

static void on_served(void *arg, const struct record_head *rec, int fd)
{
    struct link_served *s = arg;
    struct link_letter *m;

    if (rec->type != RECORD_REPLY) {
        m = letter_new(rec->size);
        if (m)
            post_answer(s, m, rec, -1);
        return;
    }
    m = take_ptr(s->spare);
    post_answer(s, m, rec, fd);
    served_remove(served_place(s->real, s->stub, s->stub_id));
}

static void refuse(struct link_served *s, int err)
{
    struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, s->stub_id)};

    diag_set(&rec.diag, err, "the request could not be sent to the runner: %s", strerror(err));
    on_served(s, &rec.head, -1);
}

static void read_request(struct letter *l)
{
    struct link_letter *m = (struct link_letter *)l;
    struct link_served *s = calloc(1, sizeof(*s));
    int r;

    if (!s) { /* the spare letter says so by itself */
        struct link_served now = {.stub = m->from, .back = m->back, .stub_id = m->id};
        struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, m->id)};

        diag_set(&rec.diag, ENOMEM, "out of memory");
        post_answer(&now, take_ptr(m->spare), &rec.head, -1);
        letter_free(l);
        return;
    }
    *s = (struct link_served){.next = m->to->served, .real = m->to, .stub = m->from, .back = m->back, .spare = take_ptr(m->spare), .stub_id = m->id};
    m->to->served = s;
    r = link_request(m->to, letter_record(m), m->fd, on_served, s, &s->real_id);
    if (r < 0)
        refuse(s, -r);
    letter_free(l);
}

static void read_record(struct letter *l)
{
    struct link_letter *m = (struct link_letter *)l;

    link_transmit_sure(m->to, letter_record(m));
    letter_free(l);
}

static void read_send(struct letter *l)
{
    struct link_letter *m = (struct link_letter *)l;
    struct link_served *s = *served_place(m->to, m->from, m->id);

    if (s) {
        letter_record(m)->id = s->real_id;
        link_transmit_sure(m->to, letter_record(m));
    }
    letter_free(l);
}

static void read_forget(struct letter *l)
{
    struct link_letter *m = (struct link_letter *)l;
    struct link_served **at = served_place(m->to, m->from, m->id);

    if (*at) {
        link_forget(m->to, (*at)->real_id);
        served_remove(at);
    }
    letter_free(l);
}

static void read_forget_all(struct letter *l)
{
    struct link_letter *m = (struct link_letter *)l;

    for (struct link_served **at = &m->to->served; *at;) {
        if ((*at)->stub != m->from) {
            at = &(*at)->next;
            continue;
        }
        link_forget(m->to, (*at)->real_id);
        served_remove(at);
    }
    letter_free(l);
}

/* ---- the stub, in its worker ---- */

static void post(struct link *l, struct link_letter *m, void (*read)(struct letter *))
{
    m->letter.read = read;
    m->to = l->real;
    m->from = l;
    m->back = l->here;
    mailbox_post(l->there, &m->letter);
}

int stub_request(struct link *l, struct record_head *rec, int fd, link_reply_fn *on_reply, void *arg, uint64_t *ret_id)
{
    uint64_t id = l->last_id + 1;
    struct link_letter *m;
    int r = record_check(rec, rec->size, 1, NULL);

    if (r < 0)
        return r;
    if (!link_is_up(l))
        return -ENOTCONN;
    m = letter_with(rec);
    if (!m)
        return -ENOMEM;
    m->id = id;
    m->spare = letter_new(sizeof(struct record_reply));
    r = m->spare ? 0 : -ENOMEM;
    if (r == 0 && fd >= 0 && (m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
        r = -errno;
    if (r == 0)
        r = link_table_add(&l->pending, id, on_reply, arg);
    if (r < 0) {
        letter_free(&m->letter);
        return r;
    }
    l->last_id = id;
    if (ret_id)
        *ret_id = id;
    post(l, m, read_request);
    return 0;
}

int stub_send(struct link *l, const struct record_head *rec)
{
    struct link_letter *m = letter_with(rec);

    if (!m)
        return -ENOMEM;
    m->id = rec->id;
    post(l, m, rec->id ? read_send : read_record);
    return 0;
}

void stub_report(struct link *l, const struct record_head *rec)
{
    struct link_letter *m = letter_with(rec);

    if (m)
        post(l, m, read_record);
}

/* Without memory: the answer finds nobody. */
void stub_forget(struct link *l, uint64_t id)
{
    struct link_letter *m = link_table_find(&l->pending, id) ? letter_new(0) : NULL;

    if (!m)
        return;
    m->id = id;
    post(l, m, read_forget);
}

void stub_forget_all(struct link *l)
{
    struct link_letter *m = l->pending.count > 0 ? letter_new(0) : NULL;

    if (m)
        post(l, m, read_forget_all);
}

int link_open_stub(struct loop *loop, struct link *real, struct mailbox *here, struct mailbox *there, struct link **ret)
{
    struct link *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->loop = loop;
    l->fd = -1;
    l->real = real;
    l->here = here;
    l->there = there;
    *ret = l;
    return 0;
}
