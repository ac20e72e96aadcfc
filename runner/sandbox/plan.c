/*
 * plan.c: computes what a sandbox will be: one flat block of steps and strings that the child obeys. Pure: reads its input, touches nothing.
 *
 * Order and reasons of the start (DESIGN section 6). Everything that the function may write is one sized tmpfs, /w in the scratch tree, so that one
 * number bounds it. The generated layer is the uppermost lower layer of the root: its directories are real ones whatever the image holds at these
 * names, which makes them safe mount points. With a runtime there is a third one at the bottom, its image; the package above it says no more than what is in app/. The user namespace comes after the last mount and after the groups, because entering it gives up all power
 * over the host; what follows needs only power inside it.
 */
#include "sandbox_private.h"

#include "allow.h"
#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "fninit.h"
#include "str.h"

#include <assert.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static_assert(FN_INIT_ID == SANDBOX_INIT_ID, "one id of fn-init");

struct plan_builder {
    struct plan_step steps[PLAN_STEPS_MAX];
    struct strbuf strings; /* offsets count from its begin; made into offsets of the block at the end */
    bool full;
    const struct sandbox_filter *filter; /* goes between steps and strings, where it is aligned */
    struct plan head;
};

/* Offset 0 means none, so the strings begin with an empty one. */
static uint32_t add_string(struct plan_builder *b, const char *s)
{
    uint32_t at;

    if (!s)
        return 0;
    if (b->strings.len == 0)
        strbuf_add(&b->strings, "", 1);
    at = (uint32_t)b->strings.len;
    strbuf_add(&b->strings, s, strlen(s) + 1);
    return at;
}

/* Bytes that a terminator follows. */
static uint32_t add_bytes(struct plan_builder *b, const char *data, size_t len)
{
    uint32_t at;

    if (b->strings.len == 0)
        strbuf_add(&b->strings, "", 1);
    at = (uint32_t)b->strings.len;
    strbuf_add(&b->strings, data, len);
    strbuf_add(&b->strings, "", 1);
    return at;
}

struct step_args {
    const char *s0, *s1, *s2;
    uint64_t n0, n1, n2;
};

static void add_step(struct plan_builder *b, enum plan_op op, struct step_args a)
{
    if (b->head.nsteps == PLAN_STEPS_MAX) {
        b->full = true;
        return;
    }
    b->steps[b->head.nsteps++] = (struct plan_step){
        .op = op,
        .str = {add_string(b, a.s0), add_string(b, a.s1), add_string(b, a.s2)},
        .num = {a.n0, a.n1, a.n2},
    };
}

#define STEP(b, op, ...) add_step(b, op, (struct step_args){__VA_ARGS__})

static bool has_mkdir(const struct plan_builder *b, const char *path)
{
    for (uint32_t i = 0; i < b->head.nsteps; i++)
        if (b->steps[i].op == PLAN_MKDIR && strcmp(b->strings.data + b->steps[i].str[0], path) == 0)
            return true;
    return false;
}

static int finish(struct plan_builder *b, struct plan **ret, struct diag *d)
{
    const size_t code = b->filter ? b->filter->len * sizeof(b->filter->code[0]) : 0;
    const size_t base = sizeof(struct plan) + b->head.nsteps * sizeof(struct plan_step) + code, size = base + b->strings.len;
    struct plan *p;

    if (b->full)
        return diag_set(d, EINVAL, "plan: more than %d steps", PLAN_STEPS_MAX);
    if (size > PLAN_MAX)
        return diag_set(d, E2BIG, "plan: command and environment need %zu bytes, %u fit: shorten them, or put long values into files", size, PLAN_MAX);
    p = b->strings.failed ? NULL : malloc(size);
    if (!p)
        return diag_errno(d, ENOMEM, "plan");
    *p = b->head;
    p->magic = PLAN_MAGIC;
    p->size = (uint32_t)size;
    p->argv += (uint32_t)base;
    p->env += (uint32_t)base;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        p->steps[i] = b->steps[i];
        for (size_t k = 0; k < COUNT(p->steps[i].str); k++)
            if (p->steps[i].str[k])
                p->steps[i].str[k] += (uint32_t)base;
    }
    if (code) {
        p->filter = (uint32_t)(base - code);
        p->filter_len = (uint32_t)b->filter->len;
        memcpy((char *)p + p->filter, b->filter->code, code);
    }
    if (b->strings.len)
        memcpy((char *)p + base, b->strings.data, b->strings.len);
    *ret = p;
    return 0;
}

