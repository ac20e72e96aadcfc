#include "certificate.h"

#include "diag.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The first thing that OpenSSL complained of, in its words; its queue is empty afterwards. */
static int fail(struct diag *d, const char *what)
{
    unsigned long e = ERR_get_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;

    ERR_clear_error();
    return diag_set(d, EINVAL, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
}

/* A key is never asked a password for: there is nobody who could type it. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
    return -1;
}

static int add_name(struct certificate *c, const char *data, size_t len)
{
    struct certificate_name *n = &c->names[c->nnames];

    if (c->nnames == CERTIFICATE_NAMES_MAX || len == 0)
        return 0;
    if (data[len - 1] == '.')
        len--;
    if (len == 0 || len >= sizeof(n->host) || memchr(data, '\0', len))
        return 0;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)data[i] <= ' ' || (unsigned char)data[i] >= 0x7f)
            return 0;
        n->host[i] = (char)(data[i] >= 'A' && data[i] <= 'Z' ? data[i] - 'A' + 'a' : data[i]);
    }
    n->host[len] = '\0';
    c->nnames++;
    return 0;
}

static void add_address(struct certificate *c, const ASN1_OCTET_STRING *ip)
{
    char text[INET6_ADDRSTRLEN];
    int len = ASN1_STRING_length(ip);

    if ((len == 4 || len == 16) && inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip), text, sizeof(text)))
        add_name(c, text, strlen(text));
}

/* The alternative names; where there are none, the common name, as old tools make them. */
static int read_names(struct certificate *c, struct diag *d)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(c->x509, NID_subject_alt_name, NULL, NULL);
    char common[256];
    int len;

    c->names = calloc(CERTIFICATE_NAMES_MAX, sizeof(*c->names));
    for (int i = 0; c->names && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(all, i);

        if (n->type == GEN_DNS)
            add_name(c, (const char *)ASN1_STRING_get0_data(n->d.dNSName), (size_t)ASN1_STRING_length(n->d.dNSName));
        else if (n->type == GEN_IPADD)
            add_address(c, n->d.iPAddress);
    }
    GENERAL_NAMES_free(all);
    if (!c->names)
        return diag_set(d, ENOMEM, "out of memory");
    if (c->nnames == 0) {
        len = X509_NAME_get_text_by_NID(X509_get_subject_name(c->x509), NID_commonName, common, sizeof(common));
        if (len > 0)
            add_name(c, common, (size_t)len);
    }
    ERR_clear_error();
    return c->nnames ? 0 : diag_set(d, EINVAL, "the certificate names no host (subjectAltName)");
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static int read_facts(struct certificate *c, struct diag *d)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    c->not_before = seconds_of(X509_get0_notBefore(c->x509));
    c->not_after = seconds_of(X509_get0_notAfter(c->x509));
    if (X509_digest(c->x509, EVP_sha256(), digest, &len) != 1 || len * 3 > sizeof(c->fingerprint))
        return fail(d, "the certificate has no fingerprint");
    for (unsigned i = 0; i < len; i++)
        snprintf(c->fingerprint + (size_t)3 * i, 4, "%02X%s", digest[i], i + 1 < len ? ":" : "");
    return read_names(c, d);
}

static int read_certificates(struct certificate *c, const char *pem, size_t len, struct diag *d)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    X509 *next;
    int r = 0;

    c->x509 = bio ? PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL) : NULL;
    if (!c->x509)
        r = fail(d, "no certificate in PEM form is in the file");
    while (r == 0 && (next = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
        if (c->nchain == CERTIFICATE_CHAIN_MAX) {
            X509_free(next);
            r = diag_set(d, EINVAL, "more than %u certificates are behind the first", CERTIFICATE_CHAIN_MAX);
        } else {
            c->chain[c->nchain++] = next;
        }
    }
    /* Behind the last one PEM_R_NO_START_LINE is the end; anything else is something broken. */
    if (r == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        r = fail(d, "a certificate of the chain is broken");
    ERR_clear_error();
    BIO_free(bio);
    return r;
}

static int read_key(struct certificate *c, const char *pem, size_t len, struct diag *d)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    int r = 0;

    c->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    if (!c->key)
        r = fail(d, "no private key in PEM form (and without a password) is in the file");
    else if (X509_check_private_key(c->x509, c->key) != 1)
        r = fail(d, "the key does not belong to the certificate");
    ERR_clear_error();
    BIO_free(bio);
    return r;
}

int certificate_parse(const char *pem, size_t len, const char *key_pem, size_t key_len, struct certificate *ret, struct diag *d)
{
    struct certificate c = {0};
    int r;

    ERR_clear_error();
    if (len > CERTIFICATE_FILE_MAX || key_len > CERTIFICATE_FILE_MAX)
        return diag_set(d, EFBIG, "the file is larger than %u bytes", CERTIFICATE_FILE_MAX);
    r = read_certificates(&c, pem, len, d);
    if (r == 0)
        r = read_facts(&c, d);
    if (r == 0 && key_pem)
        r = read_key(&c, key_pem, key_len, d);
    if (r < 0) {
        certificate_done(&c);
        return r;
    }
    *ret = c;
    return 0;
}

void certificate_done(struct certificate *c)
{
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
    for (unsigned i = 0; i < c->nchain; i++)
        X509_free(c->chain[i]);
    free(c->names);
    *c = (struct certificate){0};
}

int certificate_valid(const struct certificate *c, int64_t now, struct diag *d)
{
    const bool early = now < c->not_before;
    const time_t when = (time_t)(early ? c->not_before : c->not_after);
    char text[32];
    struct tm tm;

    if (!early && now < c->not_after)
        return 0;
    gmtime_r(&when, &tm);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm);
    return diag_set(d, EINVAL, early ? "the certificate is not valid before %s" : "the certificate expired on %s", text);
}
