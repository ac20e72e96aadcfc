/* The gate of the runner protocol. */
#include "unit/check.h"

#include "record.h"

#include <errno.h>
#include <string.h>

static const uint32_t from_gateway[] = {
    RECORD_HELLO,         RECORD_DEPLOY,      RECORD_DEPLOY_END,  RECORD_REMOVE,         RECORD_SCALE,      RECORD_START,     RECORD_STOP,
    RECORD_RESTART,       RECORD_LOG_OPEN,    RECORD_PLAN,        RECORD_CONFIG_GET,     RECORD_STATS_GET,  RECORD_READY,     RECORD_UNHEALTHY,
    RECORD_IDLE,          RECORD_DNS_OPEN,    RECORD_EXEC,        RECORD_LOGIN,          RECORD_PASSWORD,   RECORD_TOKEN_ADD, RECORD_TOKEN_REMOVE,
    RECORD_AUDIT,         RECORD_RELOAD,      RECORD_RUNTIME_PUT, RECORD_RUNTIME_REMOVE, RECORD_IMAGES_GET, RECORD_PRUNE,     RECORD_SECRET_SET,
    RECORD_SECRET_REMOVE, RECORD_SECRETS_GET, RECORD_LISTENING,   RECORD_EXPORT};

static _Alignas(8) char buffer[RECORD_MAX + 8];

static struct record_head *make(uint32_t type)
{
    struct record_head *h = (struct record_head *)buffer;

    memset(buffer, 0, sizeof(buffer));
    *h = (struct record_head)RECORD_INIT(type, 1);
    return h;
}

static void test_each_type_passes_one_way_only(void **state)
{
    for (uint32_t type = 1; type < RECORD_TYPE_COUNT; type++) {
        struct record_head *h = make(type);
        int gateway = 0;
        struct diag d;

        for (size_t i = 0; i < COUNT(from_gateway); i++)
            gateway |= from_gateway[i] == type;
        assert_true(record_size(type) >= sizeof(*h) && record_size(type) <= RECORD_MAX);
        assert_int_equal(record_check(h, h->size, gateway, &d), 0);
        assert_int_equal(record_check(h, h->size, !gateway, &d), -EPROTO);
    }
}

static void test_sizes(void **state)
{
    struct record_head *h = make(RECORD_SCALE);
    struct diag d;

    assert_int_equal(record_check(h, h->size - 1, 1, &d), -EPROTO);
    assert_int_equal(record_check(h, 4, 1, &d), -EPROTO);
    assert_int_equal(record_check(h, 0, 1, &d), -EPROTO);
    h->size++;
    assert_int_equal(record_check(h, h->size, 1, &d), -EPROTO);
    h = make(RECORD_SCALE);
    h->type = RECORD_TYPE_COUNT;
    assert_int_equal(record_check(h, h->size, 1, &d), -EPROTO);
    h->type = UINT32_MAX;
    assert_int_equal(record_check(h, h->size, 1, &d), -EPROTO);
    h->type = RECORD_NONE;
    assert_int_equal(record_check(h, h->size, 1, &d), -EPROTO);
}

static void test_fields(void **state)
{
    struct record_target *t = (struct record_target *)make(RECORD_REMOVE);
    struct record_deploy *p;
    struct record_report *r;
    struct record_instance *i;
    struct record_text *x;
    struct diag d;

    memset(t->fn.name, 'a', sizeof(t->fn.name));
    assert_int_equal(record_check(t, t->head.size, 1, &d), -EPROTO);
    t = (struct record_target *)make(RECORD_LOG_OPEN);
    memset(t->instance, 'a', sizeof(t->instance));
    assert_int_equal(record_check(t, t->head.size, 1, &d), -EPROTO);
    p = (struct record_deploy *)make(RECORD_DEPLOY);
    p->vars_len = sizeof(p->vars);
    assert_int_equal(record_check(p, p->head.size, 1, &d), 0);
    p->vars_len++;
    assert_int_equal(record_check(p, p->head.size, 1, &d), -EPROTO);
    r = (struct record_report *)make(RECORD_UNHEALTHY);
    memset(r->text, 'a', sizeof(r->text));
    assert_int_equal(record_check(r, r->head.size, 1, &d), -EPROTO);
    i = (struct record_instance *)make(RECORD_INSTANCE);
    i->state = INSTANCE_STATE_COUNT;
    assert_int_equal(record_check(i, i->head.size, 0, &d), -EPROTO);
    x = (struct record_text *)make(RECORD_TEXT);
    x->len = RECORD_TEXT_MAX + 1;
    assert_int_equal(record_check(x, x->head.size, 0, &d), -EPROTO);
}

static void test_network_records(void **state)
{
    struct record_dns_open *open;
    struct record_policy *policy;
    struct record_resolvers *resolvers;
    struct record_listener *listener;
    struct record_file *file;
    struct diag d;

    open = (struct record_dns_open *)make(RECORD_DNS_OPEN);
    open->naddrs = open->naddrs6 = RECORD_DNS_ADDRS_MAX;
    assert_int_equal(record_check(open, open->head.size, 1, &d), 0);
    open->naddrs6++;
    assert_int_equal(record_check(open, open->head.size, 1, &d), -EPROTO);
    open->naddrs6 = 0;
    open->naddrs = UINT32_MAX;
    assert_int_equal(record_check(open, open->head.size, 1, &d), -EPROTO);
    policy = (struct record_policy *)make(RECORD_POLICY);
    policy->egress = SPEC_EGRESS_COUNT;
    assert_int_equal(record_check(policy, policy->head.size, 0, &d), -EPROTO);
    policy = (struct record_policy *)make(RECORD_POLICY);
    memset(policy->hosts[SPEC_DESTS_MAX - 1], 'a', sizeof(policy->hosts[0]));
    assert_int_equal(record_check(policy, policy->head.size, 0, &d), -EPROTO);
    policy->hosts[SPEC_DESTS_MAX - 1][sizeof(policy->hosts[0]) - 1] = '\0';
    assert_int_equal(record_check(policy, policy->head.size, 0, &d), 0);
    resolvers = (struct record_resolvers *)make(RECORD_RESOLVERS);
    resolvers->count = RECORD_RESOLVERS_MAX;
    assert_int_equal(record_check(resolvers, resolvers->head.size, 0, &d), 0);
    resolvers->count++;
    assert_int_equal(record_check(resolvers, resolvers->head.size, 0, &d), -EPROTO);
    listener = (struct record_listener *)make(RECORD_LISTENER);
    listener->kind = RECORD_LISTENER_KIND_COUNT;
    assert_int_equal(record_check(listener, listener->head.size, 0, &d), -EPROTO);
    file = (struct record_file *)make(RECORD_FILE);
    file->kind = RECORD_FILE_COUNT;
    assert_int_equal(record_check(file, file->head.size, 0, &d), -EPROTO);
    file = (struct record_file *)make(RECORD_FILE);
    memset(file->name, 'a', sizeof(file->name));
    assert_int_equal(record_check(file, file->head.size, 0, &d), -EPROTO);
    file->name[sizeof(file->name) - 1] = '\0';
    assert_int_equal(record_check(file, file->head.size, 0, &d), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_type_passes_one_way_only), cmocka_unit_test(test_sizes), cmocka_unit_test(test_fields),
                                       cmocka_unit_test(test_network_records)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
