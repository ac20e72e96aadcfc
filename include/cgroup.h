/*
 * cgroup.h: where instances live, what they may use up, what they have used, and how they end.
 *
 * One tree below one directory of our own. Every group exists in the cgroup v2 hierarchy (clone3's CLONE_INTO_CGROUP, cgroup.kill, populated) and, on a hybrid host, once more in the v1 hierarchy of each
 * controller (memory, pids, cpu) that v1 still holds; then the limit is set there and the process is attached by writing its pid. Mounts are found in /proc/self/mountinfo, never assumed.
 * See cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/. Knows nothing of functions: groups have names, no meaning.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diag;
struct strbuf;

/* What a group cannot do without, in v2 or v1; and io, used where the v2 hierarchy has it: v1's blkio sees no buffered write, and would cost one more grace period per process. */
enum cg_controller { CG_MEMORY, CG_PIDS, CG_CPU, CG_CONTROLLER_COUNT, CG_IO = CG_CONTROLLER_COUNT, CG_ALL_COUNT };

/* How a controller is reached on this host. */
enum cg_where { CG_ABSENT, CG_V2, CG_V1 };

struct cg_root; /* the tree */

struct cg_options {
    /*
     * The v2 directory that the tree is made in, relative to the hierarchy's root ("/system.slice/fnd-instances.service"); it is used if it exists, else made. The tree is its child NAME: only what is below
     * NAME is ever killed or swept, whatever else lives beside it. NULL or "auto": this process's own cgroup. A delegated one (xattr trusted.delegate or user.delegate is "1", or the root of a cgroup
     * namespace) that holds nobody else is divided: this process moves to a leaf NAME.daemon, instances go to NAME; otherwise NAME is made below it, or, where it cannot have controllers enabled for
     * children because it holds processes, below the root of the hierarchy. v1 hierarchies get NAME below this process's own v1 group.
     */
    const char *path;
    const char *name; /* "fnd", "fnd-run-7": of [A-Za-z0-9_.-], not beginning with a dot */
};

/*
 * Opens (makes) the tree and enables the controllers for its children. Controllers that are neither v2 nor v1 are CG_ABSENT: the caller decides whether that is an error. Fails with a message that names the
 * mount and the remedy when there is no v2 hierarchy, or it is read-only; with -EBUSY when another process has this tree open (the lock ends with its holder, so a killed one does not count), or when processes in
 * the directory that was asked for keep it from having controllers. After a failure nothing that was made here is left. Waits up to 1 s for the lock.
 */
int cg_root_open(const struct cg_options *o, struct cg_root **ret, struct diag *d);

/* Removes every group below, kills what is left in them (waits up to 2 s in all), then removes the directories that were made here. Can be repeated. */
int cg_root_remove(struct cg_root *r, struct diag *d);
void cg_root_free(struct cg_root *r);

enum cg_where cg_root_where(const struct cg_root *r, enum cg_controller c);
const char *cg_root_path(const struct cg_root *r); /* of the v2 directory, absolute, for people */
int cg_root_dir(const struct cg_root *r);          /* the v2 directory: borrowed */
const char *cg_controller_name(enum cg_controller c);

/* This process's own v2 cgroup: a descriptor of its directory. */
int cg_own_open(struct diag *d);

/*
 * Makes the leaf `leaf` below this process's own v2 cgroup and moves this process into it, so that controllers can be enabled for its siblings (the holder unit's pause process).
 */
int cg_enter_leaf(const char *leaf, struct diag *d);

/* Kills and removes all groups (of a killed daemon), with what was made below them, frozen or not; waits up to 2 s in all. Returns how many there were. */
int cg_root_sweep(struct cg_root *r, struct diag *d);

#define CG_NAME_MAX 63

struct cg_limits { /* 0: not limited */
    uint64_t memory_bytes; /* v2: memory.max, memory.swap.max = 0, memory.oom.group = 1; v1: memory.limit_in_bytes, memsw to the same where it exists, oom_control left on */
    uint64_t memory_high_bytes; /* v2: memory.high; v1 has nothing that does the same (soft_limit_in_bytes is only looked at when the host runs out) */
    uint32_t pids;
    uint32_t cpu_milli;        /* thousandths of a CPU, over periods of 100 ms (v1: cpu.cfs_quota_us) */
    uint32_t cpu_weight_milli; /* the weight beside others, in proportion: 1000 has the kernel's default, 100 (v1: 1024 shares); 0: as cpu_milli */
    uint64_t io_bytes;         /* per second, reading and writing each, on the disk that cg_root_disk() named: io.max */
};

/*
 * io_bytes is for the disk that holds this directory: of a partition the whole one, since only that has a queue. -ENOTSUP with the reason where it cannot be limited (no io controller in v2, a file system without a
 * disk of its own, a kernel without CONFIG_BLK_DEV_THROTTLING): io_bytes is then left out.
 */
