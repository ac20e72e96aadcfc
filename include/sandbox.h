/*
 * sandbox.h: from a plan to a process.
 *
 * Two steps, so that nothing slow is left for the start of an instance (DESIGN section 6):
 *
 *   park    a child is cloned into its (limited) cgroup with new mount, pid, uts, ipc and time namespaces; it closes every descriptor but its own, detaches itself from the host's mounts, prepares what does not depend
 *           on the function (/dev, /proc), makes its network namespace (owned by the initial user namespace), and waits. It runs the runner's code as host root and has executed nothing.
 *   start   it gets a plan and descriptors, obeys it step by step (mounts, pivot_root, host name, groups, cgroup namespace, user namespace last, ids, capabilities, no_new_privs, seccomp), and executes fn-init.
 *
 * A failure comes back as one record: the step, the errno, the path. Success is the end of the channel (close-on-exec).
 * This room knows nothing of HTTP, of stores or of cgroup files.
 */
#pragma once

#include "diag.h"
#include "names.h"
#include "spec.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct strbuf;

#define SANDBOX_IDS     65536U /* ids of an instance, and of the image range */
#define SANDBOX_INIT_ID 1U     /* inner uid and gid of fn-init */

/* What sandboxes may be made without, where the administrator says so and the kernel has none. */
enum sandbox_lack { SANDBOX_LACKS_TIMENS = 1 };

/* Tries everything that sandboxes are made of. *ret_lacks: what is missing and may be (bits of enum sandbox_lack); -errno names the first mechanism that is missing and may not, with the remedy. */
int sandbox_probe(uint32_t may_lack, uint32_t *ret_lacks, struct diag *d);

/* What is made once for all sandboxes: the compiled seccomp programs and fn-init in a sealed memfd. */
struct sandbox_kit;
int sandbox_kit_new(const char *fn_init_path, uint32_t lacks, struct sandbox_kit **ret, struct diag *d);
void sandbox_kit_free(struct sandbox_kit *k);
int sandbox_kit_init(const struct sandbox_kit *k); /* fn-init's memfd, borrowed */

/* The program for a set of bits of allow.h, for struct plan_input: compiled (some milliseconds) when a set is first asked for, then kept. NULL for the empty set: every child has that one. */
struct sandbox_filter;
int sandbox_kit_filter(struct sandbox_kit *k, uint64_t allow, const struct sandbox_filter **ret, struct diag *d);

/* A user namespace that maps inner..inner+SANDBOX_IDS to outer..., for uids and gids alike; returns its fd. Nothing lives in it. */
int sandbox_userns_new(uint32_t inner, uint32_t outer, struct diag *d);

/* The image's tree as a detached mount: read-only, nosuid, nodev, idmapped by idmap_fd (on disk image_base.., seen as the slot's range). Returns the mount's fd. */
int sandbox_image_mount(int image_dir_fd, int idmap_fd, struct diag *d);

/* A volume's tree the same way, but writable. */
int sandbox_volume_mount(int volume_dir_fd, int idmap_fd, struct diag *d);

/* ---- park ---- */

enum sandbox_stage { SANDBOX_DEAD, SANDBOX_PARKING, SANDBOX_PARKED, SANDBOX_STARTING, SANDBOX_RUNNING };

struct sandbox_child {
    pid_t pid;
    int pid_fd;
    int channel_fd; /* SEQPACKET, non-blocking: watch it for reading */
    int netns_fd;   /* from SANDBOX_PARKED on: its network namespace, for net_slot_make(); the caller closes it when it likes */
    enum sandbox_stage stage;
};

struct sandbox_park {
    int cgroup_fd; /* v2 directory: the child is born in it */
    const int *attach_fds; /* cgroup.procs files of v1 hierarchies; the child writes "0" to each before anything else. It costs a grace period each, which the runner need not wait for */
    unsigned nattach;
    const char *scratch_dir; /* an existing empty directory to mount on (RUN/root) */
};

/* Returns as soon as the child is cloned; the descriptors may then be closed. */
int sandbox_park(const struct sandbox_kit *k, const struct sandbox_park *where, struct sandbox_child *ret, struct diag *d);

/*
 * Call when channel_fd is readable: moves `stage` on. PARKING -> PARKED when the child has prepared itself; STARTING -> RUNNING when it has executed fn-init. Returns 0, or -errno with the failing step in d
 * (stage is then SANDBOX_DEAD; the child exits by itself). -EAGAIN: nothing there yet.
 */
