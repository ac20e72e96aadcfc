/*
 * certificate.h: what a certificate says, and whether a key belongs to it (OpenSSL). Bytes in, facts out: no files. It is not called by the runner, which parses nothing: by the gateway, by fnctl, and by a child of
 * `fnd --check` that has given up its privileges.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct diag;

#define CERTIFICATE_FILE_MAX  (1U << 20)
#define CERTIFICATE_NAMES_MAX 200U
#define CERTIFICATE_CHAIN_MAX 10U /* certificates behind the first */

struct certificate_name {
    char host[256]; /* lower case, without a dot at its end; "*.example.org"; or an address as text */
};

struct certificate {
    void *x509, *key;                   /* X509 *, EVP_PKEY *; key NULL where none was given */
    void *chain[CERTIFICATE_CHAIN_MAX]; /* X509 * */
    unsigned nchain;
    struct certificate_name *names;
    unsigned nnames;
    int64_t not_before, not_after; /* seconds since 1970 */
    char fingerprint[96];          /* SHA-256, as in AB:CD:... */
};

/*
 * PEM: the certificate with its chain behind it, and its key (key_pem NULL: not looked at). -EINVAL with what is wrong: no PEM, no names, a key that is encrypted or belongs to another certificate.
 */
int certificate_parse(const char *pem, size_t len, const char *key_pem, size_t key_len, struct certificate *ret, struct diag *d);
void certificate_done(struct certificate *c); /* can be repeated, and called on {0} */

/* Is it valid at that time (seconds since 1970)? -EINVAL with a text that says when it is. */
int certificate_valid(const struct certificate *c, int64_t now, struct diag *d);
