/*
 * manager.h: what the files of runner/instance share.
 *
 *   slot_policy.c   for which policies there are slots; policy_names.c: what is opened for them by name
 *   slots.c     EMPTY -> PARKING -> READY -> TAKEN -> ENDING -> EMPTY: a slot and everything the kernel holds for it
 *   instance.c  PLANNED -> STARTING -> READY -> DRAINING -> GONE: one instance in one slot
 *   function.c  what a function wants, and the one place that starts and drains towards it
 *   execs.c     commands beside a running function (fnctl exec)
 *   deploy.c    archive -> version -> first READY instance -> current
 *   unpacking.c its first part: the archive in the jail
 *   images.c    archive -> image with a name; images and who uses them
 *   exports.c   a version -> an image's archive
 *   budget.c    what all functions together may take
 *   hits.c      limits that were hit: counted, and noted in the instance's log
 *   manager.c   the tables, requests, start and end of it all
 */
#pragma once

#include "cgroup.h"
#include "config.h"
#include "instance.h"
#include "loop.h"
#include "netns.h"
#include "record.h"
#include "sandbox.h"
#include "store.h"
#include "unpacker.h"
#include "volume.h"

struct deploy;
struct exec;
struct export;
struct function;
struct instance;
struct policy;
struct runtime_put;
struct slot;

/* ---- slot_policy.c ---- */

enum slot_state { SLOT_EMPTY, SLOT_PARKING, SLOT_READY, SLOT_TAKEN, SLOT_ENDING, SLOT_STATE_COUNT };

/* A pause that grows with each failure. */
struct backoff {
    uint64_t delay_ns, until_ns;
};

/* An address of a name of a policy's list, opened for a while. */
struct policy_name {
    struct net_dest dest;
    uint64_t until_ns;
};

/* What the slots of some functions' instances may reach. */
struct policy {
    struct manager *manager; /* NULL once that is gone */
    struct policy *next;
    unsigned users, slots; /* versions (and who is at work on it); slots that are not EMPTY */
    uint64_t function;     /* whose it is alone; 0: of all that say the same words */
    struct net_policy net;
    struct spec_dest *dests;
    struct spec_service *services;
    uint32_t ndests, nservices;
    struct policy_name *names;
    unsigned nnames;
    unsigned counts[SLOT_STATE_COUNT];
    struct backoff backoff;
    unsigned waiting, demand; /* of policy_next(): instances that wait for a slot; that its functions want */
    struct instance *first;   /* of those that wait, the one that has waited longest */
};

struct policy *policy_get(struct manager *m, uint64_t function, const struct spec *s); /* for a version of that function; NULL: no memory */
void policy_put(struct policy *p);
void policies_done(struct manager *m);
/* The policy that a slot is to be made for; NULL: none now, and *ret_wake_ns is when to ask again. */
struct policy *policy_next(struct manager *m, bool spares, uint64_t now_ns, uint64_t *ret_wake_ns);
bool policy_make_room(struct manager *m, const struct policy *wanted); /* all slots are in use: ends a READY one of another policy; false: there is none to end */
void policy_end_orphans(struct manager *m);                            /* slots that no function can use any more */
void slot_set_policy(struct slot *s, struct policy *p);
void backoff_failed(struct backoff *b, uint64_t now_ns);

/* ---- policy_names.c ---- */

int policy_open_slot(struct slot *s, struct diag *d); /* a new slot: services, addresses of the list, and what its names are known to have */
int policy_on_dns_open(struct manager *m, const struct record_dns_open *rec, struct diag *d);
void policy_push(const struct function *f); /* RECORD_POLICY: behind FUNCTION, and when versions come and go */

/* ---- slots.c ---- */

/* What the kernel holds for a slot: the undo mask. slot_undo() walks it in reverse and can be repeated. */
enum slot_holds { SLOT_HAS_GROUP = 1, SLOT_HAS_CHILD = 2, SLOT_HAS_USERNS = 4, SLOT_HAS_NET = 8 };

