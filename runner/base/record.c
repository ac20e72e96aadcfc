/* record.c: sizes, text fields and enums of each record stand in one table; record_check() interprets it. */
#include "record.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define FIELDS_MAX 5

struct record_field {
    uint16_t offset, size;
};

struct record_rule {
    const char *name;
    size_t size;
    uint32_t from_gateway;
    struct record_field texts[FIELDS_MAX]; /* must be terminated */
    struct record_field below;             /* a uint32_t that must be below `limit` */
    uint32_t limit;
};

#define TEXT(type, field)                                                                                                                                      \
    {                                                                                                                                                          \
        offsetof(struct type, field), sizeof(((struct type *)0)->field)                                                                                        \
    }
#define U32(type, field)                                                                                                                                       \
    {                                                                                                                                                          \
        offsetof(struct type, field), sizeof(uint32_t)                                                                                                         \
    }
#define FN_ID(type) TEXT(type, fn.env), TEXT(type, fn.name)

static const struct record_rule rules[RECORD_TYPE_COUNT] = {
    [RECORD_HELLO] = {"hello", sizeof(struct record_hello), 1, {{0, 0}}, {0, 0}, 0},
    [RECORD_DEPLOY] = {"deploy", sizeof(struct record_deploy), 1, {FN_ID(record_deploy)}, U32(record_deploy, vars_len), 32769},
    [RECORD_DEPLOY_END] = {"deploy-end", sizeof(struct record_deploy_end), 1, {{0, 0}}, U32(record_deploy_end, complete), 2},
    [RECORD_REMOVE] = {"remove", sizeof(struct record_target), 1, {FN_ID(record_target), TEXT(record_target, instance)}, U32(record_target, erase_volumes), 2},
    [RECORD_SCALE] = {"scale", sizeof(struct record_scale), 1, {FN_ID(record_scale)}, {0, 0}, 0},
    [RECORD_START] = {"start", sizeof(struct record_target), 1, {FN_ID(record_target), TEXT(record_target, instance)}, U32(record_target, erase_volumes), 2},
    [RECORD_STOP] = {"stop", sizeof(struct record_target), 1, {FN_ID(record_target), TEXT(record_target, instance)}, U32(record_target, erase_volumes), 2},
    [RECORD_RESTART] = {"restart", sizeof(struct record_target), 1, {FN_ID(record_target), TEXT(record_target, instance)}, U32(record_target, erase_volumes), 2},
    [RECORD_LOG_OPEN] = {"log-open", sizeof(struct record_target), 1, {FN_ID(record_target), TEXT(record_target, instance)}, U32(record_target, erase_volumes), 2},
    [RECORD_PLAN] = {"plan", sizeof(struct record_target), 1, {FN_ID(record_target), TEXT(record_target, instance)}, U32(record_target, erase_volumes), 2},
    [RECORD_CONFIG_GET] = {"config-get", sizeof(struct record_empty), 1, {{0, 0}}, {0, 0}, 0},
    [RECORD_RELOAD] = {"reload", sizeof(struct record_empty), 1, {{0, 0}}, {0, 0}, 0},
    [RECORD_STATS_GET] = {"stats-get", sizeof(struct record_empty), 1, {{0, 0}}, {0, 0}, 0},
    [RECORD_READY] = {"ready", sizeof(struct record_report), 1, {TEXT(record_report, text)}, {0, 0}, 0},
    [RECORD_UNHEALTHY] = {"unhealthy", sizeof(struct record_report), 1, {TEXT(record_report, text)}, {0, 0}, 0},
    [RECORD_IDLE] = {"idle", sizeof(struct record_report), 1, {TEXT(record_report, text)}, {0, 0}, 0},
    [RECORD_EXEC] = {"exec",
                     sizeof(struct record_exec),
                     1,
                     {FN_ID(record_exec), TEXT(record_exec, instance), TEXT(record_exec, term)},
                     U32(record_exec, args_len),
                     RECORD_EXEC_ARGS_MAX + 1},
    [RECORD_DNS_OPEN] = {"dns-open", sizeof(struct record_dns_open), 1, {TEXT(record_dns_open, host)}, U32(record_dns_open, naddrs), RECORD_DNS_ADDRS_MAX + 1},
    [RECORD_LOGIN] = {"login", sizeof(struct record_login), 1, {TEXT(record_login, password)}, {0, 0}, 0},
    [RECORD_PASSWORD] = {"password", sizeof(struct record_login), 1, {TEXT(record_login, password)}, {0, 0}, 0},
    [RECORD_TOKEN_ADD] = {"token-add", sizeof(struct record_token), 1, {TEXT(record_token, name), FN_ID(record_token)}, U32(record_token, scope), TOKEN_SCOPE_COUNT},
    [RECORD_TOKEN_REMOVE] =
        {"token-remove", sizeof(struct record_token), 1, {TEXT(record_token, name), FN_ID(record_token)}, U32(record_token, scope), TOKEN_SCOPE_COUNT},
    [RECORD_AUDIT] = {"audit",
                      sizeof(struct record_audit),
                      1,
                      {TEXT(record_audit, who), TEXT(record_audit, from), TEXT(record_audit, what), TEXT(record_audit, target)},
                      U32(record_audit, status),
                      1000},
    [RECORD_RUNTIME_PUT] = {"runtime-put", sizeof(struct record_runtime), 1, {TEXT(record_runtime, name)}, {0, 0}, 0},
    [RECORD_RUNTIME_REMOVE] = {"runtime-remove", sizeof(struct record_runtime), 1, {TEXT(record_runtime, name)}, {0, 0}, 0},
    [RECORD_IMAGES_GET] = {"images-get", sizeof(struct record_empty), 1, {{0, 0}}, {0, 0}, 0},
    [RECORD_PRUNE] = {"prune", sizeof(struct record_empty), 1, {{0, 0}}, {0, 0}, 0},
    [RECORD_SECRET_SET] =
        {"secret-set", sizeof(struct record_secret), 1, {FN_ID(record_secret), TEXT(record_secret, name)}, U32(record_secret, len), RECORD_SECRET_MAX + 1},
    [RECORD_SECRET_REMOVE] = {"secret-remove", sizeof(struct record_secret), 1, {FN_ID(record_secret), TEXT(record_secret, name)}, U32(record_secret, len), 1},
    [RECORD_SECRETS_GET] =
        {"secrets-get", sizeof(struct record_target), 1, {FN_ID(record_target), TEXT(record_target, instance)}, U32(record_target, erase_volumes), 1},
    [RECORD_LISTENING] = {"listening", sizeof(struct record_listening), 1, {{0, 0}}, U32(record_listening, count), RECORD_PORTS_MAX + 1},
    [RECORD_EXPORT] = {"export", sizeof(struct record_export), 1, {FN_ID(record_export)}, {0, 0}, 0},
    [RECORD_WELCOME] = {"welcome", sizeof(struct record_welcome), 0, {TEXT(record_welcome, runner_version)}, {0, 0}, 0},
    [RECORD_FUNCTION] = {"function",
                         sizeof(struct record_function),
                         0,
                         {FN_ID(record_function), TEXT(record_function, health_path), TEXT(record_function, last_failure),
                          TEXT(record_function, last_failed_instance)},
                         U32(record_function, state),
                         FUNCTION_STATE_COUNT},
    [RECORD_INSTANCE] = {"instance",
                         sizeof(struct record_instance),
                         0,
                         {TEXT(record_instance, name), TEXT(record_instance, health_path), TEXT(record_instance, text)},
                         U32(record_instance, state),
                         INSTANCE_STATE_COUNT},
    [RECORD_SYNCED] = {"synced", sizeof(struct record_empty), 0, {{0, 0}}, {0, 0}, 0},
    [RECORD_REPLY] = {"reply", sizeof(struct record_reply), 0, {TEXT(record_reply, diag.text)}, {0, 0}, 0},
    [RECORD_TEXT] = {"text", sizeof(struct record_text), 0, {{0, 0}}, U32(record_text, len), RECORD_TEXT_MAX + 1},
    [RECORD_CONFIG] = {"config",
                       sizeof(struct record_config),
                       0,
                       {TEXT(record_config, key), TEXT(record_config, value), TEXT(record_config, def), TEXT(record_config, origin)},
                       {0, 0},
                       0},
    [RECORD_STATS] = {"stats", sizeof(struct record_stats), 0, {{0, 0}}, {0, 0}, 0},
    [RECORD_HOST] = {"host", sizeof(struct record_host), 0, {{0, 0}}, {0, 0}, 0},
    [RECORD_IMAGE] = {"image",
                      sizeof(struct record_image),
                      0,
                      {FN_ID(record_image), TEXT(record_image, runtime), TEXT(record_image, digest)},
                      U32(record_image, use),
                      RECORD_IMAGE_USE_COUNT},
    [RECORD_HITS] = {"hits", sizeof(struct record_hits), 0, {{0, 0}}, {0, 0}, 0},
    [RECORD_NETWORK] = {"network", sizeof(struct record_network), 0, {{0, 0}}, {0, 0}, 0},
    [RECORD_POLICY] = {"policy", sizeof(struct record_policy), 0, {{0, 0}}, U32(record_policy, nhosts), SPEC_DESTS_MAX + 1},
    [RECORD_LISTENER] = {"listener", sizeof(struct record_listener), 0, {{0, 0}}, U32(record_listener, kind), RECORD_LISTENER_KIND_COUNT},
    [RECORD_SOCKMAP] = {"sockmap", sizeof(struct record_sockmap), 0, {{0, 0}}, U32(record_sockmap, end), RECORD_SOCKMAP_ENDS},
    [RECORD_RESOLVERS] = {"resolvers", sizeof(struct record_resolvers), 0, {{0, 0}}, U32(record_resolvers, count), RECORD_RESOLVERS_MAX + 1},
    [RECORD_HTTP] = {"http", sizeof(struct record_http), 0, {{0, 0}}, {0, 0}, 0},
    [RECORD_SETTINGS] = {"settings",
                         sizeof(struct record_settings),
                         0,
                         {TEXT(record_settings, settings.public_url)},
                         U32(record_settings, settings.trusted_proxies.count),
                         IP_NETS_MAX + 1},
    [RECORD_FILE] = {"file", sizeof(struct record_file), 0, {TEXT(record_file, name)}, U32(record_file, kind), RECORD_FILE_COUNT},
    [RECORD_FILES] = {"files", sizeof(struct record_files), 0, {{0, 0}}, U32(record_files, count), RECORD_FILES_MAX + 1},
    [RECORD_ACCOUNTS] = {"accounts", sizeof(struct record_accounts), 0, {{0, 0}}, {0, 0}, 0},
    [RECORD_TOKEN] = {"token", sizeof(struct record_token), 0, {TEXT(record_token, name), FN_ID(record_token)}, U32(record_token, scope), TOKEN_SCOPE_COUNT},
};

