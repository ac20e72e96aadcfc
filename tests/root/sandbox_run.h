/*
 * sandbox_run.h: a fixture for tests that run a function in a real sandbox: image, cgroup, kit, and one instance from park to its end. Included by one
 * test program each.
 */
#pragma once

#include "unit/check.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "ringlog.h"
#include "sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define IMAGE_BASE 0x6fff0000U
#define UID_BASE   0x70000000U
#define TMP_BYTES  (2U << 20)
#define WAIT_MS    20000
#define ROUNDS     200

struct fixture {
    char dir[64]; /* on a disk: image, scratch, logs */
    char cgroup[256];
    int dir_fd, cgroup_fd, image_fd, userns_fd, idmap_fd;
    struct sandbox_kit *kit;
    unsigned logs;
};

/* One instance, from park to its end. */
struct run {
    struct sandbox_child child;
    struct ringlog_head head;
    char log[65536];
    uint64_t started_ns;
    int log_fd;
    int status; /* of fn-init, as waitpid gives it */
};

struct function {
    const char *argv[12];
    const char *env[8];
    const char *cwd;
    bool writable;
    uint64_t allow;
    const char *devices[SPEC_DEVICES_MAX]; /* given nodes of /dev/zero */
};

#define FUNCTION(...) (&(const struct function){__VA_ARGS__})
#define VERB(...)     FUNCTION(.argv = {"/probe", __VA_ARGS__})

static struct diag diag;

/* ---- fixture ---- */

static void find_cgroup2(char *path, size_t size)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char line[1024], point[200];

    assert_non_null(f);
    path[0] = '\0';
    while (fgets(line, sizeof(line), f))
        if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %199s", point) == 1)
            snprintf(path, size, "%s/fnd-sandbox-test-%d", point, getpid());
    fclose(f);
    assert_string_not_equal(path, "");
}

static void sibling(const char *name, char *path, size_t size)
{
    char self[4096];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    assert_true(n > 0);
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    assert_true(snprintf(path, size, "%s/%s", self, name) < (int)size);
}

static void own(int dirfd, const char *name, uint32_t id)
{
    assert_int_equal(fchownat(dirfd, name, IMAGE_BASE + id, IMAGE_BASE + id, AT_SYMLINK_NOFOLLOW), 0);
}

static void put(int dirfd, const char *name, const void *data, size_t len, mode_t mode, uint32_t id)
{
    cleanup_fd int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, data, len), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    own(dirfd, name, id);
}