int sandbox_on_channel(struct sandbox_child *c, struct diag *d);

/* Closes what the structure holds; does not kill. */
void sandbox_child_close(struct sandbox_child *c);

/* ---- plan ---- */

/* A file that the function alone can read, in /run/secrets. */
struct plan_secret {
    const char *name, *value;
    uint32_t len; /* of the value, which may hold any byte */
};

struct plan; /* steps and strings in one flat block without pointers */

/* What the filter for it has to allow: the words of the spec, and what fn-init of its mode needs: for sandbox_kit_filter(). */
uint64_t plan_allow(const struct spec *s);

struct plan_input {
    const struct spec *spec; /* checked */
    const struct fn_id *id;
    const char *instance; /* host name */
    unsigned version;
    struct in_addr addr, gateway_addr;
    struct in6_addr addr6;               /* where the spec says ipv6 */
    bool dns;                            /* the forwarder answers at gateway_addr */
    uint32_t uid_base;                   /* outer id of inner 0 */
    const char *timezone;                /* value of TZ, or NULL */
    const struct plan_secret *secrets;   /* as many as the spec names; NULL: the plan is for reading only, and has empty ones */
    const dev_t *devices;                /* numbers of the spec's devices on this host (device.h) */
    const struct sandbox_filter *filter; /* for plan_allow(); NULL: that of functions that loosen nothing, whatever spec->allow says */
};

/* Pure: computes everything that the sandbox will be. *ret is the caller's (plan_free). -E2BIG when argv and environment do not fit. */
int plan_make(const struct plan_input *in, struct plan **ret, struct diag *d);
void plan_free(struct plan *p);

/* For people and for golden files: one line a step, then ids, environment, capabilities, system calls. */
void plan_format(const struct plan *p, struct strbuf *out);

/* ---- start ---- */

struct sandbox_start {
    const struct plan *plan;
    int image_mount_fd;    /* sandbox_image_mount() */
    int runtime_mount_fd;  /* the same of the runtime's image, where the plan's spec names a runtime */
    int userns_fd;         /* inner 0.. -> uid_base.. */
    int log_fd;            /* ring log, for fn-init */
    const int *volume_fds; /* sandbox_volume_mount(), as many as the plan's spec has volumes, in its order */
    int group_fd;          /* mode stdio: the instance's cgroup directory, handed over to inner id SANDBOX_INIT_ID; else not looked at */
};

/* Sends the plan; PARKED -> STARTING. The descriptors stay the caller's and may be closed at once. Does not wait. */
int sandbox_start(struct sandbox_child *c, const struct sandbox_start *s, struct diag *d);

/* ---- join: one more process in a sandbox that runs, for `fnctl exec` ---- */

struct plan_command {
    const char *const *argv; /* argc strings */
    uint32_t argc;           /* 1..SPEC_ARGS_MAX */
    bool tty;
    const char *term; /* TERM for the command, or NULL */
};

/* Pure, as plan_make(). `in` is what the instance was planned with; addresses and names in it do not matter here. */
int plan_join(const struct plan_input *in, const struct plan_command *cmd, struct plan **ret, struct diag *d);

/* A terminal of its own (a private devpts instance that ends with it), its slave owned by the outer ids. */
int sandbox_terminal(uint32_t uid, uint32_t gid, int *ret_master_fd, int *ret_slave_fd, struct diag *d);

struct sandbox_join {
    const struct plan *plan;       /* plan_join() */
    const struct sandbox_park *at; /* the cgroup, as for sandbox_park(); no scratch_dir */
    int pid_fd;                    /* of the sandbox's fn-init */
    int userns_fd, socket_fd;      /* socket_fd: the connection to fnctl (execframe.h) */
    int master_fd, slave_fd;       /* -1: no terminal */
};

/*
 * Returns as soon as the first child is cloned; the descriptors may then be closed and the plan freed. It joins, gives birth to the process that stays (then SANDBOX_PARKED, and *ret_born in
 * sandbox_join_on_channel() is its pid), and ends; SANDBOX_RUNNING: that one has executed fn-init as a relay. -EAGAIN is a failure like any other when the
 * stage is then SANDBOX_DEAD. Both are the caller's children in one process group, whose number is ret->pid: reap all of it (P_PGID), since the pid namespace cannot end before.
 */
int sandbox_join(const struct sandbox_kit *k, const struct sandbox_join *j, struct sandbox_child *ret, struct diag *d);
int sandbox_join_on_channel(struct sandbox_child *c, pid_t *ret_born, struct diag *d);