/* What few records have besides. */
struct record_extra {
    struct record_field below; /* a second number */
    uint32_t limit;
    struct record_field texts; /* the first of `ntexts` in a row */
    uint32_t ntexts;
};

static const struct record_extra extras[RECORD_TYPE_COUNT] = {
    [RECORD_TOKEN_ADD] = {U32(record_token, gone), 2, {0, 0}, 0},
    [RECORD_TOKEN_REMOVE] = {U32(record_token, gone), 2, {0, 0}, 0},
    [RECORD_TOKEN] = {U32(record_token, gone), 2, {0, 0}, 0},
    [RECORD_FUNCTION] = {{0, 0}, 0, TEXT(record_function, network), 1},
    [RECORD_DNS_OPEN] = {U32(record_dns_open, naddrs6), RECORD_DNS_ADDRS_MAX + 1, {0, 0}, 0},
    [RECORD_POLICY] = {U32(record_policy, egress), SPEC_EGRESS_COUNT, TEXT(record_policy, hosts[0]), SPEC_DESTS_MAX},
};

static_assert(sizeof(struct record_deploy) <= RECORD_MAX, "a record fits into the receive buffer");
static_assert(sizeof(struct record_secret) <= RECORD_MAX, "a record fits into the receive buffer");
static_assert(sizeof(struct record_text) <= RECORD_MAX, "a record fits into the receive buffer");

