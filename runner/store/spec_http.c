/* spec_http.c: the gate of [http] in a spec, and what two functions may not both claim. */
#include "spec_http.h"

#include "clock.h"
#include "diag.h"
#include "spec.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *const methods[SPEC_METHOD_COUNT] = {
    [SPEC_METHOD_GET] = "GET",     [SPEC_METHOD_HEAD] = "HEAD",     [SPEC_METHOD_POST] = "POST",       [SPEC_METHOD_PUT] = "PUT",
    [SPEC_METHOD_PATCH] = "PATCH", [SPEC_METHOD_DELETE] = "DELETE", [SPEC_METHOD_OPTIONS] = "OPTIONS",
};

/* The gateway's own places on a host that nobody claims. */
static const char *const taken[] = {"/fn",    "/faaso", "/function", "/async",   "/async-function",
                                    "/admin", "/api",   "/healthz",  "/metrics", "/.well-known/acme-challenge"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const char *spec_method_name(unsigned method)
{
    return method < SPEC_METHOD_COUNT ? methods[method] : NULL;
}

uint32_t spec_method_bit(const char *name, size_t len)
{
    for (unsigned i = 0; i < SPEC_METHOD_COUNT; i++)
        if (strlen(methods[i]) == len && memcmp(methods[i], name, len) == 0)
            return 1U << i;
    return 0;
}

static bool ends(const char *text, size_t size)
{
    return strnlen(text, size) < size;
}

static int check_host(const char *host, struct diag *d)
{
    const char *name = strncmp(host, "*.", 2) == 0 ? host + 2 : host;

    if (spec_host_kind(name) != SPEC_HOST_NAME)
        return diag_set(d, EINVAL, "[http] hosts: \"%.80s\" is no host name: write hello.example.org, or *.example.org", host);
    if (name != host && !strchr(name, '.'))
        return diag_set(d, EINVAL, "[http] hosts: \"%.80s\" would claim a whole top level domain", host);
    return 0;
}

/* Is `path` what `of` names, or below it? */
static bool below(const char *path, const char *of)
{
    size_t n = strlen(of);

    return strcmp(of, "/") == 0 || (strncmp(path, of, n) == 0 && (path[n] == '\0' || path[n] == '/'));
}

static bool path_ok(const char *p)
{
    size_t len = strlen(p);

    if (p[0] != '/' || (len > 1 && p[len - 1] == '/'))
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)p[i] <= 0x20 || (unsigned char)p[i] >= 0x7f || strchr("?#\\\"<>^`{|}", p[i]) || (p[i] == '/' && p[i + 1] == '/'))
            return false;
    for (const char *s = p; (s = strchr(s, '/')); s++) {
        size_t n = strcspn(s + 1, "/");

        if ((n == 1 && s[1] == '.') || (n == 2 && s[1] == '.' && s[2] == '.'))
            return false;
    }
    return true;
}

static int check_path(const struct spec_http *h, const struct spec_path *p, struct diag *d)
{
    if (p->methods == 0 || p->methods > SPEC_METHODS_ALL || !ends(p->path, sizeof(p->path)))
        return diag_set(d, EPROTO, "[http] paths: a record is broken");
    if (!path_ok(p->path))
        return diag_set(d, EINVAL, "[http] paths: \"%.80s\" is no path: begin with /, no / at the end, no dot segments, no ? and #", p->path);
    if (h->nhosts > 0)
        return 0;
    if (strcmp(p->path, "/") == 0)
        return diag_set(d, EINVAL, "[http] paths: / is all there is: name the host it is for in hosts");
    for (size_t i = 0; i < COUNT(taken); i++)
        if (below(p->path, taken[i]) || below(taken[i], p->path))
            return diag_set(d, EINVAL, "[http] paths: %s is the gateway's own: choose another, or name a host in hosts", taken[i]);
    return 0;
}

static int check_rate(const char *key, const struct spec_rate *r, struct diag *d)
{
    if (r->interval_ns == 0)
        return 0;
    if (r->interval_ns < NS_PER_SEC / 1000000 || r->interval_ns > 86400 * NS_PER_SEC || r->burst < 1 || r->burst > 1000000)
        return diag_set(d, EINVAL, "[http] %s is out of its bounds: from 1/d to 1000000/s, a burst of 1 to 1000000", key);
    return 0;
}

