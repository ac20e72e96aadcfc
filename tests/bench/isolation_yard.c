/*
 * isolation_yard.c: what isolation costs on the path of a start: instances of a server are started in prepared slots, as the runner starts them, with everything on and with one part left out, in turns.
 *
 *   isolation_yard ROUNDS FN_INIT SERVER CGROUP_DIR WORK_DIR     prints "VARIANT MICROSECONDS", one line a start: from before the image's mount to the first 200 of GET /ping
 *
 * A part is left out by taking its steps out of the plan; the daemon has no such switch. Runs as root in a test host.
 */
#include "../../runner/sandbox/sandbox_private.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "names.h"
#include "netns.h"
#include "ringlog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <nftables/libnftables.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define UID_BASE   0x70000000U
#define IMAGE_BASE (UID_BASE - SANDBOX_IDS)
#define PAUSE_NS   (20 * NS_PER_MS) /* paced: the kernel's work behind an end is over when the next begins */
#define WAIT_NS    (5 * NS_PER_SEC)

enum variant { EVERYTHING, NO_USERNS, NO_SECCOMP, NO_RULES, VARIANT_COUNT };

static const char *const variant_names[VARIANT_COUNT] = {
    [EVERYTHING] = "everything", [NO_USERNS] = "no-user-namespace", [NO_SECCOMP] = "no-seccomp", [NO_RULES] = "no-network-rules"};

struct yard {
    struct sandbox_kit *kit;
    struct net *net;
    int work_fd, cgroup_fd, image_fd, userns_fd, idmap_fd, host_ns;
    char scratch[256];
    struct diag diag;
};

static _Noreturn void give_up(const struct yard *y, const char *what)
{
    fprintf(stderr, "isolation_yard: %s: %s\n", what, y->diag.err ? y->diag.text : strerror(errno));
    exit(1);
}

static void need(const struct yard *y, bool good, const char *what)
{
    if (!good)
        give_up(y, what);
}

static void sleep_ns(uint64_t ns)
{
    nanosleep(&(struct timespec){.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)}, NULL);
}

static void make_image(struct yard *y, const char *server)
{
    cleanup_fd int in = open(server, O_RDONLY | O_CLOEXEC), out = -1;
    cleanup_free char *data = NULL;
    ssize_t n;

    need(y, in >= 0, server);
    n = fd_read_all(in, 16U << 20, &data);
    need(y, n > 0 && mkdirat(y->work_fd, "image", 0755) == 0 && mkdirat(y->work_fd, "scratch", 0700) == 0, "image");
    y->image_fd = openat(y->work_fd, "image", O_PATH | O_DIRECTORY | O_CLOEXEC);
    out = openat(y->image_fd, "server", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    need(y, out >= 0 && fd_write_all(out, data, (size_t)n) == 0 && fchmod(out, 0755) == 0 && fchown(out, IMAGE_BASE, IMAGE_BASE) == 0, "image");
    need(y, fchownat(y->image_fd, "", IMAGE_BASE, IMAGE_BASE, AT_EMPTY_PATH) == 0, "image");
}

static void open_yard(struct yard *y, char **argv)
{
    struct net_options o = {.bridge = "fn", .port = "vf", .prefix_len = 16, .gateway_port = 8888, .dns = true};

    inet_pton(AF_INET, "10.231.0.0", &o.subnet);
    y->work_fd = open(argv[5], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    y->cgroup_fd = open(argv[4], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    y->host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    need(y, y->work_fd >= 0 && y->cgroup_fd >= 0 && y->host_ns >= 0, "directories");
    make_image(y, argv[3]);
    snprintf(y->scratch, sizeof(y->scratch), "%.200s/scratch", argv[5]);
    need(y, sandbox_kit_new(argv[2], 0, &y->kit, &y->diag) == 0, "kit");
    y->userns_fd = sandbox_userns_new(0, UID_BASE, &y->diag);
    y->idmap_fd = sandbox_userns_new(IMAGE_BASE, UID_BASE, &y->diag);
    need(y, y->userns_fd >= 0 && y->idmap_fd >= 0, "user namespaces");
    need(y, net_open(&o, &y->net, &y->diag) == 0, "network");
}

static void nft(struct yard *y, int netns_fd, const char *command)
{
    struct nft_ctx *ctx;

    need(y, setns(netns_fd, CLONE_NEWNET) == 0, "setns");
    ctx = nft_ctx_new(NFT_CTX_DEFAULT);
    need(y, ctx && nft_run_cmd_from_buffer(ctx, command) == 0, command);
    nft_ctx_free(ctx);
    need(y, setns(y->host_ns, CLONE_NEWNET) == 0, "setns");
}

static void await(struct yard *y, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    need(y, poll(&p, 1, WAIT_NS / NS_PER_MS) == 1, "waiting for the child");
}

static struct plan *make_plan(struct yard *y, const struct net_slot_names *names)
{
    static const char command[] = "/server";
    cleanup_free struct spec *spec = calloc(1, sizeof(*spec) + sizeof(command));
    const struct fn_id id = {.env = "default", .name = "yard"};
    struct plan_input in = {
        .spec = spec, .id = &id, .instance = "yard-abc123", .version = 1, .uid_base = UID_BASE, .addr = names->addr, .gateway_addr = names->bridge_addr};
    struct plan *p = NULL;

    need(y, spec != NULL, "memory");
    spec_init(spec);
    memcpy(spec->strings, command, sizeof(command));
    spec->argc = 1;
    spec->strings_len = sizeof(command);
    need(y, plan_make(&in, &p, &y->diag) == 0, "plan");
    return p;
}

static void leave_out(struct plan *p, uint32_t op)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < p->nsteps; i++)
        if (p->steps[i].op != op)
            p->steps[kept++] = p->steps[i];
    p->nsteps = kept;
}

/* As sandbox_image_mount(), without the idmap. */
static int plain_mount(int dir_fd)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    int fd = open_tree(dir_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)AT_EMPTY_PATH);

    return fd >= 0 && mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0 ? fd : -1;
}

