/*
 * function_ini.c: function.ini into the fields of a spec, by one table of keys.
 *
 * A key whose feature this version does not have is in the table too, and is refused by name: a setting that was ignored would be a function that runs without its protection, or not as its author believes.
 */
#include "function_format.h"
#include "unpack_internal.h"

#include "clock.h"
#include "diag.h"
#include "inifile.h"
#include "names.h"
#include "str.h"
#include "version.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define MIB (1ULL << 20)

enum key_kind {
    KEY_NAME, /* names.h */
    KEY_TEXT, /* printable, fits into its field */
    KEY_COMMAND,
    KEY_FILE,   /* a path in the package */
    KEY_HEALTH, /* an absolute path, or "none" */
    KEY_UINT,
    KEY_SIZE,
    KEY_CPU,
    KEY_DURATION,
    KEY_BOOL,
    KEY_CALL, /* `take` reads the value */
    KEY_ONLY, /* `now` is what this version does, `later` (NULL: everything else) needs a later one */
};

/* Fields of f->spec from a value that is more than one number or text; the caller puts "[section] key: " before the diag. */
typedef int key_take(struct function_ini *f, const char *value, struct diag *d);

struct key {
    const char *section, *name;
    enum key_kind kind;
    size_t offset, size; /* in struct function_ini */
    uint64_t min, max;   /* those of spec_check() */
    const char *now, *later;
    key_take *take;
    function_format *format; /* its way back */
};

#define FIELD(f) offsetof(struct function_ini, f), sizeof(((struct function_ini *)0)->f)
#define NUMBER(section, name, kind, field, min, max)                                                                                                           \
    {                                                                                                                                                          \
        section, name, kind, FIELD(spec.field), min, max, NULL, NULL, NULL, NULL                                                                               \
    }
#define TEXT(section, name, kind, field)                                                                                                                       \
    {                                                                                                                                                          \
        section, name, kind, FIELD(field), 0, 0, NULL, NULL, NULL, NULL                                                                                        \
    }
#define ONLY(section, name, now, later)                                                                                                                        \
    {                                                                                                                                                          \
        section, name, KEY_ONLY, 0, 0, 0, 0, now, later, NULL, NULL                                                                                            \
    }
#define CALL(section, name, fn, way_back)                                                                                                                      \
    {                                                                                                                                                          \
        section, name, KEY_CALL, 0, 0, 0, 0, NULL, NULL, fn, way_back                                                                                          \
    }
#define LATER(section, name) ONLY(section, name, NULL, NULL)