/* ---- park ---- */

struct dev_node {
    const char *path;
    unsigned major, minor; /* Documentation/admin-guide/devices.txt */
};

static const struct dev_node dev_nodes[] = {
    {"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7}, {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9},
};

static const struct {
    const char *path, *target;
} dev_links[] = {
    {"/dev/fd", "/proc/self/fd"},
    {"/dev/stdin", "/proc/self/fd/0"},
    {"/dev/stdout", "/proc/self/fd/1"},
    {"/dev/stderr", "/proc/self/fd/2"},
};

/* Below /proc, hidden by /dev/null or by an empty directory: what tells about the host or its other users, or acts on it. */
static const char *const mask_files[] = {
    "kcore",    "keys",          "sysrq-trigger", "timer_list", "timer_stats", "sched_debug", "interrupts",
    "softirqs", "latency_stats", "kallsyms",      "kmsg",       "slabinfo",    "vmallocinfo", "config.gz",
};
static const char *const mask_dirs[] = {"acpi", "asound", "scsi"};
static const char *const readonly_paths[] = {"bus", "fs", "irq", "sys", "mtrr"};

#define EMPTY_DIR "/dev/shm" /* of our read-only /dev; the function's own is mounted over it later */

static void plan_dev(struct plan_builder *b)
{
    STEP(b, PLAN_MKDIR, .s0 = "/dev", .n0 = 0755);
    STEP(b, PLAN_MOUNT, .s0 = "/dev", .s1 = "tmpfs", .s2 = "size=64k,nr_inodes=64,mode=0755", .n0 = MS_NOSUID | MS_NOEXEC);
    for (size_t i = 0; i < COUNT(dev_nodes); i++)
        STEP(b, PLAN_MKNOD, .s0 = dev_nodes[i].path, .n0 = 0666, .n1 = dev_nodes[i].major, .n2 = dev_nodes[i].minor);
    for (size_t i = 0; i < COUNT(dev_links); i++)
        STEP(b, PLAN_SYMLINK, .s0 = dev_links[i].path, .s1 = dev_links[i].target);
    STEP(b, PLAN_MKDIR, .s0 = EMPTY_DIR, .n0 = 0755);
    STEP(b, PLAN_MOUNT, .s0 = "/dev", .s1 = "tmpfs", .n0 = MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC);
}

static void plan_proc(struct plan_builder *b)
{
    STEP(b, PLAN_MKDIR, .s0 = "/proc", .n0 = 0755);
    STEP(b, PLAN_MOUNT, .s0 = "/proc", .s1 = "proc", .n0 = MS_NOSUID | MS_NODEV | MS_NOEXEC);
    STEP(b, PLAN_ROOT, .s0 = "/proc");
    for (size_t i = 0; i < COUNT(mask_files); i++)
        STEP(b, PLAN_MASK, .s0 = mask_files[i], .s1 = "/dev/null");
    for (size_t i = 0; i < COUNT(mask_dirs); i++)
        STEP(b, PLAN_MASK, .s0 = mask_dirs[i], .s1 = EMPTY_DIR);
    for (size_t i = 0; i < COUNT(readonly_paths); i++)
        STEP(b, PLAN_READONLY, .s0 = readonly_paths[i]);
}

int plan_park(struct plan **ret, struct diag *d)
{
    struct plan_builder b = {0};
    int r;

    STEP(&b, PLAN_SCRATCH, .s0 = "size=64k,nr_inodes=32,mode=0755");
    plan_dev(&b);
    STEP(&b, PLAN_STDIO, .s0 = "/dev/null");
    plan_proc(&b);
    STEP(&b, PLAN_MKDIR, .s0 = "/w", .n0 = 0755);
    STEP(&b, PLAN_MKDIR, .s0 = "/image", .n0 = 0755);
    STEP(&b, PLAN_MKDIR, .s0 = "/root", .n0 = 0755);
    STEP(&b, PLAN_NETNS);
    r = finish(&b, ret, d);
    strbuf_done(&b.strings);
    return r;
}

/* ---- start ---- */

/* A tmpfs inode costs about a KiB of kernel memory that its size does not count; the instance's memory limit does. */
static uint64_t writable_inodes(uint64_t bytes)
{
    const uint64_t n = 1024 + bytes / 8192;

    return n < 262144 ? n : 262144;
}

static void plan_writable(struct plan_builder *b, const struct plan_input *in)
{
    const uint32_t root = in->uid_base, user = in->uid_base + in->spec->uid, group = in->uid_base + in->spec->gid;
    char options[96];

    snprintf(options, sizeof(options), "size=%llu,nr_inodes=%llu,mode=0755", (unsigned long long)in->spec->tmp_bytes,
             (unsigned long long)writable_inodes(in->spec->tmp_bytes));
    STEP(b, PLAN_MOUNT, .s0 = "/w", .s1 = "tmpfs", .s2 = options, .n0 = MS_NOSUID | MS_NODEV);
    STEP(b, PLAN_MKDIR, .s0 = "/w/tmp", .n0 = 01777, .n1 = root, .n2 = root);
    STEP(b, PLAN_MKDIR, .s0 = "/w/shm", .n0 = 01777, .n1 = root, .n2 = root);
    STEP(b, PLAN_MKDIR, .s0 = "/w/run", .n0 = 0755, .n1 = user, .n2 = group);
    if (in->spec->writable) {
        STEP(b, PLAN_MKDIR, .s0 = "/w/upper", .n0 = 0755, .n1 = root, .n2 = root);
        STEP(b, PLAN_MKDIR, .s0 = "/w/work", .n0 = 0700, .n1 = root, .n2 = root);
    }
}

static void plan_generated(struct plan_builder *b, const struct plan_input *in)
{
    static const char *const dirs[] = {"/w/generated", "/w/generated/dev", "/w/generated/proc", "/w/generated/tmp", "/w/generated/run", "/w/generated/etc"};
    cleanup_strbuf struct strbuf hosts = {0}, resolv = {0};
    const uint32_t root = in->uid_base;
    char text[NAME_INSTANCE_MAX + 2];

    for (size_t i = 0; i < COUNT(dirs); i++)
        STEP(b, PLAN_MKDIR, .s0 = dirs[i], .n0 = 0755, .n1 = root, .n2 = root);
    plan_hosts_text(in, &hosts);
    plan_resolv_text(in, &resolv);
    b->strings.failed |= hosts.failed || resolv.failed;
    STEP(b, PLAN_FILE, .s0 = "/w/generated/etc/hosts", .s1 = hosts.data, .n0 = 0644, .n1 = root, .n2 = root);
    STEP(b, PLAN_FILE, .s0 = "/w/generated/etc/resolv.conf", .s1 = resolv.data, .n0 = 0644, .n1 = root, .n2 = root);
    snprintf(text, sizeof(text), "%s\n", in->instance);
    STEP(b, PLAN_FILE, .s0 = "/w/generated/etc/hostname", .s1 = text, .n0 = 0644, .n1 = root, .n2 = root);
}

static void make_dir(struct plan_builder *b, const char *path, uint32_t owner)
{
    if (!has_mkdir(b, path))
        STEP(b, PLAN_MKDIR, .s0 = path, .n0 = 0755, .n1 = owner, .n2 = owner);
}

/* The mount points, in the generated layer: where the image has a symlink on the way, or a file, it is a directory inside. */
static void plan_volume_points(struct plan_builder *b, const struct plan_input *in)
{
    char path[SPEC_PATH_MAX + 16];

    for (uint32_t i = 0; i < in->spec->nvolumes; i++) {
        const char *at = in->spec->volumes[i].path;

        for (size_t n = 1; n <= strlen(at); n++) {
            if (at[n] != '/' && at[n] != '\0')
                continue;
            snprintf(path, sizeof(path), "/w/generated%.*s", (int)n, at);
            make_dir(b, path, in->uid_base);
        }
    }
}

/* Nodes with the numbers of the host's, in the /dev that was parked read-only; without capabilities over the host nobody can add one later. */
static void plan_devices(struct plan_builder *b, const struct plan_input *in)
{
    if (in->spec->ndevices == 0)
        return;
    STEP(b, PLAN_MOUNT, .s0 = "/dev", .s1 = "tmpfs", .n0 = MS_REMOUNT | MS_NOSUID | MS_NOEXEC);
    for (uint32_t i = 0; i < in->spec->ndevices; i++) {
        const char *path = in->spec->devices[i].path;
        char dir[sizeof(in->spec->devices[i].path)];

        for (const char *slash = strchr(path + strlen("/dev/"), '/'); slash; slash = strchr(slash + 1, '/')) {
            snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
            if (!has_mkdir(b, dir))
                STEP(b, PLAN_MKDIR, .s0 = dir, .n0 = 0755);
        }
        STEP(b, PLAN_MKNOD, .s0 = path, .n0 = 0666, .n1 = major(in->devices[i]), .n2 = minor(in->devices[i]));
    }
    STEP(b, PLAN_MOUNT, .s0 = "/dev", .s1 = "tmpfs", .n0 = MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC);
}

/*
 * A small tmpfs of their own, which is read-only before the function is there: inside, nobody but the function's user can read them, and not even it can put others in their place. /secrets and
 * /var/openfaas/secrets are where functions of other systems look.
 */
static void plan_secrets(struct plan_builder *b, const struct plan_input *in)
{
    const uint32_t root = in->uid_base, user = in->uid_base + in->spec->uid, group = in->uid_base + in->spec->gid;
    static const char *const links[] = {"/w/generated/secrets", "/w/generated/var/openfaas/secrets"};
    char path[sizeof("/w/secrets/") + NAME_PART_MAX];

    if (in->spec->nsecrets == 0)
        return;
    STEP(b, PLAN_MKDIR, .s0 = "/w/run/secrets", .n0 = 0755, .n1 = root, .n2 = root);
    STEP(b, PLAN_MKDIR, .s0 = "/w/secrets", .n0 = 0755, .n1 = root, .n2 = root);
    STEP(b, PLAN_MOUNT, .s0 = "/w/secrets", .s1 = "tmpfs", .s2 = "size=256k,nr_inodes=32,mode=0755", .n0 = MS_NOSUID | MS_NODEV | MS_NOEXEC);
    for (uint32_t i = 0; i < in->spec->nsecrets; i++) {
        const struct plan_secret *s = in->secrets ? &in->secrets[i] : NULL;

        snprintf(path, sizeof(path), "/w/secrets/%s", in->spec->secrets[i]);
        STEP(b, PLAN_SECRET, .s0 = path, .n0 = s ? s->len : 0, .n1 = user, .n2 = group);
        if (!b->full)
            b->steps[b->head.nsteps - 1].str[1] = s ? add_bytes(b, s->value, s->len) : add_string(b, "");
    }
    STEP(b, PLAN_MOUNT, .s0 = "/w/secrets", .s1 = "tmpfs", .n0 = MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
    make_dir(b, "/w/generated/var", root);
    make_dir(b, "/w/generated/var/openfaas", root);
    for (size_t i = 0; i < COUNT(links); i++)
        if (!has_mkdir(b, links[i])) /* a volume's place */
            STEP(b, PLAN_SYMLINK, .s0 = links[i], .s1 = "/run/secrets");
}

static void plan_root(struct plan_builder *b, const struct plan_input *in)
{
    const bool writable = in->spec->writable;
    char layers[96];

    STEP(b, PLAN_IMAGE, .s0 = "/image", .s1 = "image");
    if (b->head.nruntimes) {
        STEP(b, PLAN_MKDIR, .s0 = "/runtime", .n0 = 0755);
        STEP(b, PLAN_IMAGE, .s0 = "/runtime", .s1 = "runtime's image", .n0 = 1);
    }
    snprintf(layers, sizeof(layers), "lowerdir=/w/generated:/image%s%s", b->head.nruntimes ? ":/runtime" : "",
             writable ? ",upperdir=/w/upper,workdir=/w/work" : "");
    STEP(b, PLAN_MOUNT, .s0 = "/root", .s1 = "overlay", .s2 = layers, .n0 = MS_NOSUID | MS_NODEV | (writable ? 0 : MS_RDONLY));
    STEP(b, PLAN_ROOT, .s0 = "/root");
    STEP(b, PLAN_BIND, .s0 = "tmp", .s1 = "/w/tmp");
    STEP(b, PLAN_BIND, .s0 = "run", .s1 = "/w/run");
    if (in->spec->nsecrets > 0)
        STEP(b, PLAN_BIND, .s0 = "run/secrets", .s1 = "/w/secrets");
    STEP(b, PLAN_MOVE, .s0 = "dev", .s1 = "/dev");
    STEP(b, PLAN_BIND, .s0 = "dev/shm", .s1 = "/w/shm");
    STEP(b, PLAN_MOVE, .s0 = "proc", .s1 = "/proc");
    for (uint32_t i = 0; i < in->spec->nvolumes; i++)
        STEP(b, PLAN_VOLUME, .s0 = in->spec->volumes[i].path + 1, .s1 = in->spec->volumes[i].name, .n0 = i);
    STEP(b, PLAN_PIVOT, .s0 = "/root");
}

/*
 * CORE is 1, not 0: with 0 a host that pipes dumps to a program would start it for every crash, with 1 the kernel gives up (core(5)); seccomp keeps the
 * function from changing it. Queued signals, locked memory and message queues are kernel memory that the function's own id is counted for.
 */
static const struct {
    const char *name;
    int resource;
    uint64_t limit;
} rlimits[] = {
    {"NOFILE", RLIMIT_NOFILE, 16384},        {"CORE", RLIMIT_CORE, 1}, {"MEMLOCK", RLIMIT_MEMLOCK, 65536}, {"MSGQUEUE", RLIMIT_MSGQUEUE, 65536},
    {"SIGPENDING", RLIMIT_SIGPENDING, 1024}, {"NICE", RLIMIT_NICE, 0}, {"RTPRIO", RLIMIT_RTPRIO, 0},
};

static void plan_lowered(struct plan_builder *b)
{
    STEP(b, PLAN_USERNS);
    STEP(b, PLAN_IDS, .n0 = SANDBOX_INIT_ID, .n1 = SANDBOX_INIT_ID);
    STEP(b, PLAN_CAPS, .s0 = "setuid,setgid", .n0 = 1ULL << CAP_SETUID | 1ULL << CAP_SETGID);
    STEP(b, PLAN_NO_NEW_PRIVS);
    STEP(b, PLAN_KEYRING);
    for (size_t i = 0; i < COUNT(rlimits); i++)
        STEP(b, PLAN_RLIMIT, .s0 = rlimits[i].name, .n0 = (uint64_t)rlimits[i].resource, .n1 = rlimits[i].limit);
    STEP(b, PLAN_UMASK, .n0 = 0022);
}

static void plan_identity(struct plan_builder *b, const struct plan_input *in)
{
    STEP(b, PLAN_HOSTNAME, .s0 = in->instance);
    STEP(b, PLAN_GROUPS);
    STEP(b, PLAN_CGROUPNS);
    plan_lowered(b);
    STEP(b, PLAN_SETSID);
    STEP(b, PLAN_SECCOMP);
    STEP(b, PLAN_EXEC);
}

/* fn-init as the server: what it cannot know from the environment. */
static void plan_stdio_argv(struct plan_builder *b, const struct plan_input *in)
{
    char text[24];

    snprintf(text, sizeof(text), "%u", in->spec->port);
    add_string(b, text);
    add_string(b, in->spec->health_path);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(in->spec->timeout_ns / 1000000));
    add_string(b, text);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)in->spec->memory_bytes);
    add_string(b, text);
}

