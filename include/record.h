/*
 * record.h: the runner protocol, between fnd (root) and fnd-gateway (no privilege).
 *
 * SEQPACKET socket RUN/gw/runner.sock (unix(7)); one message is one record of a fixed size per type, descriptors go with SCM_RIGHTS. The gateway connects; a newer connection replaces the older one.
 * The runner believes nothing that it receives before it has looked at it: sizes, terminators, names, indexes, enum values (record_check); a gateway that was taken over can do what the API can, no more.
 *
 *   gateway                                  runner
 *   HELLO                                ->
 *                                        <-  WELCOME, SETTINGS, every FILE, FILES, every FUNCTION (POLICY, HTTP), every INSTANCE, SYNCED    (what the gateway knew before and did not hear again is gone)
 *                                        <-  FUNCTION, INSTANCE at every change, for ever
 *   requests with id != 0                ->
 *                                        <-  [TEXT or CONFIG or STATS ...] REPLY with the same id: exactly one REPLY a request
 *   READY, UNHEALTHY, IDLE, LISTENING (no reply)    ->
 *
 * An instance starts: the runner pushes INSTANCE in state STARTING before the process runs; the gateway connects to addr:port until somebody accepts, asks the health path until 2xx, says READY; the runner moves the
 * state to READY and pushes it. It ends: the runner pushes DRAINING; the gateway sends no new request there and says IDLE when the last one is over; the runner ends the process and pushes GONE (the
 * last record of that instance). An instance that died by itself goes to GONE at once, with the reason in `text`.
 */
#pragma once

#include "diag.h"
#include "names.h"
#include "settings.h"
#include "spec.h"

#include <stddef.h>
#include <stdint.h>

#define RECORD_PROTOCOL   1U
#define RECORD_MAX        65536U /* no record is larger */
#define RECORD_REASON_MAX 256

enum record_type {
    RECORD_NONE,
    /* gateway -> runner */
    RECORD_HELLO,
    RECORD_DEPLOY,     /* one descriptor: the archive, a pipe */
    RECORD_DEPLOY_END, /* same id as the DEPLOY: the archive was complete, or was not */
    RECORD_REMOVE,
    RECORD_SCALE,
    RECORD_START,
    RECORD_STOP,
    RECORD_RESTART,
    RECORD_LOG_OPEN, /* REPLY with one descriptor: the ring log, read-only */
    RECORD_PLAN,
    RECORD_CONFIG_GET,
    RECORD_STATS_GET,
    RECORD_READY,
    RECORD_UNHEALTHY,
    RECORD_IDLE,
    RECORD_EXEC,     /* one descriptor: the client's connection, which fnctl and the command then have to themselves (execframe.h) */
    RECORD_DNS_OPEN, /* a name of a function's egress list has these addresses: REPLY when its instances can reach them */
    RECORD_LOGIN,    /* is that the administrator's password? REPLY: 0, EACCES, or EAGAIN: too many ask, later */
    RECORD_PASSWORD, /* this is it from now on */
    RECORD_TOKEN_ADD,
    RECORD_TOKEN_REMOVE,
    RECORD_RELOAD,         /* read the configuration anew: a new snapshot, then TEXT with the names of keys that take a restart (by spaces), then REPLY */
    RECORD_AUDIT,          /* a line of audit.log; no reply */
    RECORD_RUNTIME_PUT,    /* one descriptor: the archive of a tree, a pipe; DEPLOY_END as for DEPLOY */
    RECORD_RUNTIME_REMOVE, /* the name alone: versions keep the image */
    RECORD_IMAGES_GET,     /* every IMAGE, then REPLY */
    RECORD_PRUNE,          /* removes images that nobody uses */
    RECORD_SECRET_SET,
    RECORD_SECRET_REMOVE,
    RECORD_SECRETS_GET, /* TEXT: lines of secret_list() (secret.h), then REPLY. Of one function, or of all where it names none */
    RECORD_LISTENING,   /* behind WELCOME: at which TCP ports the gateway accepts; no reply */
    RECORD_EXPORT, /* one descriptor: a pipe, into which the image's archive is written; REPLY when all of it has been. DEPLOY_END: nobody reads it any more */
    /* runner -> gateway */
    RECORD_WELCOME,
    RECORD_FUNCTION,
    RECORD_INSTANCE,
    RECORD_SYNCED,
    RECORD_REPLY,
    RECORD_TEXT,
    RECORD_CONFIG,
    RECORD_STATS,
    RECORD_HITS,
    RECORD_NETWORK,
    RECORD_HOST,
    RECORD_IMAGE,
    RECORD_POLICY,   /* pushed behind FUNCTION: what the function's instances may look up */
    RECORD_LISTENER, /* pushed, one descriptor: a socket at the address of a bridge; before SYNCED, and when a bridge is made. One that was there and did not come again by SYNCED is gone */
    RECORD_RESOLVERS, /* pushed before SYNCED, and when they change: whom the DNS forwarder asks */
    RECORD_HTTP,      /* pushed behind FUNCTION: its [http] */
    RECORD_SETTINGS,  /* pushed behind WELCOME, and when the configuration was read anew */
    RECORD_FILE, /* pushed, one descriptor: a file or directory of the host that the gateway may read; before SYNCED, and again when the configuration was read anew or the files changed */
    RECORD_FILES, /* pushed behind the last of them: the FILE records since WELCOME or the last FILES are all that there are; what was there before and is not among them is gone */
    RECORD_SOCKMAP,  /* pushed behind WELCOME, one descriptor each: the maps of sockmap.h, to be held */
    RECORD_ACCOUNTS, /* pushed behind WELCOME, and when the password changes: what was learnt of the one before is void */
    RECORD_TOKEN,    /* pushed before SYNCED, and when one is made or removed. One that was there and did not come again by SYNCED is gone */
    RECORD_TYPE_COUNT
};

