/* dns_asking.h: one question of an instance over UDP, and its answer as text. */
#pragma once

#include "dns_fakes.h"

#define FN "127.0.4.2" /* an instance */

struct asking {
    struct net *net;
    int fd;
    struct dns_question q;
    uint8_t answer[65536];
    size_t len;
    unsigned rcode;
    bool cut, until_asked, until_opened;
    unsigned asked; /* of the resolver, before */
    uint64_t since_ns;
};

static inline bool is_answered(void *arg)
{
    struct asking *a = arg;
    ssize_t n = recv(a->fd, a->answer, sizeof(a->answer), MSG_DONTWAIT);

    if (n > 0)
        a->len = (size_t)n;
    if (a->until_asked && a->net->up.asked > a->asked)
        return true;
    if (a->until_opened && a->net->opens > 0)
        return true;
    return n > 0;
}

static inline void send_query(struct asking *a, struct net *n, const char *from, const char *name, unsigned type, unsigned edns)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = addr_of(BRIDGE), .sin_port = htons(n->port)};
    uint16_t port = 0;
    struct built b;

    *a = (struct asking){.net = n, .q = question_of(name, type), .asked = n->up.asked, .since_ns = clock_mono_ns()};
    a->fd = bound(SOCK_DGRAM, from, &port);
    put_question(&b, 0x4242, 0x0100, name, type);
    if (edns)
        put_opt(&b, edns, 0);
    assert_int_equal(sendto(a->fd, b.data, b.len, 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)b.len);
}

static inline void finish(struct asking *a, char *ret, size_t size)
{
    assert_int_equal(dns_response_check(a->answer, a->len, 0x4242, &a->q, &a->rcode, &a->cut), 0);
    answer_text(a->answer, a->len, &a->q, ret, size);
    if (a->rcode != DNS_NOERROR)
        snprintf(ret, size, "rcode %u", a->rcode);
    else if (a->cut)
        snprintf(ret, size, "cut");
    a->fd = fd_close(a->fd);
}

/* What the instance at `from` is answered: addresses, "", "cut" or "rcode N". */
static inline const char *ask_from(struct net *n, const char *from, const char *name, unsigned type)
{
    static char text[4096]; /* mutable: the answer, until the next question */
    struct asking a;

    send_query(&a, n, from, name, type, 1232);
    run_until(n->loop, is_answered, &a);
    finish(&a, text, sizeof(text));
    return text;
}

static inline uint64_t result(const struct net *n, enum dns_result r)
{
    return shared_dns_results(n->picture.gateway, r);
}