static void plan_argv(struct plan_builder *b, const struct plan_input *in)
{
    const bool stdio = in->spec->mode == SPEC_MODE_STDIO;
    const char *argv[SPEC_ARGS_MAX + 1];
    char uid[12], gid[12];

    snprintf(uid, sizeof(uid), "%u", in->spec->uid);
    snprintf(gid, sizeof(gid), "%u", in->spec->gid);
    spec_argv(in->spec, argv);
    b->head.argv = add_string(b, stdio ? FN_STDIO_NAME : "fn-init");
    add_string(b, uid);
    add_string(b, gid);
    add_string(b, in->spec->cwd);
    if (stdio)
        plan_stdio_argv(b, in);
    add_string(b, "--");
    for (uint32_t i = 0; i < in->spec->argc; i++)
        add_string(b, argv[i]);
    b->head.argc = (stdio ? FN_STDIO_ARGS : FN_INIT_ARGS) + in->spec->argc;
}

struct own_env {
    const char *name, *value;
    bool ours; /* the function cannot say otherwise */
};

static bool env_is(const char *kv, const char *name)
{
    const size_t n = strlen(name);

    return strncmp(kv, name, n) == 0 && kv[n] == '=';
}

static void add_env(struct plan_builder *b, const char *name, const char *value)
{
    const char *const parts[] = {FN_INIT_ENV_PREFIX, name, value ? "=" : "", value ? value : ""};
    const uint32_t at = (uint32_t)b->strings.len;

    for (size_t i = 0; i < COUNT(parts); i++)
        strbuf_puts(&b->strings, parts[i]);
    strbuf_add(&b->strings, "", 1);
    if (b->head.envc++ == 0)
        b->head.env = at;
}