struct record_head {
    uint32_t type; /* enum record_type */
    uint32_t size; /* of the whole record */
    uint64_t id;   /* of the request; 0 in what is pushed */
};

struct record_hello {
    struct record_head head;
    uint32_t protocol; /* RECORD_PROTOCOL */
    uint32_t pid;
};

struct record_deploy {
    struct record_head head;
    struct fn_id fn; /* name may be empty: function.ini's */
    uint32_t vars_len;
    uint32_t replicas; /* 0: as the scale says (at least one is started to prove the version); else also sets the scale, as SCALE would */
    uint32_t sets_len;
    uint32_t reserved;
    char vars[32768]; /* KEY=VALUE, each NUL-terminated, vars_len bytes in all */
    char sets[8192];  /* SECTION.KEY=VALUE, laid over function.ini; as vars */
};

struct record_deploy_end {
    struct record_head head;
    uint32_t complete; /* 1: the archive's last byte has been written; 0: give it up */
    uint32_t reserved;
};

/* REMOVE, START, STOP, RESTART, PLAN: of a function. LOG_OPEN: of a function, or of one instance. SECRETS_GET. */
struct record_target {
    struct record_head head;
    struct fn_id fn;
    uint32_t erase_volumes; /* REMOVE only: 1 removes the function's volumes too, also those that a function which is gone has left */
    uint32_t reserved;
    char instance[NAME_INSTANCE_MAX + 1]; /* LOG_OPEN only; empty: the newest instance that has a log, living or dead */
};

struct record_export {
    struct record_head head;
    struct fn_id fn;
    uint32_t version; /* 0: the current one */
    uint32_t reserved;
};

#define RECORD_SCALE_AUTO UINT32_MAX
struct record_scale {
    struct record_head head;
    struct fn_id fn;
    uint32_t replicas; /* or RECORD_SCALE_AUTO */
    uint32_t reserved;
};

/* CONFIG_GET, RELOAD, STATS_GET, IMAGES_GET, PRUNE, SYNCED: nothing but the head. */
struct record_empty {
    struct record_head head;
};

/* SECRET_SET; SECRET_REMOVE (len 0). The function need not be there */
#define RECORD_SECRET_MAX 32768
struct record_secret {
    struct record_head head;
    struct fn_id fn;
    char name[NAME_PART_MAX + 1];
    uint32_t len;
    char value[RECORD_SECRET_MAX];
};

/* READY, UNHEALTHY, IDLE */
struct record_report {
    struct record_head head;
    uint64_t instance;            /* record_instance.instance */
    char text[RECORD_REASON_MAX]; /* UNHEALTHY: why ("GET /ping: 500 three times") */
};

struct record_welcome {
    struct record_head head;
    uint32_t protocol;
    uint32_t start_timeout_ms; /* an instance that is not READY by then is UNHEALTHY */
    uint32_t drain_timeout_ms; /* a request that is still running in a DRAINING instance by then is cut */
    uint32_t metrics_public;
    uint64_t max_body_bytes;                                                         /* of a request to a function */
    uint64_t max_archive_bytes;                                                      /* of a deploy */
    uint32_t max_connections, max_connections_per_client, max_requests_per_function; /* 0: no limit but what descriptors allow */
    uint32_t threads; /* of the gateway, as long as it runs; 0: as many as CPUs that it may use */
    char runner_version[32];
};