static const struct key keys[] = {
    TEXT("function", "name", KEY_NAME, spec.name),
    TEXT("function", "runtime", KEY_NAME, spec.runtime),
    TEXT("function", "handler", KEY_TEXT, spec.handler),
    TEXT("function", "command", KEY_COMMAND, command),
    CALL("function", "mode", stdio_keys_mode, function_format_mode),
    NUMBER("function", "port", KEY_UINT, port, 1, 65535),
    TEXT("function", "user", KEY_TEXT, user),
    TEXT("function", "application", KEY_TEXT, spec.application),
    CALL("function", "access", http_keys_access, function_format_access),
    NUMBER("function", "writable", KEY_BOOL, writable, 0, 1),
    TEXT("function", "env_file", KEY_FILE, env_file),
    NUMBER("function", "keep", KEY_UINT, keep, 1, 1000),
    NUMBER("limits", "memory", KEY_SIZE, memory_bytes, 4 * MIB, 1ULL << 46),
    NUMBER("limits", "memory_high", KEY_SIZE, memory_high_bytes, 0, 1ULL << 46),
    NUMBER("limits", "cpu", KEY_CPU, cpu_milli, 10, 1024000),
    NUMBER("limits", "pids", KEY_UINT, pids, 4, 4194304),
    NUMBER("limits", "tmp", KEY_SIZE, tmp_bytes, 64 * 1024, 1ULL << 46),
    NUMBER("limits", "io", KEY_SIZE, io_bytes, 0, 1ULL << 46),
    NUMBER("limits", "timeout", KEY_DURATION, timeout_ns, NS_PER_MS, 24 * 3600 * NS_PER_SEC),
    NUMBER("limits", "concurrency", KEY_UINT, concurrency, 0, 100000),
    NUMBER("limits", "queue", KEY_UINT, queue, 0, 1000000),
    NUMBER("limits", "queue_timeout", KEY_DURATION, queue_timeout_ns, 0, 24 * 3600 * NS_PER_SEC),
    NUMBER("limits", "stream_idle", KEY_DURATION, stream_idle_ns, 0, 24 * 3600 * NS_PER_SEC),
    NUMBER("limits", "body", KEY_SIZE, http.max_body_bytes, 1, 1ULL << 50),
    NUMBER("scale", "min", KEY_UINT, scale_min, 0, 10000),
    NUMBER("scale", "max", KEY_UINT, scale_max, 1, 10000),
    LATER("scale", "target"),
    LATER("scale", "idle"),
    TEXT("health", "path", KEY_HEALTH, spec.health_path),
    NUMBER("health", "interval", KEY_DURATION, health_interval_ns, 10 * NS_PER_MS, 24 * 3600 * NS_PER_SEC),
    NUMBER("health", "threshold", KEY_UINT, health_threshold, 1, 1000),
    CALL("network", "egress", network_keys_egress, function_format_egress),
    CALL("network", "services", network_keys_services, function_format_services),
    NUMBER("network", "mesh", KEY_BOOL, mesh, 0, 1),
    NUMBER("network", "ipv6", KEY_BOOL, ipv6, 0, 1),
    CALL("http", "hosts", http_keys_hosts, function_format_hosts),
    CALL("http", "paths", http_keys_paths, function_format_paths),
    CALL("http", "cors", http_keys_cors, function_format_cors),
    CALL("http", "cors_methods", http_keys_cors_methods, function_format_cors_methods),
    CALL("http", "cors_headers", http_keys_cors_headers, function_format_cors_headers),
    NUMBER("http", "cors_credentials", KEY_BOOL, http.cors_credentials, 0, 1),
    CALL("http", "rate", http_keys_rate, function_format_rate),
    CALL("http", "rate_client", http_keys_rate_client, function_format_rate_client),
    CALL("secrets", "names", secret_keys_names, function_format_secrets),
    CALL("sandbox", "allow", sandbox_keys_allow, function_format_allow),
    CALL("sandbox", "devices", sandbox_keys_devices, function_format_devices),
};

