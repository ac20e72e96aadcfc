/*
 * sandbox_private.h: what the files of this room share: the shape of a plan, the table of operations, and the protocol between sandbox_park.c (the
 * runner's side) and sandbox_child.c.
 */
#pragma once

#include "sandbox.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- plan ---- */

#define PLAN_MAGIC     0x6e616c70U /* "plan" */
#define PLAN_STEPS_MAX 192
#define PLAN_MAX       (192U * 1024) /* steps, argv and environment; SPEC_STRINGS_MAX and some room for ours */

/* What a step does. The handlers are in sandbox_mounts.c and sandbox_ids.c, names and forms for people in plan_ops.c. */
enum plan_op {
    PLAN_SCRATCH,  /* leave the host's tree: a tmpfs on the scratch directory, pivot, detach */
    PLAN_MKDIR,    /* path; mode uid gid */
    PLAN_MKNOD,    /* path; mode major minor (character device) */
    PLAN_SYMLINK,  /* path, target */
    PLAN_FILE,     /* path, content; mode uid gid */
    PLAN_SECRET,   /* path, content; length uid gid. Mode 0400; never printed */
    PLAN_MOUNT,    /* target, type, data; flags */
    PLAN_ROOT,     /* directory below which the targets of what follows are resolved */
    PLAN_IMAGE,    /* target, what it is; number: 0 the image, 1 the runtime's that came with the plan: where its mount is attached */
    PLAN_VOLUME,   /* target below the root, name; number of the descriptor that came with the plan */
    PLAN_BIND,     /* target below the root, source */
    PLAN_MOVE,     /* target below the root, source */
    PLAN_MASK,     /* target below the root, source: hidden by a read-only bind, if it exists */
    PLAN_READONLY, /* target below the root: read-only from here on, if it exists */
    PLAN_PIVOT,    /* new root */
    PLAN_STDIO,    /* device for 0, 1 and 2 */
    PLAN_NETNS,
    PLAN_HOSTNAME, /* name */
    PLAN_GROUPS,
    PLAN_CGROUPNS,
    PLAN_USERNS,
    PLAN_IDS,  /* uid gid */
    PLAN_CAPS, /* mask of the ambient set; everything else becomes empty, for ever */
    PLAN_KEYRING,
    PLAN_RLIMIT, /* name; resource limit: lowers only */
    PLAN_UMASK,  /* mode */
    PLAN_SETSID,
    PLAN_NO_NEW_PRIVS,
    PLAN_SECCOMP,
    PLAN_EXEC,
    PLAN_JOIN,  /* all namespaces of a running sandbox but the user's; the pid namespace is for children */
    PLAN_BIRTH, /* into that pid namespace: what follows is done by a child, and the parent is gone */
    PLAN_OP_COUNT
};

struct plan_step {
    uint32_t op;     /* enum plan_op */
    uint32_t str[3]; /* offsets in the block; 0: none. str[0] is what a failure names */
    uint64_t num[3];
};

struct plan {
    uint32_t magic, size; /* of the whole block */
    uint32_t nsteps;
    uint32_t nruntimes;  /* 0, 1: descriptors that follow those of START_FD_COUNT */
    uint32_t nvolumes;   /* descriptors behind those */
    uint32_t ngroups;    /* 0, 1: one more behind those, the cgroup directory for fn-init */
    uint32_t argc, argv; /* strings one after the other from this offset: fn-init's arguments */
    uint32_t envc, env;  /* each with FN_INIT_ENV_PREFIX */
    uint32_t uid, gid, uid_base;
    uint32_t filter, filter_len; /* offset and number of instructions of a seccomp program; 0: the kit's */
    uint64_t allow;              /* what was asked for (allow.h) */
    struct plan_step steps[];
    /* strings */
};

static inline const char *plan_str(const struct plan *p, uint32_t offset)
{
    return offset ? (const char *)p + offset : NULL;
}

/* The steps that depend on no function. */
int plan_park(struct plan **ret, struct diag *d);

/* plan_network.c */
void plan_hosts_text(const struct plan_input *in, struct strbuf *out);
void plan_resolv_text(const struct plan_input *in, struct strbuf *out);

/* How a step is printed: literal text and {s0} string, {d0} decimal, {o0} octal, {f0} mount flags. */
struct plan_op_info {
    const char *name, *form;
};
const struct plan_op_info *plan_op_info(uint32_t op);

/* ---- system calls ---- */

struct syscall_group {
    const char *name, *reason; /* for people: what it is, and why it is as it is */
    int err;                   /* 0: allowed */
    uint64_t word;             /* bit of allow.h that allows it all the same; 0: none does */
    bool init_only;            /* fn-init's own filter refuses it to the function */
    const char *names;         /* separated by blanks; a name that this architecture or libseccomp does not know is left out: unknown numbers get ENOSYS */
};
extern const struct syscall_group syscall_groups[];
extern const size_t syscall_groups_count;

enum syscall_test {
    SYSCALL_ANY_BIT, /* some bit of values[0] is set */
    SYSCALL_ONE_OF,
    SYSCALL_NOT_ONE_OF,
    SYSCALL_ALWAYS, /* of an argument nothing is asked */
};

/* Refuses a call by an argument that the kernel reads as 32 bits: only those are looked at, whatever stands above them. */
struct syscall_rule {
    const char *call;
    int8_t if_arg; /* -1: always; else the rule holds only where this argument is if_value */
    uint32_t if_value;
    uint8_t arg;
    uint8_t test; /* enum syscall_test */
    uint8_t count;
    uint32_t values[12];
    int err;
    const char *reason;
    uint8_t pointer;        /* the rule holds only where this argument (1..5) is not NULL; 0: always */
    uint64_t with, without; /* the rule holds only where this bit of allow.h is set, or is not; 0: always */
};
extern const struct syscall_rule syscall_rules[];
extern const size_t syscall_rules_count;

