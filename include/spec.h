/*
 * spec.h: what a function is, as plain data.
 *
 * fnd-unpack makes it from function.ini and the command line, in its jail; the runner believes it only after spec_check(), writes it into the version's directory as the file `spec` and makes plans from it.
 * The record is a fixed head and one arena of NUL-terminated strings: argv, then the environment as KEY=VALUE. It is used on the machine that wrote it: native byte order, the format number says the rest.
 */
#pragma once

#include "spec_http.h"

#include <stddef.h>
#include <stdint.h>

#define SPEC_MAGIC         0x63707366U /* "fspc" */
#define SPEC_FORMAT        4U
#define SPEC_PATH_MAX      256
#define SPEC_APP           "/app"               /* with a runtime: where the package is, and the working directory */
#define SPEC_CODE          "/code"              /* leads there too */
#define SPEC_STARTER       "/usr/lib/fnd/start" /* of a runtime: serves the handler that is its argument */
#define SPEC_WATCHDOG      "/usr/lib/fnd/stdio" /* in an exported image: fn-init, as the server of a function of mode stdio */
#define SPEC_STRINGS_MAX   (128U * 1024)        /* argv and environment together: Linux's limit for one string, MAX_ARG_STRLEN of execve(2) */
#define SPEC_AS_CONFIGURED UINT64_MAX           /* of a time: what the configuration says for all functions */
#define SPEC_ARGS_MAX      256
#define SPEC_ENV_MAX       1024

#define SPEC_VOLUMES_MAX  8
#define SPEC_DEVICES_MAX  8
#define SPEC_SECRETS_MAX  16
#define SPEC_SERVICES_MAX 16
#define SPEC_DESTS_MAX    32
#define SPEC_HOST_MAX     254 /* RFC 1035: 253 characters */

struct diag;
struct strbuf;

enum spec_mode {
    SPEC_MODE_HTTP,  /* a server on the port */
    SPEC_MODE_STDIO, /* one process per request: fn-init is the server (fninit.h), set by variables (watchdog.h) */
    SPEC_MODE_COUNT
};

#define SPEC_STDIO_HEALTH "/_/health" /* of stdio, unless something else is said */

/* Where new connections may go. In all of them: answers, the gateway's public listener, and (but for NO) the DNS forwarder; in none: the host, other functions, link-local and metadata addresses. */
enum spec_egress {
    SPEC_EGRESS_NO,
    SPEC_EGRESS_INTERNET, /* public addresses */
    SPEC_EGRESS_LAN,      /* those, and private ones */
    SPEC_EGRESS_LIST,     /* `dests` alone */
    SPEC_EGRESS_COUNT
};

struct spec_dest {            /* of SPEC_EGRESS_LIST; TCP and UDP */
    char host[SPEC_HOST_MAX]; /* a DNS name in lower case without a dot at its end, or an address as inet_pton(3) reads it */
    uint16_t port;            /* 1..65535 */
};

struct spec_service { /* opened beside the egress, and in /etc/hosts by its name */
    char name[64];    /* a host name's label */
    uint32_t addr;    /* IPv4, network byte order */
    uint32_t port;
};

struct spec_volume {
    char name[64];            /* names.h */
    char path[SPEC_PATH_MAX]; /* where it is mounted: absolute, below / */
    uint64_t bytes;
};

struct spec_device {
    char path[64]; /* below /dev on the host, and at the same place inside */
};

struct spec {
    uint32_t magic, format;
    uint32_t strings_len; /* bytes used in strings[]; the record is sizeof(struct spec) + strings_len bytes long */
    uint32_t argc, envc;

    char name[64];                   /* names.h; empty: function.ini named none */
    char application[64];            /* a label, may be empty */
    char cwd[SPEC_PATH_MAX];         /* absolute */
    char health_path[SPEC_PATH_MAX]; /* absolute path; empty: a connection that is accepted is enough */
    char runtime[64];                /* names.h: the package lies over the image of this name; empty: it is the whole root */
    char handler[SPEC_PATH_MAX];     /* what the runtime's starter serves; empty: argv says how to start. Only with a runtime */