struct slot {
    struct manager *manager;
    unsigned number;
    enum slot_state state;
    struct policy *policy; /* unless EMPTY */
    unsigned holds;
    struct cg_group group;
    struct sandbox_child child;
    struct net_slot_names net;
    int userns_fd, idmap_fd;
    struct watch channel_watch, pid_watch, oom_watch;
    bool oom; /* v1: the group has reached its memory limit */
    int event_watches[CG_EVENTS_WATCHES];
    struct timer undo_timer;
    uint64_t undo_delay_ns;
    struct instance *instance; /* while TAKEN */
    struct slot *next;
};

struct slots {
    struct slot *all; /* every structure, by number ascending; EMPTY ones are used again */
    struct policy *policies;
    struct policy *usual; /* of a function that says nothing; always there */
    unsigned counts[SLOT_STATE_COUNT];
    struct timer fill_timer;
    uint64_t pause_until_ns; /* somebody is starting: no spares before */
    struct backoff backoff;  /* after a slot could not be made, whatever its policy */
};

int slots_init(struct manager *m);
void slots_fill(struct manager *m);                                 /* makes slots until enough are ready or on their way */
void slots_fill_soon(struct manager *m);                            /* in a turn of its own */
struct slot *slots_take(struct manager *m, const struct policy *p); /* a READY one of this policy, now TAKEN; NULL */
void slot_end(struct slot *s);                                      /* kills what is left in it and gives everything back, in the background */
void slots_end_idle(struct manager *m);
bool slots_empty(const struct manager *m);
void slots_done(struct manager *m);
uint32_t slot_uid_base(const struct slot *s);
bool slot_had_oom(struct slot *s); /* did it hit its memory limit, as far as an event has told? Asks for one that is still on its way */

/* ---- hits.c ---- */

struct hits {
    struct cg_stats seen;                                              /* as counted */
    uint64_t pending[RECORD_LIMIT_COUNT], line_ns[RECORD_LIMIT_COUNT]; /* not noted in the log yet; when the last line was */
    uint64_t cpu_mark_ns, cpu_mark_at_ns;                              /* for cpu_milli */
    uint32_t cpu_milli;
};

struct hit_events { /* of the manager */
    int fd;         /* inotify, -1: somebody has to look */
    struct watch watch;
    struct timer pause, tick;
    uint64_t cursor; /* the instance that was looked at last */
};

void hits_init(struct manager *m);
void hits_done(struct manager *m);
void hits_watch(struct slot *s); /* of a slot with a group */
void hits_unwatch(struct slot *s);
void hits_begin(struct instance *i, int log_fd, const struct cg_limits *l); /* notes what is not held, and how the one before ended */
void hits_end(struct instance *i, bool was_oom);                            /* the last look */
int hits_look(struct instance *i, struct cg_stats *ret);                    /* counts what is new; the figures of now */
void hits_send(struct manager *m, uint64_t client, uint64_t id);            /* RECORD_HITS of every function */
void hits_soon(struct manager *m);                                          /* the next round comes at once */
bool hits_of_host(const struct instance *i);                                /* was it killed for memory that others took? */

/* ---- budget.c ---- */

struct budget {
    uint64_t memory_bytes, cpu_milli, disk_bytes; /* 0: none */
    uint64_t disk_used, disk_at_ns;               /* as store_usage() said last, and when; 0 never */
};

int budget_open(struct manager *m, struct diag *d);
/* -ENOSPC with what, how much is taken, and the remedy: one more instance; so many in all; so much more on disk (and, with 0, whether there is any room left). */
int budget_start(const struct function *f, const struct spec *spec, struct diag *d);
int budget_scale(const struct function *f, const struct spec *spec, uint32_t replicas, struct diag *d);
int budget_disk(struct manager *m, uint64_t more_bytes, struct diag *d);
uint64_t budget_image_max(const struct manager *m);                /* bytes that an image that is being unpacked may have; after budget_disk() */
void budget_explain(const struct manager *m, struct diag *d);      /* an image was too large: because of the budget? */
void budget_send(struct manager *m, uint64_t client, uint64_t id); /* RECORD_HOST */

/* ---- instance.c ---- */

/* A version in use: held by its function while current, and by its instances. */
struct version {
    unsigned refs;
    struct policy *policy;
    struct store_version v;
};

/* Opens version `number` of the function; *ret is the caller's (version_put). */
int version_open(struct function *f, uint32_t number, struct version **ret, struct diag *d);
struct version *version_get(struct version *v);
void version_put(struct version *v);

