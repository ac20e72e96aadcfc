/*
 * tls_set.c: all certificates of one moment, looked up by host; and how the next moment's come from what the runner passes. A certificate is made by its files alone, so one that is broken harms no other: what had its
 * name before stays, and goes on being served until it is mended or taken away.
 */
#include "tls_private.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "str.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* ---- looking up ---- */

static int compare_hosts(const void *a, const void *b)
{
    return strcmp(((const struct tls_host *)a)->host, ((const struct tls_host *)b)->host);
}

static const struct tls_host *find_host(const struct tls_set *s, const char *host)
{
    const struct tls_host key = {.host = host};

    return bsearch(&key, s->hosts, s->nhosts, sizeof(*s->hosts), compare_hosts);
}

/* The name itself, or its first label replaced by "*". */
const struct tls_entry *tls_set_find(const struct tls_set *s, const char *host)
{
    const struct tls_host *h;
    char lower[256] = {0};
    size_t len = host ? strnlen(host, sizeof(lower)) : 0;
    char *dot;

    if (s->count == 0)
        return NULL;
    if (len == 0 || len >= sizeof(lower))
        return &s->entries[s->fallback];
    for (size_t i = 0; i < len; i++)
        lower[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] - 'A' + 'a' : host[i]);
    h = find_host(s, lower);
    dot = strchr(lower, '.');
    if (!h && dot && dot != lower) {
        dot[-1] = '*';
        h = find_host(s, dot - 1);
    }
    return &s->entries[h ? h->entry : s->fallback];
}

/* ---- making one ---- */

static void entry_done(struct tls_entry *e)
{
    SSL_CTX_free(e->ctx);
    free(e->names);
}

static int entry_copy(struct tls_entry *to, const struct tls_entry *from)
{
    *to = *from;
    to->names = calloc(from->nnames, sizeof(*from->names));
    if (!to->names || SSL_CTX_up_ref(from->ctx) != 1) {
        free(to->names);
        return -ENOMEM;
    }
    memcpy(to->names, from->names, from->nnames * sizeof(*from->names));
    return 0;
}

static int digest_of(const struct tls_files *f, unsigned char *ret)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;

    for (unsigned i = 0; ok && i < 2; i++)
        ok = EVP_DigestUpdate(ctx, &f->len[i], sizeof(f->len[i])) == 1 && EVP_DigestUpdate(ctx, f->text[i], f->len[i]) == 1;
    ok = ok && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : -ENOMEM;
}

/* A certificate that is expired is better than none: clients say so, and who must can go on. But not in place of one that is not. */
static int check_time(const char *name, const struct certificate *c, const struct tls_entry *before, struct diag *d)
{
    const int64_t now = (int64_t)(clock_real_ns() / NS_PER_SEC);

    if (certificate_valid(c, now, d) == 0)
        return 0;
    if (before && before->not_after > now)
        return -EINVAL;
    log_diag(LOG_WARNING, "certificate is out of its time", d, "name=%s", name);
    return 0;
}

static int entry_make(struct tls *t, const struct tls_files *f, const struct tls_entry *before, struct tls_entry *ret, struct diag *d)
{
    struct certificate c = {0};
    int r;

    for (unsigned i = 0; i < 2; i++)
        if (!f->text[i])
            return diag_set(d, ENOENT, "its %s did not come", i == RECORD_FILE_KEY ? "key" : "certificate");
    r = certificate_parse(f->text[RECORD_FILE_CERTIFICATE], f->len[RECORD_FILE_CERTIFICATE], f->text[RECORD_FILE_KEY], f->len[RECORD_FILE_KEY], &c, d);
    if (r == 0)
        r = check_time(f->name, &c, before, d);
    if (r == 0)
        r = tls_context_new(t, &c, &ret->ctx, d);
    if (r == 0) {
        ret->names = take_ptr(c.names);
        ret->nnames = c.nnames;
        ret->not_after = c.not_after;
    }
    certificate_done(&c);
    return r;
}

static const struct tls_entry *entry_before(const struct tls_set *old, const char *name)
{
    for (unsigned i = 0; old && i < old->count; i++)
        if (strcmp(old->entries[i].name, name) == 0)
            return &old->entries[i];
    return NULL;
}

/* 0: the next entry of the set is filled; -EINVAL: this certificate is left out; -ENOMEM. */
static int add_entry(struct tls *t, struct tls_set *s, const struct tls_files *f, const struct tls_set *old)
{
    const struct tls_entry *before = entry_before(old, f->name);
    struct tls_entry *e = &s->entries[s->count];
    unsigned char digest[TLS_DIGEST_BYTES] = {0};
    struct diag d = {0};
    int r;

    if (digest_of(f, digest) < 0)
        return -ENOMEM;
    if (before && memcmp(digest, before->digest, sizeof(digest)) == 0) {
        r = entry_copy(e, before);
    } else {
        *e = (struct tls_entry){0};
        r = entry_make(t, f, before, e, &d);
        if (r < 0) {
            log_diag(LOG_ERR, before ? "certificate refused, the one before stays" : "certificate refused", &d, "name=%s", f->name);
            r = before ? entry_copy(e, before) : -EINVAL;
        } else {
            str_copy(e->name, sizeof(e->name), f->name);
            memcpy(e->digest, digest, sizeof(e->digest));
        }
    }
    s->count += r == 0;
    return r;
}

/* ---- the index ---- */

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct tls_files *)a)->name, ((const struct tls_files *)b)->name);
}

static int index_hosts(struct tls_set *s)
{
    unsigned n = 0, kept = 0;

    for (unsigned i = 0; i < s->count; i++)
        n += s->entries[i].nnames;
    s->hosts = calloc(n ? n : 1, sizeof(*s->hosts));
    if (!s->hosts)
        return -ENOMEM;
    for (unsigned i = 0; i < s->count; i++)
        for (unsigned j = 0; j < s->entries[i].nnames; j++)
            s->hosts[s->nhosts++] = (struct tls_host){.host = s->entries[i].names[j].host, .entry = i};
    qsort(s->hosts, s->nhosts, sizeof(*s->hosts), compare_hosts);
    for (unsigned i = 0; i < s->nhosts; i++) {
        struct tls_host *last = kept ? &s->hosts[kept - 1] : NULL;

        if (!last || strcmp(last->host, s->hosts[i].host) != 0)
            s->hosts[kept++] = s->hosts[i];
        else if (s->entries[s->hosts[i].entry].not_after > s->entries[last->entry].not_after)
            last->entry = s->hosts[i].entry;
    }
    s->nhosts = kept;
    for (unsigned i = 0; i < s->count; i++)
        if (strcmp(s->entries[i].name, "default") == 0)
            s->fallback = i;
    return 0;
}

struct tls_set *tls_set_new(struct tls *t, struct tls_files *files, unsigned count, const struct tls_set *old)
{
    struct tls_set *s = calloc(1, sizeof(*s));
    int r = 0;

    if (!s)
        return NULL;
    s->entries = calloc(count ? count : 1, sizeof(*s->entries));
    r = s->entries ? 0 : -ENOMEM;
    if (count)
        qsort(files, count, sizeof(*files), compare_files);
    for (unsigned i = 0; i < count && r != -ENOMEM; i++)
        r = add_entry(t, s, &files[i], old);
    if (r != -ENOMEM)
        r = index_hosts(s);
    if (r == -ENOMEM) {
        tls_set_free(s);
        return NULL;
    }
    return s;
}

void tls_set_free(struct tls_set *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->count; i++)
        entry_done(&s->entries[i]);
    free(s->entries);
    free(s->hosts);
    free(s);
}
