/* tls_private.h: shared by the files of tls/ alone. */
#pragma once

#include "tls.h"

#include "certdir.h"
#include "certificate.h"

#include <openssl/ssl.h>
#include <pthread.h>

/* ---- tls_tickets.c: keys of session tickets, shared by all connections ---- */

#define TLS_TICKET_KEYS      3
#define TLS_TICKET_ROTATE_NS (4 * 3600 * 1000000000ULL) /* a new key is taken; the older ones go on opening what they closed */
#define TLS_TICKET_SECONDS   (8 * 3600)                 /* how long a client may resume: no longer than the last key lives */

struct tls_ticket_key {
    unsigned char name[16], cipher[32], mac[32];
    uint64_t born_ns; /* 0: none */
};

struct tls_tickets {
    pthread_mutex_t lock;
    EVP_CIPHER *cipher;
    struct tls_ticket_key keys[TLS_TICKET_KEYS]; /* the newest first */
};

int tls_tickets_init(struct tls_tickets *t);
void tls_tickets_done(struct tls_tickets *t);
int tls_tickets_newest(struct tls_tickets *t, uint64_t now_ns, struct tls_ticket_key *ret); /* makes one when it is due */
/* 1: found, it is the newest; 2: an older one; 0: unknown or too old. */
int tls_tickets_find(struct tls_tickets *t, uint64_t now_ns, const unsigned char *name, struct tls_ticket_key *ret);
int tls_tickets_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt);

/* ---- tls_set.c: the certificates of one moment ---- */

#define TLS_DIGEST_BYTES 32

struct tls_entry {
    SSL_CTX *ctx;
    char name[RECORD_FILE_NAME_MAX];
    unsigned char digest[TLS_DIGEST_BYTES]; /* of both files: what did not change is not made anew */
    struct certificate_name *names;
    unsigned nnames;
    int64_t not_after;
};

struct tls_host {
    const char *host; /* of an entry's names */
    unsigned entry;
};

struct tls_set {
    struct tls_entry *entries; /* in the order of their names */
    struct tls_host *hosts;    /* in the order of the hosts; of equal ones that which is valid longest */
    unsigned count, nhosts;
    unsigned fallback; /* for clients that name no host, or one that is in no certificate */
};

/* The two files of a certificate, as they came; text NULL: it did not. */
struct tls_files {
    char name[RECORD_FILE_NAME_MAX];
    char *text[2]; /* RECORD_FILE_CERTIFICATE, RECORD_FILE_KEY */
    size_t len[2];
};

/* Takes over from `old` (NULL: none) what is unchanged, and what has become unusable. NULL: no memory. */
struct tls_set *tls_set_new(struct tls *t, struct tls_files *files, unsigned count, const struct tls_set *old);
void tls_set_free(struct tls_set *s);
const struct tls_entry *tls_set_find(const struct tls_set *s, const char *host); /* host NULL: none was named. NULL: there is no certificate */

/* ---- tls_context.c ---- */

/* A context for one certificate; what all have in common is set. */
int tls_context_new(struct tls *t, const struct certificate *c, SSL_CTX **ret, struct diag *d);
int tls_error(struct diag *d, const char *what); /* the first of OpenSSL's queue, which is empty afterwards. -EINVAL */

struct tls {
    pthread_mutex_t lock;    /* of set and acme */
    struct tls_set *set;     /* NULL: no certificates yet */
    int acme, incoming_acme; /* the directory of challenges, -1: none; that of the set that is coming in */
    struct tls_tickets tickets;
    struct tls_counts counts;
    _Atomic bool h2;
    struct tls_files files[CERTDIR_MAX]; /* of the set that is coming in */
    unsigned nfiles;
};
