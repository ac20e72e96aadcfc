/* project.c: what a directory says about itself before it is sent: its function.ini, and what is no part of it. */
#include "project.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INI_BYTES_MAX 262144 /* the jail's limit */

/* What function.ini's messages begin with ("function.ini:3: ...") stands in a directory. */
static int in_directory(const struct project *p, struct diag *d)
{
    struct diag said = *d;

    return diag_set(d, said.err ? said.err : EINVAL, "%s/%s", p->source.path, said.text);
}

static int read_ini(struct project *p, struct diag *d)
{
    char path[PATH_MAX + 16];
    cleanup_fd int fd = -1;
    ssize_t n;

    snprintf(path, sizeof(path), "%s/function.ini", p->source.path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? 0 : diag_errno(d, errno, "%s", path);
    n = fd_read_all(fd, INI_BYTES_MAX, &p->ini);
    if (n < 0)
        return diag_errno(d, (int)-n, "%s", path);
    if (n > 0 && memchr(p->ini, '\0', (size_t)n))
        return diag_set(d, EINVAL, "%s: is no text", path);
    return 0;
}

static int judge_ini(struct project *p, bool check, struct diag *d)
{
    size_t len = strlen(p->ini);
    int r = check ? function_facts_check(p->ini, len, d) : 0;

    if (r == 0)
        r = function_facts_read(p->ini, len, &p->facts, d);
    return r < 0 ? in_directory(p, d) : 0;
}

int project_load(const struct source *s, bool check, struct project *p, struct diag *d)
{
    int r;

    *p = (struct project){.source = *s};
    if (s->kind != SOURCE_DIRECTORY)
        return 0;
    r = read_ini(p, d);
    if (r == 0 && p->ini)
        r = judge_ini(p, check, d);
    if (r == 0)
        r = ignore_read(s->path, *p->facts.runtime, &p->ignore, d);
    if (r == 0 && !*p->facts.name && !ctl_source_name(s, p->name))
        *p->name = '\0';
    return r;
}

void project_done(struct project *p)
{
    free(p->ini);
    ignore_free(p->ignore);
    *p = (struct project){0};
}

int project_open(const struct project *p, const struct pack_options *o, struct body *b, struct diag *d)
{
    struct pack_options mine = *o;

    if (p->source.kind != SOURCE_DIRECTORY)
        return ctl_source_open(&p->source, b, d);
    mine.ignore = p->ignore;
    mine.ini = p->converted ? p->ini : NULL;
    mine.uniform |= *p->facts.runtime != '\0'; /* code has no owners */
    return ctl_pack_with(b, p->source.path, &mine, d);
}
