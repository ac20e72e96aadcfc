/* The runner's socket against a gateway that was taken over: one that asks for descriptors and never reads. Needs root for the socket's directory. The manager is played here. */
#include "unit/check.h"

#include "../../runner/control.h"

#include "clock.h"
#include "config.h"
#include "diag.h"
#include "fd.h"
#include "instance.h"
#include "listen.h"
#include "loop.h"
#include "record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUESTS 4000

static struct {
    struct config config;
    struct control *control;
    unsigned asked, gone;
} w;

void manager_request(struct manager *m, uint64_t client, const struct record_head *rec, int archive_fd)
{
    struct record_reply reply = {.head = RECORD_INIT(RECORD_REPLY, rec->id)};
    cleanup_fd int log = open("/dev/null", O_RDONLY | O_CLOEXEC);

    fd_close(archive_fd);
    w.asked++;
    control_reply(w.control, client, &reply.head, log);
}

void manager_snapshot(struct manager *m)
{
}

void manager_client_gone(struct manager *m, uint64_t client)
{
    w.gone++;
}

static void on_gateway(void *owner)
{
}

static void on_time(struct timer *t)
{
    loop_stop(t->owner, 0);
}

static void turn(struct loop *l)
{
    struct timer t = {.on_expire = on_time, .owner = l};

    loop_arm_in(l, &t, 0);
    loop_run(l);
    loop_disarm(&t);
}

static unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static int connect_gateway(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%.80s/" LISTEN_RUNNER_SOCKET, w.config.run);
    assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

/* Every log that is open for it is a descriptor of the runner, which must keep some to start and to kill with. */
static void test_gateway_that_does_not_read(void **state)
{
    struct loop *loop = *state;
    int fd = connect_gateway();
    struct record_hello hello = {.head = RECORD_INIT(RECORD_HELLO, 0), .protocol = RECORD_PROTOCOL};
    struct record_target rec = {.head = RECORD_INIT(RECORD_LOG_OPEN, 1), .fn = {.name = "hello", .env = "default"}};
    unsigned before = open_files(), most = 0;

    assert_int_equal(fd_send(fd, &hello, sizeof(hello), NULL, 0, 0), 0);
    for (unsigned i = 0; i < REQUESTS && w.gone == 0; i++) {
        unsigned now;

        rec.head.id++;
        fd_send(fd, &rec, sizeof(rec), NULL, 0, MSG_DONTWAIT);
        turn(loop);
        now = open_files();
        most = now > most ? now : most;
    }
    assert_true(w.asked > 0);
    assert_int_equal(w.gone, 1); /* cut off, and everything that waited for it was given back */
    assert_true(most < before + 300);
    assert_true(open_files() <= before + 1);
    fd_close(fd);
}

static int set_up(void **state)
{
    static char dir[] = "/tmp/test-control-XXXXXX";
    struct control_parts p = {.config = &w.config, .on_gateway = on_gateway};
    struct loop *loop;
    struct diag d = {0};

    assert_non_null(mkdtemp(dir));
    snprintf(w.config.run, sizeof(w.config.run), "%s", dir);
    assert_int_equal(loop_new(&loop), 0);
    p.loop = loop;
    assert_int_equal(control_new(&p, &w.control, &d), 0);
    control_set_manager(w.control, (struct manager *)&w); /* nobody looks into it */
    *state = loop;
    return 0;
}

static int tear_down(void **state)
{
    control_free(w.control);
    loop_free(*state);
    fd_remove_tree(AT_FDCWD, w.config.run);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_gateway_that_does_not_read, set_up, tear_down)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