static bool origin_ok(const char *o)
{
    const char *host = strstr(o, "://");

    if (!host || host == o || !host[3])
        return false;
    for (const char *c = o; c < host; c++)
        if (!((*c >= 'a' && *c <= 'z') || (c > o && ((*c >= '0' && *c <= '9') || *c == '+' || *c == '-' || *c == '.'))))
            return false;
    return host[3 + strspn(host + 3, "abcdefghijklmnopqrstuvwxyz0123456789.-_:[]")] == '\0';
}

static bool names_ok(const char *list)
{
    return list[strspn(list, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, *")] == '\0';
}

static int check_cors(const struct spec_http *h, struct diag *d)
{
    if (!ends(h->cors_headers, sizeof(h->cors_headers)) || !names_ok(h->cors_headers))
        return diag_set(d, EPROTO, "[http] cors_headers: names of fields, separated by commas");
    if (h->cors_methods > SPEC_METHODS_ALL)
        return diag_set(d, EPROTO, "[http] cors_methods: a record is broken");
    if (!h->cors_any && h->norigins == 0 && (h->cors_methods || h->cors_headers[0] || h->cors_credentials))
        return diag_set(d, EINVAL, "[http] cors_methods, cors_headers and cors_credentials say nothing without cors");
    if (h->cors_any && h->cors_credentials)
        return diag_set(d, EINVAL, "[http] cors_credentials: with cors = * every page could act as its visitor: name the origins in cors");
    for (uint32_t i = 0; i < h->norigins; i++) {
        if (!ends(h->origins[i], sizeof(h->origins[i])))
            return diag_set(d, EPROTO, "[http] cors: an origin is not terminated");
        if (!origin_ok(h->origins[i]))
            return diag_set(d, EINVAL, "[http] cors: \"%.80s\" is no origin: write https://example.org, with the port where it has one, without a path",
                            h->origins[i]);
    }
    return 0;
}

int spec_http_check(const struct spec_http *h, struct diag *d)
{
    int r = 0;

    if (h->nhosts > SPEC_HTTP_HOSTS_MAX || h->npaths > SPEC_HTTP_PATHS_MAX || h->norigins > SPEC_HTTP_ORIGINS_MAX || h->is_private > 1 || h->cors_any > 1 ||
        h->cors_credentials > 1 || h->max_body_bytes > 1ULL << 50)
        return diag_set(d, EPROTO, "[http]: a number is out of its bounds");
    for (uint32_t i = 0; r == 0 && i < h->nhosts; i++)
        r = ends(h->hosts[i], sizeof(h->hosts[i])) ? check_host(h->hosts[i], d) : diag_set(d, EPROTO, "[http] hosts: a name is not terminated");
    for (uint32_t i = 0; r == 0 && i < h->npaths; i++)
        r = check_path(h, &h->paths[i], d);
    if (r == 0)
        r = check_cors(h, d);
    if (r == 0)
        r = check_rate("rate", &h->rate, d);
    return r < 0 ? r : check_rate("rate_client", &h->rate_client, d);
}

static bool same_path(const struct spec_http *a, const struct spec_http *b, const char **ret)
{
    static const struct spec_path whole = {.methods = SPEC_METHODS_ALL, .path = "/"};
    uint32_t na = a->npaths ? a->npaths : 1, nb = b->npaths ? b->npaths : 1;

    for (uint32_t i = 0; i < na; i++)
        for (uint32_t k = 0; k < nb; k++) {
            const struct spec_path *x = a->npaths ? &a->paths[i] : &whole, *y = b->npaths ? &b->paths[k] : &whole;

            if ((x->methods & y->methods) && strcmp(x->path, y->path) == 0) {
                *ret = x->path;
                return true;
            }
        }
    return false;
}

int spec_http_overlap(const struct spec_http *a, const struct spec_http *b, char ret[SPEC_HTTP_CLAIM_MAX])
{
    const char *path = NULL;

    if ((a->nhosts == 0 && a->npaths == 0) || (b->nhosts == 0 && b->npaths == 0) || (a->nhosts == 0) != (b->nhosts == 0) || !same_path(a, b, &path))
        return 0;
    if (a->nhosts == 0) {
        snprintf(ret, SPEC_HTTP_CLAIM_MAX, "%s", path);
        return 1;
    }
    for (uint32_t i = 0; i < a->nhosts; i++)
        for (uint32_t k = 0; k < b->nhosts; k++)
            if (strcmp(a->hosts[i], b->hosts[k]) == 0) {
                snprintf(ret, SPEC_HTTP_CLAIM_MAX, "%s%s", a->hosts[i], strcmp(path, "/") == 0 ? "" : path);
                return 1;
            }
    return 0;
}
