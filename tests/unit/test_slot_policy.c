/* For which network slots are made, who takes them, and what is opened for them by name. */
#include "manager_world.h"

static void shape_no(struct spec *s)
{
    s->egress = SPEC_EGRESS_NO;
}

static void shape_list(struct spec *s)
{
    s->egress = SPEC_EGRESS_LIST;
    s->ndests = 4;
    s->dests[0] = (struct spec_dest){.host = "api.example", .port = 443};
    s->dests[1] = (struct spec_dest){.host = "api.example", .port = 80};
    s->dests[2] = (struct spec_dest){.host = "192.0.2.7", .port = 5432};
    s->dests[3] = (struct spec_dest){.host = "b.example", .port = 1};
    s->nservices = 1;
    s->services[0] = (struct spec_service){.name = "db", .addr = htonl(0x0a000009), .port = 6379};
}

static void shape_list2(struct spec *s)
{
    shape_list(s);
    s->dests[3].port = 2;
}

static unsigned ready_of(uint32_t egress)
{
    unsigned n = 0;

    for (const struct slot *s = w.manager->slots.all; s; s = s->next)
        n += s->state == SLOT_READY && s->policy->net.egress == egress;
    return n;
}

static bool has_spares(void)
{
    return ready_of(SPEC_EGRESS_INTERNET) == 3 && ready_of(SPEC_EGRESS_NO) == 2;
}

static void test_slots_are_of_their_policy(void **state)
{
    w.config.slots_max = 12;
    w.config.slots_ready = 3;
    w.scale = 3;
    w.shape_other = shape_no;
    start();
    assert_true(until(is_ready));
    assert_int_equal(w.policies[w.live_slot].egress, SPEC_EGRESS_INTERNET);
    assert_int_equal(deploy("other", 0), 0);
    assert_int_equal(w.policies[w.live_slot].egress, SPEC_EGRESS_NO);
    assert_true(until(has_spares)); /* most of the one that most instances have, some of the other */
    for (const struct slot *s = w.manager->slots.all; s; s = s->next)
        if (s->state == SLOT_READY || s->state == SLOT_TAKEN)
            assert_int_equal(w.policies[s->number].egress, s->policy->net.egress);
}

static bool is_full(void)
{
    return ready_of(SPEC_EGRESS_INTERNET) == 3;
}

/* Spares of one policy are not in the way of another's instance. */
static void test_room_is_made(void **state)
{
    w.config.slots_ready = 4;
    w.shape_other = shape_no;
    start();
    assert_true(until(is_full));
    assert_int_equal(deploy("other", 3), 0);
    assert_int_equal(w.policies[w.live_slot].egress, SPEC_EGRESS_NO);
    assert_true(w.makes <= 4 + 2 * 4);
}

static bool hello_twice(void)
{
    return w.pushed[INSTANCE_READY] >= 2;
}

/* A network that cannot be made is the trouble of those alone who want it. */
static void test_policy_that_fails(void **state)
{
    w.config.slots_ready = 1;
    w.config.slots_max = 8;
    w.net_err = EAFNOSUPPORT;
    w.bad_egress = SPEC_EGRESS_NO;
    w.shape_other = shape_no;
    start();
    assert_true(until(is_ready));
    assert_int_equal(deploy("other", 0), ECHILD);
    assert_non_null(strstr(w.reply.diag.text, "making a network"));
    report(RECORD_UNHEALTHY, w.instance);
    assert_true(until(hello_twice));
}

static struct record_dns_open question(uint64_t function, const char *host, const char *a, const char *b)
{
    struct record_dns_open rec = {.head = RECORD_INIT(RECORD_DNS_OPEN, 7), .function = function, .ttl_s = 5};
    struct in_addr in;

    str_copy(rec.host, sizeof(rec.host), host);
    for (const char *const *at = (const char *const[]){a, b, NULL}; *at; at++) {
        assert_int_equal(inet_pton(AF_INET, *at, &in), 1);
        rec.addrs[rec.naddrs++] = in.s_addr;
    }
    return rec;
}

static int ask(uint64_t function, const char *host, const char *a, const char *b)
{
    struct record_dns_open rec = question(function, host, a, b);

    w.reply = (struct record_reply){0};
    w.opened.calls = 0;
    manager_request(w.manager, 1, &rec.head, -1);
    assert_int_equal(w.reply.head.id, 7);
    return w.reply.diag.err;
}

