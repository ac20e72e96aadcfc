/* record_maker.h: records as a gateway that was taken over could send them: of every type, well-formed with odd values in them, or bent. From a seed, so that what was found can be found again. */
#pragma once

#include "names.h"
#include "record.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define MAKER_MAX (RECORD_MAX + 4096)

static_assert(sizeof(struct record_deploy) + 512 <= MAKER_MAX && sizeof(struct record_text) + 512 <= MAKER_MAX, "room to bend");

struct maker {
    uint64_t state;
    _Alignas(8) unsigned char record[MAKER_MAX];
};

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled" */
static inline uint64_t maker_next(struct maker *m)
{
    m->state ^= m->state >> 12;
    m->state ^= m->state << 25;
    m->state ^= m->state >> 27;
    return m->state * 0x2545F4914F6CDD1DULL;
}

static inline uint32_t maker_below(struct maker *m, uint32_t n)
{
    return (uint32_t)((maker_next(m) >> 32) % n);
}

static inline void maker_noise(struct maker *m, void *to, size_t len)
{
    unsigned char *p = to;

    for (size_t i = 0; i < len; i++)
        p[i] = (unsigned char)(maker_next(m) >> 56);
}

static inline uint32_t maker_number(struct maker *m)
{
    static const uint32_t odd[] = {0, 1, 2, 3, 7, 64, 1000, 1001, 32767, 32768, 32769, 65535, 65536, 0x7fffffff, 0x80000000, UINT32_MAX - 1, UINT32_MAX};

    return maker_below(m, 3) ? odd[maker_below(m, sizeof(odd) / sizeof(odd[0]))] : (uint32_t)maker_next(m);
}

static inline void maker_name(struct maker *m, char *to, size_t size)
{
    static const char *const names[] = {"hello",
                                        "hello",
                                        "hello",
                                        "default",
                                        "other",
                                        "staging",
                                        "",
                                        "..",
                                        ".",
                                        "a/b",
                                        "../../etc",
                                        "-x",
                                        "x-",
                                        "HELLO",
                                        "hello\nworld",
                                        "\xff\xfe",
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                        "%s%n",
                                        "hello-000000"};

    memset(to, 0, size);
    switch (maker_below(m, 8)) {
    case 0:
        maker_noise(m, to, size); /* most often without an end */
        break;
    case 1:
        memset(to, 'x', size);
        break;
    default:
        snprintf(to, size, "%s", names[maker_below(m, sizeof(names) / sizeof(names[0]))]);
    }
}

static inline void maker_fn(struct maker *m, struct fn_id *fn)
{
    maker_name(m, fn->name, sizeof(fn->name));
    if (maker_below(m, 3))
        snprintf(fn->env, sizeof(fn->env), "default");
    else
        maker_name(m, fn->env, sizeof(fn->env));
}