static const char *const instance_states[] = {
    [INSTANCE_EMPTY] = "empty", [INSTANCE_PLANNED] = "planned",   [INSTANCE_STARTING] = "starting",
    [INSTANCE_READY] = "ready", [INSTANCE_DRAINING] = "draining", [INSTANCE_GONE] = "gone",
};
static_assert(sizeof(instance_states) / sizeof(instance_states[0]) == INSTANCE_STATE_COUNT, "every state has a name");

static const char *const function_states[] = {[FUNCTION_GONE] = "gone", [FUNCTION_ACTIVE] = "active", [FUNCTION_STOPPED] = "stopped"};
static_assert(sizeof(function_states) / sizeof(function_states[0]) == FUNCTION_STATE_COUNT, "every state has a name");

static const char *const limit_names[] = {
    [RECORD_LIMIT_MEMORY] = "memory", [RECORD_LIMIT_MEMORY_HIGH] = "memory_high", [RECORD_LIMIT_CPU] = "cpu", [RECORD_LIMIT_PIDS] = "pids"};
static_assert(sizeof(limit_names) / sizeof(limit_names[0]) == RECORD_LIMIT_COUNT, "every limit has a name");

const char *const token_scope_names[TOKEN_SCOPE_COUNT] = {[TOKEN_ADMIN] = "admin", [TOKEN_INVOKE] = "invoke", [TOKEN_FUNCTION] = "function"};

