/*
 * Files of certificates, as an ACME client or somebody by hand leaves them; and what the gateway makes of them: names that are taken are plain and found again, whoever is asked for gets what covers him, and a file
 * that is broken takes nothing away from what was served before. An input is a byte of flags, the length of the certificate (16 bits), the certificate and the key; either may be DER, which is then put into PEM here:
 * so a mutation meets the parser and not base64. Or it is names of files, for the directory.
 */
#include "fuzz_http.h"

#include "../../runner/gateway/tls/tls_private.h"

#include "diag.h"
#include "log.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FLAG_CERTIFICATE_DER = 1, FLAG_KEY_DER = 2, FLAG_NO_KEY = 4, FLAG_TWICE = 8, FLAG_SERVE = 16, FLAG_NAMES = 128 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the files' content ---- */

/* A file's bytes in memory of their very size. */
static struct tls_files file_of(const uint8_t *data, size_t size, bool der, bool twice, const char *what, unsigned slot, struct tls_files f)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *text;
    long len;

    for (unsigned i = 0; i < (twice ? 2 : 1); i++)
        if (der)
            PEM_write_bio(out, what, "", data, (long)size);
        else
            BIO_write(out, data, (int)size);
    len = BIO_get_mem_data(out, &text);
    f.text[slot] = exact_copy(text, (size_t)len);
    f.len[slot] = (size_t)len;
    BIO_free(out);
    return f;
}

/* What the set's lookup is held against: a wildcard stands for exactly one label. */
static bool name_matches(const char *name, const char *host)
{
    const char *dot = strchr(host, '.');

    return strcmp(name, host) == 0 || (name[0] == '*' && name[1] == '.' && dot && dot != host && strcmp(name + 1, dot) == 0);
}

static void assert_name(const char *host)
{
    size_t len = strnlen(host, sizeof(((struct certificate_name *)0)->host));

    assert(len > 0 && len < sizeof(((struct certificate_name *)0)->host));
    for (size_t i = 0; i < len; i++)
        assert((unsigned char)host[i] > ' ' && (unsigned char)host[i] < 0x7f && !(host[i] >= 'A' && host[i] <= 'Z'));
}

static bool certificate_holds(const struct tls_files *f)
{
    struct certificate c = {0};
    struct diag d = {0};
    bool good;

    good = certificate_parse(f->text[0], f->len[0], f->text[1], f->len[1], &c, &d) == 0;
    assert(good || (d.err && d.text[0] && !c.x509 && !c.key && !c.names));
    if (good) {
        assert(c.nnames > 0 && c.nnames <= CERTIFICATE_NAMES_MAX && c.nchain <= CERTIFICATE_CHAIN_MAX && strlen(c.fingerprint) == 95);
        for (unsigned i = 0; i < c.nnames; i++)
            assert_name(c.names[i].host);
        for (unsigned i = 0; i < 2; i++) {
            const int64_t at = i ? c.not_after : c.not_before;

            certificate_valid(&c, at, &d);
            certificate_valid(&c, at - 1, &d);
        }
    }
    certificate_done(&c);
    certificate_done(&c);
    return good;
}

/* ---- what the gateway makes of them ---- */

static bool covers(const struct tls_entry *e, const char *host)
{
    for (unsigned i = 0; i < e->nnames; i++)
        if (name_matches(e->names[i].host, host))
            return true;
    return false;
}

/* Whoever is covered by one gets one that covers him; others get the fallback. */
static void ask(const struct tls_set *s, const char *host)
{
    const struct tls_entry *e = tls_set_find(s, host);
    bool any = false;

    assert(!e == (s->count == 0));
    for (unsigned i = 0; i < s->count; i++)
        any |= covers(&s->entries[i], host);
    assert(!e || covers(e, host) == any);
    assert(!e || any || e == &s->entries[s->fallback]);
}

static void look_up(const struct tls_set *s)
{
    char host[300];

    for (unsigned i = 0; i < s->count; i++)
        for (unsigned n = 0; n < s->entries[i].nnames; n++) {
            const char *name = s->entries[i].names[n].host;

            ask(s, name);
            snprintf(host, sizeof(host), "q%s", name[0] == '*' ? name + 1 : name);
            if (strlen(host) < sizeof(s->entries[i].names[n].host))
                ask(s, host);
        }
    assert(tls_set_find(s, NULL) == (s->count ? &s->entries[s->fallback] : NULL));
}

