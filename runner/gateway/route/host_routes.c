/* host_routes.c: see host_routes.h. Of several claims the longest path wins; between equals the function that comes first by its name: the runner lets in only one of them. */
#include "host_routes.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ANYWHERE "" /* the host of claims that name none */

struct host_claim {
    struct host_claim *next;      /* of the bucket */
    const char *host;             /* in the function's [http] */
    const struct spec_path *path; /* NULL: all of the host */
    struct gw_function *function;
};

void host_routes_stale(struct host_routes *t)
{
    t->stale = true;
}

void host_routes_done(struct host_routes *t)
{
    free(t->claims);
    free(t->buckets);
    *t = (struct host_routes){0};
}

static unsigned hash(const char *s, size_t len)
{
    unsigned h = 2166136261U;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * 16777619U;
    return h;
}

static unsigned claims_of(const struct spec_http *h)
{
    unsigned paths = h->npaths ? h->npaths : 1;

    return h->nhosts ? h->nhosts * paths : h->npaths;
}

static void add(struct host_routes *t, struct gw_function *f, const char *host)
{
    const struct spec_http *h = f->http;

    for (unsigned i = 0; i < (h->npaths ? h->npaths : 1); i++) {
        struct host_claim *c = &t->claims[t->nclaims++], **at = &t->buckets[hash(host, strlen(host)) & (t->nbuckets - 1)];

        *c = (struct host_claim){.host = host, .path = h->npaths ? &h->paths[i] : NULL, .function = f};
        while (*at) /* in the functions' order */
            at = &(*at)->next;
        *at = c;
    }
}

static bool build(struct host_routes *t, const struct picture *p)
{
    unsigned n = 0, size = 16;

    for (const struct gw_function *f = p->functions; f; f = f->next)
        n += f->http ? claims_of(f->http) : 0;
    host_routes_done(t);
    if (n == 0)
        return true;
    while (size < n)
        size *= 2;
    t->claims = calloc(n, sizeof(*t->claims));
    t->buckets = calloc(size, sizeof(struct host_claim *));
    if (!t->claims || !t->buckets) {
        host_routes_done(t);
        t->stale = true;
        return false;
    }
    t->nbuckets = size;
    for (struct gw_function *f = p->functions; f; f = f->next) {
        if (!f->http || claims_of(f->http) == 0)
            continue;
        for (unsigned i = 0; i < f->http->nhosts; i++)
            add(t, f, f->http->hosts[i]);
        if (f->http->nhosts == 0)
            add(t, f, ANYWHERE);
    }
    return true;
}

/* As hosts are claimed: lower case, without the port and the dot at the end. Returns its length, 0 for none that could be claimed. */
static size_t normalise(const char *host, size_t len, char ret[SPEC_HTTP_HOST_MAX])
{
    const char *colon = memchr(host, ':', len);

    if (colon)
        len = (size_t)(colon - host);
    if (len > 1 && host[len - 1] == '.')
        len--;
    if (len == 0 || len >= SPEC_HTTP_HOST_MAX)
        return 0;
    for (size_t i = 0; i < len; i++)
        ret[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] | 0x20 : host[i]);
    ret[len] = '\0';
    return len;
}

struct search {
    const char *path;
    size_t path_len;
    uint32_t method;
    const struct host_claim *best;
    size_t best_len;
    uint32_t methods;       /* of claims whose path fits */
    bool host_known, named; /* by any claim; by one that is not for anywhere */
};

static bool path_fits(const struct spec_path *p, const struct search *s, size_t *ret_len)
{
    size_t n = strlen(p->path);

    *ret_len = n;
    if (n == 1)
        return true;
    return s->path_len >= n && memcmp(s->path, p->path, n) == 0 && (s->path_len == n || s->path[n] == '/');
}

static void look(const struct host_routes *t, const char *host, size_t host_len, struct search *s)
{
    for (const struct host_claim *c = t->buckets[hash(host, host_len) & (t->nbuckets - 1)]; c; c = c->next) {
        size_t n = 0;

        if (strlen(c->host) != host_len || memcmp(c->host, host, host_len) != 0)
            continue;
        s->host_known = true;
        if (c->path && !path_fits(c->path, s, &n))
            continue;
        s->methods |= c->path ? c->path->methods : SPEC_METHODS_ALL;
        if (c->path && c->path->methods != SPEC_METHODS_ALL && !(c->path->methods & s->method))
            continue;
        if (!s->best || n > s->best_len) {
            s->best = c;
            s->best_len = n;
        }
    }
}

/* The host itself, and "*." for its first label. */
static void look_everywhere(const struct host_routes *t, const char *host, size_t host_len, struct search *s)
{
    char name[SPEC_HTTP_HOST_MAX + 1];
    size_t len = normalise(host, host_len, name), label;

    if (len > 0)
        look(t, name, len, s);
    label = len > 0 ? strcspn(name, ".") : 0;
    if (!s->host_known && label > 0 && label < len) {
        name[label - 1] = '*';
        look(t, name + label - 1, len - label + 1, s);
    }
    s->named = s->host_known;
    if (!s->named)
        look(t, ANYWHERE, 0, s);
}

enum host_answer host_routes_find(struct host_routes *t, const struct picture *p, const char *host, size_t host_len, const char *path, size_t path_len,
                                  uint32_t method, struct gw_function **ret, size_t *ret_path_len, uint32_t *ret_methods)
{
    struct search s = {.path = path, .path_len = path_len, .method = method};

    if (t->stale && !build(t, p))
        return HOST_NO_MEMORY;
    if (t->nclaims == 0)
        return HOST_UNKNOWN;
    look_everywhere(t, host, host_len, &s);
    if (s.best) {
        *ret = s.best->function;
        *ret_path_len = s.best_len > 1 ? s.best_len : 0;
        return HOST_FUNCTION;
    }
    *ret_methods = s.methods;
    if (s.methods)
        return HOST_NO_METHOD;
    return s.named ? HOST_NO_PATH : HOST_UNKNOWN;
}