static bool answers(struct in_addr addr)
{
    static const char request[] = "GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(3000), .sin_addr = addr};
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char answer[64];

    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 || write(fd, request, sizeof(request) - 1) < 0)
        return false;
    return read(fd, answer, sizeof(answer)) > 12 && memcmp(answer + 9, "200", 3) == 0;
}

static void one(struct yard *y, enum variant v)
{
    const struct sandbox_park where = {.cgroup_fd = y->cgroup_fd, .scratch_dir = y->scratch};
    const struct net_policy policy = {.egress = NET_EGRESS_INTERNET};
    struct sandbox_start start = {.userns_fd = y->userns_fd};
    struct sandbox_child child;
    struct net_slot_names names;
    struct plan *plan;
    uint64_t begin, end;

    need(y, sandbox_park(y->kit, &where, &child, &y->diag) == 0, "park");
    await(y, child.channel_fd);
    need(y, sandbox_on_channel(&child, &y->diag) == 0, "park");
    need(y, net_slot_make(y->net, 0, child.netns_fd, &policy, &names, &y->diag) == 0, "slot");
    if (v == NO_RULES)
        nft(y, child.netns_fd, "delete table inet fnd");
    plan = make_plan(y, &names);
    if (v == NO_USERNS) {
        leave_out(plan, PLAN_USERNS);
        leave_out(plan, PLAN_IDS);
        leave_out(plan, PLAN_CAPS);
    }
    if (v == NO_SECCOMP)
        leave_out(plan, PLAN_SECCOMP);
    start.log_fd = ringlog_create(y->work_fd, "log");
    start.plan = plan;
    begin = clock_mono_ns();
    start.image_mount_fd = v == NO_USERNS ? plain_mount(y->image_fd) : sandbox_image_mount(y->image_fd, y->idmap_fd, &y->diag);
    need(y, start.log_fd >= 0 && start.image_mount_fd >= 0 && sandbox_start(&child, &start, &y->diag) == 0, "start");
    while (!answers(names.addr)) {
        need(y, clock_mono_ns() - begin < WAIT_NS, variant_names[v]);
        sleep_ns(50000);
    }
    end = clock_mono_ns();
    printf("%s %.1f\n", variant_names[v], (double)(end - begin) / 1000);
    fd_close(start.image_mount_fd);
    fd_close(start.log_fd);
    unlinkat(y->work_fd, "log", 0);
    plan_free(plan);
    kill(child.pid, SIGKILL); /* PID 1 of its namespace: all of it */
    waitpid(child.pid, NULL, 0);
    sandbox_child_close(&child);
    while (!net_slot_gone(y->net, 0) && clock_mono_ns() - end < WAIT_NS)
        sleep_ns(NS_PER_MS);
    need(y, net_slot_remove(y->net, 0, &y->diag) == 0, "slot");
}

int main(int argc, char **argv)
{
    struct yard y = {.image_fd = -1};
    long rounds = argc == 6 ? strtol(argv[1], NULL, 10) : 0;

    if (rounds <= 0 || rounds > 10000) {
        fprintf(stderr, "usage: isolation_yard ROUNDS FN_INIT SERVER CGROUP_DIR WORK_DIR\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
    unshare(CLONE_NEWNS);
    mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
    open_yard(&y, argv);
    for (long i = 0; i < rounds; i++)
        for (enum variant v = 0; v < VARIANT_COUNT; v++) {
            one(&y, v);
            fflush(stdout);
            sleep_ns(PAUSE_NS);
        }
    need(&y, net_remove(y.net, &y.diag) == 0, "network");
    net_free(y.net);
    sandbox_kit_free(y.kit);
    return 0;
}