static void plan_env(struct plan_builder *b, const struct plan_input *in)
{
    char port[8], version[12], memory[24], timeout[24];
    const bool with_runtime = in->spec->runtime[0];
    const struct own_env own[] = {
        {"PORT", port, true},
        {"FND_FUNCTION", in->id->name, true},
        {"FND_ENVIRONMENT", in->id->env, true},
        {"FND_VERSION", version, true},
        {"FND_INSTANCE", in->instance, true},
        {"FND_MEMORY", memory, true},
        {"HOME", "/tmp", false},
        {"PATH", PATH_DEFAULT, false},
        {"TZ", in->timezone, false},
        {"FND_RUNTIME", with_runtime ? in->spec->runtime : NULL, true},
        {"FND_HANDLER", in->spec->handler[0] ? in->spec->handler : NULL, true},
        {"FND_TIMEOUT", with_runtime ? timeout : NULL, true},
        {"FND_HEALTH_PATH", with_runtime && in->spec->health_path[0] ? in->spec->health_path : NULL, true},
    };
    const char *envp[SPEC_ENV_MAX + 1];
    bool said[COUNT(own)] = {false};

    snprintf(port, sizeof(port), "%u", in->spec->port);
    snprintf(version, sizeof(version), "%u", in->version);
    snprintf(memory, sizeof(memory), "%llu", (unsigned long long)in->spec->memory_bytes);
    snprintf(timeout, sizeof(timeout), "%.3f", (double)in->spec->timeout_ns / NS_PER_SEC);
    spec_envp(in->spec, envp);
    for (uint32_t i = 0; i < in->spec->envc; i++) {
        bool refused = strncmp(envp[i], "FND_", 4) == 0;

        for (size_t k = 0; k < COUNT(own); k++)
            if (env_is(envp[i], own[k].name)) {
                refused |= own[k].ours;
                said[k] = !own[k].ours;
            }
        if (!refused)
            add_env(b, envp[i], NULL);
    }
    for (size_t k = 0; k < COUNT(own); k++)
        if (!said[k] && own[k].value)
            add_env(b, own[k].name, own[k].value);
}

