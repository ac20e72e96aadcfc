/* tls_files.c: the files of certificates as the runner passes them, one by one; and the moment when all are there and a new set takes the old one's place. Worker 0's thread only. */
#include "acme.h"
#include "tls_private.h"

#include "diag.h"
#include "fd.h"
#include "log.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static void forget(struct tls *t)
{
    for (unsigned i = 0; i < t->nfiles; i++)
        for (unsigned k = 0; k < 2; k++) {
            if (t->files[i].text[k])
                OPENSSL_cleanse(t->files[i].text[k], t->files[i].len[k]);
            free(t->files[i].text[k]);
        }
    t->nfiles = 0;
    t->incoming_acme = fd_close(t->incoming_acme);
}

void tls_on_welcome(struct tls *t)
{
    forget(t);
}

/* The two files of one certificate come one behind the other. */
static struct tls_files *place_of(struct tls *t, const char *name)
{
    struct tls_files *last = t->nfiles ? &t->files[t->nfiles - 1] : NULL;

    if (last && strcmp(last->name, name) == 0)
        return last;
    if (t->nfiles == CERTDIR_MAX)
        return NULL;
    last = &t->files[t->nfiles++];
    *last = (struct tls_files){0};
    str_copy(last->name, sizeof(last->name), name);
    return last;
}

void tls_on_file(struct tls *t, const struct record_file *rec, int fd)
{
    cleanup_fd int owned = fd;
    struct tls_files *f = rec->kind <= RECORD_FILE_KEY ? place_of(t, rec->name) : NULL;
    ssize_t len;

    if (rec->kind == RECORD_FILE_ACME) {
        fd_close(t->incoming_acme);
        t->incoming_acme = take_fd(&owned);
    }
    if (!f || f->text[rec->kind])
        return;
    len = fd_read_all(owned, CERTIFICATE_FILE_MAX, &f->text[rec->kind]);
    if (len < 0)
        log_msg(LOG_ERR, "file of a certificate not read", "name=%s error=\"%s\"", rec->name, strerror((int)-len));
    f->len[rec->kind] = len < 0 ? 0 : (size_t)len;
}

void tls_on_files(struct tls *t)
{
    struct tls_set *set = tls_set_new(t, t->files, t->nfiles, t->set), *old = t->set;
    int old_acme = t->acme;

    pthread_mutex_lock(&t->lock);
    t->acme = take_fd(&t->incoming_acme);
    pthread_mutex_unlock(&t->lock);
    fd_close(old_acme);
    forget(t);
    if (!set) {
        log_msg(LOG_ERR, "certificates stay as they were", "error=\"out of memory\"");
        return;
    }
    pthread_mutex_lock(&t->lock);
    t->set = set;
    pthread_mutex_unlock(&t->lock);
    tls_set_free(old);
    atomic_fetch_add_explicit(&t->counts.reloads, 1, memory_order_relaxed);
    if (set->count || old)
        log_msg(LOG_INFO, "certificates", "count=%u hosts=%u", set->count, set->nhosts);
}

void tls_certificates(struct tls *t, void (*each)(void *arg, const char *name, int64_t not_after), void *arg)
{
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; t->set && i < t->set->count; i++)
        each(arg, t->set->entries[i].name, t->set->entries[i].not_after);
    pthread_mutex_unlock(&t->lock);
}

/* A copy of the descriptor: the files are not read with the lock held, which handshakes need. */
ssize_t tls_acme_read(struct tls *t, const char *path, size_t len, char *buf)
{
    cleanup_fd int dir = -1;

    if (!t)
        return -ENOENT;
    pthread_mutex_lock(&t->lock);
    if (t->acme >= 0)
        dir = fcntl(t->acme, F_DUPFD_CLOEXEC, 0);
    pthread_mutex_unlock(&t->lock);
    return acme_read(dir, path, len, buf);
}
