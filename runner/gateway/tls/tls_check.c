/* tls_check.c: `fnd --check`: opens every certificate as root, gives up all privileges, and then looks at what is in them. */
#include "tls.h"

#include "../confine.h"
#include "certdir.h"
#include "certificate.h"
#include "clock.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

struct opened {
    char name[NAME_MAX + 1];
    int fds[2]; /* certificate, key */
    struct diag diag;
};

struct checking {
    struct opened all[CERTDIR_MAX];
    unsigned count;
};

static int open_one(void *arg, int dir, const struct certdir_entry *e)
{
    struct checking *c = arg;
    struct opened *o = &c->all[c->count++];

    memcpy(o->name, e->name, sizeof(o->name));
    o->fds[0] = certdir_open(dir, e->certificate, 0, &o->diag);
    o->fds[1] = o->fds[0] < 0 ? -1 : certdir_open(dir, e->key, 1, &o->diag);
    return 0;
}

static int look(struct opened *o)
{
    cleanup_free char *pem = NULL, *key = NULL;
    struct certificate c = {0};
    ssize_t len, key_len;
    int r;

    if (o->diag.err)
        return -o->diag.err;
    len = fd_read_all(o->fds[0], CERTIFICATE_FILE_MAX, &pem);
    key_len = fd_read_all(o->fds[1], CERTIFICATE_FILE_MAX, &key);
    if (len < 0 || key_len < 0)
        return diag_errno(&o->diag, (int)-(len < 0 ? len : key_len), "cannot be read");
    r = certificate_parse(pem, (size_t)len, key, (size_t)key_len, &c, &o->diag);
    if (r == 0)
        r = certificate_valid(&c, (int64_t)(clock_real_ns() / NS_PER_SEC), &o->diag);
    certificate_done(&c);
    return r;
}

int tls_check(const char *dir, uid_t uid, gid_t gid, struct diag *d)
{
    struct checking *c = calloc(1, sizeof(*c));
    unsigned bad = 0;
    int r;

    if (!c)
        return diag_set(d, ENOMEM, "out of memory");
    r = certdir_each(dir, open_one, c, d);
    OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, NULL);
    if (r >= 0)
        r = confine_ids(uid, gid, d);
    if (r >= 0)
        r = confine_calls(d);
    for (unsigned i = 0; r >= 0 && i < c->count; i++)
        if (look(&c->all[i]) < 0) {
            fprintf(stderr, "certificate %s/%s: %s\n", dir, c->all[i].name, c->all[i].diag.text);
            bad++;
        }
    for (unsigned i = 0; i < c->count; i++)
        for (unsigned k = 0; k < 2; k++)
            fd_close(c->all[i].fds[k]);
    free(c);
    return r >= 0 && bad ? diag_set(d, EINVAL, "%u cannot be used", bad) : r;
}