static const char *const drops[] = {
    [RECORD_DROP_SPOOFED] = "spoofed",
    [RECORD_DROP_ARP] = "arp",
    [RECORD_DROP_FRAMES] = "frames",
    [RECORD_DROP_TO_HOST] = "to_host",
    [RECORD_DROP_EGRESS] = "egress",
    [RECORD_DROP_MESH] = "mesh",
    [RECORD_DROP_FROM_OUTSIDE] = "from_outside",
    [RECORD_DROP_CONNECTIONS] = "connections",
};
static_assert(sizeof(drops) / sizeof(drops[0]) == RECORD_DROP_COUNT, "every reason has a name");

const char *drop_name(uint32_t drop)
{
    return drop < RECORD_DROP_COUNT ? drops[drop] : "unknown";
}

const char *limit_name(uint32_t limit)
{
    return limit < RECORD_LIMIT_COUNT ? limit_names[limit] : "unknown";
}

const char *record_name(uint32_t type)
{
    return type < RECORD_TYPE_COUNT && rules[type].name ? rules[type].name : "unknown";
}

const char *instance_state_name(uint32_t state)
{
    return state < INSTANCE_STATE_COUNT ? instance_states[state] : "unknown";
}

const char *function_state_name(uint32_t state)
{
    return state < FUNCTION_STATE_COUNT ? function_states[state] : "unknown";
}

size_t record_size(uint32_t type)
{
    return type < RECORD_TYPE_COUNT ? rules[type].size : 0;
}

static int check_texts(const char *name, const struct record_field *texts, size_t n, const char *at, struct diag *d)
{
    for (size_t i = 0; i < n && texts[i].size; i++)
        if (strnlen(at + texts[i].offset, texts[i].size) == texts[i].size)
            return diag_set(d, EPROTO, "record %s: a text is not terminated", name);
    return 0;
}

static int check_below(const char *name, const struct record_field *field, uint32_t limit, const char *at, struct diag *d)
{
    uint32_t v;

    if (!field->size)
        return 0;
    memcpy(&v, at + field->offset, sizeof(v));
    return v < limit ? 0 : diag_set(d, EPROTO, "record %s: %u is not below %u", name, v, limit);
}

static int check_fields(const struct record_rule *rule, const struct record_extra *extra, const char *at, struct diag *d)
{
    int r = check_texts(rule->name, rule->texts, FIELDS_MAX, at, d);

    if (r == 0)
        r = check_below(rule->name, &rule->below, rule->limit, at, d);
    if (r == 0)
        r = check_below(rule->name, &extra->below, extra->limit, at, d);
    for (uint32_t i = 0; i < extra->ntexts && r == 0; i++)
        r = check_texts(rule->name, &extra->texts, 1, at + (size_t)i * extra->texts.size, d);
    return r;
}

int record_check(const void *record, size_t size, int from_gateway, struct diag *d)
{
    const struct record_head *head = record;
    const struct record_rule *rule;

    if (size < sizeof(*head))
        return diag_set(d, EPROTO, "record of %zu bytes", size);
    rule = head->type < RECORD_TYPE_COUNT ? &rules[head->type] : &rules[RECORD_NONE];
    if (!rule->name || !!from_gateway != !!rule->from_gateway)
        return diag_set(d, EPROTO, "record of type %u is not allowed here", head->type);
    if (head->size != size || rule->size != size)
        return diag_set(d, EPROTO, "record %s: %zu bytes, expected %zu", rule->name, size, rule->size);
    return check_fields(rule, &extras[head->type], record, d);
}