uint64_t plan_allow(const struct spec *s)
{
    return s->allow | (s->mode == SPEC_MODE_STDIO ? ALLOW_INIT_CLONE3 : 0);
}

int plan_make(const struct plan_input *in, struct plan **ret, struct diag *d)
{
    struct plan_builder b = {.filter = in->filter,
                             .head = {.uid = in->spec->uid,
                                      .gid = in->spec->gid,
                                      .uid_base = in->uid_base,
                                      .nruntimes = in->spec->runtime[0] != 0,
                                      .nvolumes = in->spec->nvolumes,
                                      .ngroups = in->spec->mode == SPEC_MODE_STDIO,
                                      .allow = plan_allow(in->spec)}};
    int r;

    plan_writable(&b, in);
    plan_generated(&b, in);
    plan_volume_points(&b, in);
    plan_secrets(&b, in);
    plan_devices(&b, in);
    plan_root(&b, in);
    plan_identity(&b, in);
    plan_argv(&b, in);
    plan_env(&b, in);
    r = finish(&b, ret, d);
    strbuf_done(&b.strings);
    return r;
}

/* ---- join ---- */

static void plan_join_argv(struct plan_builder *b, const struct plan_input *in, const struct plan_command *cmd)
{
    char uid[12], gid[12];

    snprintf(uid, sizeof(uid), "%u", in->spec->uid);
    snprintf(gid, sizeof(gid), "%u", in->spec->gid);
    b->head.argv = add_string(b, FN_EXEC_NAME);
    add_string(b, uid);
    add_string(b, gid);
    add_string(b, in->spec->cwd);
    add_string(b, cmd->tty ? "t" : "p");
    add_string(b, "--");
    for (uint32_t i = 0; i < cmd->argc; i++)
        add_string(b, cmd->argv[i]);
    b->head.argc = FN_EXEC_ARGS + cmd->argc;
}

