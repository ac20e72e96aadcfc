/* test_sockmaps.c: the programs of the short way on this kernel: the trial passes, nothing grows without bound, and nobody gets in who is not asked. */
#include "cgroup_test.h"

#include "record.h"
#include "sockmap.h"
#include "sockmaps.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static struct cg_root *root;
static struct cg_group instance;
static struct sockmaps *maps;

static int set_up(void **state)
{
    root = open_root();
    assert_ok(cg_group_make(root, "instance", &instance, &d));
    assert_ok(sockmaps_open(root, &maps, &d)); /* with the trial: every kernel that these tests run on can */
    return 0;
}

static int tear_down(void **state)
{
    sockmaps_free(maps);
    maps = NULL;
    assert_true(wait_until(cg_group_remove(&instance) == 0));
    close_root(root);
    return 0;
}

/* How many sockets are in a map. */
static unsigned entries(unsigned end)
{
    struct sockmap_key key, *at = NULL;
    unsigned n = 0;

    for (;;) {
        union bpf_attr attr;

        memset(&attr, 0, sizeof(attr));
        attr.map_fd = (uint32_t)sockmaps_map(maps, end);
        attr.key = (uint64_t)(uintptr_t)at;
        attr.next_key = (uint64_t)(uintptr_t)&key;
        if (sockmaps_bpf(BPF_MAP_GET_NEXT_KEY, &attr, sizeof(attr)) < 0)
            return n;
        at = &key;
        n++;
    }
}

/* A server in the instance's cgroup: one connection; answers the first byte with as much as can be sent without waiting, and says how much that was. */
static void flood(int tell_fd)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    static char piece[1];
    uint64_t sent = 0;
    ssize_t n;

    if (bind(listener, (struct sockaddr *)&at, len) < 0 || listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&at, &len) < 0 ||
        write(tell_fd, &at, sizeof(at)) != sizeof(at))
        return;
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (recv(fd, piece, 1, 0) != 1)
        return;
    for (unsigned i = 0; i < 1000; i++) /* the smallest messages cost the most memory */
        if ((n = send(fd, piece, 1, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
            sent += (uint64_t)n;
    if (write(tell_fd, &sent, sizeof(sent)) != sizeof(sent))
        return;
    recv(fd, piece, 1, 0);
}

static int dial(const struct sockaddr_in *to, int priority)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority)), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)to, sizeof(*to)), 0);
    return fd;
}

/* Bytes in the short queue: a read that begins there ends there. */
static int queued_short(int fd)
{
    char data[4096];

    return (int)recv(fd, data, sizeof(data), MSG_DONTWAIT);
}

static void close_child(struct child *c)
{
    int status;

    kill(c->pid, SIGKILL);
    join(c, &status);
}

static struct child start(work_fn *work, struct sockaddr_in *ret_at)
{
    struct child c = spawn_into(instance.dir_fd, work);

    assert_int_equal(write(c.go, "x", 1), 1);
    assert_int_equal(read(c.told, ret_at, sizeof(*ret_at)), sizeof(*ret_at));
    return c;
}

static void test_flood(void **state)
{
    struct sockaddr_in at;
    struct child c = start(flood, &at);
    int fd = dial(&at, SOCKMAP_PRIORITY);
    char rest[1000];
    uint64_t sent;

    assert_true(wait_until(entries(RECORD_SOCKMAP_GATEWAY) == 1 && entries(RECORD_SOCKMAP_INSTANCE) == 1));
    assert_int_equal(send(fd, "x", 1, 0), 1);
    assert_int_equal(read(c.told, &sent, sizeof(sent)), sizeof(sent));
    assert_int_equal(sent, 1000);
    assert_int_equal(queued_short(fd), SOCKMAP_MESSAGES);                                                       /* as many messages as are allowed, */
    assert_int_equal(recv(fd, rest, sent - SOCKMAP_MESSAGES, MSG_WAITALL), (ssize_t)(sent - SOCKMAP_MESSAGES)); /* and what TCP holds back */
    close(fd);
    close_child(&c);
    assert_true(wait_until(entries(RECORD_SOCKMAP_GATEWAY) == 0 && entries(RECORD_SOCKMAP_INSTANCE) == 0));
}

static void test_who_gets_in(void **state)
{
    struct sockaddr_in at;
    struct child c = start(flood, &at);
    int fd = dial(&at, 0); /* did not ask */

    assert_int_equal(send(fd, "x", 1, 0), 1);
    assert_int_equal(entries(RECORD_SOCKMAP_GATEWAY) + entries(RECORD_SOCKMAP_INSTANCE), 0);
    close(fd);
    close_child(&c);
}

/* In a network namespace of its own, below the gateway's cgroup, and asks: a function that connects to itself. */
static void ask_elsewhere(int tell_fd)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int priority = SOCKMAP_PRIORITY;
    socklen_t len = sizeof(at);
    struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int listener, fd, in;
    char x = 0;

    if (unshare(CLONE_NEWNET) < 0)
        return;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (ioctl(fd, SIOCSIFFLAGS, &up) < 0 || bind(listener, (struct sockaddr *)&at, len) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) < 0 || setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority)) < 0 ||
        connect(fd, (struct sockaddr *)&at, len) < 0)
        return;
    in = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (send(fd, "y", 1, 0) != 1 || recv(in, &x, 1, 0) != 1 || write(tell_fd, &at, sizeof(at)) != sizeof(at))
        return;
    recv(fd, &x, 1, 0);
}

static void test_not_from_a_slot(void **state)
{
    struct sockaddr_in at;
    struct child c = start(ask_elsewhere, &at);

    assert_int_equal(entries(RECORD_SOCKMAP_GATEWAY) + entries(RECORD_SOCKMAP_INSTANCE), 0);
    close_child(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flood, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_gets_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_from_a_slot, set_up, tear_down),
    };

    snprintf(name, sizeof(name), "fnd-test-%d", (int)getpid());
    return cmocka_run_group_tests_name("sockmaps", tests, NULL, NULL);
}