int cg_root_disk(struct cg_root *r, int dir_fd, struct diag *d);

/* The limits of all groups together, on the tree itself: memory_bytes and cpu_milli (no weight, no oom.group: a group dies alone, not with all others). What the host lacks is left out. */
int cg_root_limit(struct cg_root *r, const struct cg_limits *l, struct diag *d);

/* Names what of `l` cannot be held on this host ("memory_high (cgroup v1 has no such limit), io (...)"), empty when all can. Returns buf. */
const char *cg_root_lacks(const struct cg_root *r, const struct cg_limits *l, char *buf, size_t size);

struct cg_group {
    struct cg_root *root;
    char name[CG_NAME_MAX + 1];
    int dir_fd;                     /* v2: for CLONE_INTO_CGROUP */
    int v1_fd[CG_CONTROLLER_COUNT]; /* directories, -1 where the controller is not v1 */
    int oom_fd;                     /* v1 memory only: eventfd that becomes readable at an OOM (cgroup-v1/memory.rst section 10); else -1 */
    bool killed;                    /* cgroup.kill was written: never use it again (see DESIGN section 6) */
    struct cg_limits told;          /* private: what cg_group_limit() wrote last */
};

/* name: as in cg_options, not yet used (-EEXIST). */
int cg_group_make(struct cg_root *r, const char *name, struct cg_group *ret, struct diag *d);

/*
 * v1 only (none elsewhere): opens the cgroup.procs of each v1 hierarchy, for a process that moves itself by writing "0" to them, before it runs anything untrusted. The write blocks for 10 ms and more, since the kernel
 * waits for a grace period: not for an event loop. Returns how many (0 on pure v2); the descriptors are the caller's.
 */
int cg_group_attach_open(const struct cg_group *g, int ret_fds[CG_CONTROLLER_COUNT], struct diag *d);

/*
 * Hands the v2 directory over (cgroups(7), delegation): this uid may make groups below it, at most `groups`, and move its processes between them. The limits stay root's. Undone by removing the group. *ret_fd is the
 * directory, the caller's.
 */
int cg_group_delegate(const struct cg_group *g, uint32_t uid, unsigned groups, int *ret_fd, struct diag *d);

/* Writes what differs from what this group was told before. -ENOTSUP naming the controller where memory, pids or cpu is absent and best_effort is false; memory_high and io are left out where they cannot be held. */
int cg_group_limit(struct cg_group *g, const struct cg_limits *l, bool best_effort, struct diag *d);

struct cg_stats {
    uint64_t memory_bytes, memory_max_bytes; /* now; the limit, 0: none */
    uint64_t cpu_ns;                         /* used since the group was made */
    uint64_t throttled_ns;
    uint64_t io_read_bytes, io_write_bytes; /* v2 only */
    uint32_t pids;
    uint32_t throttled; /* periods in which the CPU limit was reached */
    uint32_t oom_kills; /* v1: memory.oom_control's oom_kill */
    uint32_t ooms; /* times its own memory limit left no way out; 0 with oom_kills: a limit above it did. v1: memory.failcnt, which also counts what could still be reclaimed */
    uint32_t memory_high;
    uint32_t pids_refused;
};

/* Missing figures are 0. cg_root_stats: of all groups together. */
int cg_group_stats(const struct cg_group *g, struct cg_stats *ret);
int cg_root_stats(struct cg_root *r, struct cg_stats *ret);

/*
 * One inotify descriptor (non-blocking, the caller's) for the events of many groups. watch: memory.events and pids.events of this group (v2 alone; what v1 holds has to be looked at, but for oom_fd); read: the watch numbers that
 * fired since the last call, at most n of them, 0 when there are no more; a lost event reads as CG_EVENTS_ALL. unwatch before the group is removed: a watch keeps the kernel's structures of the group.
 */
#define CG_EVENTS_WATCHES 2
#define CG_EVENTS_ALL     (-1)
#define CG_EVENTS_NONE    (-2) /* to be skipped */
int cg_events_open(struct diag *d);
void cg_events_watch(int events_fd, const struct cg_group *g, int ret_watches[CG_EVENTS_WATCHES]);
void cg_events_unwatch(int events_fd, int watches[CG_EVENTS_WATCHES]);
int cg_events_read(int events_fd, int *ret_watches, unsigned n);

/* Writes cgroup.kill; on kernels without it (before 5.14) -ENOTSUP. Returns at once; the end shows in the members' pidfds. */
int cg_group_kill(struct cg_group *g);

bool cg_group_populated(const struct cg_group *g);

/* Closes the descriptors and removes the directories, and those made below them: stop watching oom_fd before. -EBUSY while processes are still there: call again later with the same group (descriptors stay open then). */
int cg_group_remove(struct cg_group *g);
