/*
 * unpack_package.c: from the unpacked tree to the spec: what the package says about itself is read, taken out of the image, and put together with what the command line said.
 *
 * Variables: the env_file, then env/NAME files, then [env], then the request's; a later one wins. The files are the function's: every one is opened without following its last component, must be regular, and is
 * read up to a limit.
 */
#include "image.h"
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"
#include "names.h"
#include "str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ENV_DIR     "env"
#define PASSWD_PATH "etc/passwd"

/* ---- reading the package's own files ---- */

/* Returns the length, or -ENOENT without a message. `what` names it in messages. */
static ssize_t read_text(int dir, const char *name, const char *what, size_t max, char **ret, struct diag *d)
{
    cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    ssize_t n;

    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (fd < 0 && errno == ELOOP)
        return diag_set(d, EINVAL, "%s is a symlink: it must be a file", what);
    if (fd < 0 || fstat(fd, &st) < 0)
        return diag_errno(d, errno, "%s", what);
    if (!S_ISREG(st.st_mode))
        return diag_set(d, EINVAL, "%s is not a file", what);
    n = fd_read_all(fd, max, ret);
    if (n == -EFBIG)
        return diag_set(d, EFBIG, "%s is larger than %zu bytes", what, max);
    return n < 0 ? diag_errno(d, (int)-n, "%s", what) : n;
}

static int read_ini(int root_fd, const struct image *image, struct function_ini *f, struct diag *d)
{
    cleanup_free char *text = NULL;
    ssize_t n = read_text(root_fd, UNPACK_INI, UNPACK_INI, UNPACK_TEXT_MAX, &text, d);

    if (n == -ENOENT)
        return image_function_ini(image, f, d);
    if (n < 0)
        return (int)n;
    f->is_there = true;
    if (renameat(root_fd, UNPACK_INI, UNPACK_FD_STAGING, UNPACK_INI) < 0)
        return diag_errno(d, errno, "moving " UNPACK_INI " out of the image");
    return function_ini_parse(text, (size_t)n, f, d);
}

static int read_env_file(int root_fd, const char *path, struct env_set *env, struct diag *d)
{
    cleanup_free char *text = NULL;
    cleanup_fd int dir = -1;
    const char *name;
    ssize_t n;
    int r;

    dir = entry_parent(root_fd, path, &name, NULL, d);
    if (dir < 0)
        return diag_prefix(d, "env_file %s", path);
    n = read_text(dir, name, path, UNPACK_TEXT_MAX, &text, d);
    if (n == -ENOENT)
        return diag_set(d, ENOENT, "env_file = %s: there is no such file in the package", path);
    if (n < 0)
        return (int)n;
    r = dotenv_parse(path, text, (size_t)n, env, d);
    if (r == 0 && unlinkat(dir, name, 0) < 0)
        return diag_errno(d, errno, "taking %s out of the image", path);
    return r;
}

static int read_env_entry(int dir, const char *name, struct env_set *env, struct diag *d)
{
    cleanup_free char *value = NULL;
    char what[NAME_MAX + sizeof(ENV_DIR) + 1];
    ssize_t n;

    snprintf(what, sizeof(what), ENV_DIR "/%s", name);
    n = read_text(dir, name, what, SPEC_STRINGS_MAX, &value, d);
    if (n < 0)
        return n == -ENOENT ? diag_set(d, EIO, "%s vanished", what) : (int)n;
    if (!value || memchr(value, '\0', (size_t)n))
        return diag_set(d, EINVAL, "%s: a variable cannot hold a NUL byte", what);
    if (n > 0 && value[n - 1] == '\n')
        value[n - 1] = '\0';
    if (env_set_put(env, name, value, d) < 0) {
        diag_prefix(d, "%s (a package's " ENV_DIR "/ holds one file per variable)", what);
        return -EINVAL;
    }
    return 0;
}