/* Sections whose keys the user names. */
static const char *const later_sections[] = {"cron"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int refuse_later(const char *section, const char *key, const char *value, struct diag *d)
{
    if (value)
        return diag_set(d, ENOTSUP, "[%s] %s = %.80s needs a later version of fnd (this is %s): leave it out", section, key, value, FND_VERSION);
    return diag_set(d, ENOTSUP, "[%s] %s needs a later version of fnd (this is %s): leave it out", section, key, FND_VERSION);
}

/* "no" stands for all its spellings. */
static bool same_value(const char *a, const char *b)
{
    bool x, y;

    if (strcasecmp(a, b) == 0)
        return true;
    return str_parse_bool(a, &x) == 0 && str_parse_bool(b, &y) == 0 && x == y;
}

static int take_only(const struct key *k, const char *value, struct diag *d)
{
    if (k->now && same_value(value, k->now))
        return 0;
    if (!k->now)
        return refuse_later(k->section, k->name, NULL, d);
    if (!k->later || same_value(value, k->later))
        return refuse_later(k->section, k->name, value, d);
    return diag_set(d, EINVAL, "[%s] %s: \"%.80s\" is not known: say %s", k->section, k->name, value, k->now);
}

static int parse_bool_number(const char *value, uint64_t *ret)
{
    bool b;
    int r = str_parse_bool(value, &b);

    if (r == 0)
        *ret = b;
    return r;
}

static int take_number(const struct key *k, const char *value, void *field, struct diag *d)
{
    static const char *const forms[] = {
        [KEY_UINT] = "a whole number",
        [KEY_SIZE] = "a size (128M, 1G)",
        [KEY_CPU] = "a number of CPUs (0.5, 2, 500m)",
        [KEY_DURATION] = "a duration (500ms, 60s, 5m, 1h)",
        [KEY_BOOL] = "yes or no",
    };
    uint64_t v = 0;
    uint32_t v32;
    int r;

    switch (k->kind) {
    case KEY_SIZE:
        r = str_parse_size(value, &v);
        break;
    case KEY_CPU:
        r = str_parse_cpu(value, &v);
        break;
    case KEY_DURATION:
        r = str_parse_duration(value, &v);
        break;
    case KEY_BOOL:
        r = parse_bool_number(value, &v);
        break;
    default:
        r = str_parse_uint(value, UINT64_MAX, &v);
    }
    if (r == -EINVAL)
        return diag_set(d, EINVAL, "[%s] %s: \"%.80s\" is not %s", k->section, k->name, value, forms[k->kind]);
    if (r < 0 || v < k->min || v > k->max)
        return diag_set(d, EINVAL, "[%s] %s: %.80s is %s", k->section, k->name, value, r == 0 && v < k->min ? "too small" : "too large");
    v32 = (uint32_t)v;
    memcpy(field, k->size == sizeof(v) ? (const void *)&v : (const void *)&v32, k->size);
    return 0;
}

static bool printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

/* Relative to the package's root, and not above it. */
static bool package_path_ok(const char *path)
{
    if (!*path || *path == '/')
        return false;
    for (const char *p = path; *p;) {
        size_t len = strcspn(p, "/");

        if (len == 2 && p[0] == '.' && p[1] == '.')
            return false;
        p += len + (p[len] == '/');
    }
    return true;
}

static bool url_path_ok(const char *path)
{
    if (*path != '/')
        return false;
    for (; *path; path++)
        if ((unsigned char)*path <= 0x20 || (unsigned char)*path >= 0x7f)
            return false;
    return true;
}

static int take_text(const struct key *k, const char *value, char *field, struct diag *d)
{
    const char *wrong = NULL;

    if (k->kind == KEY_HEALTH && strcmp(value, "none") == 0) {
        *field = '\0';
        return 0;
    }
    if (!printable(value))
        wrong = "has control characters";
    else if (k->kind == KEY_NAME && !name_valid(value))
        wrong = "is no name: use letters, digits, '-' and '_', beginning and ending with a letter or digit, at most 57";
    else if (k->kind == KEY_FILE && !package_path_ok(value))
        wrong = "is no path inside the package: it must be relative, without \"..\"";
    else if (k->kind == KEY_HEALTH && !url_path_ok(value))
        wrong = "is neither a path that begins with / and has no blanks, nor none";
    else if (!*value)
        wrong = "is empty: leave the key out";
    else if (strlen(value) >= k->size)
        wrong = "is too long";
    if (wrong)
        return diag_set(d, EINVAL, "[%s] %s: \"%.80s\" %s", k->section, k->name, value, wrong);
    return str_copy(field, k->size, value);
}

static int take_command(const struct key *k, const char *value, char *field, struct diag *d)
{
    cleanup_strbuf struct strbuf words = {0};
    uint32_t count;
    int r = command_words(value, &words, &count, d);

    if (r < 0) {
        diag_prefix(d, "[%s] %s", k->section, k->name);
        return r;
    }
    return take_text(k, value, field, d);
}

static int take_call(const struct key *k, const char *value, struct function_ini *f, struct diag *d)
{
    int r = k->take(f, value, d);

    return r < 0 ? (diag_prefix(d, "[%s] %s", k->section, k->name), r) : 0;
}

static int take(const struct key *k, const char *value, struct function_ini *f, struct diag *d)
{
    char *field = (char *)f + k->offset;

    switch (k->kind) {
    case KEY_ONLY:
        return take_only(k, value, d);
    case KEY_CALL:
        return take_call(k, value, f, d);
    case KEY_COMMAND:
        return take_command(k, value, field, d);
    case KEY_NAME:
    case KEY_TEXT:
    case KEY_FILE:
    case KEY_HEALTH:
        return take_text(k, value, field, d);
    default:
        return take_number(k, value, field, d);
    }
}

/* Names what would have been right: a section's keys, or the sections. */
static int refuse_unknown(const char *section, const char *key, struct diag *d)
{
    cleanup_strbuf struct strbuf known = {0};
    bool in_section = false;

    for (size_t i = 0; i < COUNT(keys); i++) {
        if (strcmp(keys[i].section, section) == 0) {
            strbuf_printf(&known, " %s", keys[i].name);
            in_section = true;
        }
    }
    if (!*section)
        return diag_set(d, EINVAL, "%.60s stands before any section: begin with [function]", key);
    if (!in_section)
        return diag_set(
            d, EINVAL,
            "there is no section [%s]: known are [function] [limits] [scale] [health] [network] [http] [env] [secrets] [volumes] [cron NAME] [sandbox]", section);
    return diag_set(d, EINVAL, "[%s] has no key %.60s: known are%s", section, key, known.data ? known.data : "");
}

/* Of keys that can turn out to be wrong only beside others, or beside the image. */
static void note_line(struct function_ini *f, const char *key, unsigned line)
{
    const struct {
        const char *key;
        uint32_t *line;
    } noted[] = {
        {"user", &f->user_line},
        {"command", &f->command_line},
        {"handler", &f->handler_line},
        {"hosts", &f->spec.http.hosts_line},
        {"paths", &f->spec.http.paths_line},
    };

    for (size_t i = 0; i < COUNT(noted); i++)
        if (strcmp(noted[i].key, key) == 0)
            *noted[i].line = line;
}

int function_ini_put(struct function_ini *f, const char *section, const char *key, const char *value, unsigned line, struct diag *d)
{
    size_t word = strcspn(section, " ");

    if (strcmp(section, "env") == 0) {
        int r = env_set_put(&f->env, key, value, d);

        return r < 0 ? (diag_prefix(d, "[env]"), r) : 0;
    }
    if (strcmp(section, "volumes") == 0)
        return volume_keys_put(&f->spec, key, value, d);
    for (size_t i = 0; i < COUNT(later_sections); i++)
        if (strlen(later_sections[i]) == word && memcmp(section, later_sections[i], word) == 0)
            return refuse_later(section, key, NULL, d);
    for (size_t i = 0; i < COUNT(keys); i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, key) == 0) {
            f->says_port |= strcmp(key, "port") == 0;
            note_line(f, key, line);
            f->health_said |= strcmp(key, "path") == 0;
            return take(&keys[i], value, f, d);
        }
    return refuse_unknown(section, key, d);
}