/* spec_http.h; checked by spec_http_check() */
struct record_http {
    struct record_head head;
    uint64_t function;
    struct spec_http http;
};

/* settings.h */
struct record_settings {
    struct record_head head;
    struct settings settings;
};

enum function_state {
    FUNCTION_GONE, /* removed: the last record of that function */
    FUNCTION_ACTIVE,
    FUNCTION_STOPPED, /* requests are refused until start */
    FUNCTION_STATE_COUNT
};

struct record_function {
    struct record_head head;
    uint64_t function; /* a number that is never used again while the runner lives */
    struct fn_id fn;
    uint32_t state;   /* enum function_state */
    uint32_t version; /* current */
    uint32_t scale;   /* replicas that are held, or RECORD_SCALE_AUTO */
    uint32_t wanted;  /* replicas that the runner is aiming at now */
    uint32_t port, concurrency, queue, health_threshold;
    uint32_t scale_min, scale_max;
    uint32_t cpu_milli, pids;
    uint64_t memory_bytes, tmp_bytes, timeout_ns, health_interval_ns;
    uint64_t queue_timeout_ns, stream_idle_ns; /* as in struct spec */
    uint64_t image_bytes;
    uint64_t deployed_real_ns;
    uint32_t restarts;      /* instances replaced since the version became current */
    uint32_t crash_loop;    /* 1: instances die again and again; the next start waits */
    uint64_t retry_mono_ns; /* when crash_loop: the next start */
    char image[65];
    char application[64];
    char health_path[SPEC_PATH_MAX];
    char last_failure[RECORD_REASON_MAX];             /* how the last instance that failed ended; empty: none did */
    char last_failed_instance[NAME_INSTANCE_MAX + 1]; /* its log is still there */
    char network[RECORD_REASON_MAX];                  /* spec_network_format(), for people; cut with "..." */
};

enum instance_state { INSTANCE_EMPTY, INSTANCE_PLANNED, INSTANCE_STARTING, INSTANCE_READY, INSTANCE_DRAINING, INSTANCE_GONE, INSTANCE_STATE_COUNT };

struct record_instance {
    struct record_head head;
    uint64_t instance; /* a number that is never used again while the runner lives */
    uint64_t function;
    char name[NAME_INSTANCE_MAX + 1];
    uint32_t state; /* enum instance_state */
    uint32_t version;
    uint32_t slot;
    uint32_t addr; /* IPv4, network byte order */
    uint32_t port;
    int32_t pid;                        /* of fn-init, on the host; 0 before it runs */
    uint32_t uid;                       /* outer uid of the function */
    uint64_t started_real_ns, ready_ns; /* ready_ns: how long from STARTING to READY */
    char health_path[SPEC_PATH_MAX];    /* of this instance's version, which may differ from the function's current one */
    char text[RECORD_REASON_MAX];       /* GONE: why */
};

struct record_reply {
    struct record_head head;
    struct diag diag;  /* err 0: done. ENOENT: no such function or instance; EINVAL; EBUSY; ENOSPC; EDQUOT; ETIMEDOUT ... */
    uint64_t function; /* DEPLOY, SCALE ...: which function it was */
    uint32_t version;  /* DEPLOY: the new version */
    uint32_t volumes;  /* REMOVE: how many volumes were removed, or are kept */
    uint64_t image_bytes;
    uint32_t images; /* PRUNE: how many were removed, with image_bytes in all */
    uint32_t reserved;
};

/* RUNTIME_PUT, RUNTIME_REMOVE */
struct record_runtime {
    struct record_head head;
    char name[NAME_PART_MAX + 1];
};

enum record_image_use { RECORD_IMAGE_UNUSED, RECORD_IMAGE_OF_VERSION, RECORD_IMAGE_BELOW_VERSION, RECORD_IMAGE_NAMED, RECORD_IMAGE_USE_COUNT };

/* An answer to IMAGES_GET: one for each use of an image, and one for an image that has none. */
struct record_image {
    struct record_head head;
    uint64_t bytes, entries; /* of the tree; 0: not known */
    uint32_t use;            /* enum record_image_use */
    uint32_t version;        /* of fn */
    struct fn_id fn;
    char runtime[NAME_PART_MAX + 1]; /* NAMED */
    char digest[65];
};

#define RECORD_TEXT_MAX 32768
struct record_text {
    struct record_head head;
    uint32_t len; /* bytes of text; several records follow each other */
    uint32_t reserved;
    char text[RECORD_TEXT_MAX];
};

