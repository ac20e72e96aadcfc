/* sockmaps.h: the short way between gateway and instances: a BPF sockmap. See sockmaps.c. */
#pragma once

struct cg_root;
struct diag;
struct sockmaps;

/*
 * Loads the programs, attaches them to this process's cgroup (the gateway's, which is its child) and to the one of the instances, and tries them with real connections. Needs CAP_SYS_ADMIN and bpf(2), so: before
 * privileges_deny(). -errno when this kernel or this host cannot, with the reason: then nothing is left, and everything goes by TCP.
 */
int sockmaps_open(const struct cg_root *cgroups, struct sockmaps **ret, struct diag *d);

/* Nothing is attached any more. Connections that are in the maps stay there as long as the gateway holds what sockmaps_map() says. */
void sockmaps_free(struct sockmaps *s);

/* What a gateway that has come gets: the map of enum record_sockmap_end. Borrowed; -1: there is none. */
int sockmaps_map(const struct sockmaps *s, unsigned end);

/* ---- between the files ---- */

enum sockmap_map { SOCKMAP_GATEWAY, SOCKMAP_INSTANCE, SOCKMAP_STATE, SOCKMAP_MAPS };
enum sockmap_program { SOCKMAP_ENTER_GATEWAY, SOCKMAP_ENTER_INSTANCE, SOCKMAP_FROM_GATEWAY, SOCKMAP_FROM_INSTANCE, SOCKMAP_PROGRAMS };

/* sockmaps_code.c: a descriptor. maps: the descriptors of enum sockmap_map. */
int sockmaps_load(enum sockmap_program p, const int *maps, unsigned long long netns_cookie, struct diag *d);
int sockmaps_make(enum sockmap_map m, struct diag *d);

/* sockmaps_trial.c: real connections to a server in the cgroup `group` (a directory). */
int sockmaps_trial(int group, int state_map, struct diag *d);

struct sockmap_key {
    unsigned gateway_addr, instance_addr; /* network byte order */
    unsigned gateway_port, instance_port; /* host byte order */
};

/* Of a connection. */
struct sockmap_state {
    unsigned plain; /* requests go by TCP, for good */
    unsigned cost;  /* of all requests so far, see SOCKMAP_LIFETIME */
    unsigned bytes; /* of this answer */
    unsigned count; /* messages of this answer; SOCKMAP_MESSAGES: what follows goes by TCP */
};
#define SOCKMAP_MESSAGES 8U

int sockmaps_bpf(int cmd, void *attr, unsigned size);
