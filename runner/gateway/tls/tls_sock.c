/*
 * tls_sock.c: a sock that TLS carries.
 *
 * OpenSSL reads and writes the descriptor itself, as often as it needs; the sock's edges stay what they were. Three things are of a kind that bare sockets have not:
 *   - what was read from the socket may still be in OpenSSL, so a sock stays `readable` until OpenSSL has neither bytes nor, by a short read, the kernel; bytes that OpenSSL took before their edge was told
 *     make none (epoll(7) looks when it is asked), so whoever makes OpenSSL read sets `readable` himself;
 *   - to read may need to write (an answer to a key update) and the reverse: what it waits for is remembered, and the edge for it is passed on (on_note);
 *   - a record that the socket did not take whole is OpenSSL's, and the next send must offer the same bytes first: who gets -EAGAIN keeps them (outq does).
 * The end of the stream is the peer's close_notify. An end without it is an error, since somebody on the way may have cut the stream.
 */
#include "tls_private.h"

#include "../http/sock.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

struct carrier {
    SSL *ssl;
    struct tls *tls;
    bool done;             /* the handshake is */
    bool broken;           /* OpenSSL must not be asked for anything more (SSL_get_error(3)) */
    bool drained;          /* this call's last read of the descriptor was short */
    bool read_wants_write; /* WANT_WRITE came from a read, and so on */
    bool write_wants_read;
    bool shut_waits; /* close_notify did not fit into the socket */
};

static long on_bio(BIO *b, int what, const char *data, size_t len, int argi, long argl, int ret, size_t *processed)
{
    struct carrier *c = (struct carrier *)BIO_get_callback_arg(b);

    if (what == (BIO_CB_READ | BIO_CB_RETURN))
        c->drained = ret <= 0 || !processed || *processed < len;
    return ret;
}