static int on_pair(void *arg, const char *section, const char *key, const char *value, unsigned line, struct diag *d)
{
    struct function_ini *f = arg;

    return function_sets_has(f, section, key) ? 0 : function_ini_put(f, section, key, value, line, d);
}

void function_ini_init(struct function_ini *f)
{
    memset(f, 0, sizeof(*f));
    spec_init(&f->spec);
}

void function_ini_done(struct function_ini *f)
{
    env_set_done(&f->env);
}

/* One way to start, and what belongs to a runtime only with one. */
static int check_start(const struct function_ini *f, struct diag *d)
{
    const char *wrong = NULL, *key = " handler";
    unsigned line = f->handler_line;

    if (*f->spec.handler && !*f->spec.runtime)
        wrong = "it needs a runtime, which knows how to call it: say runtime = NAME too (`fnctl runtime ls`)";
    else if (*f->spec.handler && *f->command)
        wrong = "command is there too, and they are two ways to start: leave one of them out";
    if (!wrong && *f->spec.runtime && *f->user && !(*f->user >= '0' && *f->user <= '9')) {
        wrong = "it is a name, and a package with a runtime has no passwd: say a number";
        line = f->user_line;
        key = " user";
    }
    if (!wrong)
        return 0;
    diag_set(d, EINVAL, "%s", wrong);
    return function_sets_place(d, line, key);
}

int function_ini_parse(const char *text, size_t len, struct function_ini *f, struct diag *d)
{
    int r = inifile_parse(UNPACK_INI, text, len, on_pair, f, d);

    if (r == 0)
        r = function_sets_apply(f, d);
    if (r == 0)
        r = check_start(f, d);
    if (r == 0 && f->spec.scale_min > f->spec.scale_max)
        return diag_set(d, EINVAL, UNPACK_INI "%s: [scale] min = %u is above max = %u", f->sets_len ? " with --set" : "", f->spec.scale_min, f->spec.scale_max);
    if (r == 0) {
        r = spec_check_limits(&f->spec, d);
        if (r == 0)
            r = spec_network_check(&f->spec, d);
        if (r == 0)
            r = spec_http_check(&f->spec.http, d);
        if (r < 0)
            diag_prefix(d, f->sets_len ? UNPACK_INI " with --set" : UNPACK_INI);
    }
    return r;
}

/* ---- the way back ---- */

