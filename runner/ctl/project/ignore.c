/* ignore.c: which files of a directory are no part of the package. The last rule that fits decides, as in .gitignore. */
#include "project.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_BYTES_MAX 65536
#define RULES_MAX      512
#define LINE_BYTES_MAX 255
#define STARS_MAX      2 /* of **: each may cost one walk over the path's names */

struct rule {
    char *pattern; /* without the marks around it */
    bool keep;     /* ! */
    bool directory, anchored;
};

struct ignore {
    struct rule *rules;
    unsigned count;
};

/* Never wanted, and large or different from one machine to the next. */
static const char *const of_code[] = {".git/", ".hg/", ".svn/", "__pycache__/", "*.pyc", ".DS_Store", IGNORE_FILE};

void ignore_free(struct ignore *g)
{
    if (!g)
        return;
    for (unsigned i = 0; i < g->count; i++)
        free(g->rules[i].pattern);
    free(g->rules);
    free(g);
}

static bool wants_more_stars(const char *pattern)
{
    unsigned n = 0;

    for (const char *p = pattern; (p = strstr(p, "**")); p += 2)
        n++;
    return n > STARS_MAX;
}

/* Of one line, which is changed. 0 also for what is no rule. */
static int add_line(struct ignore *g, char *line, struct diag *d)
{
    struct rule r = {0};
    size_t len = strlen(line), slash;

    while (len > 0 && strchr(" \t\r", line[len - 1]))
        line[--len] = '\0';
    if (!*line || *line == '#')
        return 0;
    if (len > LINE_BYTES_MAX)
        return diag_set(d, EINVAL, "a pattern has at most %d bytes", LINE_BYTES_MAX);
    r.keep = *line == '!';
    line += r.keep || (line[0] == '\\' && (line[1] == '#' || line[1] == '!'));
    len = strlen(line);
    r.directory = len > 1 && line[len - 1] == '/';
    if (r.directory)
        line[--len] = '\0';
    slash = strcspn(line, "/");
    r.anchored = slash < len;
    line += *line == '/';
    if (!*line || strstr(line, "//"))
        return diag_set(d, EINVAL, "\"%.60s\" names nothing: a pattern is a name or a path below the directory", line);
    if (strncmp(line, "../", 3) == 0 || strcmp(line, "..") == 0 || strstr(line, "/../"))
        return diag_set(d, EINVAL, "\"%.60s\": a pattern cannot leave the directory", line);
    if (wants_more_stars(line))
        return diag_set(d, EINVAL, "\"%.60s\": at most %d ** in one pattern", line, STARS_MAX);
    if (g->count == RULES_MAX)
        return diag_set(d, E2BIG, "more than %d patterns", RULES_MAX);
    r.pattern = strdup(line);
    if (!r.pattern)
        return diag_set(d, ENOMEM, "out of memory");
    g->rules[g->count++] = r;
    return 0;
}

static int add_text(struct ignore *g, const char *what, const char *text, struct diag *d)
{
    unsigned number = 1;

    for (const char *p = text; *p; number++) {
        size_t len = strcspn(p, "\n");
        cleanup_free char *line = strndup(p, len);
        int r = line ? add_line(g, line, d) : diag_set(d, ENOMEM, "out of memory");

        if (r < 0)
            return diag_prefix(d, "%s:%u", what, number);
        p += len + (p[len] == '\n');
    }
    return 0;
}

int ignore_parse(const char *what, const char *text, bool code, struct ignore **ret, struct diag *d)
{
    struct ignore *g = calloc(1, sizeof(*g));
    int r = 0;

    if (!g || !(g->rules = calloc(RULES_MAX, sizeof(*g->rules)))) {
        free(g);
        return diag_set(d, ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < CTL_COUNT(of_code) && code && r == 0; i++)
        r = add_text(g, "built in", of_code[i], d);
    if (r == 0)
        r = add_text(g, what, text, d);
    if (r < 0)
        ignore_free(g);
    else
        *ret = g;
    return r;
}

int ignore_read(const struct source *s, bool code, struct ignore **ret, struct diag *d)
{
    char path[PATH_MAX];
    cleanup_free char *text = NULL;
    cleanup_fd int fd = -1;
    ssize_t n;

    if (snprintf(path, sizeof(path), "%s/" IGNORE_FILE, s->path) >= (int)sizeof(path))
        return diag_set(d, ENAMETOOLONG, "%.80s...: the path is too long", s->path);
    fd = beneath_file(s->path, s->said, IGNORE_FILE);
    if (fd < 0 && fd != -ENOENT)
        return beneath_refuse(-fd, path, d);
    n = fd < 0 ? 0 : fd_read_all(fd, TEXT_BYTES_MAX, &text);
    if (n == -EFBIG)
        return diag_set(d, EFBIG, "%s: is larger than %d bytes", path, TEXT_BYTES_MAX);
    if (n < 0)
        return diag_errno(d, (int)-n, "%s", path);
    if (n > 0 && memchr(text, '\0', (size_t)n))
        return diag_set(d, EINVAL, "%s: is no text", path);
    return ignore_parse(path, text ? text : "", code, ret, d);
}

/* One name of the pattern against one of the path. */
static bool name_fits(const char *pattern, size_t plen, const char *name, size_t nlen)
{
    char p[LINE_BYTES_MAX + 1], n[NAME_MAX + 1];

    if (plen >= sizeof(p) || nlen >= sizeof(n))
        return false;
    memcpy(p, pattern, plen);
    p[plen] = '\0';
    memcpy(n, name, nlen);
    n[nlen] = '\0';
    return fnmatch(p, n, 0) == 0;
}

static bool path_fits(const char *pattern, const char *path)
{
    while (*pattern && *path) {
        size_t plen = strcspn(pattern, "/"), nlen = strcspn(path, "/");
        const char *rest = pattern + plen + (pattern[plen] == '/'), *below = path + nlen + (path[nlen] == '/');

        if (plen == 2 && pattern[0] == '*' && pattern[1] == '*') {
            if (!*rest) /* all that is below */
                return true;
            for (const char *p = path; *p; p += strcspn(p, "/"), p += *p == '/')
                if (path_fits(rest, p))
                    return true;
            return false;
        }
        if (!name_fits(pattern, plen, path, nlen))
            return false;
        pattern = rest;
        path = below;
    }
    return !*pattern && !*path;
}

static bool rule_fits(const struct rule *r, const char *path, bool directory)
{
    const char *base = strrchr(path, '/');

    if (r->directory && !directory)
        return false;
    if (r->anchored)
        return path_fits(r->pattern, path);
    base = base ? base + 1 : path;
    return name_fits(r->pattern, strlen(r->pattern), base, strlen(base));
}

bool ignore_match(const struct ignore *g, const char *path, bool directory)
{
    for (unsigned i = g->count; i > 0; i--)
        if (rule_fits(&g->rules[i - 1], path, directory))
            return !g->rules[i - 1].keep;
    return false;
}
