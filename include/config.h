/*
 * config.h: the daemon's configuration: one table of keys, which parses, checks, and prints itself.
 *
 * /etc/fnd/fnd.ini (inih): [section] key = value. Unknown and duplicate keys, and what inih would cut or misread, are refused with the line. `--set section.key=value` on fnd's command line wins over the file.
 */
#pragma once

#include "settings.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diag;

#define CONFIG_PATH_MAX 256

struct config {
    /* [runner] */
    char state[CONFIG_PATH_MAX];  /* /var/lib/fnd */
    char run[CONFIG_PATH_MAX];    /* /run/fnd */
    char images[CONFIG_PATH_MAX]; /* empty: STATE/images */
    char cgroup[CONFIG_PATH_MAX]; /* auto, or a path in the v2 hierarchy */
    char name[32];                /* names cgroups and messages: "fnd" */
    bool best_effort;             /* limits = strict | best-effort */
    uint32_t may_lack;            /* bits of enum sandbox_lack (sandbox.h) */
    uint32_t uid_base;            /* first outer id; the image range is the 65536 ids below it */
    uint32_t slot_base;           /* added to a slot's number for its ids, so that several daemons can share a host */
    uint32_t slots_ready;         /* parked ahead */
    uint32_t slots_max;
    uint64_t start_timeout_ns, drain_timeout_ns, stop_timeout_ns, unpack_timeout_ns, unpack_stall_ns;
    uint64_t max_image_bytes;
    uint64_t allow;    /* bits of allow.h that a function.ini may ask for */
    char devices[512]; /* and devices, a list of device.h */
    bool ephemeral;    /* fnctl run: state and run directories are removed at the end */
    /* [gateway] */
    char listen[64];                  /* 0.0.0.0:8888; "none" */
    char tls_listen[64];              /* 0.0.0.0:8443; "none" */
    char admin[64];                   /* 127.0.0.1:8889; "none" */
    char tls_dir[CONFIG_PATH_MAX];    /* certdir.h */
    char access_log[CONFIG_PATH_MAX]; /* empty: none */
    char acme_dir[CONFIG_PATH_MAX];   /* empty: STATE/acme */
    char user[64];                    /* fnd; where there is no such user, the id below the image range */
    bool sockmap;                     /* auto | no: small messages of functions from socket to socket (sockmaps.h) */
    bool spawn;                       /* start and watch fnd-gateway (no: systemd does) */
    uint32_t threads;                 /* of the gateway; 0: auto */
    uint64_t max_body_bytes, max_archive_bytes;
    bool metrics_public;
    struct settings gateway;                                                         /* what the gateway is told as it is */
    uint32_t max_connections, max_connections_per_client, max_requests_per_function; /* 0: none */
    /* [host]: of all functions together; sizes and CPUs, or CONFIG_PERCENT with a percentage of what the host has; 0: none */
    uint64_t host_memory, host_disk, host_cpu; /* bytes, bytes, thousandths of a CPU */
    uint32_t memory_overcommit, cpu_overcommit;
    /* [network] */
    char bridge[8], port[8];
    struct in_addr subnet;
    uint32_t prefix_len;
    uint32_t gateway_port; /* at the bridges: http://gateway:8888/fn/NAME/ */
    char dns[256];         /* auto, none, or the addresses of resolvers (resolver.h) */
};

#define CONFIG_PERCENT     (1ULL << 63)
#define CONFIG_THREADS_MAX 64U

/* How many threads the gateway is to have, and listeners at each address: as configured, or as many as CPUs that we may use, which are the gateway's as well where we start it. */
uint32_t config_threads(const struct config *c);

/* The value of a [host] key on a host that has `total`. */
uint64_t config_share(uint64_t value, uint64_t total);

struct config_row {
    char key[64], value[512], def[256], origin[256]; /* origin: "default", "FILE:LINE", "command line" */
};

struct config_source; /* where each key's value came from */

/*
 * Defaults, then `file` (NULL: none; a missing one is an error), then nsets assignments "section.key=value". -EINVAL with "FILE:LINE: ..." or "--set ...". Changes *ret only on success.
 */
int config_load(const char *file, const char *const *sets, unsigned nsets, struct config *ret, struct config_source **ret_source, struct diag *d);
bool config_has_dns(const struct config *c); /* do functions look up names at all? */
/*
 * Reads everything anew, as config_load() did, and takes over what can change while the daemon runs: *c and *source. Keys that changed and cannot are left as they are, and named in ret_restart by spaces, as far as they fit.
 * Returns how many keys were taken over; -EINVAL as config_load(), or where the two together make no sense: nothing has changed then.
 */
int config_reload(const char *file, const char *const *sets, unsigned nsets, struct config *c, struct config_source *source, char *ret_restart, size_t size,
                  struct diag *d);
void config_source_free(struct config_source *s);

/* Row i of the table; false behind its end. */
bool config_row(const struct config *c, const struct config_source *s, unsigned i, struct config_row *ret);
