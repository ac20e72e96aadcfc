/*
 * DNS messages of functions and of resolvers: whatever is taken can be told on, fits, and is read the same again. Half of the inputs are messages as they are, half are changes to a good one.
 */
#include "fuzz_patch.h"

#include "../../runner/gateway/dns/dns_message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_query(const uint8_t *msg, size_t len)
{
    struct dns_query_head head;
    uint8_t buf[DNS_UDP_MIN], ask[DNS_ASK_MAX];
    int r = dns_query_parse(msg, len, &head);

    if (r >= 0) {
        const struct dns_reply reply = {.query = &head, .rcode = (unsigned)r, .ede = DNS_EDE_PROHIBITED};

        assert(dns_reply_build(&reply, buf, sizeof(buf)) <= sizeof(buf));
    }
    if (r == 0) {
        struct dns_question q = head.q;

        assert(dns_query_parse(ask, dns_ask_build(ask, 1, &q, true), &head) == 0);
        assert(dns_name_equal(&head.q.name, &q.name) && head.q.type == q.type);
    }
}

static void as_answer(const uint8_t *msg, size_t len, uint8_t *buf)
{
    struct dns_query_head head = {.rd = true, .edns_size = DNS_UDP_MAX};
    struct dns_answer *a = NULL, *again = NULL;
    size_t at = DNS_HEAD;
    unsigned rcode;
    bool cut;

    if (len < DNS_HEAD || dns_name_read(msg, len, &at, &head.q.name) < 0 || len - at < 4)
        return;
    head.q.type = (uint16_t)(msg[at] << 8 | msg[at + 1]);
    memcpy(head.question, head.q.name.wire, head.q.name.len);
    memcpy(head.question + head.q.name.len, (const uint8_t[]){(uint8_t)(head.q.type >> 8), (uint8_t)head.q.type, 0, 1}, 4);
    head.question_len = head.q.name.len + 4U;
    if (dns_answer_parse(msg, len, &head.q, &a) < 0)
        return;
    {
        const struct dns_reply reply = {.query = &head, .rcode = a->rcode, .answer = a, .ede = DNS_EDE_NONE};
        size_t told = dns_reply_build(&reply, buf, DNS_TCP_MAX);

        assert(told <= DNS_TCP_MAX);
        assert(dns_response_check(buf, told, 0, &head.q, &rcode, &cut) == 0 && rcode == (a->rcode & 0xf));
        if (!cut && a->rcode <= 15) {
            assert(dns_answer_parse(buf, told, &head.q, &again) == 0);
            assert(again->nrr == a->nrr && again->negative == a->negative);
        }
    }
    dns_answer_unref(a);
    dns_answer_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* www.example: an alias of a.example, which has two addresses; MX data, a SOA, an OPT. */
    static const uint8_t good[] =
        "\0\7\201\200\0\1\0\4\0\1\0\1\3www\7example\0\0\1\0\1\300\14\0\5\0\1\0\0\0\74\0\4\1a\300\20\300\51\0\1\0\1\0\0\0\74\0\4\1\2\3\4\300\51\0\1\0\1\0\0\0"
        "\74\0\4\1\2\3\5\300\51\0\17\0\1\0\0\0\74\0\4\0\12\300\20\300\20\0\6\0\1\0\0\0\74\0\30\300\20\300\20\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5\0\0\51\4"
        "\320\0\0"
        "\0\0\0\0";
    uint8_t *buf = malloc(DNS_TCP_MAX), *msg;
    size_t len = size % 2 ? sizeof(good) - 1 : size;

    msg = malloc(len ? len : 1); /* of this very size: the sanitizer sees a byte too far */
    if (buf && msg) {
        struct patches p = {.at = data, .left = size};

        memcpy(msg, size % 2 ? good : data, len);
        while (size % 2 && p.left > 0)
            patch_apply(&p, msg, len);
        as_query(msg, len);
        as_answer(msg, len, buf);
    }
    free(msg);
    free(buf);
    return 0;
}
