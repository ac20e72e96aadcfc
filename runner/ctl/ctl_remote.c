/*
 * ctl_remote.c: where the daemon is that is spoken to: its unix socket, or a URL with credentials. Options win over the environment, the environment over the profile in use:
 *
 *   --socket, --profile, FND_URL (with FND_TOKEN), FND_SOCKET, `fnctl profile use`, the default socket
 *
 * Credentials never go over plain http to another host unless that was asked for (--insecure).
 */
#include "ctl.h"

#include "api.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Whoever reads the wire between two programs of one host is root there. */
static bool is_loopback(const char *host)
{
    struct in_addr four;

    return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 || (inet_pton(AF_INET, host, &four) == 1 && ntohl(four.s_addr) >> 24 == 127);
}

static int take_part(CURLU *u, CURLUPart part, char *buf, size_t size, unsigned flags)
{
    char *text = NULL;
    int r;

    if (curl_url_get(u, part, &text, flags) != CURLUE_OK)
        return -ENOENT;
    r = str_copy(buf, size, text);
    curl_free(text);
    return r;
}

static bool has_part(CURLU *u, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK;

    curl_free(text);
    return has;
}

static int parse(CURLU *u, const char *text, struct remote *ret, struct diag *d)
{
    char scheme[16], host[256], port[8], path[256];
    size_t len;

    if (curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK || take_part(u, CURLUPART_SCHEME, scheme, sizeof(scheme), 0) < 0 ||
        take_part(u, CURLUPART_HOST, host, sizeof(host), 0) < 0 || take_part(u, CURLUPART_PORT, port, sizeof(port), CURLU_DEFAULT_PORT) < 0 ||
        take_part(u, CURLUPART_PATH, path, sizeof(path), 0) < 0)
        return diag_set(d, EINVAL, "%.200s is no URL of a daemon: https://HOST[:PORT], or http://127.0.0.1:8888", text);
    if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
        return diag_set(d, EINVAL, "%.200s: https:// or http:// is needed", text);
    if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD))
        return diag_set(d, EINVAL, "a URL with a password in it is seen by everybody who lists processes: leave it out, fnctl login asks for it");
    if (has_part(u, CURLUPART_QUERY) || has_part(u, CURLUPART_FRAGMENT))
        return diag_set(d, EINVAL, "%.200s: neither '?' nor '#' belongs there", text);
    len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        path[--len] = '\0';
    *ret = (struct remote){.https = strcmp(scheme, "https") == 0, .loopback = is_loopback(host)};
    snprintf(ret->origin, sizeof(ret->origin), "%s://%s:%s", scheme, host, port);
    snprintf(ret->path, sizeof(ret->path), "%s", path);
    return 0;
}

int ctl_remote_parse(const char *url, struct remote *ret, struct diag *d)
{
    CURLU *u = curl_url();
    int r = u ? parse(u, url, ret, d) : diag_set(d, ENOMEM, "out of memory");

    curl_url_cleanup(u);
    return r;
}

bool ctl_remote_is_token(const char *secret)
{
    return strncmp(secret, "fnd_", 4) == 0 && strlen(secret) == 47;
}

int ctl_remote_check(const struct remote *r, bool insecure, struct diag *d)
{
    if (r->https || r->loopback || insecure || !*r->secret)
        return 0;
    return diag_set(
        d, EPERM,
        "%s: the %s would go over plain http, for everybody on the way to read: use https, an SSH tunnel (ssh -L 8888:127.0.0.1:8888 HOST), or say --insecure",
        r->origin, ctl_remote_is_token(r->secret) ? "token" : "password");
}

static int take_token(const char *token, struct remote *ret, struct diag *d)
{
    if (!ctl_remote_is_token(token) || strcspn(token, "\r\n") != strlen(token))
        return diag_set(d, EINVAL, "FND_TOKEN is not a token (\"fnd_\" and 43 characters, as fnctl token add prints it)");
    return str_copy(ret->secret, sizeof(ret->secret), token);
}

static int from_environment(struct remote *ret, struct diag *d)
{
    const char *url = getenv("FND_URL"), *token = getenv("FND_TOKEN");
    int r = ctl_remote_parse(url, ret, d);

    if (r < 0)
        return diag_prefix(d, "FND_URL");
    if (!token || !*token)
        return diag_set(d, EINVAL, "FND_URL is set, and FND_TOKEN is not: make a token (fnctl token add NAME --admin), or use a profile (fnctl login URL)");
    return take_token(token, ret, d);
}

/* A token in the environment is of that invocation, and wins over what the profile has. */
static int from_profile(const char *name, struct remote *ret, struct diag *d)
{
    const char *token = getenv("FND_TOKEN");
    int r = ctl_profile_load(name, ret, d);

    return r == 0 && token && *token ? take_token(token, ret, d) : r;
}

static bool is_set(const char *name)
{
    const char *v = getenv(name);

    return v && *v;
}

/* 1: *ret is it; 0: the socket. */
static int find(const struct options *o, struct remote *ret, struct diag *d)
{
    char current[NAME_PART_MAX + 1];
    int r;

    if (o->socket && o->profile)
        return diag_set(d, EINVAL, "--socket and --profile: one of them");
    if (o->socket)
        return 0;
    if (o->profile)
        r = strcmp(o->profile, PROFILE_LOCAL) == 0 ? 0 : (r = from_profile(o->profile, ret, d)) < 0 ? r : 1;
    else if (is_set("FND_URL"))
        r = (r = from_environment(ret, d)) < 0 ? r : 1;
    else if (is_set("FND_SOCKET"))
        r = 0;
    else if ((r = ctl_profile_current(current, d)) > 0)
        r = (r = from_profile(current, ret, d)) < 0 ? r : 1;
    return r;
}

int ctl_remote_need(struct ctl *ctl)
{
    const struct options *o = ctl->o;
    struct diag d = {0};
    int r;

    if (ctl->remote_known)
        return CTL_OK;
    r = find(o, &ctl->remote, &d);
    if (r > 0 && o->cacert && str_copy(ctl->remote.cacert, sizeof(ctl->remote.cacert), o->cacert) < 0)
        r = diag_set(&d, EINVAL, "--cacert %.80s...: too long", o->cacert);
    if (r > 0 && ctl_remote_check(&ctl->remote, o->insecure || ctl->remote.insecure, &d) < 0)
        r = -EPERM;
    if (r < 0)
        return ctl_fail_diag(CTL_USAGE, &d);
    ctl->is_remote = r > 0;
    ctl->remote_known = true;
    return CTL_OK;
}

void ctl_remote_none(struct ctl *ctl)
{
    ctl->is_remote = false;
    ctl->remote_known = true;
}

int ctl_remote_refuse(struct ctl *ctl, const char *what)
{
    int r = ctl_remote_need(ctl);

    if (r == CTL_OK && ctl->is_remote)
        return ctl_fail(CTL_USAGE, "%s works over the daemon's unix socket only, not at %s: run fnctl on that host (ssh HOST sudo fnctl ...)", what,
                        ctl->remote.origin);
    return r;
}
