/*
 * image_function.c: what an image's configuration becomes, where neither function.ini nor --set says it; and notes about what nothing becomes of.
 *
 *   Entrypoint, Cmd   the command        Env          variables, the package's and the command line's over them; PORT is the port where none is exposed
 *   WorkingDir        the directory      User         the user, root being the default one
 *   ExposedPorts      the port, where one TCP port is exposed
 *   Healthcheck, StopSignal, Volumes     a note
 *
 * An image that knows nothing of fnd has no /ping: it is ready when it accepts a connection. One that fnd exported has its function.ini in a label; what the configuration says as well counts there, since --set and --env
 * may have said it.
 */
#include "image.h"

#include "function_format.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CWD_DEPTH_MAX 64

static int keep_ini(const char *text, size_t len, struct diag *d)
{
    cleanup_fd int fd = openat(UNPACK_FD_STAGING, UNPACK_INI, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    int r = fd < 0 ? -errno : fd_write_all(fd, text, len);

    return r < 0 ? diag_errno(d, -r, "keeping " UNPACK_INI) : 0;
}

int image_function_ini(const struct image *i, struct function_ini *f, struct diag *d)
{
    const char *text = i->config.ini ? i->config.ini : "";
    size_t len = strlen(text);
    int r;

    if (len > UNPACK_TEXT_MAX)
        return diag_set(d, EFBIG, "the image's label " IMAGE_INI_LABEL " is larger than %u bytes", UNPACK_TEXT_MAX);
    if (!i->config.ini)
        return f->sets_len ? function_ini_parse(text, len, f, d) : 0;
    r = keep_ini(text, len, d);
    if (r == 0)
        r = function_ini_parse(text, len, f, d);
    if (r < 0)
        return diag_prefix(d, "the image's label " IMAGE_INI_LABEL);
    f->of_label = true;
    r = i->config.sets ? function_sets_label(f, i->config.sets, d) : 0;
    if (r < 0)
        return diag_prefix(d, "the image's label " IMAGE_SETS_LABEL);
    f->env_file[0] = '\0';
    if (f->command_line > 0 && i->config.argc > 0)
        f->command[0] = '\0';
    if (f->user_line > 0 && *i->config.user)
        f->user[0] = '\0';
    if (i->config.ports == 1 && !function_sets_has(f, "function", "port"))
        f->says_port = false;
    return 0;
}

static void take_port(const struct image_config *c, struct function_ini *f, struct unpack_result *res)
{
    if (f->says_port)
        return;
    if (c->ports == 1 && c->port > 0)
        f->spec.port = c->port;
    else if (c->ports > 0)
        unpack_note(res, "the image exposes several ports: %u is asked; else say --set function.port=N", f->spec.port);
    else if (c->env_port > 0)
        f->spec.port = c->env_port;
}

static void note_rest(const struct image_config *c, const struct function_ini *f, struct unpack_result *res)
{
    if (*c->stop_signal && strcmp(c->stop_signal, "SIGTERM") != 0 && strcmp(c->stop_signal, "15") != 0 && strcmp(c->stop_signal, "TERM") != 0)
        unpack_note(res, "StopSignal %s of the image is not used: it gets SIGTERM", c->stop_signal);
    if (c->has_health)
        unpack_note(res, "the image's Healthcheck is not used: say --set health.path=/PATH for one over HTTP");
    if (c->nvolumes > 0 && f->spec.nvolumes == 0)
        unpack_note(res, "the image's Volumes (%s) are read-only: say --set 'volumes.data=/PATH 1G' for one that is kept", c->volumes);
    if (c->env_dropped > 0)
        unpack_note(res, "%u variables of the image are left out, %s first: a name has letters, digits and '_', and FND_ is fnd's", c->env_dropped,
                    c->env_dropped_name);
}

/* Who imports a stranger's image expects what others give it, and not what a package may ask for: names, addresses, secrets. It is said, since nobody sees a label. */
static void note_label(const struct function_ini *f, struct unpack_result *res)
{
    static const struct {
        const char *key;
        void (*format)(const struct spec *s, struct strbuf *out);
    } asked[] = {{"[network] egress", function_format_egress},  {"[network] services", function_format_services}, {"[http] hosts", function_format_hosts},
                 {"[http] paths", function_format_paths},       {"[secrets] names", function_format_secrets},     {"[sandbox] allow", function_format_allow},
                 {"[sandbox] devices", function_format_devices}};

    for (size_t k = 0; k < sizeof(asked) / sizeof(asked[0]); k++) {
        cleanup_strbuf struct strbuf value = {0};

        asked[k].format(&f->spec, &value);
        if (value.len > 0 && strcmp(value.data, "no") != 0)
            unpack_note(res, "the image's label " IMAGE_INI_LABEL " asks for %s = %.120s: it is given, as to any function.ini; --set says otherwise",
                        asked[k].key, value.data);
    }
}

/* Its own directory is made, as others do: programs begin there. */
static int take_cwd(int root_fd, const struct image_config *c, struct function_ini *f, struct diag *d)
{
    char plain[PATH_MAX], below[PATH_MAX + 2];
    const char *name;
    cleanup_fd int dir = -1;
    uint64_t made = 0;
    int r = *c->cwd ? entry_path(c->cwd, CWD_DEPTH_MAX, plain, d) : 0;

    if (r < 0)
        return diag_prefix(d, "WorkingDir of the image's configuration");
    if (!*c->cwd || !*plain)
        return 0;
    snprintf(below, sizeof(below), "%s/.", plain);
    dir = entry_parent(root_fd, below, &name, &made, d);
    if (dir < 0)
        return diag_prefix(d, "WorkingDir of the image's configuration");
    snprintf(f->spec.cwd, sizeof(f->spec.cwd), "/%.254s", plain);
    return 0;
}

int image_function_head(int root_fd, const struct image *i, struct function_ini *f, struct unpack_result *res, struct diag *d)
{
    if (*f->spec.runtime)
        return diag_set(d, EINVAL, "[function] runtime = %s: an image is a whole root by itself: leave one of them out", f->spec.runtime);
    take_port(&i->config, f, res);
    if (!f->health_said && !i->config.ini)
        f->spec.health_path[0] = '\0';
    note_rest(&i->config, f, res);
    if (f->of_label)
        note_label(f, res);
    return take_cwd(root_fd, &i->config, f, d);
}

int image_function_env(const struct image *i, struct env_set *env, struct diag *d)
{
    return env_set_merge(env, &i->config.env, d);
}

/* ---- the user ---- */

/* A file of /etc, as the package's own texts are read; empty where there is none. */
static int read_etc(int root_fd, const char *path, char **ret, size_t *ret_len, struct diag *d)
{
    const char *name;
    cleanup_fd int dir = entry_parent(root_fd, path, &name, NULL, NULL);
    cleanup_fd int fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    ssize_t n;

    *ret_len = 0;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    n = fd_read_all(fd, UNPACK_TEXT_MAX, ret);
    if (n < 0)
        return diag_errno(d, (int)-n, "%s of the image", path);
    *ret_len = (size_t)n;
    return 0;
}

static int resolve(int root_fd, const char *user, uint32_t *ret_uid, uint32_t *ret_gid, struct diag *d)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    int r = read_etc(root_fd, "etc/passwd", &text, &len, d);

    return r < 0 ? r : passwd_resolve(user, text, len, ret_uid, ret_gid, d);
}