    uint32_t mode;     /* enum spec_mode */
    uint32_t uid, gid; /* inner ids of the function, 2..65533 */
    uint32_t port;     /* 1..65535 */
    uint32_t writable; /* 0, 1 */
    uint32_t keep;     /* versions kept, 1..1000 */

    uint64_t memory_bytes;
    uint32_t cpu_milli; /* thousandths of a CPU */
    uint32_t pids;
    uint64_t tmp_bytes;
    uint64_t timeout_ns;       /* until the response's head */
    uint32_t concurrency;      /* requests at once per instance, 0: no limit */
    uint32_t queue;            /* requests that may wait */
    uint64_t queue_timeout_ns; /* how long; 0: as an instance may take to start, at most timeout_ns */
    uint64_t stream_idle_ns;   /* a response or an upgraded connection on which nothing moves; 0: for ever; SPEC_AS_CONFIGURED */

    uint32_t scale_min, scale_max;
    uint64_t health_interval_ns;
    uint32_t health_threshold;

    uint32_t egress; /* enum spec_egress */
    uint32_t mesh;   /* 0, 1: direct connections from and to other functions that say so */
    uint32_t ipv6;   /* 0, 1 */
    uint32_t ndests, nservices, nvolumes, ndevices;
    uint32_t nsecrets, reserved;
    uint64_t allow;             /* bits of sandbox_allow_words (allow.h) */
    uint64_t memory_high_bytes; /* throttled from here on; 0: not before the limit */
    uint64_t io_bytes;          /* per second, reading and writing each; 0: no limit */
    struct spec_dest dests[SPEC_DESTS_MAX];
    struct spec_service services[SPEC_SERVICES_MAX];
    struct spec_volume volumes[SPEC_VOLUMES_MAX];
    struct spec_device devices[SPEC_DEVICES_MAX];
    char secrets[SPEC_SECRETS_MAX][64]; /* names.h; secret.h */
    struct spec_http http;

    char strings[]; /* argc strings, then envc strings */
};

/* Sets every field to its default; strings_len 0. */
void spec_init(struct spec *s);

/*
 * Is the record of `size` bytes whole, of this format, and every number, count, name and string in it within its bounds? The one gate through which a record from the jail or from disk enters the
 * runner. -EPROTO for a broken record, -ENOTSUP for a newer format, -EINVAL for a value out of its bounds.
 */
int spec_check(const struct spec *s, size_t size, struct diag *d);

/* The part of it about limits that depend on each other. */
int spec_check_limits(const struct spec *s, struct diag *d);

/* What a host of a destination is; SPEC_HOST_BAD: neither a name in the form of struct spec_dest, nor an address in its usual form. */
enum spec_host { SPEC_HOST_BAD, SPEC_HOST_NAME, SPEC_HOST_IPV4, SPEC_HOST_IPV6 };
enum spec_host spec_host_kind(const char *host);

/*
 * May a function be let to this address (network byte order) because somebody named it? NULL: yes; else why not. Refused are what is this host's or no single host's (loopback, unspecified, link-local,
 * multicast, broadcast, reserved, mapped) and the known addresses of cloud metadata. The runner's own subnet is the caller's to refuse.
 */
const char *spec_addr4_refused(uint32_t addr);
const char *spec_addr6_refused(const uint8_t addr[16]);

/* The part of spec_check() that looks at [network]; its messages are for the author of a function.ini. */
int spec_network_check(const struct spec *s, struct diag *d);

/* For people, on one line: "internet; services db=192.0.2.7:5432; mesh". */
void spec_network_format(const struct spec *s, struct strbuf *out);

static inline size_t spec_size(const struct spec *s)
{
    return sizeof(*s) + s->strings_len;
}

/* Fills argv[0..argc] or envp[0..envc] with pointers into the (checked) record, NULL last. The arrays have SPEC_ARGS_MAX + 1 and SPEC_ENV_MAX + 1 places. */
void spec_argv(const struct spec *s, const char **argv);
void spec_envp(const struct spec *s, const char **envp);

/* Reads and checks dirfd/name. *ret is the caller's (free). */
int spec_read(int dirfd, const char *name, struct spec **ret, struct diag *d);