static inline void maker_fill(struct maker *m, uint32_t type)
{
    union {
        struct record_hello hello;
        struct record_deploy deploy;
        struct record_deploy_end end;
        struct record_target target;
        struct record_export exported;
        struct record_scale scale;
        struct record_report report;
        struct record_dns_open dns;
        struct record_exec exec;
        struct record_secret secret;
        struct record_runtime runtime;
        struct record_listening listening;
    } *r = (void *)m->record;

    switch (type) {
    case RECORD_HELLO:
        r->hello.protocol = maker_below(m, 8) ? RECORD_PROTOCOL : maker_number(m);
        break;
    case RECORD_DEPLOY:
        maker_fn(m, &r->deploy.fn);
        r->deploy.replicas = maker_below(m, 2) ? 1 : maker_number(m);
        r->deploy.vars_len = maker_below(m, 2) ? 0 : maker_number(m);
        if (maker_below(m, 3) == 0)
            maker_noise(m, r->deploy.vars, sizeof(r->deploy.vars));
        r->deploy.sets_len = maker_below(m, 2) ? 0 : maker_number(m);
        if (maker_below(m, 3) == 0)
            maker_noise(m, r->deploy.sets, sizeof(r->deploy.sets));
        break;
    case RECORD_DEPLOY_END:
        r->end.complete = maker_below(m, 4) ? maker_below(m, 2) : maker_number(m);
        break;
    case RECORD_SCALE:
        maker_fn(m, &r->scale.fn);
        r->scale.replicas = maker_below(m, 2) ? maker_below(m, 4) : maker_number(m);
        break;
    case RECORD_READY:
    case RECORD_UNHEALTHY:
    case RECORD_IDLE:
        r->report.instance = maker_below(m, 2) ? maker_below(m, 200) : maker_next(m);
        maker_name(m, r->report.text, sizeof(r->report.text));
        break;
    case RECORD_EXEC:
        maker_fn(m, &r->exec.fn);
        maker_name(m, r->exec.instance, sizeof(r->exec.instance));
        maker_name(m, r->exec.term, sizeof(r->exec.term));
        r->exec.tty = maker_below(m, 4) ? maker_below(m, 2) : maker_number(m);
        r->exec.argc = maker_below(m, 4) ? 1 : maker_number(m);
        r->exec.args_len = maker_below(m, 4) ? 3 : maker_number(m);
        if (maker_below(m, 3))
            memcpy(r->exec.args, "sh", 3);
        else
            maker_noise(m, r->exec.args, sizeof(r->exec.args));
        break;
    case RECORD_SECRET_SET:
    case RECORD_SECRET_REMOVE:
        maker_fn(m, &r->secret.fn);
        maker_name(m, r->secret.name, sizeof(r->secret.name));
        r->secret.len = maker_below(m, 2) ? 0 : maker_number(m);
        maker_noise(m, r->secret.value, 64);
        break;
    case RECORD_RUNTIME_PUT:
    case RECORD_RUNTIME_REMOVE:
        maker_name(m, r->runtime.name, sizeof(r->runtime.name));
        break;
    case RECORD_LISTENING:
        r->listening.count = maker_below(m, 4) ? maker_below(m, RECORD_PORTS_MAX + 1) : maker_number(m);
        maker_noise(m, r->listening.ports, sizeof(r->listening.ports));
        break;
    case RECORD_DNS_OPEN:
        r->dns.function = maker_below(m, 2) ? maker_below(m, 20) : maker_next(m);
        maker_name(m, r->dns.host, sizeof(r->dns.host));
        r->dns.ttl_s = maker_number(m);
        r->dns.naddrs = maker_below(m, 2) ? maker_below(m, RECORD_DNS_ADDRS_MAX + 2) : maker_number(m);
        r->dns.naddrs6 = maker_below(m, 2) ? maker_below(m, RECORD_DNS_ADDRS_MAX + 2) : maker_number(m);
        break;
    case RECORD_EXPORT:
        maker_fn(m, &r->exported.fn);
        r->exported.version = maker_below(m, 2) ? maker_below(m, 4) : maker_number(m);
        break;
    default:
        if (record_size(type) == sizeof(struct record_target)) {
            maker_fn(m, &r->target.fn);
            r->target.erase_volumes = maker_below(m, 4) ? 0 : maker_number(m);
            maker_name(m, r->target.instance, sizeof(r->target.instance));
        }
    }
}

/* Bends what is there: bits, sizes, types, ends. Returns the new length. */
static inline size_t maker_bend(struct maker *m, size_t len)
{
    struct record_head *head = (void *)m->record;

    switch (maker_below(m, 7)) {
    case 0:
        for (unsigned n = 1 + maker_below(m, 8); n > 0; n--)
            m->record[maker_below(m, (uint32_t)len)] ^= (unsigned char)(1U << maker_below(m, 8));
        return len;
    case 1:
        head->size = maker_number(m);
        return len;
    case 2:
        head->type = maker_number(m);
        return len;
    case 3:
        return maker_below(m, (uint32_t)len + 1);
    case 4:
        maker_noise(m, m->record + len, 512); /* the largest record leaves that much room */
        return len + maker_below(m, 512);
    case 5:
        maker_noise(m, m->record + sizeof(*head), len - sizeof(*head));
        return len;
    default:
        maker_noise(m, m->record, MAKER_MAX);
        return maker_below(m, MAKER_MAX);
    }
}

/* The next record into m->record; returns its length. `straight`: none that breaks the protocol, which would end the connection. */
static inline size_t maker_record(struct maker *m, bool straight, uint64_t id)
{
    uint32_t type = 1 + maker_below(m, straight ? RECORD_WELCOME - 1 : RECORD_TYPE_COUNT - 1);
    size_t len = record_size(type);

    if (type == RECORD_REMOVE && maker_below(m, 4)) /* a function that is there is worth more */
        type = RECORD_STATS_GET, len = record_size(type);
    memset(m->record, 0, len);
    maker_fill(m, type);
    *(struct record_head *)m->record = (struct record_head){.type = type, .size = (uint32_t)len, .id = id};
    if (!straight)
        return maker_below(m, 3) ? len : maker_bend(m, len);
    if (record_check(m->record, len, 1, NULL) < 0) { /* a text without an end, a number out of bounds: another one */
        *(struct record_empty *)m->record = (struct record_empty){.head = RECORD_INIT(RECORD_STATS_GET, id)};
        len = sizeof(struct record_empty);
    }
    return len;
}