static inline bool syscall_group_allowed(const struct syscall_group *g, uint64_t allow)
{
    return g->err == 0 || (g->word & allow);
}

static inline bool syscall_rule_holds(const struct syscall_rule *r, uint64_t allow)
{
    return (!r->with || (r->with & allow)) && !(r->without & allow);
}

struct sandbox_filter {
    struct sandbox_filter *next; /* in the kit's cache */
    uint64_t allow;
    struct sock_filter *code;
    size_t len;
};

/* Compiles both tables into one program for an architecture of libseccomp (0: this one). ret->code is the caller's. */
int sandbox_filter_make(uint32_t arch, uint64_t allow, struct sandbox_filter *ret, struct diag *d);

struct syscall_count {
    unsigned allowed;  /* by the program */
    unsigned function; /* by it and by fn-init's filter for the function */
    unsigned known;    /* calls that libseccomp knows on this architecture */
};
struct syscall_count sandbox_filter_count(uint64_t allow);

/* Another effective uid, with all capabilities as before. Returns 0 or a negative errno. */
int sandbox_act_as(uint32_t euid);

/* ---- kit and child ---- */

struct sandbox_kit {
    int init_fd;                   /* fn-init, sealed */
    struct sandbox_filter filter;  /* of functions that loosen nothing */
    struct sandbox_filter *others; /* made when first asked for; a child takes its own from the plan, since it has the kit's memory as it was at the clone */
    struct plan *park;
    uint32_t lacks; /* enum sandbox_lack */
    char *args;     /* where the kernel finds this program's command line for /proc/PID/cmdline */
    size_t args_len;
};

/* Descriptors of a parked child; what comes with the plan gets the next free ones. FN_INIT_LOG_FD (3) stays free for fn-init's log. */
#define CHILD_CHANNEL_FD 4
#define CHILD_INIT_FD    5
#define KEEP_ABOVE_FD    32 /* above every place that is given away */
#define PARK_ATTACH_MAX  8

enum child_report_kind { CHILD_PARKED = 1, CHILD_FAILED, CHILD_BORN };

/* Child to runner. PARKED carries one descriptor: the network namespace. */
struct child_report {
    uint32_t kind; /* enum child_report_kind */
    int32_t err;   /* BORN: the pid */
    uint32_t op;   /* of the step that failed; PLAN_OP_COUNT: none */
    char what[128];
};

/* Order of the descriptors that come with the plan. */
enum { START_IMAGE_FD, START_USERNS_FD, START_LOG_FD, START_FD_COUNT, START_RUNTIME_FD = START_FD_COUNT };
#define START_FDS_MAX (START_FD_COUNT + 1 + SPEC_VOLUMES_MAX + 1)

/* What one that joins has besides. */
enum { JOIN_PID_FD, JOIN_MASTER_FD, JOIN_SLAVE_FD, JOIN_FD_COUNT };

struct sandbox_child_state {
    const struct sandbox_kit *kit;
    const char *scratch;
    int root_fd;
    int group_fd;                                    /* FN_STDIO_GROUP_FD to be; -1: none */
    int fds[START_FDS_MAX], join_fds[JOIN_FD_COUNT]; /* -1: none */
};

typedef int plan_handler(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s);

/* sandbox_mounts.c */
plan_handler step_scratch, step_mkdir, step_mknod, step_symlink, step_file, step_secret, step_mount, step_root, step_image, step_volume, step_bind, step_move,
    step_mask, step_readonly, step_pivot;
/* sandbox_ids.c */
plan_handler step_stdio, step_netns, step_hostname, step_groups, step_cgroupns, step_userns, step_ids, step_caps, step_keyring, step_rlimit, step_umask,
    step_setsid, step_no_new_privs, step_seccomp, step_exec;

/* sandbox_join.c */
plan_handler step_join, step_birth;

/* sandbox_child.c: does every step, or reports the first that fails and exits. */
void sandbox_child_obey(struct sandbox_child_state *c, const struct plan *p);
void sandbox_child_failed(uint32_t op, int err, const char *what) __attribute__((noreturn));
void sandbox_child_init(struct sandbox_child_state *c, const struct sandbox_kit *kit);
void sandbox_child_signals(void);               /* all dispositions are the default ones */
int sandbox_child_attach(int *fds, unsigned n); /* enters v1 groups and closes the descriptors */
/*
 * Closes every descriptor but those of `kept` (-1: none), which go to CHILD_CHANNEL_FD and upwards in their order, and are told where; 0 to 3 are filled with copies of the second, fn-init. First out of each
 * other's way, then to their places.
 */
int sandbox_child_keep(int *const *kept, int n);

/* The whole life of a child, which does not return. kit and arg are the parent's memory, as it was at the clone. */
typedef void sandbox_main(const struct sandbox_kit *kit, int channel_fd, const void *arg);

/* sandbox_channel.c: a child in the cgroup, with these namespaces of its own (CLONE_NEW*), and the channel to it, whose runner's end does not block. 0 or -errno. */
int sandbox_channel_clone(const struct sandbox_kit *k, uint64_t namespaces, int cgroup_fd, sandbox_main *child, const void *arg, struct sandbox_child *ret,
                          struct diag *d);

/* arg is a struct sandbox_park. */
sandbox_main sandbox_child_main;