enum stop_phase { STOP_NONE, STOP_DRAIN, STOP_TERM, STOP_KILL };

struct instance {
    struct manager *manager;
    struct function *function;
    struct version *version;
    struct deploy *deploy; /* the deploy that waits for this first instance of its version, or NULL */
    struct slot *slot;
    struct instance *next;
    uint64_t number;
    char name[NAME_INSTANCE_MAX + 1];
    enum instance_state state;
    enum stop_phase stop;
    bool outdated; /* to be replaced: restart, or an older version */
    bool failed;   /* it ended in another way than by our wish */
    uint64_t started_real_ns, started_ns, ready_at_ns, ready_took_ns;
    struct timer timer;
    struct hits hits;
    char reason[RECORD_REASON_MAX];
};

struct instance *instance_new(struct function *f, struct version *v, struct deploy *deploy);
void instance_on_slot(struct instance *i, struct slot *s);            /* a slot is there: start */
void instance_start_failed(struct instance *i, const struct diag *d); /* by the slot or the sandbox, before it ran */
void instance_on_running(struct instance *i);                         /* fn-init has been executed */
void instance_on_exit(struct instance *i, int status, int code);      /* of fn-init, as waitid(2) says */
void instance_on_ready(struct instance *i);
void instance_on_idle(struct instance *i);
void instance_fail(struct instance *i, const char *why);                                   /* kill and replace */
void instance_stop(struct instance *i, bool gently);                                       /* by our wish */
bool instance_live(const struct instance *i);                                              /* PLANNED, STARTING or READY, and not ending */
int instance_plan_input(const struct instance *i, struct plan_input *ret, struct diag *d); /* of its slot */
void instance_record(const struct instance *i, struct record_instance *ret);

/* ---- function.c ---- */

struct function {
    struct manager *manager;
    struct function *next;
    uint64_t number;
    struct fn_id id;
    struct version *version; /* current; NULL while its first deploy is under way, or when it could not be opened */
    uint32_t scale;          /* or STORE_SCALE_AUTO */
    bool stopped, removing, removed;
    bool one_by_one; /* restart: replace one after the other */
    bool prune_due;  /* a version that is one too many still has instances */
    struct instance *instances;
    struct deploy *deploy; /* at most one at a time */
    struct timer retry_timer;
    uint64_t backoff_ns, next_start_ns;
    unsigned failures; /* in a row */
    uint32_t restarts;
    char last_failure[RECORD_REASON_MAX];
    char last_failed_instance[NAME_INSTANCE_MAX + 1];
    uint64_t remove_client, remove_id; /* the request that waits for the end */
    bool erase_volumes;                /* it wants them to go too */
    uint64_t hits[RECORD_LIMIT_COUNT];
};

struct function *function_new(struct manager *m, const struct fn_id *id);
void function_free(struct function *f);
uint32_t function_wanted(const struct function *f);
void function_reconcile(struct function *f);                        /* starts and drains towards what is wanted; call after any change */
void function_failed(struct function *f, const struct instance *i); /* counts a failure and sets the delay of the next start */
void function_proved(struct function *f);                           /* an instance has been READY for long enough: forget the failures */
void function_push(const struct function *f);
void function_prune(struct function *f); /* versions beyond `keep` go; those that still have instances later */
void function_log_name(const struct function *f, char buf[NAME_FUNCTION_MAX + 1]);

/* ---- unpacking.c ---- */

/* One archive on its way through the jail. Zeroed but for the first four fields; lives as long as its owner. */
struct unpacking {
    struct manager *manager;
    int staging_fd; /* the owner's */
    void (*on_end)(void *owner, struct diag *d);
    void *owner;
    struct unpack_result result; /* once it ended well: of the survey */
    struct spec *spec;           /* the same; take it, or unpacking_stop() frees it */
    char notes[UNPACK_NOTES_MAX];
    struct unpack_group *group;
    struct unpacker unpacker;
    bool open;
    struct watch socket_watch;
    struct timer timer;
    uint64_t begun_ns, moved_ns, cpu_ns;
};

struct unpacking_of {
    enum unpack_kind kind;
    const struct fn_id *fn;             /* UNPACK_FUNCTION; NULL with a runtime */
    const struct record_deploy *deploy; /* the same */
};