/*
 * The session comes first: its number is how the runner finds every process that came of this one. The birth into the pid namespace comes when there is nothing of the host left that /proc of that namespace
 * would show to the function without asking for ptrace rights (mountinfo, net/), and before the filter, which has no clone3.
 */
int plan_join(const struct plan_input *in, const struct plan_command *cmd, struct plan **ret, struct diag *d)
{
    struct plan_builder b = {.filter = in->filter, .head = {.uid = in->spec->uid, .gid = in->spec->gid, .uid_base = in->uid_base, .allow = plan_allow(in->spec)}};
    int r;

    STEP(&b, PLAN_SETSID);
    STEP(&b, PLAN_JOIN);
    STEP(&b, PLAN_GROUPS);
    plan_lowered(&b);
    STEP(&b, PLAN_STDIO, .s0 = "/dev/null");
    STEP(&b, PLAN_BIRTH);
    STEP(&b, PLAN_SECCOMP);
    STEP(&b, PLAN_EXEC);
    plan_join_argv(&b, in, cmd);
    if (cmd->term && *cmd->term)
        add_env(&b, "TERM", cmd->term); /* before the function's own: the first counts */
    plan_env(&b, in);
    r = finish(&b, ret, d);
    strbuf_done(&b.strings);
    return r;
}

void plan_free(struct plan *p)
{
    if (p)
        explicit_bzero(p, p->size); /* there may be secrets in it */
    free(p);
}
