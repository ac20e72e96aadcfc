/* How many connections an address has. */
#include "check.h"

#include "../../runner/gateway/clients.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage s = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&s;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&s;

    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        s.ss_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
        s.ss_family = AF_INET6;
    }
    return s;
}

static struct client *take(struct clients *all, const char *text, unsigned most)
{
    const struct sockaddr_storage s = address(text);

    return clients_take(all, &s, most);
}

static void each_address_has_its_share(void **state)
{
    struct clients *all = clients_new();
    struct client *mine[3], *other;

    assert_non_null(all);
    for (size_t i = 0; i < COUNT(mine); i++) {
        mine[i] = take(all, "192.0.2.1", 3);
        assert_non_null(mine[i]);
    }
    assert_null(take(all, "192.0.2.1", 3));
    other = take(all, "192.0.2.2", 3);
    assert_non_null(other);
    clients_give(all, mine[0]);
    mine[0] = take(all, "192.0.2.1", 3);
    assert_non_null(mine[0]);
    clients_give(all, NULL);
    for (size_t i = 0; i < COUNT(mine); i++)
        clients_give(all, mine[i]);
    clients_give(all, other);
    assert_true(clients_empty(all));
    clients_free(all);
}

/* A /64 of IPv6 is one client, and an IPv4 address in an IPv6 one is the same as itself. */
static void which_addresses_are_one_client(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"2001:db8::1", "2001:db8::ffff:1", true},
        {"2001:db8::1", "2001:db8:0:1::1", false},
        {"192.0.2.1", "::ffff:192.0.2.1", true},
        {"192.0.2.1", "::ffff:192.0.2.2", false},
        {"0.0.0.1", "::1", false},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct clients *all = clients_new();
        struct client *a, *b;

        assert_non_null(all);
        a = take(all, cases[i].a, 1);
        b = take(all, cases[i].b, 1);
        assert_non_null(a);
        assert_int_equal(b == NULL, cases[i].same);
        clients_give(all, a);
        clients_give(all, b);
        assert_true(clients_empty(all));
        clients_free(all);
    }
}

static void many_addresses(void **state)
{
    static struct client *taken[20000];
    struct clients *all = clients_new();

    assert_non_null(all);
    for (uint32_t i = 0; i < COUNT(taken); i++) {
        struct sockaddr_storage s = {.ss_family = AF_INET};

        ((struct sockaddr_in *)&s)->sin_addr.s_addr = htonl(0x0a000000 + i);
        taken[i] = clients_take(all, &s, 1);
        assert_non_null(taken[i]);
        assert_null(clients_take(all, &s, 1));
        assert_ptr_equal(clients_take(all, &s, 0), taken[i]); /* 0: any number */
        clients_give(all, taken[i]);
    }
    for (uint32_t i = 0; i < COUNT(taken); i++)
        clients_give(all, taken[i]);
    assert_true(clients_empty(all));
    clients_free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_address_has_its_share), cmocka_unit_test(which_addresses_are_one_client),
                                       cmocka_unit_test(many_addresses)};

    return cmocka_run_group_tests_name("clients", tests, NULL, NULL);
}
