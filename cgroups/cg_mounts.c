/*
 * cg_mounts.c: which hierarchies there are and where, from the texts of /proc/self/mountinfo (proc(5)) and /proc/self/cgroup (cgroups(7)).
 *
 * Both name groups relative to the reader's cgroup namespace: a mount's root and the own group can be compared with each other, and what lies outside the namespace begins with "/..".
 */
#include "cg_internal.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CG_PROC_MAX (16U << 20) /* a host with thousands of containers has megabytes of mountinfo */

static const char *const controller_names[] = {[CG_MEMORY] = "memory", [CG_PIDS] = "pids", [CG_CPU] = "cpu", [CG_IO] = "io"};
static_assert(sizeof(controller_names) / sizeof(controller_names[0]) == CG_ALL_COUNT, "a name for each controller");

const char *cg_controller_name(enum cg_controller c)
{
    return controller_names[c];
}

struct span {
    const char *at;
    size_t len;
};

static bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

/* Cuts the next field off *rest; empty at its end. */
static struct span cut(struct span *rest, char separator)
{
    const char *end = memchr(rest->at, separator, rest->len);
    struct span field = {rest->at, end ? (size_t)(end - rest->at) : rest->len};
    size_t skip = field.len + (end ? 1 : 0);

    rest->at += skip;
    rest->len -= skip;
    return field;
}

static bool list_has(struct span list, const char *word)
{
    while (list.len > 0)
        if (span_is(cut(&list, ','), word))
            return true;
    return false;
}

/* mountinfo writes blanks and backslashes as three octal digits. False if the text is longer than a path of ours may be. */
static bool unescape(struct span s, char buf[CG_PATH_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];

        if (c == '\\' && i + 3 < s.len && s.at[i + 1] >= '0' && s.at[i + 1] <= '3') {
            c = (char)((s.at[i + 1] - '0') << 6 | (s.at[i + 2] - '0') << 3 | (s.at[i + 3] - '0'));
            i += 3;
        }
        if (n + 1 >= CG_PATH_MAX)
            return false;
        buf[n++] = c;
    }
    buf[n] = '\0';
    return true;
}

const char *cg_mount_below(const struct cg_mount *m, const char *group)
{
    size_t len = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);

    if (group[0] != '/' || strncmp(group, m->root, len) != 0 || (group[len] != '/' && group[len] != '\0'))
        return NULL;
    group += len;
    while (*group == '/')
        group++;
    return *group ? group : ".";
}

/* Several mounts may show one hierarchy: a writable one is better, then one that shows all of it, then one that shows this process's group; of equals the later, which may cover the other. */
static int mount_rank(const struct cg_mount *m, const char *own)
{
    return (m->read_only ? 0 : 3) + (strcmp(m->root, "/") == 0 ? 2 : cg_mount_below(m, own) != NULL);
}

static void take_better(struct cg_mount *have, const struct cg_mount *m, const char *own)
{
    if (!have->found || mount_rank(m, own) >= mount_rank(have, own))
        *have = *m;
}

static bool parse_dev(struct span s, dev_t *ret)
{
    unsigned major_no, minor_no;
    char text[32];

    if (s.len >= sizeof(text))
        return false;
    memcpy(text, s.at, s.len);
    text[s.len] = '\0';
    if (sscanf(text, "%u:%u", &major_no, &minor_no) != 2)
        return false;
    *ret = makedev(major_no, minor_no);
    return true;
}

/* "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw" */
static void parse_mount(struct span line, struct cg_host *h)
{
    struct cg_mount m = {.found = true};
    struct span dev, root, point, options, type, super;

    cut(&line, ' ');
    cut(&line, ' ');
    dev = cut(&line, ' ');
    root = cut(&line, ' ');
    point = cut(&line, ' ');
    options = cut(&line, ' ');
    while (line.len > 0 && !span_is(cut(&line, ' '), "-")) {
    }
    type = cut(&line, ' ');
    cut(&line, ' ');
    super = line;
    if (!span_is(type, "cgroup") && !span_is(type, "cgroup2"))
        return;
    if (!parse_dev(dev, &m.dev) || !unescape(root, m.root) || !unescape(point, m.point))
        return;
    m.read_only = list_has(options, "ro") || list_has(super, "ro");
    if (span_is(type, "cgroup2"))
        take_better(&h->v2, &m, h->own_v2);
    else
        for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
            if (list_has(super, controller_names[c]))
                take_better(&h->v1[c], &m, h->own_v1[c]);
}

static void take_own(char own[CG_PATH_MAX], struct span path)
{
    if (path.len >= CG_PATH_MAX || (path.len >= 3 && memcmp(path.at, "/..", 3) == 0))
        return;
    memcpy(own, path.at, path.len);
    own[path.len] = '\0';
}

/* "0::/user.slice" (v2), "4:cpu,cpuacct:/" (v1) */
static void parse_own(struct span line, struct cg_host *h)
{
    struct span number = cut(&line, ':'), controllers = cut(&line, ':');

    if (span_is(number, "0") && controllers.len == 0)
        take_own(h->own_v2, line);
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        if (list_has(controllers, controller_names[c]))
            take_own(h->own_v1[c], line);
}

static void for_lines(const char *text, void (*parse)(struct span line, struct cg_host *h), struct cg_host *h)
{
    struct span rest = {text, strlen(text)};

    while (rest.len > 0)
        parse(cut(&rest, '\n'), h);
}

void cg_host_parse(const char *mountinfo, const char *own, struct cg_host *ret)
{
    memset(ret, 0, sizeof(*ret));
    for_lines(own, parse_own, ret);
    for_lines(mountinfo, parse_mount, ret);
}

static int read_proc(const char *path, char **ret, struct diag *d)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return diag_errno(d, errno, "%s", path);
    n = fd_read_all(fd, CG_PROC_MAX, ret);
    return n < 0 ? diag_errno(d, (int)-n, "%s", path) : 0;
}

int cg_host_read(struct cg_host *ret, struct diag *d)
{
    cleanup_free char *mountinfo = NULL, *own = NULL;
    int r = read_proc("/proc/self/mountinfo", &mountinfo, d);

    if (r == 0)
        r = read_proc("/proc/self/cgroup", &own, d);
    if (r < 0)
        return r;
    assert(mountinfo && own);
    cg_host_parse(mountinfo, own, ret);
    return 0;
}

int cg_mount_open(const struct cg_mount *m, const char *what, struct diag *d)
{
    cleanup_fd int fd = -1;
    struct stat st;

    if (m->read_only)
        return diag_set(d, EROFS,
                        "the %s hierarchy at %s is mounted read-only: remount it (mount -o remount,rw %s), or start outside the container that made it so",
                        what, m->point, m->point);
    fd = cg_open_dir(AT_FDCWD, m->point);
    if (fd < 0)
        return diag_errno(d, -fd, "the %s hierarchy at %s", what, m->point);
    if (fstat(fd, &st) < 0)
        return diag_errno(d, errno, "the %s hierarchy at %s", what, m->point);
    if (st.st_dev != m->dev)
        return diag_set(d, ENOENT, "the %s hierarchy at %s is covered by another mount: unmount that one, or mount the hierarchy once more elsewhere", what,
                        m->point);
    return take_fd(&fd);
}