static void test_names_of_a_list(void **state)
{
    static const char *const refused[] = {"127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "10.231.0.1", "10.231.0.9", "255.255.255.255"};
    struct record_dns_open six;

    assert_int_equal(inet_pton(AF_INET, "10.231.0.0", &w.config.subnet), 1);
    w.config.slots_max = 8;
    w.config.slots_ready = 1;
    w.shape_hello = shape_list;
    start();
    assert_true(until(is_ready));
    assert_int_equal(w.policy.egress, SPEC_EGRESS_LIST);
    assert_int_equal(w.policy.nhosts, 2);
    assert_string_equal(w.policy.hosts[0], "api.example");
    assert_string_equal(w.policy.hosts[1], "b.example");
    assert_int_equal(w.opened.ndests, 2); /* its address and its service, when the slot was made */
    assert_int_equal(w.opened.ttl_s, 0);
    assert_int_equal(w.opened.dests[0].port, 6379);
    assert_int_equal(w.opened.dests[1].port, 5432);

    assert_int_equal(ask(w.hello, "api.example", "192.0.2.80", "192.0.2.81"), 0);
    assert_int_equal(w.opened.ndests, 4); /* with both ports */
    assert_true(w.opened.nslots >= 1);
    assert_true(w.opened.ttl_s >= 60);
    assert_int_equal(ask(w.hello, "evil.example", "192.0.2.80", NULL), ENOENT);
    assert_int_equal(ask(w.hello, "192.0.2.7", "192.0.2.80", NULL), ENOENT);
    assert_int_equal(ask(w.hello + 1000, "api.example", "192.0.2.80", NULL), ENOENT);
    assert_int_equal(ask(0, "api.example", "192.0.2.80", NULL), ENOENT);
    assert_int_equal(w.opened.calls, 0);
    for (size_t i = 0; i < COUNT(refused); i++) {
        assert_int_equal(ask(w.hello, "api.example", refused[i], NULL), EPERM);
        assert_true(w.opened.calls == 0 || w.opened.ndests == 0);
    }
    assert_int_equal(ask(w.hello, "b.example", "169.254.169.254", "192.0.2.90"), 0); /* the other one alone */
    assert_int_equal(w.opened.ndests, 1);
    six = question(w.hello, "b.example", "192.0.2.90", NULL);
    six.naddrs6 = 1;
    memcpy(six.addrs6[0], "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
    manager_request(w.manager, 1, &six.head, -1);
    assert_int_equal(w.opened.ndests, 1); /* IPv6 was not asked for */
}

static bool is_remembered(void)
{
    return w.pushed[INSTANCE_READY] >= 2 && w.opened.calls >= 2;
}

static void test_names_are_known_to_later_slots(void **state)
{
    w.shape_hello = shape_list;
    start();
    assert_true(until(is_ready));
    assert_int_equal(ask(w.hello, "api.example", "192.0.2.80", NULL), 0);
    w.opened.calls = 0;
    kill(w.kids[w.live_slot], SIGKILL);
    assert_true(until(is_remembered));
    assert_int_equal(w.opened.nslots, 1);
    assert_int_equal(w.opened.ndests, 2);
    assert_int_equal(w.opened.dests[0].port, 443);
    assert_true(w.opened.ttl_s > 0);
}

static bool has_list_spare(void)
{
    return ready_of(SPEC_EGRESS_LIST) == 1;
}

static bool has_one_of_the_new(void)
{
    unsigned old = 0, new = 0;

    for (const struct slot *s = w.manager->slots.all; s; s = s->next)
        if (s->policy && s->policy->net.egress == SPEC_EGRESS_LIST) {
            old += s->policy->dests[3].port == 1;
            new += s->policy->dests[3].port == 2;
        }
    return old == 0 && new == 2;
}

/* A list that a new version changed: what was made for the old one is good for nobody, and goes. */
static void test_slots_of_an_old_list_go(void **state)
{
    w.config.slots_max = 8;
    w.config.slots_ready = 1;
    w.shape_hello = shape_list;
    start();
    assert_true(until(is_ready));
    assert_true(until(has_list_spare));
    w.shape_hello = shape_list2;
    assert_int_equal(deploy("hello", 0), 0);
    assert_true(until(has_one_of_the_new));
}

/* A new version with the same list takes the slots that are there. */
static void test_slots_of_the_same_list_stay(void **state)
{
    unsigned makes;

    w.config.slots_max = 8;
    w.config.slots_ready = 1;
    w.shape_hello = shape_list;
    start();
    assert_true(until(is_ready));
    assert_true(until(has_list_spare));
    makes = w.removed_networks;
    assert_int_equal(deploy("hello", 0), 0);
    assert_int_equal(w.removed_networks, makes);
}

static bool is_list_alone(void)
{
    return w.policy.egress == SPEC_EGRESS_LIST && w.policy.nhosts == 2;
}

/* While versions change, instances of both must be able to look up what they may reach: the first one of the new version before it is ready. */
static void test_gateway_knows_both_versions(void **state)
{
    w.config.slots_max = 8;
    start();
    assert_true(until(is_ready));
    assert_int_equal(w.policy.egress, SPEC_EGRESS_INTERNET);
    assert_int_equal(w.policy.nhosts, 0);
    w.shape_hello = shape_list;
    assert_int_equal(deploy("hello", 0), 0);
    assert_true(w.both_policies);
    assert_true(until(is_list_alone)); /* the old instances are gone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_slots_are_of_their_policy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_room_is_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_policy_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_of_a_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_are_known_to_later_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slots_of_an_old_list_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slots_of_the_same_list_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gateway_knows_both_versions, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