static int compare_items(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_env_dir(int root_fd, struct env_set *env, struct diag *d)
{
    int fd = openat(root_fd, ENV_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct env_set found = {0};
    struct dirent *e;
    int r = 0;
    DIR *dir;

    if (fd < 0) /* something else of that name belongs to the image */
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : diag_errno(d, errno, ENV_DIR "/");
    dir = fdopendir(fd);
    if (!dir) {
        fd_close(fd);
        return diag_set(d, ENOMEM, "out of memory");
    }
    while (r == 0 && (e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = read_env_entry(fd, e->d_name, &found, d);
    closedir(dir);
    if (r == 0) {
        if (found.count > 0) /* the order of a directory is none */
            qsort(found.items, found.count, sizeof(*found.items), compare_items);
        r = env_set_merge(env, &found, d);
    }
    env_set_done(&found);
    if (r < 0)
        return r;
    r = fd_remove_tree(root_fd, ENV_DIR);
    return r < 0 ? diag_errno(d, -r, "taking " ENV_DIR "/ out of the image") : 0;
}

static int read_user(int root_fd, struct function_ini *f, struct diag *d)
{
    cleanup_free char *text = NULL;
    cleanup_fd int dir = -1;
    const char *name;
    ssize_t n = -ENOENT;

    if (!*f->user)
        return 0;
    if (!*f->spec.runtime) /* with one it is a number */
        dir = entry_parent(root_fd, PASSWD_PATH, &name, NULL, NULL);
    if (dir >= 0)
        n = read_text(dir, name, PASSWD_PATH, UNPACK_TEXT_MAX, &text, d);
    if (n < 0 && n != -ENOENT)
        return (int)n;
    n = passwd_resolve(f->user, text, n < 0 ? 0 : (size_t)n, &f->spec.uid, &f->spec.gid, d);
    return n < 0 ? function_sets_place(d, f->user_line, "") : 0;
}

static int add_vars(const struct unpack_request *req, struct env_set *env, struct diag *d)
{
    const char *end = req->vars + req->vars_len;

    for (const char *kv = req->vars; kv < end; kv += strlen(kv) + 1) {
        cleanup_strbuf struct strbuf key = {0};
        const char *eq = strchr(kv, '=');

        if (!eq)
            return diag_set(d, EINVAL, "--env %.60s: it is not NAME=VALUE", kv);
        strbuf_add(&key, kv, (size_t)(eq - kv));
        if (key.failed)
            return diag_set(d, ENOMEM, "out of memory");
        if (env_set_put(env, key.data, eq + 1, d) < 0)
            return diag_prefix(d, "--env");
    }
    return 0;
}

/* ---- the way to start ---- */

/* `said` names it in messages. */
static int check_command(int root_fd, const char *program, const char *said, struct diag *d)
{
    const char *path = program;
    struct stat st;

    if (!strchr(program, '/')) /* found through PATH, which the sandbox knows */
        return 0;
    while (*path == '/')
        path++;
    if (!*path || fstatat(root_fd, path, &st, 0) < 0)
        return diag_set(d, ENOENT, "\"%.200s\" is not in the package", said);
    if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return diag_set(d, EACCES, "\"%.200s\" is not an executable file: chmod +x before packing", said);
    return program_check(root_fd, path, said, d);
}

/* With a runtime: the program as a path of the package; a name without a slash, which says nothing about the package, where the runtime has it. */
static const char *below_app(const char *program)
{
    static const char *const places[] = {SPEC_APP "/", SPEC_CODE "/"};

    if (*program != '/')
        return program;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (strncmp(program, places[i], strlen(places[i])) == 0)
            return program + strlen(places[i]) - 1;
    return "runtime";
}

static int find_command(int root_fd, struct function_ini *f, const struct env_set *env, struct strbuf *words, struct diag *d)
{
    int r;

    f->spec.argc = 1;
    if (*f->spec.handler) {
        strbuf_add(words, SPEC_STARTER, sizeof(SPEC_STARTER));
        strbuf_add(words, f->spec.handler, strlen(f->spec.handler) + 1);
        f->spec.argc = 2;
        return 0;
    }
    if (!*f->command)
        return entry_point_find(root_fd, f, env, words, d);
    r = command_words(f->command, words, &f->spec.argc, d);
    if (r == 0)
        r = check_command(root_fd, *f->spec.runtime ? below_app(words->data) : words->data, words->data, d);
    if (r < 0 && f->by_fprocess)
        return diag_prefix(d, "variable fprocess");
    return r < 0 ? function_sets_place(d, f->command_line, " command") : 0;
}

/* ---- the root ---- */

static int complete_root(int root_fd, struct diag *d)
{
    static const struct {
        const char *name;
        mode_t mode;
    } dirs[] = {{"dev", 0755}, {"proc", 0755}, {"tmp", 01777}, {"run", 0755}, {"etc", 0755}};
    struct stat st;

    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        if (mkdirat(root_fd, dirs[i].name, dirs[i].mode) == 0)
            continue;
        if (errno != EEXIST || fstatat(root_fd, dirs[i].name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return diag_errno(d, errno, "making /%s", dirs[i].name);
        if (!S_ISDIR(st.st_mode))
            return diag_set(d, EINVAL, "/%s is in the package, and is not a directory: fnd needs it as one", dirs[i].name);
    }
    if (fchown(root_fd, 0, 0) < 0 || fchmod(root_fd, 0755) < 0)
        return diag_errno(d, errno, "setting the root's mode");
    return 0;
}

int package_finish_runtime(int root_fd, struct diag *d)
{
    int r;

    if (renameat(root_fd, UNPACK_INI, UNPACK_FD_STAGING, UNPACK_INI) < 0 && errno != ENOENT)
        return diag_errno(d, errno, "moving " UNPACK_INI " out of the image");
    r = program_check_runtime(root_fd, d);
    return r < 0 ? r : complete_root(root_fd, d);
}

/* ---- together ---- */

static int choose_name(const struct unpack_request *req, const struct image *image, struct spec *s, struct diag *d)
{
    if (*req->id.name)
        return str_copy(s->name, sizeof(s->name), req->id.name);
    if (!*s->name && image->is)
        str_copy(s->name, sizeof(s->name), image->manifest.name);
    if (!*s->name)
        return diag_set(d, EINVAL, "the function has no name: set name in [function], or say --name");
    return 0;
}

static int build_spec(struct function_ini *f, const struct strbuf *words, const struct env_set *env, struct spec **ret, struct diag *d)
{
    cleanup_strbuf struct strbuf out = {0};
    struct spec *s;
    int r;

    strbuf_add(&out, &f->spec, sizeof(f->spec));
    strbuf_add(&out, words->data, words->len);
    for (unsigned i = 0; i < env->count; i++)
        strbuf_add(&out, env->items[i], strlen(env->items[i]) + 1);
    if (out.failed)
        return diag_set(d, ENOMEM, "out of memory");
    if (out.len - sizeof(*s) > SPEC_STRINGS_MAX)
        return diag_set(d, E2BIG, "command and environment have %zu bytes together, at most %u are allowed", out.len - sizeof(*s), SPEC_STRINGS_MAX);
    s = (struct spec *)out.data;
    s->strings_len = (uint32_t)(out.len - sizeof(*s));
    s->envc = env->count;
    r = spec_check(s, out.len, d);
    if (r < 0)
        return r;
    *ret = (struct spec *)take_ptr(out.data);
    return 0;
}

struct finish {
    int root_fd;
    const struct unpack_request *req;
    const struct image *image;
    struct unpack_result *res;
    struct function_ini ini;
};

/* What an image says holds where nothing else is said. */
static int user_and_command(struct finish *x, struct env_set *env, struct strbuf *words, struct diag *d)
{
    struct function_ini *f = &x->ini;
    int r = 0;

    if (x->image->is && !*f->user)
        image_function_user(x->root_fd, x->image, f, x->res);
    else
        r = read_user(x->root_fd, f, d);
    if (r == 0)
        r = stdio_keys_finish(f, env, d);
    if (r < 0)
        return r;
    return x->image->is && !*f->command ? image_function_command(x->root_fd, x->image, f, words, d) : find_command(x->root_fd, f, env, words, d);
}

static int finish(struct finish *x, struct env_set *env, struct strbuf *words, struct spec **ret, struct diag *d)
{
    struct function_ini *f = &x->ini;
    const struct unpack_request *req = x->req;
    int root_fd = x->root_fd, r = read_ini(root_fd, x->image, f, d);

    if (r == 0 && x->image->is)
        r = image_function_head(root_fd, x->image, f, x->res, d);
    if (*f->spec.runtime)
        str_copy(f->spec.cwd, sizeof(f->spec.cwd), SPEC_APP);
    if (r == 0)
        r = choose_name(req, x->image, &f->spec, d);
    if (r == 0 && x->image->is)
        r = image_function_env(x->image, env, d);
    if (r == 0 && *f->env_file)
        r = read_env_file(root_fd, f->env_file, env, d);
    if (r == 0 && !x->image->is) /* an image's /env is its own affair */
        r = read_env_dir(root_fd, env, d);
    if (r == 0)
        r = env_set_merge(env, &f->env, d);
    if (r == 0)
        r = add_vars(req, env, d);
    if (r == 0)
        r = user_and_command(x, env, words, d);
    if (r == 0)
        r = *f->spec.runtime ? package_layer(root_fd, d) : complete_root(root_fd, d);
    return r == 0 ? build_spec(f, words, env, ret, d) : r;
}

int package_finish(int root_fd, const struct unpack_request *req, const struct image *image, struct unpack_result *res, struct spec **ret_spec, struct diag *d)
{
    cleanup_strbuf struct strbuf words = {0};
    struct finish x = {.root_fd = root_fd, .req = req, .image = image, .res = res};
    struct env_set env = {0};
    int r;

    function_ini_init(&x.ini);
    x.ini.sets = req->sets;
    x.ini.sets_len = req->sets_len;
    r = finish(&x, &env, &words, ret_spec, d);
    function_ini_done(&x.ini);
    env_set_done(&env);
    return r;
}