struct record_config {
    struct record_head head;
    char key[64], value[512], def[256], origin[256];
};

struct record_stats {
    struct record_head head;
    uint64_t instance;
    uint64_t memory_bytes, memory_max_bytes, cpu_ns, throttled_ns;
    uint64_t io_read_bytes, io_write_bytes;
    uint32_t pids, pids_max;
    uint32_t cpu_milli, cpu_max_milli; /* thousandths of a CPU: used on average of the last seconds; the limit */
    uint32_t oom_kills, pids_refused, throttled, memory_high;
};

/* Limits that can be hit, as they are counted. */
enum record_limit { RECORD_LIMIT_MEMORY, RECORD_LIMIT_MEMORY_HIGH, RECORD_LIMIT_CPU, RECORD_LIMIT_PIDS, RECORD_LIMIT_COUNT };

/* Answers to STATS_GET too, one a function: how often its instances hit a limit, living and gone ones, since the runner started. */
struct record_hits {
    struct record_head head;
    uint64_t function;
    uint64_t hits[RECORD_LIMIT_COUNT];
};

/* What the network's rules refuse, as it is counted. */
enum record_drop {
    RECORD_DROP_SPOOFED, /* a MAC or source address that is not the slot's */
    RECORD_DROP_ARP,
    RECORD_DROP_FRAMES, /* VLAN tags, protocols that are not IP */
    RECORD_DROP_TO_HOST,
    RECORD_DROP_EGRESS,
    RECORD_DROP_MESH,
    RECORD_DROP_FROM_OUTSIDE,
    RECORD_DROP_CONNECTIONS,
    RECORD_DROP_COUNT
};

/* An answer to STATS_GET too, one in all: packets since the runner started. */
struct record_network {
    struct record_head head;
    uint64_t dropped[RECORD_DROP_COUNT];
    uint64_t restored; /* times that the host's rules had to be put back */
};

/* An answer to STATS_GET too: all functions together against [host] of the configuration. Where a budget is 0 there is none. */
struct record_host {
    struct record_head head;
    uint64_t memory_bytes, memory_used_bytes, memory_promised_bytes, memory_promised_max_bytes; /* promised: the sum of the instances' limits */
    uint64_t cpu_milli, cpu_promised_milli, cpu_promised_max_milli, cpu_ns;
    uint64_t disk_bytes, disk_used_bytes;
};

struct record_policy {
    struct record_head head;
    uint64_t function;
    uint32_t egress; /* enum spec_egress */
    uint32_t mesh, ipv6;
    uint32_t nhosts;
    char hosts[SPEC_DESTS_MAX][SPEC_HOST_MAX + 2]; /* SPEC_EGRESS_LIST: the names (not the addresses) in it */
};

enum record_listener_kind { RECORD_LISTENER_PUBLIC, RECORD_LISTENER_DNS_UDP, RECORD_LISTENER_DNS_TCP, RECORD_LISTENER_KIND_COUNT };

struct record_listener {
    struct record_head head;
    uint32_t kind; /* enum record_listener_kind */
    uint32_t addr; /* of the bridge: IPv4, network byte order */
    uint32_t port;
    uint32_t index; /* of those at one address, 0 .. threads - 1: SO_REUSEPORT */
};

/* The maps that both ends of short connections are in (sockmap.h). The gateway can do nothing with them but keep them alive while its connections are in them. */
enum record_sockmap_end { RECORD_SOCKMAP_GATEWAY, RECORD_SOCKMAP_INSTANCE, RECORD_SOCKMAP_ENDS };

struct record_sockmap {
    struct record_head head;
    uint32_t end; /* enum record_sockmap_end */
    uint32_t reserved;
};

enum record_file_kind {
    RECORD_FILE_CERTIFICATE, /* PEM, with its chain; belongs to the KEY of the same name */
    RECORD_FILE_KEY,
    RECORD_FILE_ACME,       /* a directory, as a mount of its own (no way leads out of it, read-only): what is below .well-known/acme-challenge/ */
    RECORD_FILE_ACCESS_LOG, /* opened for appending; alone among them it is written */
    RECORD_FILE_COUNT
};

#define RECORD_FILE_NAME_MAX 256
#define RECORD_FILES_MAX     512 /* FILE records between two FILES */
struct record_file {
    struct record_head head;
    uint32_t kind; /* enum record_file_kind */
    uint32_t reserved;
    char name[RECORD_FILE_NAME_MAX]; /* for messages, and what CERTIFICATE and KEY are paired by: "example.org" */
};

