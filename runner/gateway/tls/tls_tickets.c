/*
 * tls_tickets.c: session tickets (RFC 5077, RFC 8446 section 4.6.1): the server keeps nothing, the client keeps its session under a key that only this process has. A key that leaks opens what it protected, so keys are
 * changed, and forgotten when no ticket of theirs is valid any more. They die with the process.
 */
#include "tls_private.h"

#include "clock.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

int tls_tickets_init(struct tls_tickets *t)
{
    *t = (struct tls_tickets){.cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL)}; /* not at every ticket: the search takes longer than the ticket */
    pthread_mutex_init(&t->lock, NULL);
    return t->cipher ? 0 : -ENOMEM;
}

void tls_tickets_done(struct tls_tickets *t)
{
    EVP_CIPHER_free(t->cipher);
    OPENSSL_cleanse(t->keys, sizeof(t->keys));
    pthread_mutex_destroy(&t->lock);
}

static int make_key(struct tls_tickets *t, uint64_t now_ns)
{
    struct tls_ticket_key k = {.born_ns = now_ns};

    if (RAND_bytes(k.name, sizeof(k.name)) != 1 || RAND_priv_bytes(k.cipher, sizeof(k.cipher)) != 1 || RAND_priv_bytes(k.mac, sizeof(k.mac)) != 1)
        return -EIO;
    memmove(&t->keys[1], &t->keys[0], sizeof(t->keys) - sizeof(t->keys[0]));
    t->keys[0] = k;
    OPENSSL_cleanse(&k, sizeof(k));
    return 0;
}

int tls_tickets_newest(struct tls_tickets *t, uint64_t now_ns, struct tls_ticket_key *ret)
{
    int r = 0;

    pthread_mutex_lock(&t->lock);
    if (t->keys[0].born_ns == 0 || now_ns - t->keys[0].born_ns >= TLS_TICKET_ROTATE_NS)
        r = make_key(t, now_ns);
    if (r == 0)
        *ret = t->keys[0];
    pthread_mutex_unlock(&t->lock);
    return r;
}

int tls_tickets_find(struct tls_tickets *t, uint64_t now_ns, const unsigned char *name, struct tls_ticket_key *ret)
{
    int r = 0;

    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; r == 0 && i < TLS_TICKET_KEYS; i++) {
        const struct tls_ticket_key *k = &t->keys[i];

        if (k->born_ns == 0 || now_ns - k->born_ns >= TLS_TICKET_KEYS * TLS_TICKET_ROTATE_NS || memcmp(k->name, name, sizeof(k->name)) != 0)
            continue;
        *ret = *k;
        r = i == 0 && now_ns - k->born_ns < TLS_TICKET_ROTATE_NS ? 1 : 2;
    }
    pthread_mutex_unlock(&t->lock);
    return r;
}

static int set_up(const struct tls_tickets *t, struct tls_ticket_key *k, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof(k->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_CipherInit_ex(cipher, t->cipher, NULL, k->cipher, iv, encrypt) == 1 && EVP_MAC_CTX_set_params(mac, params) == 1 ? 1 : -1;
}

/* A ticket of TLS 1.3 is for one connection (RFC 8446 section C.4: who sees it twice knows the client), so each resumption must bring the next one: OpenSSL sends it where the old one is due for renewal only. */
static bool takes_one_each(const SSL *ssl)
{
    return SSL_version(ssl) >= TLS1_3_VERSION;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): -1 fails the handshake, 0 is no ticket (none can be made, or this one is not ours: a full handshake follows), 1 done, 2 done and a new ticket is due. */
int tls_tickets_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
    struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct tls_tickets *t = &tls->tickets;
    struct tls_ticket_key k;
    int found = 1, r;

    if (encrypt) {
        if (tls_tickets_newest(t, clock_mono_ns(), &k) < 0 || RAND_bytes(iv, EVP_CIPHER_get_iv_length(t->cipher)) != 1)
            return 0;
        memcpy(name, k.name, sizeof(k.name));
    } else {
        found = tls_tickets_find(t, clock_mono_ns(), name, &k);
        if (found == 0)
            return 0;
        if (takes_one_each(ssl))
            found = 2;
    }
    r = set_up(t, &k, iv, cipher, mac, encrypt);
    OPENSSL_cleanse(&k, sizeof(k));
    return r < 0 ? -1 : found;
}