/* The image is hostile where it can be: /tmp leads elsewhere, /proc is a file, /dev has something planted. */
static void make_image(struct fixture *f)
{
    static const char *const dirs[] = {"image/etc", "image/data", "image/dev"};
    cleanup_free char *data = NULL;
    cleanup_fd int fd = -1;
    char probe[4096];
    ssize_t n;

    sibling("probe", probe, sizeof(probe));
    fd = open(probe, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    n = fd_read_all(fd, 16U << 20, &data);
    assert_true(n > 0);
    assert_int_equal(mkdirat(f->dir_fd, "image", 0755), 0);
    own(f->dir_fd, "image", 0);
    for (size_t i = 0; i < COUNT(dirs); i++) {
        assert_int_equal(mkdirat(f->dir_fd, dirs[i], 0755), 0);
        own(f->dir_fd, dirs[i], strcmp(dirs[i], "image/data") == 0 ? 1000 : 0);
    }
    put(f->dir_fd, "image/probe", data, (size_t)n, 0755, 0);
    put(f->dir_fd, "image/plain", "text\n", 5, 0644, 0);
    put(f->dir_fd, "image/script", "#!/no/such/shell\n", 17, 0755, 0);
    put(f->dir_fd, "image/proc", "a file\n", 7, 0644, 0);
    put(f->dir_fd, "image/dev/planted", "x", 1, 0666, 0);
    put(f->dir_fd, "image/data/old", "old\n", 4, 0644, 1000);
    assert_int_equal(symlinkat("/etc", f->dir_fd, "image/tmp"), 0);
    assert_int_equal(symlinkat("/proc/self/fd", f->dir_fd, "image/magic"), 0);
    f->image_fd = openat(f->dir_fd, "image", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->image_fd >= 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char init[4096];

    assert_non_null(f);
    *state = f;
    snprintf(f->dir, sizeof(f->dir), "/var/tmp/fnd-sandbox-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->dir_fd >= 0);
    assert_int_equal(mkdirat(f->dir_fd, "scratch", 0700), 0);
    make_image(f);
    find_cgroup2(f->cgroup, sizeof(f->cgroup));
    assert_int_equal(mkdir(f->cgroup, 0755), 0);
    f->cgroup_fd = open(f->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sibling("../fn-init", init, sizeof(init));
    assert_int_equal(sandbox_kit_new(init, 0, &f->kit, &diag), 0);
    f->userns_fd = sandbox_userns_new(0, UID_BASE, &diag);
    f->idmap_fd = sandbox_userns_new(IMAGE_BASE, UID_BASE, &diag);
    assert_true(f->userns_fd >= 0 && f->idmap_fd >= 0);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    sandbox_kit_free(f->kit);
    for (int i = 0; rmdir(f->cgroup) < 0 && errno == EBUSY && i < WAIT_MS; i++)
        usleep(1000); /* a group is busy until the last exited process has been accounted for */
    fd_close(f->dir_fd);
    fd_close(f->cgroup_fd);
    fd_close(f->image_fd);
    fd_close(f->userns_fd);
    fd_close(f->idmap_fd);
    assert_int_equal(access(f->cgroup, F_OK), -1);
    assert_int_equal(fd_remove_tree(AT_FDCWD, f->dir), 0);
    free(f);
    return 0;
}

/* ---- running ---- */

static void await(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

static void park(struct fixture *f, struct run *r)
{
    char scratch[96];
    const struct sandbox_park where = {.cgroup_fd = f->cgroup_fd, .scratch_dir = scratch};

    snprintf(scratch, sizeof(scratch), "%s/scratch", f->dir);
    assert_int_equal(sandbox_park(f->kit, &where, &r->child, &diag), 0);
    await(r->child.channel_fd);
    if (sandbox_on_channel(&r->child, &diag) != 0)
        fail_msg("%s", diag.text);
    assert_int_equal(r->child.stage, SANDBOX_PARKED);
}

/* What the network room does with a slot, as far as it is needed here. */
static void net_up(int netns_fd)
{
    cleanup_fd int before = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), s = -1;
    struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};

    assert_int_equal(setns(netns_fd, CLONE_NEWNET), 0);
    s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(ioctl(s, SIOCSIFFLAGS, &ifr), 0);
    assert_int_equal(fd_write_kernel(AT_FDCWD, "/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"), 0);
    assert_int_equal(setns(before, CLONE_NEWNET), 0);
}

static struct plan *make_plan(struct fixture *f, const struct function *fn)
{
    cleanup_free struct spec *spec = calloc(1, sizeof(*spec) + 4096);
    const struct fn_id id = {.env = "default", .name = "hello"};
    struct plan_input in = {.spec = spec, .id = &id, .instance = "hello-abc123", .version = 7, .uid_base = UID_BASE, .timezone = "Europe/Berlin"};
    struct plan *p = NULL;
    dev_t devices[SPEC_DEVICES_MAX];
    char *s;

    assert_non_null(spec);
    spec_init(spec);
    spec->tmp_bytes = TMP_BYTES;
    spec->gid = 1001;
    spec->writable = fn->writable;
    spec->allow = fn->allow;
    for (; spec->ndevices < SPEC_DEVICES_MAX && fn->devices[spec->ndevices]; spec->ndevices++) {
        snprintf(spec->devices[spec->ndevices].path, sizeof(spec->devices[0].path), "%s", fn->devices[spec->ndevices]);
        devices[spec->ndevices] = makedev(1, 5);
    }
    in.devices = devices;
    snprintf(spec->cwd, sizeof(spec->cwd), "%s", fn->cwd ? fn->cwd : "/");
    s = spec->strings;
    for (; fn->argv[spec->argc]; spec->argc++)
        s = mempcpy(s, fn->argv[spec->argc], strlen(fn->argv[spec->argc]) + 1);
    for (; fn->env[spec->envc]; spec->envc++)
        s = mempcpy(s, fn->env[spec->envc], strlen(fn->env[spec->envc]) + 1);
    spec->strings_len = (uint32_t)(s - spec->strings);
    inet_pton(AF_INET, "10.9.0.7", &in.addr);
    inet_pton(AF_INET, "10.9.0.1", &in.gateway_addr);
    assert_int_equal(spec_check(spec, spec_size(spec), &diag), 0);
    assert_int_equal(sandbox_kit_filter(f->kit, fn->allow, &in.filter, &diag), 0);
    assert_int_equal(plan_make(&in, &p, &diag), 0);
    return p;
}

static void start(struct fixture *f, struct run *r, const struct function *fn)
{
    cleanup_fd int image = sandbox_image_mount(f->image_fd, f->idmap_fd, &diag);
    struct sandbox_start s = {.image_mount_fd = image, .userns_fd = f->userns_fd};
    struct plan *p = make_plan(f, fn);
    char name[32];

    if (image < 0)
        fail_msg("%s", diag.text);
    snprintf(name, sizeof(name), "log-%u", f->logs++);
    r->log_fd = ringlog_create(f->dir_fd, name);
    assert_true(r->log_fd >= 0);
    s.plan = p;
    s.log_fd = r->log_fd;
    r->started_ns = clock_mono_ns();
    assert_int_equal(sandbox_start(&r->child, &s, &diag), 0);
    plan_free(p);
}

static int await_running(struct run *r)
{
    await(r->child.channel_fd);
    return sandbox_on_channel(&r->child, &diag);
}

static void finish(struct run *r)
{
    uint64_t pos = 0, lost;
    int64_t n;

    await(r->child.pid_fd);
    assert_int_equal(waitpid(r->child.pid, &r->status, 0), r->child.pid);
    sandbox_child_close(&r->child);
    assert_int_equal(ringlog_read_head(r->log_fd, &r->head), 0);
    n = ringlog_read(r->log_fd, &pos, r->log, sizeof(r->log) - 1, &lost);
    assert_true(n >= 0);
    r->log[n] = '\0';
    r->log_fd = fd_close(r->log_fd);
}

static void launch(struct fixture *f, struct run *r, const struct function *fn)
{
    *r = (struct run){0};
    park(f, r);
    net_up(r->child.netns_fd);
    start(f, r, fn);
    if (await_running(r) != 0)
        fail_msg("%s", diag.text);
    assert_int_equal(r->child.stage, SANDBOX_RUNNING);
}

/* The function's verdict about what it sees. */
static void __attribute__((unused)) verdict(struct fixture *f, const struct function *fn)
{
    struct run r;

    launch(f, &r, fn);
    finish(&r);
    if (r.head.end != RINGLOG_EXITED || r.head.status != 0)
        fail_msg("%s: %s\n%s", fn->argv[1], r.head.reason, r.log);
    assert_true(WIFEXITED(r.status) && WEXITSTATUS(r.status) == 0);
    assert_true(r.head.ended_real_ns > r.head.started_real_ns);
}
