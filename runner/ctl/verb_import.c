/*
 * verb_import.c: an image of the container world as a function. A file or an OCI layout is what `deploy` takes; what is elsewhere (a registry, another container engine) is fetched by skopeo(1), with the rights and the
 * credentials of whoever asks, into a temporary archive.
 */
#include "ctl.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* skopeo(1), "IMAGE NAMES". */
static bool is_elsewhere(const char *arg)
{
    static const char *const transports[] = {"docker://", "docker-daemon:", "docker-archive:", "containers-storage:", "oci:", "oci-archive:", "dir:"};

    for (size_t i = 0; i < CTL_COUNT(transports); i++)
        if (strncmp(arg, transports[i], strlen(transports[i])) == 0)
            return true;
    return false;
}

/* "docker://registry.example/shop/web:1.2@sha256:..." is called web. False where that is no name. */
static bool name_of_image(const char *arg, char *buf, size_t size)
{
    const char *base = strrchr(arg, '/') ? strrchr(arg, '/') + 1 : strchr(arg, ':') + 1;
    size_t len = strcspn(base, ":@");

    if (len == 0 || len >= size)
        return false;
    memcpy(buf, base, len);
    buf[len] = '\0';
    return name_valid(buf);
}

/* Interrupts are for skopeo; then there is still a directory to be removed. */
static int spawn_skopeo(const char *arg, const char *to, pid_t *ret)
{
    const char *const argv[] = {"skopeo", "copy", arg, to, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t defaults;
    int r;

    sigemptyset(&defaults);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGQUIT);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO); /* standard output is ours */
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    r = posix_spawnp(ret, "skopeo", &actions, &attr, (char *const *)argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return r;
}

static int fetch(const char *arg, const char *file)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, interrupt, quit;
    char to[4200];
    int status = 0, r;
    pid_t pid = 0;

    snprintf(to, sizeof(to), "oci-archive:%s", file);
    sigaction(SIGINT, &ignore, &interrupt);
    sigaction(SIGQUIT, &ignore, &quit);
    r = spawn_skopeo(arg, to, &pid);
    while (r == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGQUIT, &quit, NULL);
    if (r == ENOENT)
        return ctl_fail(
            CTL_FAILED, "%.100s: skopeo, which fetches images, is not installed (apt install skopeo); or save the image as a file (docker save, podman save) and import that",
            arg);
    if (r != 0)
        return ctl_fail(CTL_FAILED, "skopeo: %s", strerror(r));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return ctl_fail(CTL_FAILED, "%.200s: skopeo could not fetch it", arg);
    return CTL_OK;
}

static int deploy_file(struct ctl *ctl, const char *file)
{
    struct text_list args = {0};
    int r = ctl_list_add(&args, file) < 0 ? ctl_fail(CTL_FAILED, "out of memory") : verb_deploy(ctl, &args);

    ctl_list_done(&args);
    return r;
}

/* Who knows docker types the name alone. */
static int import_here(struct ctl *ctl, const struct text_list *args)
{
    struct source source;
    struct diag d = {0};

    if (ctl_source_find(args->items[0], &source, &d) < 0)
        return ctl_fail(CTL_FAILED, "%s; an image of a registry is docker://REGISTRY/NAME, as docker://docker.io/library/nginx", d.text);
    return verb_deploy(ctl, args);
}

int verb_import(struct ctl *ctl, const struct text_list *args)
{
    const char *arg = args->items[0], *tmp = getenv("TMPDIR");
    char name[NAME_PART_MAX + 1], dir[4000], file[4100];
    int r;

    if (!is_elsewhere(arg))
        return import_here(ctl, args);
    if (!ctl->o->name && name_of_image(arg, name, sizeof(name)))
        ctl->o->name = name;
    r = ctl_deploy_check(ctl->o);
    if (r != CTL_OK)
        return r;
    if ((size_t)snprintf(dir, sizeof(dir), "%s/fnctl-import-XXXXXX", tmp && *tmp == '/' ? tmp : "/var/tmp") >= sizeof(dir) || !mkdtemp(dir))
        return ctl_fail(CTL_FAILED, "%.100s: a temporary directory cannot be made: %s", dir, strerror(errno));
    snprintf(file, sizeof(file), "%s/image.tar", dir);
    r = fetch(arg, file);
    ctl->fetched = arg;
    if (r == CTL_OK)
        r = deploy_file(ctl, file);
    fd_remove_tree(AT_FDCWD, dir);
    return r;
}