/* Of keys that hold a field of the spec; with the spec's own way to start, an image has it in its configuration. */
static bool is_exported(const struct key *k)
{
    static const char *const left_out[] = {"runtime", "handler", "command", "user", "env_file"};

    for (size_t i = 0; strcmp(k->section, "function") == 0 && i < COUNT(left_out); i++)
        if (strcmp(k->name, left_out[i]) == 0)
            return false;
    return k->kind != KEY_ONLY;
}

static void format_number(const struct key *k, const void *field, struct strbuf *out)
{
    uint64_t v = 0;
    uint32_t v32;

    memcpy(k->size == sizeof(v) ? (void *)&v : (void *)&v32, field, k->size);
    if (k->size != sizeof(v))
        v = v32;
    if (k->kind == KEY_SIZE)
        function_format_size(v, out);
    else if (k->kind == KEY_DURATION)
        function_format_duration(v, out);
    else if (k->kind == KEY_BOOL)
        strbuf_puts(out, v ? "yes" : "no");
    else
        strbuf_printf(out, k->kind == KEY_CPU ? "%llum" : "%llu", (unsigned long long)v);
}

static void format_value(const struct key *k, const struct spec *s, const struct spec *defaults, struct strbuf *out)
{
    const size_t spec_at = offsetof(struct function_ini, spec), at = k->offset < spec_at ? 0 : k->offset - spec_at; /* KEY_CALL has none */
    const char *field = (const char *)s + at;

    if (k->kind == KEY_CALL)
        k->format(s, out);
    else if (k->kind == KEY_HEALTH) /* its default is another one for stdio, and for images that say nothing */
        strbuf_puts(out, *field ? field : "none");
    else if (k->kind == KEY_NAME || k->kind == KEY_TEXT)
        strbuf_puts(out, field);
    else if (memcmp(field, (const char *)defaults + at, k->size) != 0)
        format_number(k, field, out);
}

/* As it stands in a line of function.ini, which says no more than it (inifile.h)? */
static bool fits_line(const char *key, const char *value)
{
    size_t len = strlen(value);

    return strlen(key) + 3 + len < INIFILE_LINE_MAX && *value != ' ' && *value != '"' && *value != ';' && value[len - 1] != ' ' && !strstr(value, " ;") &&
           !strchr(value, '\t');
}

struct format {
    struct strbuf *ini, *sets;
    const char *section; /* that the last line belongs to */
    const char *long_in; /* the section whose last keys went to sets: what follows there may mean nothing without them (cors_methods) */
};

static int format_line(struct format *f, const char *section, const char *key, const struct strbuf *value, struct diag *d)
{
    if (value->len == 0)
        return 0;
    if ((f->long_in && strcmp(f->long_in, section) == 0) || !fits_line(key, value->data)) {
        f->long_in = section;
        strbuf_printf(f->sets, "%s.%s=%s\n", section, key, value->data);
        return strlen(section) + strlen(key) + value->len + 2 < FUNCTION_SET_MAX ? 0
                                                                                 : diag_set(d, E2BIG, "[%s] %s is too long for an image's label", section, key);
    }
    if (!f->section || strcmp(f->section, section) != 0)
        strbuf_printf(f->ini, "%s[%s]\n", f->section ? "\n" : "", section);
    f->section = section;
    strbuf_printf(f->ini, "%s = %s\n", key, value->data);
    return 0;
}

int function_ini_format(const struct spec *s, struct strbuf *ini, struct strbuf *sets, struct diag *d)
{
    struct format f = {.ini = ini, .sets = sets};
    struct spec defaults;
    int r = 0;

    spec_init(&defaults);
    for (size_t i = 0; i < COUNT(keys) && r == 0; i++) {
        cleanup_strbuf struct strbuf value = {0};

        if (!is_exported(&keys[i]))
            continue;
        format_value(&keys[i], s, &defaults, &value);
        r = value.failed ? diag_set(d, ENOMEM, "out of memory") : format_line(&f, keys[i].section, keys[i].name, &value, d);
    }
    for (uint32_t i = 0; i < s->nvolumes && r == 0; i++) {
        cleanup_strbuf struct strbuf value = {0};

        strbuf_printf(&value, "%s ", s->volumes[i].path);
        function_format_size(s->volumes[i].bytes, &value);
        r = value.failed ? diag_set(d, ENOMEM, "out of memory") : format_line(&f, "volumes", s->volumes[i].name, &value, d);
    }
    return r == 0 && (ini->failed || sets->failed) ? diag_set(d, ENOMEM, "out of memory") : r;
}