/*
 * on_end is called with err 0 when the tree is there, surveyed and flushed, or with why it is not; and, until unpacking_stop(), once more should the owner still wait when the time is over (for the word that the
 * archive was complete).
 */
int unpacking_start(struct unpacking *u, const struct unpacking_of *of, int archive_fd, struct diag *d);

struct unpacking_export {
    const struct store_version *version;
    const struct fn_id *fn;
    int pipe_fd; /* borrowed */
};
/* The other way: on_end comes when all of the archive has been written. staging_fd is the version's tree. */
int unpacking_export(struct unpacking *u, const struct unpacking_export *of, struct diag *d);

void unpacking_stop(struct unpacking *u); /* ends what runs and gives everything back; can be repeated, also where nothing was started */
void unpacking_groups_done(struct manager *m);

/* ---- claims.c ---- */

/* May f have what spec's [http] claims? -EEXIST: another function has it, or is about to have it. */
int claims_check(const struct function *f, const struct spec *spec, struct diag *d);

/* ---- deploy.c ---- */

void deploy_begin(struct manager *m, uint64_t client, const struct record_deploy *rec, int archive_fd);
void deploy_end(struct manager *m, uint64_t client, const struct record_deploy_end *rec);
void deploy_on_ready(struct deploy *d);
void deploy_on_failed(struct deploy *d, const struct instance *i);
void deploy_client_gone(struct manager *m, uint64_t client);
void deploy_abort_all(struct manager *m);
const struct version *deploy_version(const struct deploy *d); /* that it proves; NULL before */

/* ---- images.c ---- */

void images_put(struct manager *m, uint64_t client, const struct record_runtime *rec,
                int archive_fd); /* replies when the name leads to the image; takes the descriptor */
void images_put_end(struct manager *m, uint64_t client, const struct record_deploy_end *rec);
void images_client_gone(struct manager *m, uint64_t client);
void images_abort_all(struct manager *m);
int images_remove_name(struct manager *m, const struct record_runtime *rec, struct diag *d);
int images_send(struct manager *m, uint64_t client, uint64_t id, struct diag *d);
int images_prune(struct manager *m, uint64_t client, uint64_t id, struct diag *d); /* 1: has replied */

/* ---- exports.c ---- */

int exports_begin(struct manager *m, struct function *f, uint64_t client, const struct record_export *rec, int pipe_fd,
                  struct diag *d); /* 1: the reply comes later. The pipe is the caller's, and may be closed at once */
void exports_end(struct manager *m, uint64_t client, const struct record_deploy_end *rec);
void exports_client_gone(struct manager *m, uint64_t client);
void exports_abort_all(struct manager *m);

/* ---- execs.c ---- */

/* 1: the reply comes later. The socket is the caller's, and may be closed at once. */
int execs_start(struct manager *m, struct function *f, uint64_t client, const struct record_exec *rec, int socket_fd, struct diag *d);
void execs_done(struct manager *m);

/* ---- permits.c ---- */

/* Does the configuration permit what the spec asks for? -EPERM with the remedy. */
int permits_check(const struct config *c, const struct spec *spec, struct diag *d);
/* What its devices are on this host now. */
int permits_devices(const struct spec *spec, dev_t numbers[SPEC_DEVICES_MAX], struct diag *d);

/* ---- manager.c ---- */

struct manager {
    struct manager_parts p;
    struct slots slots;
    struct function *functions;
    struct deploy *deploys;
    struct runtime_put *runtime_puts;
    struct export *exports;
    struct unpack_group *unpack_groups;
    struct exec *execs;
    uint64_t next_number, next_unpack;
    struct hit_events hit_events;
    struct budget budget;
    bool stopping, stopped, hurry;
    char scratch[CONFIG_PATH_MAX]; /* RUN/root */
    int instances_fd;              /* RUN/instances */
};

struct function *manager_function(struct manager *m, const struct fn_id *id);
void manager_push(struct manager *m, const struct record_head *rec);
void manager_reply(struct manager *m, uint64_t client, uint64_t id, const struct function *f, const struct diag *d);
void manager_check_stopped(struct manager *m);
int manager_check_scale(const struct manager *m, const char *name, uint32_t replicas, struct diag *d);