static void serve(const struct tls_files *f, bool good)
{
    static struct tls *tls;
    struct tls_files files[2] = {*f, *f}, broken = {.name = "default"};
    struct tls_set *first, *same, *after;
    struct diag d = {0};

    if (!tls && tls_new(&tls, &d) < 0)
        abort();
    str_copy(files[0].name, sizeof(files[0].name), "other");
    str_copy(files[1].name, sizeof(files[1].name), "default");
    first = tls_set_new(tls, files, 2, NULL);
    assert(first && (first->count == 0 || (good && first->count == 2)));
    look_up(first);
    same = tls_set_new(tls, files, 2, first);
    assert(same && same->count == first->count && same->nhosts == first->nhosts);
    for (unsigned i = 0; i < same->count; i++)
        assert(same->entries[i].ctx == first->entries[i].ctx);
    tls_set_free(first);
    broken.text[0] = broken.text[1] = files[0].text[0]; /* a certificate is no key */
    broken.len[0] = broken.len[1] = 1;
    after = tls_set_new(tls, &broken, 1, same);
    assert(after && after->count == (same->count ? 1 : 0));
    tls_set_free(same);
    look_up(after);
    tls_set_free(after);
}

static void content(uint8_t flags, const uint8_t *data, size_t size)
{
    size_t len = size < 2 ? 0 : (size_t)data[0] << 8 | data[1];
    struct tls_files f = {0};
    bool good;

    data += size < 2 ? size : 2;
    size -= size < 2 ? size : 2;
    len = len < size ? len : size;
    f = file_of(data, len, flags & FLAG_CERTIFICATE_DER, flags & FLAG_TWICE, "CERTIFICATE", RECORD_FILE_CERTIFICATE, f);
    if (!(flags & FLAG_NO_KEY))
        f = file_of(data + len, size - len, flags & FLAG_KEY_DER, false, "PRIVATE KEY", RECORD_FILE_KEY, f);
    good = certificate_holds(&f);
    if (good || flags & FLAG_SERVE) /* contexts take their time */
        serve(&f, good);
    free(f.text[0]);
    free(f.text[1]);
}

/* ---- the directory ---- */

#define FILES_MAX 12

static int each(void *arg, int dir, const struct certdir_entry *e)
{
    unsigned *count = arg;

    ++*count;
    assert(e->name[0] != '\0' && e->name[0] != '.' && !strchr(e->name, '/') && strnlen(e->name, sizeof(e->name)) < sizeof(e->name));
    assert(strncmp(e->certificate, e->name, strlen(e->name)) == 0 && strncmp(e->key, e->name, strlen(e->name)) == 0);
    assert(faccessat(dir, e->certificate, F_OK, 0) == 0);
    return 0;
}

/* Names ended by NUL: one that ends in '/' is a directory with the two files of certbot in it. */
static void directory(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/fnd-fuzz-XXXXXX", inner[600];
    char made[FILES_MAX][300];
    unsigned nmade = 0, shown = 0;
    struct diag d = {0};
    int dir;

    if (!mkdtemp(path))
        abort();
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert(dir >= 0);
    while (size > 0 && nmade < FILES_MAX) {
        size_t len = strnlen((const char *)data, size), used = len < size ? len + 1 : len;
        bool below = len > 1 && data[len - 1] == '/';

        len -= below;
        if (len > 0 && len < 256 && !memchr(data, '/', len) && !(len <= 2 && memcmp(data, "..", len) == 0)) {
            memcpy(made[nmade], data, len);
            made[nmade][len] = '\0';
            if (below && mkdirat(dir, made[nmade], 0700) == 0)
                for (unsigned i = 0; i < 2; i++) {
                    snprintf(inner, sizeof(inner), "%s/%s", made[nmade], i ? "privkey.pem" : "fullchain.pem");
                    close(openat(dir, inner, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
                }
            else if (!below)
                close(openat(dir, made[nmade], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
            nmade++;
        }
        data += used;
        size -= used;
    }
    assert(certdir_each(path, each, &shown, &d) == (int)shown && shown <= nmade);
    for (unsigned i = 0; i < nmade; i++) {
        for (unsigned k = 0; k < 2; k++) {
            snprintf(inner, sizeof(inner), "%s/%s", made[i], k ? "privkey.pem" : "fullchain.pem");
            unlinkat(dir, inner, 0);
        }
        if (unlinkat(dir, made[i], 0) < 0)
            unlinkat(dir, made[i], AT_REMOVEDIR);
    }
    close(dir);
    assert(rmdir(path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_set_level(-1);
    if (size == 0)
        return 0;
    if (data[0] & FLAG_NAMES)
        directory(data + 1, size - 1);
    else
        content(data[0], data + 1, size - 1);
    return 0;
}
