/* tls_context.c: what all our TLS connections have in common: versions, ciphers, ALPN, choice of a certificate, resumption; and the process-wide object. */
#include "tls_private.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

/* Forward secrecy and authenticated encryption only (RFC 9325 section 4.2); AES-128 first, for its price. */
#define CIPHERS_1_2                                                                                                                                            \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:"       \
    "ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS      "X25519:P-256:P-384"

int tls_error(struct diag *d, const char *what)
{
    unsigned long e = ERR_get_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;

    ERR_clear_error();
    return diag_set(d, EINVAL, "%s: %s", what, reason ? reason : "out of memory");
}

/* ---- callbacks of a handshake ---- */

/* RFC 7301: what we like best of what the client offers; nothing in common ends the handshake. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *arg)
{
    static const char ours[][10] = {"\2h2", "\10http/1.1"};
    const struct tls *t = arg;

    for (unsigned o = atomic_load_explicit(&t->h2, memory_order_relaxed) ? 0 : 1; o < 2; o++)
        for (unsigned i = 0; i < in_len && in_len - i > in[i]; i += in[i] + 1U)
            if (in[i] == ours[o][0] && memcmp(in + i + 1, ours[o] + 1, in[i]) == 0) {
                *out = in + i + 1;
                *out_len = in[i];
                return SSL_TLSEXT_ERR_OK;
            }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The name that the client asks for (RFC 6066 section 3) decides about the certificate; who asks for one that we have not gets the default, and judges himself. */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const struct tls_entry *e;
    struct tls *t = arg;
    bool ok;

    if (!asked)
        return SSL_TLSEXT_ERR_NOACK; /* it began with the default */
    pthread_mutex_lock(&t->lock);
    e = t->set ? tls_set_find(t->set, asked) : NULL;
    ok = e && SSL_set_SSL_CTX(ssl, e->ctx);
    pthread_mutex_unlock(&t->lock);
    *alert = SSL_AD_INTERNAL_ERROR;
    return ok ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- a context ---- */

static int set_common(struct tls *t, SSL_CTX *ctx)
{
    static const unsigned char session_context[] = "fnd";

    SSL_CTX_set_app_data(ctx, t);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1); /* one call a record instead of two */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, TLS_TICKET_SECONDS);
    SSL_CTX_set_max_early_data(ctx, 0); /* what a stranger can play again must not reach a function */
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, t);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, t);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) == 1 &&
                   SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3) == 1 && SSL_CTX_set1_groups_list(ctx, GROUPS) == 1 &&
                   SSL_CTX_set_session_id_context(ctx, session_context, sizeof(session_context) - 1) == 1 &&
                   SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, tls_tickets_callback) == 1
               ? 0
               : -EINVAL;
}

int tls_context_new(struct tls *t, const struct certificate *c, SSL_CTX **ret, struct diag *d)
{
    SSL_CTX *ctx;
    bool ok;

    ERR_clear_error();
    ctx = SSL_CTX_new(TLS_server_method());
    ok = ctx && set_common(t, ctx) == 0 && SSL_CTX_use_certificate(ctx, c->x509) == 1 && SSL_CTX_use_PrivateKey(ctx, c->key) == 1;
    for (unsigned i = 0; ok && i < c->nchain; i++)
        ok = SSL_CTX_add1_chain_cert(ctx, c->chain[i]) == 1;
    if (!ok) {
        SSL_CTX_free(ctx);
        return tls_error(d, "OpenSSL refuses the certificate");
    }
    *ret = ctx;
    return 0;
}

/* ---- the process-wide object ---- */

int tls_new(struct tls **ret, struct diag *d)
{
    struct tls *t = calloc(1, sizeof(*t));

    if (!t)
        return diag_set(d, ENOMEM, "out of memory");
    pthread_mutex_init(&t->lock, NULL);
    t->acme = t->incoming_acme = -1;
    if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL) != 1 || tls_tickets_init(&t->tickets) < 0) {
        tls_error(d, "OpenSSL does not start");
        free(t);
        return -EINVAL;
    }
    *ret = t;
    return 0;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    tls_on_welcome(t);
    tls_set_free(t->set);
    fd_close(t->acme);
    tls_tickets_done(&t->tickets);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void tls_offer_h2(struct tls *t, bool on)
{
    atomic_store_explicit(&t->h2, on, memory_order_relaxed);
}

const struct tls_counts *tls_counts(const struct tls *t)
{
    return &t->counts;
}