static int resolve_group(int root_fd, const char *group, uint32_t *ret_gid, struct diag *d)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    int r = read_etc(root_fd, "etc/group", &text, &len, d);

    return r < 0 ? r : passwd_resolve_group(group, text, len, ret_gid, d);
}

static bool is_root(const char *user)
{
    size_t len = strcspn(user, ":");

    return len == 0 || (len == 1 && *user == '0') || (len == 4 && strncmp(user, "root", 4) == 0);
}

void image_function_user(int root_fd, const struct image *i, struct function_ini *f, struct unpack_result *res)
{
    char user[sizeof(i->config.user)], *colon;
    struct diag why = {0};

    if (is_root(i->config.user)) {
        unpack_note(res, "the image runs as root: here as user %u; else say --set function.user=N", f->spec.uid);
        return;
    }
    memcpy(user, i->config.user, sizeof(user));
    colon = strchr(user, ':');
    if (colon)
        *colon = '\0';
    if (resolve(root_fd, user, &f->spec.uid, &f->spec.gid, &why) < 0)
        unpack_note(res, "User %.60s of the image cannot be had, it runs as %u: %.200s", i->config.user, f->spec.uid, why.text);
    else if (colon && colon[1] && resolve_group(root_fd, colon + 1, &f->spec.gid, &why) < 0)
        unpack_note(res, "the group of User %.60s of the image cannot be had, it is %u: %.200s", i->config.user, f->spec.gid, why.text);
}

/* ---- the command ---- */

/* A program with a '/' that does not begin with it is one of the working directory. */
static int check_program(int root_fd, const char *program, const char *cwd, struct diag *d)
{
    char path[PATH_MAX];
    struct stat st;

    if (!*program)
        return diag_set(d, EINVAL, "the image's Entrypoint or Cmd begins with an empty word");
    if (!strchr(program, '/'))
        return 0;
    if (snprintf(path, sizeof(path), "%s/%s", *program == '/' ? "" : cwd, program) >= (int)sizeof(path))
        return diag_set(d, ENAMETOOLONG, "the image's Entrypoint or Cmd is too long");
    if (fstatat(root_fd, path, &st, 0) < 0)
        return diag_set(d, ENOENT,
                        "\"%.200s\", which the image's configuration starts, is not in the image: say another by --set function.command='PROGRAM ARGUMENT...'",
                        program);
    if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return diag_set(
            d, EACCES,
            "\"%.200s\", which the image's configuration starts, is not an executable file: say another by --set function.command='PROGRAM ARGUMENT...'",
            program);
    return program_check(root_fd, path, program, d);
}

int image_function_command(int root_fd, const struct image *i, struct function_ini *f, struct strbuf *words, struct diag *d)
{
    const struct image_config *c = &i->config;
    const char *program = c->words.data;
    int r;

    if (c->argc > 1 && c->ini && f->spec.mode == SPEC_MODE_STDIO && strcmp(program, SPEC_WATCHDOG) == 0) /* fnd has that one itself */
        program += sizeof(SPEC_WATCHDOG);
    if (c->argc == 0)
        return diag_set(d, EINVAL, "no way to start: the image has neither Entrypoint nor Cmd: say --set function.command='PROGRAM ARGUMENT...'");
    r = check_program(root_fd, program, f->spec.cwd, d);
    if (r < 0)
        return r;
    f->spec.argc = c->argc - (program != c->words.data);
    strbuf_add(words, program, c->words.len - (size_t)(program - c->words.data));
    return words->failed ? diag_set(d, ENOMEM, "out of memory") : 0;
}
