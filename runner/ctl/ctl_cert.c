/* ctl_cert.c: a certificate that nobody has signed but itself (OpenSSL): for a host that has no name on the Internet, or none yet. */
#include "ctl_cert.h"

#include "diag.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#define VALID_DAYS   397 /* a year and a month: what public authorities gave at most until 2026 */
#define EARLY_S      3600
#define SERIAL_BYTES 16

static int fail(struct diag *d, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_get_error());

    return diag_set(d, EIO, "%s: %s", what, reason ? reason : "OpenSSL failed");
}

bool ctl_cert_is_address(const char *name)
{
    unsigned char addr[16];

    return inet_pton(AF_INET, name, addr) == 1 || inet_pton(AF_INET6, name, addr) == 1;
}

/* A host name, perhaps with "*" as its first label; or an address. */
int ctl_cert_check_name(const char *name, struct diag *d)
{
    const char *host = strncmp(name, "*.", 2) == 0 ? name + 2 : name;
    size_t len = strlen(host), label = 0;

    if (ctl_cert_is_address(name))
        return 0;
    for (size_t i = 0; i <= len; i++) {
        const char c = host[i];

        if (c == '.' || c == '\0') {
            if (label == 0 || label > 63 || host[i - 1] == '-')
                return diag_set(d, EINVAL, "%.100s is no host name and no address", name);
            label = 0;
        } else if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c == '-' && label > 0))) {
            return diag_set(d, EINVAL, "%.100s is no host name and no address: letters, digits, '-' and '.' (other alphabets in their xn-- form)", name);
        } else {
            label++;
        }
    }
    return len > 253 ? diag_set(d, EINVAL, "%.100s is longer than 253 characters", name) : 0;
}

static int add_extension(X509 *x, X509V3_CTX *ctx, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
    int ok = e && X509_add_ext(x, e, -1) == 1;

    X509_EXTENSION_free(e);
    return ok;
}

static int add_names(X509 *x, X509V3_CTX *ctx, const char *const *names, unsigned n)
{
    cleanup_strbuf struct strbuf all = {0};

    for (unsigned i = 0; i < n; i++)
        strbuf_printf(&all, "%s%s:%s", i ? "," : "", ctl_cert_is_address(names[i]) ? "IP" : "DNS", names[i]);
    return !all.failed && all.data && add_extension(x, ctx, NID_subject_alt_name, all.data);
}

static int set_serial(X509 *x)
{
    unsigned char bytes[SERIAL_BYTES];
    BIGNUM *n = NULL;
    int ok;

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return 0;
    bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40); /* positive, and always of the same length */
    n = BN_bin2bn(bytes, sizeof(bytes), NULL);
    ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static int fill(X509 *x, EVP_PKEY *key, const char *const *names, unsigned n)
{
    /* A common name has at most 64 characters; clients look at the alternative names only. */
    const char *common = strlen(names[0]) <= 64 ? names[0] : "fnd";
    X509_NAME *subject = X509_get_subject_name(x);
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) && X509_gmtime_adj(X509_getm_notBefore(x), -EARLY_S) &&
           X509_time_adj_ex(X509_getm_notAfter(x), VALID_DAYS, -EARLY_S, NULL) && X509_set_pubkey(x, key) == 1 &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)common, -1, -1, 0) == 1 && X509_set_issuer_name(x, subject) == 1 &&
           add_extension(x, &ctx, NID_basic_constraints, "critical,CA:FALSE") && add_extension(x, &ctx, NID_key_usage, "critical,digitalSignature") &&
           add_extension(x, &ctx, NID_ext_key_usage, "serverAuth") && add_extension(x, &ctx, NID_subject_key_identifier, "hash") &&
           add_names(x, &ctx, names, n) && X509_sign(x, key, EVP_sha256()) > 0;
}

static int take_text(BIO *bio, struct strbuf *out)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);

    if (len > 0)
        strbuf_add(out, data, (size_t)len);
    return len > 0 && !out->failed;
}

int ctl_cert_make(const char *const *names, unsigned n, struct strbuf *certificate, struct strbuf *key, struct diag *d)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    BIO *x_pem = BIO_new(BIO_s_mem()), *key_pem = BIO_new(BIO_s_secmem());
    int ok = pair && x && x_pem && key_pem && fill(x, pair, names, n) && PEM_write_bio_X509(x_pem, x) == 1 &&
             PEM_write_bio_PrivateKey(key_pem, pair, NULL, NULL, 0, NULL, NULL) == 1 && take_text(x_pem, certificate) && take_text(key_pem, key);

    BIO_free(x_pem);
    BIO_free(key_pem);
    X509_free(x);
    EVP_PKEY_free(pair);
    return ok ? 0 : fail(d, "the certificate cannot be made");
}