/* What a call that did not succeed means: 0 is the end of the stream. */
static int result_of(struct carrier *c, int ret, bool reading)
{
    int saved = errno, r = -EPROTO;
    unsigned long e;

    switch (SSL_get_error(c->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        c->write_wants_read = !reading;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        c->read_wants_write = reading;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return reading ? 0 : -EPIPE;
    case SSL_ERROR_SYSCALL:
        r = saved ? -saved : -ECONNRESET;
        break;
    default:
        e = ERR_peek_error();
        if (ERR_GET_LIB(e) != ERR_LIB_SSL)
            break;
        if (ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
            r = -ECONNRESET;
        else if (ERR_GET_REASON(e) == SSL_R_HTTP_REQUEST)
            r = -EPROTOTYPE;
        break;
    }
    c->broken = true;
    ERR_clear_error();
    return r;
}

/* ---- the handshake ---- */

static void count_failure(struct tls *t, int err)
{
    enum tls_failure why = err == -EPROTOTYPE ? TLS_FAILED_PLAIN_HTTP : err == -EPROTO ? TLS_FAILED_PROTOCOL : TLS_FAILED_CLOSED;

    atomic_fetch_add_explicit(&t->counts.failed[why], 1, memory_order_relaxed);
}

static void count_handshake(struct tls *t, const SSL *ssl)
{
    enum tls_version_index v = SSL_version(ssl) == TLS1_3_VERSION ? TLS_INDEX_1_3 : TLS_INDEX_1_2;

    atomic_fetch_add_explicit(SSL_session_reused(ssl) ? &t->counts.resumed[v] : &t->counts.full[v], 1, memory_order_relaxed);
}

int tls_handshake(struct sock *s)
{
    struct carrier *c = s->carrier;
    int r;

    if (c->done)
        return 0;
    if (c->broken)
        return -EPROTO;
    ERR_clear_error();
    errno = 0;
    c->read_wants_write = false;
    r = SSL_do_handshake(c->ssl);
    if (r == 1) {
        c->done = true;
        s->readable = true; /* the first request may have come with the client's last message: no edge will tell of it */
        count_handshake(c->tls, c->ssl);
        return 0;
    }
    r = result_of(c, r, true);
    if (r == 0) /* a close_notify in the middle of it */
        r = -ECONNRESET;
    if (r == -EAGAIN)
        s->readable = false;
    else
        count_failure(c->tls, r);
    return r;
}

/* ---- sock_ops ---- */

static ssize_t on_recv(struct sock *s, void *data, size_t size)
{
    struct carrier *c = s->carrier;
    size_t n = 0;
    int r = tls_handshake(s);

    if (r < 0)
        return r;
    if (c->broken)
        return -ECONNRESET;
    ERR_clear_error();
    errno = 0;
    c->read_wants_write = false;
    c->drained = false; /* an older read says nothing of what has come since */
    r = SSL_read_ex(c->ssl, data, size, &n);
    if (r != 1)
        return result_of(c, r, true);
    /* As in sock_recv(): a short read has emptied the socket, unless the end is behind it. With kernel TLS every read is short. */
    if (c->drained && !s->ended && !SSL_has_pending(c->ssl) && !BIO_get_ktls_recv(SSL_get_rbio(c->ssl)))
        s->readable = false;
    return (ssize_t)n;
}

/* Small pieces go out as one record: each costs a header, a tag and a system call. */
static size_t gather(const struct iovec *iov, unsigned pieces, char *record, size_t size)
{
    size_t len = 0;

    for (unsigned i = 0; i < pieces && len < size; i++) {
        size_t n = iov[i].iov_len < size - len ? iov[i].iov_len : size - len;

        memcpy(record + len, iov[i].iov_base, n);
        len += n;
    }
    return len;
}

static ssize_t on_send(struct sock *s, const struct iovec *iov, unsigned pieces)
{
    struct carrier *c = s->carrier;
    char record[SSL3_RT_MAX_PLAIN_LENGTH];
    const void *data = iov->iov_base;
    size_t len = iov->iov_len, n = 0;
    int r = tls_handshake(s);

    if (r < 0)
        return r;
    if (c->broken)
        return -EPIPE;
    if (pieces > 1 && len < sizeof(record)) {
        len = gather(iov, pieces, record, sizeof(record));
        data = record;
    }
    ERR_clear_error();
    errno = 0;
    c->write_wants_read = false;
    r = SSL_write_ex(c->ssl, data, len, &n);
    return r == 1 ? (ssize_t)n : result_of(c, r, false);
}

static void say_goodbye(struct sock *s)
{
    struct carrier *c = s->carrier;
    int r;

    c->shut_waits = false;
    if (!c->done || c->broken || (SSL_get_shutdown(c->ssl) & SSL_SENT_SHUTDOWN))
        return;
    ERR_clear_error();
    r = SSL_shutdown(c->ssl);
    c->shut_waits = r < 0 && result_of(c, r, false) == -EAGAIN;
}

static void on_shut(struct sock *s)
{
    struct carrier *c = s->carrier;

    say_goodbye(s);
    if (!c->shut_waits)
        shutdown(s->fd, SHUT_WR);
}

static void on_note(struct sock *s, uint32_t events)
{
    struct carrier *c = s->carrier;

    if ((events & EPOLLOUT) && c->read_wants_write)
        s->readable = true;
    if ((events & EPOLLIN) && c->write_wants_read)
        s->writable = true;
    if ((events & EPOLLOUT) && c->shut_waits)
        on_shut(s);
}

static void on_close(struct sock *s, bool reset)
{
    struct carrier *c = s->carrier;

    if (!reset)
        say_goodbye(s);
    SSL_free(c->ssl);
    free(c);
}

static int kernel_holds(const struct sock *s, unsigned long what)
{
    int n = 0;

    return ioctl(s->fd, what, &n) < 0 ? 0 : n;
}

/* What is in the kernel may be no more than a close_notify: OpenSSL must look. It takes in one record at most. */
static ssize_t on_unread(struct sock *s)
{
    struct carrier *c = s->carrier;
    char byte;
    size_t n;
    int r;

    if (!c->done || c->broken)
        return 0;
    ERR_clear_error();
    errno = 0;
    r = SSL_peek_ex(c->ssl, &byte, 1, &n);
    if (r == 1) {
        s->readable = true;                                     /* these bytes make no edge any more */
        return SSL_pending(c->ssl) + kernel_holds(s, FIONREAD); /* what is still encrypted is somewhat longer than its text */
    }
    result_of(c, r, true);
    return 0;
}

static ssize_t on_queued(struct sock *s)
{
    return kernel_holds(s, SIOCOUTQ);
}

static const struct sock_ops ops = {
    .recv = on_recv, .send = on_send, .shut = on_shut, .close = on_close, .note = on_note, .unread = on_unread, .queued = on_queued};

/* ---- the beginning, and what it came to ---- */

static SSL_CTX *current_context(struct tls *t)
{
    const struct tls_entry *e;
    SSL_CTX *ctx = NULL;

    pthread_mutex_lock(&t->lock);
    e = t->set ? tls_set_find(t->set, NULL) : NULL;
    if (e && SSL_CTX_up_ref(e->ctx) == 1)
        ctx = e->ctx;
    pthread_mutex_unlock(&t->lock);
    return ctx;
}

int tls_accept(struct tls *t, struct sock *s)
{
    SSL_CTX *ctx = current_context(t);
    struct carrier *c;

    assert(!s->ops);
    if (!ctx) {
        atomic_fetch_add_explicit(&t->counts.failed[TLS_FAILED_NO_CERTIFICATE], 1, memory_order_relaxed);
        return -ENOENT;
    }
    c = calloc(1, sizeof(*c));
    if (c) {
        ERR_clear_error();
        c->tls = t;
        c->ssl = SSL_new(ctx);
    }
    SSL_CTX_free(ctx); /* the SSL has its own reference */
    if (!c || !c->ssl || SSL_set_fd(c->ssl, s->fd) != 1) {
        if (c)
            SSL_free(c->ssl);
        free(c);
        ERR_clear_error();
        return -ENOMEM;
    }
    BIO_set_callback_ex(SSL_get_rbio(c->ssl), on_bio);
    BIO_set_callback_arg(SSL_get_rbio(c->ssl), (char *)c);
    SSL_set_accept_state(c->ssl);
    s->ops = &ops;
    s->carrier = c;
    return 0;
}

bool tls_chose_h2(const struct sock *s)
{
    const unsigned char *name = NULL;
    unsigned len = 0;

    SSL_get0_alpn_selected(((const struct carrier *)s->carrier)->ssl, &name, &len);
    return len == 2 && memcmp(name, "h2", 2) == 0;
}

void tls_abandon(struct sock *s)
{
    on_close(s, true);
    s->ops = NULL;
    s->carrier = NULL;
}
