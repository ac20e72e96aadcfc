/*
 * nft_batch.c: transactions and dumps of nfnetlink. What changes in a transaction changes at once, for every packet, or not at all.
 *
 * Elements are put one per message: the number of messages costs little beside the transaction, and a message that fails can be told.
 */
#include "nft_internal.h"

#include "diag.h"

#include <errno.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NFT_ROOM_FIRST (64U * 1024)

static char *nft_room(struct nft_batch *b)
{
    size_t room = b->room ? b->room * 2 : NFT_ROOM_FIRST;
    char *grown;

    if (b->err)
        return NULL;
    if (b->used + NFT_MESSAGE_MAX <= b->room)
        return b->buf + b->used;
    grown = realloc(b->buf, room);
    if (!grown) {
        b->err = ENOMEM;
        return NULL;
    }
    b->buf = grown;
    b->room = room;
    return b->buf + b->used;
}

void nft_begin(struct nft_batch *b)
{
    char *at;

    b->used = b->last = 0;
    b->seq = 1;
    at = nft_room(b);
    if (at)
        nft_message_end(b, nftnl_batch_begin(at, b->seq++));
    b->last = 0;
}

struct nlmsghdr *nft_message(struct nft_batch *b, uint16_t type, uint16_t family, uint16_t flags)
{
    char *at = nft_room(b);

    return at ? nftnl_nlmsg_build_hdr(at, type, family, flags, b->seq++) : NULL;
}

void nft_message_end(struct nft_batch *b, const struct nlmsghdr *h)
{
    b->last = b->used;
    b->used += MNL_ALIGN(h->nlmsg_len);
}

void nft_batch_done(struct nft_batch *b)
{
    free(b->buf);
    *b = (struct nft_batch){0};
}

/* One answer: errors come first, of any message or of the whole; then the acknowledgement that the last message asked for. One datagram each. */
static int nft_answer(int sock, int flags)
{
    char buf[4096] __attribute__((aligned(8)));
    ssize_t got;
    const struct nlmsghdr *h = (const struct nlmsghdr *)buf;
    const struct nlmsgerr *e;

    do
        got = recv(sock, buf, sizeof(buf), flags);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    if (!mnl_nlmsg_ok(h, (int)got) || h->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(h) < sizeof(*e))
        return -EPROTO;
    e = mnl_nlmsg_get_payload(h);
    return e->error;
}

/* The kernel answers before sendto returns, so what is left of an earlier failure, or of this one, can be read away without waiting. */
static void nft_drain(int sock)
{
    char buf[64];

    while (recv(sock, buf, sizeof(buf), MSG_DONTWAIT) >= 0 || errno == EINTR || errno == ENOBUFS)
        continue;
}

int nft_send(struct nft_batch *b, int sock)
{
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    char *at = nft_room(b);
    ssize_t sent;
    int r;

    if (!at)
        return -b->err;
    if (b->last == 0)
        return 0; /* nothing to do */
    ((struct nlmsghdr *)(b->buf + b->last))->nlmsg_flags |= NLM_F_ACK;
    nft_message_end(b, nftnl_batch_end(at, b->seq++));
    nft_drain(sock);
    do
        sent = sendto(sock, b->buf, b->used, 0, (const struct sockaddr *)&kernel, sizeof(kernel));
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    r = nft_answer(sock, 0);
    nft_drain(sock);
    return r;
}

void nft_key(struct nft_elem *e, const void *data, size_t len)
{
    memcpy(e->key + e->key_len, data, len);
    e->key_len += (uint32_t)(len + 3) & ~3U;
}

static struct nftnl_set *elem_set(const char *table, const struct nft_elem *e, bool data)
{
    struct nftnl_set *s = nftnl_set_alloc();
    struct nftnl_set_elem *el = nftnl_set_elem_alloc();
    bool failed = !s || !el || nftnl_set_set_str(s, NFTNL_SET_TABLE, table) < 0 || nftnl_set_set_str(s, NFTNL_SET_NAME, e->set) < 0 ||
                  nftnl_set_elem_set(el, NFTNL_SET_ELEM_KEY, e->key, e->key_len) < 0;

    if (!failed && data && e->jump) {
        const uint32_t verdict = (uint32_t)NFT_GOTO;

        failed = nftnl_set_elem_set(el, NFTNL_SET_ELEM_VERDICT, &verdict, sizeof(verdict)) < 0 || nftnl_set_elem_set_str(el, NFTNL_SET_ELEM_CHAIN, e->jump) < 0;
    }
    if (!failed && data && e->timeout_ms)
        nftnl_set_elem_set_u64(el, NFTNL_SET_ELEM_TIMEOUT, e->timeout_ms);
    if (failed) {
        if (el)
            nftnl_set_elem_free(el);
        if (s)
            nftnl_set_free(s);
        return NULL;
    }
    nftnl_set_elem_add(s, el);
    return s;
}

void nft_put_elem(struct nft_batch *b, const char *table, const struct nft_elem *e, bool add)
{
    struct nlmsghdr *h = nft_message(b, add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, e->family, add ? NLM_F_CREATE : 0);
    struct nftnl_set *s = elem_set(table, e, add);

    if (!s)
        b->err = ENOMEM;
    if (s && h) {
        nftnl_set_elems_nlmsg_build_payload(h, s);
        nft_message_end(b, h);
    }
    if (s)
        nftnl_set_free(s);
}

void nft_put_elem_gone(struct nft_batch *b, const char *table, const struct nft_elem *e)
{
    nft_put_elem(b, table, e, true);
    nft_put_elem(b, table, e, false);
}

static void dump_restrict(struct nlmsghdr *h, uint16_t type, const char *table, const char *set)
{
    if (!table)
        return;
    mnl_attr_put_strz(h, NFTA_SET_TABLE, table); /* the table's name is attribute 1 of all of them */
    if (set)
        mnl_attr_put_strz(h, type == NFT_MSG_GETSETELEM ? NFTA_SET_ELEM_LIST_SET : NFTA_SET_NAME, set);
}

int nft_dump(int sock, uint16_t type, uint16_t family, const char *table, const char *set, mnl_cb_t fn, void *arg)
{
    char buf[16384] __attribute__((aligned(8)));
    struct nlmsghdr *h = nftnl_nlmsg_build_hdr(buf, type, family, NLM_F_DUMP, 1);
    int r;

    dump_restrict(h, type, table, set);
    nft_drain(sock);
    if (send(sock, h, h->nlmsg_len, 0) < 0)
        return -errno;
    do {
        ssize_t got = recv(sock, buf, sizeof(buf), 0);

        if (got < 0 && errno == EINTR) {
            r = MNL_CB_OK;
            continue;
        }
        if (got < 0)
            return -errno;
        r = mnl_cb_run(buf, (size_t)got, 1, 0, fn, arg);
    } while (r > MNL_CB_STOP);
    return r < 0 ? -errno : 0;
}
