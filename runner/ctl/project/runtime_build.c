/* runtime_build.c: `fnctl runtime build`: has rootfs/build-runtime make a runtime's tree from Debian's packages, keeps it for private daemons, gives it to the daemon.
 * One that is made with the programs (static) has no recipe, and is only given. */
#include "project.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT "/var/cache/fnd/runtimes"

/* In the source tree that this fnctl was built in, else where it was installed. */
static bool find_script(char *path, size_t size)
{
    char exe[PATH_MAX];
    const char *const places[] = {exe, FND_SHARE "/rootfs"};
    size_t len;

    if (ctl_exe_dir(exe, sizeof(exe)) < 0)
        return false;
    len = strlen(exe);
    snprintf(exe + len, sizeof(exe) - len, "/../../rootfs");
    for (size_t i = 0; i < CTL_COUNT(places); i++) {
        int n = snprintf(path, size, "%s/build-runtime", places[i]);

        if (n > 0 && (size_t)n < size && access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static bool has_recipe(const char *script, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%.*s/%s/packages", (int)(strrchr(script, '/') - script), script, name);

    return n > 0 && (size_t)n < sizeof(path) && access(path, R_OK) == 0;
}

static int is_recipe(const struct dirent *e)
{
    return name_valid(e->d_name);
}

void runtime_recipes(void (*on_name)(void *arg, const char *name), void *arg)
{
    char script[PATH_MAX], path[PATH_MAX], **templates = NULL;
    struct dirent **all = NULL;
    int n;

    if (!find_script(script, sizeof(script)))
        return;
    snprintf(path, sizeof(path), "%.*s", (int)(strrchr(script, '/') - script), script);
    n = scandir(path, &all, is_recipe, alphasort);
    for (int i = 0; i < n; i++) {
        if (has_recipe(script, all[i]->d_name))
            on_name(arg, all[i]->d_name);
        free(all[i]);
    }
    free(all);
    if (share_names(SHARE_TEMPLATES, &templates, NULL) < 0)
        return;
    for (char **t = templates; *t; t++) /* what came with the programs */
        if (!has_recipe(script, *t) && runtimes_shipped(*t, path, sizeof(path)))
            on_name(arg, *t);
    share_names_free(templates);
}

static bool make_kept(void)
{
    static const char *const dirs[] = {"/var/cache/fnd", KEPT};

    for (size_t i = 0; i < CTL_COUNT(dirs); i++)
        if (mkdir(dirs[i], 0755) < 0 && errno != EEXIST)
            return false;
    return access(KEPT, W_OK) == 0;
}

/* The script is in our process group: an interrupt of the terminal ends both, and it cleans up. */
static int run_script(const char *script, const char *name, const char *out)
{
    char *const argv[] = {(char *)script, (char *)name, (char *)out, NULL};
    pid_t pid;
    int status;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        execv(script, argv);
        _exit(127);
    }
    if (pid < 0)
        return ctl_fail(CTL_FAILED, "fork: %s", strerror(errno));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return ctl_fail(CTL_FAILED, "waitpid: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return CTL_OK;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return ctl_fail(CTL_FAILED, "%s cannot be executed", script);
    return CTL_FAILED; /* it has said why */
}

static int put(struct ctl *ctl, const char *name, const char *path, bool kept)
{
    json_t *list cleanup_json = runtimes_list(ctl);
    struct diag d = {0};
    struct body b;
    int r;

    if (!list && kept && !ctl->is_remote)
        return ctl_fail(CTL_OK, "runtime %s is in %s, where `fnctl run` finds it; no daemon answers that could have it: fnctl runtime put %s %s", name, path,
                        name, path);
    ctl_body_init(&b);
    if (ctl_body_file(&b, path, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    r = ctl_runtime_put(ctl, name, &b);
    ctl_body_done(&b);
    return r;
}

int runtime_build(struct ctl *ctl, const char *name)
{
    char script[PATH_MAX], dir[] = "/var/tmp/fnd-runtime.XXXXXX", path[PATH_MAX];
    bool kept, found = find_script(script, sizeof(script));
    int r;

    if (!(found && has_recipe(script, name)) && runtimes_shipped(name, path, sizeof(path)))
        return put(ctl, name, path, true);
    if (!found)
        return ctl_fail(CTL_FAILED, "runtime build: build-runtime is neither in the source tree nor in " FND_SHARE "/rootfs: make install puts it there");
    kept = make_kept();
    if (!kept && !mkdtemp(dir))
        return ctl_fail(CTL_FAILED, "%s: %s", dir, strerror(errno));
    snprintf(path, sizeof(path), "%s/runtime-%s.tar", kept ? KEPT : dir, name);
    ctl_fail(CTL_OK, "building runtime %s from the apt sources of this host", name);
    r = run_script(script, name, path);
    if (r == CTL_OK)
        r = put(ctl, name, path, kept);
    if (!kept) {
        unlink(path);
        rmdir(dir);
    }
    return r;
}