struct record_files {
    struct record_head head;
    uint32_t count; /* FILE records that came before it */
    uint32_t reserved;
};

#define RECORD_RESOLVERS_MAX 8
struct record_resolver {
    uint32_t family; /* AF_INET: the first four bytes of addr; AF_INET6 */
    uint32_t port;
    uint32_t scope; /* AF_INET6, link-local: the interface's index; else 0 */
    uint8_t addr[16];
};

struct record_resolvers {
    struct record_head head;
    uint32_t count; /* 0: nobody to ask */
    uint32_t reserved;
    struct record_resolver resolvers[RECORD_RESOLVERS_MAX]; /* in the order in which they are asked */
};

#define RECORD_EXEC_ARGS_MAX 8192 /* what a request target can hold */
struct record_exec {
    struct record_head head;
    struct fn_id fn;
    char instance[NAME_INSTANCE_MAX + 1];
    char term[64];     /* TERM of the client; may be empty */
    uint32_t tty;      /* 0, 1 */
    uint32_t uid;      /* the client's, for the log */
    uint32_t argc;     /* strings in args */
    uint32_t args_len; /* bytes of args */
    char args[RECORD_EXEC_ARGS_MAX];
};

#define RECORD_PORTS_MAX 16
struct record_listening {
    struct record_head head;
    uint32_t count;
    uint32_t reserved;
    uint16_t ports[RECORD_PORTS_MAX]; /* each once; 0 is none */
};

#define RECORD_DNS_ADDRS_MAX 16
struct record_dns_open {
    struct record_head head;
    uint64_t function;
    char host[SPEC_HOST_MAX + 2]; /* as in the function's list */
    uint32_t ttl_s;
    uint32_t naddrs, naddrs6, reserved;
    uint32_t addrs[RECORD_DNS_ADDRS_MAX]; /* network byte order */
    uint8_t addrs6[RECORD_DNS_ADDRS_MAX][16];
};

/* ---- who may (runner/accounts.h) ---- */

#define PASSWORD_MAX     255
#define TOKEN_HASH_BYTES 32
#define TOKENS_MAX       1000U

/* What a token opens: calls of the API and every private function; every private function; one of them. */
enum token_scope { TOKEN_ADMIN, TOKEN_INVOKE, TOKEN_FUNCTION, TOKEN_SCOPE_COUNT };
extern const char *const token_scope_names[TOKEN_SCOPE_COUNT]; /* "admin" ... */

/* LOGIN, PASSWORD */
struct record_login {
    struct record_head head;
    char password[PASSWORD_MAX + 1];
};

struct record_accounts {
    struct record_head head;
    uint64_t generation; /* another one for each password */
};

/* TOKEN_ADD, TOKEN_REMOVE (the name alone), TOKEN */
struct record_token {
    struct record_head head;
    char name[NAME_PART_MAX + 1];   /* unique */
    uint32_t scope;                 /* enum token_scope */
    struct fn_id fn;                /* TOKEN_FUNCTION only; else empty */
    uint32_t gone;                  /* 1: TOKEN of one that was removed */
    uint64_t made_real_s;           /* filled in by the runner */
    uint64_t expires_real_s;        /* 0: never */
    uint8_t hash[TOKEN_HASH_BYTES]; /* SHA-256 of the token as it is written; the token itself is known to its owner alone */
};

struct record_audit {
    struct record_head head;
    char who[96];  /* "admin", "token:ci", "uid:1000" */
    char from[64]; /* the client's address, or "unix" */
    char what[32]; /* the verb */
    char target[NAME_FUNCTION_MAX + 1];
    uint32_t status;
    uint32_t reserved;
};

const char *record_name(uint32_t type);
const char *instance_state_name(uint32_t state);
const char *function_state_name(uint32_t state);
const char *drop_name(uint32_t drop);   /* "spoofed" ... */
const char *limit_name(uint32_t limit); /* "memory" ... */

/* The size that a record of this type has; 0 for an unknown type. */
size_t record_size(uint32_t type);

/*
 * Is what came (size bytes, aligned for its type) one record of a known type with the right size, every text field terminated, every enum and every length within its bounds? Both sides call it on everything.
 * from_gateway: only the gateway's types are allowed. -EPROTO.
 */
int record_check(const void *record, size_t size, int from_gateway, struct diag *d);

#define RECORD_INIT(T, ID)                                                                                                                                     \
    {                                                                                                                                                          \
        .type = (T), .size = (uint32_t)record_size(T), .id = (ID)                                                                                              \
    }
