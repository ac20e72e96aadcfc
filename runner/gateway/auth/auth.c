/*
 * auth.c: checking credentials; what is remembered of a right password; passwords on their way to the runner.
 *
 * Requests that bring the same password share one question to the runner. A mistake is counted when the question is asked, not when it is answered: who sends many at once waits as who sends one after another.
 * What is remembered is one HMAC-SHA-256 under a key of this process's own: there is one password.
 */
#include "auth_private.h"

#include "clock.h"
#include "fd.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MAC_BYTES  32U
#define LOGINS_MAX 16U /* different passwords at once */

struct auth_login {
    struct auth *auth;
    struct auth_login *next;
    struct auth_check *waiters;
    uint64_t id, generation;
    uint8_t mac[MAC_BYTES];
    char client[64];
};

struct auth_common {
    pthread_mutex_t lock; /* of all but the key; held for a moment, by who brings a password */
    struct slow slow;
    uint64_t generation; /* of the password; 0: the runner has not said */
    uint8_t key[MAC_BYTES], mac[MAC_BYTES];
    bool knows; /* mac is the right password's */
    unsigned nlogins;
};

struct auth {
    struct worker *worker;
    struct auth_common *common;
    struct auth_tokens tokens;
    struct auth_login *logins;
};

struct auth_common *auth_common_new(void)
{
    struct auth_common *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    if (getrandom(m->key, sizeof(m->key), 0) != (ssize_t)sizeof(m->key)) {
        free(m);
        return NULL;
    }
    slow_init(&m->slow);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void auth_common_free(struct auth_common *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    OPENSSL_cleanse(m, sizeof(*m));
    free(m);
}

void auth_prepare(void)
{
    uint8_t hash[TOKEN_HASH_BYTES];

    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    auth_sha256("", 0, hash);
}

int auth_new(struct worker *w, struct auth_common *common, struct auth **ret)
{
    struct auth *a = calloc(1, sizeof(*a));

    if (!a)
        return -ENOMEM;
    a->worker = w;
    a->common = common;
    *ret = a;
    return 0;
}

static void login_free(struct auth_login *l)
{
    struct auth *a = l->auth;
    struct auth_login **at = &a->logins;

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    pthread_mutex_lock(&a->common->lock);
    a->common->nlogins--;
    pthread_mutex_unlock(&a->common->lock);
    OPENSSL_cleanse(l, sizeof(*l));
    free(l);
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    while (a->logins) {
        link_forget(worker_link(a->worker), a->logins->id);
        while (a->logins->waiters)
            auth_check_cancel(a->logins->waiters);
        login_free(a->logins);
    }
    auth_tokens_done(&a->tokens);
    free(a);
}

void auth_on_record(struct auth *a, const struct record_head *rec)
{
    struct auth_common *m = a->common;

    auth_tokens_on_record(&a->tokens, rec);
    if (rec->type != RECORD_ACCOUNTS || worker_picture(a->worker)->worker > 0) /* worker 0 hears it first, for all */
        return;
    pthread_mutex_lock(&m->lock);
    if (((const struct record_accounts *)rec)->generation != m->generation) {
        m->generation = ((const struct record_accounts *)rec)->generation;
        m->knows = false;
        OPENSSL_cleanse(m->mac, sizeof(m->mac));
    }
    pthread_mutex_unlock(&m->lock);
}

const struct record_token *auth_tokens_next(const struct auth *a, const struct record_token *after)
{
    const struct token *k = after ? ((const struct token *)(const void *)after)->next : a->tokens.list;

    return k ? &k->rec : NULL;
}

/* ---- tokens ---- */

static bool expired(const struct record_token *t)
{
    return t->expires_real_s && clock_real_ns() / NS_PER_SEC >= t->expires_real_s;
}

/* Does the header bring a token, and which? */
static bool brings_token(const struct auth_header *h)
{
    return h->scheme == AUTH_BEARER || (h->scheme == AUTH_BASIC && auth_token_shaped(h->secret, h->secret_len));
}

bool auth_token_allows(struct worker *w, const char *value, size_t len, const struct fn_id *fn)
{
    const struct record_token *t = NULL;
    struct auth_header h;

    auth_header_parse(value, len, &h);
    if (brings_token(&h))
        t = auth_tokens_find(&worker_auth(w)->tokens, h.secret, h.secret_len);
    auth_header_wipe(&h);
    return t && !expired(t) && (t->scope != TOKEN_FUNCTION || name_equal(&t->fn, fn));
}

/* ---- results ---- */

static bool settle(struct auth_check *c, int status, const char *code, unsigned retry_after, const char *text)
{
    c->status = status;
    c->code = code;
    c->retry_after = retry_after;
    c->text = text;
    return true;
}

static bool admit(struct auth_check *c, const char *kind, const char *name)
{
    snprintf(c->who, sizeof(c->who), "%s%s", kind, name);
    return settle(c, 200, NULL, 0, NULL);
}

static bool check_token(struct auth *a, struct auth_check *c, const struct auth_header *h)
{
    const struct record_token *t = auth_tokens_find(&a->tokens, h->secret, h->secret_len);

    if (!t)
        return settle(c, 401, "unauthorized", 0, "this token is not known, or was removed");
    if (expired(t))
        return settle(c, 401, "unauthorized", 0, "this token has expired: make a new one (fnctl token add)");
    if (t->scope != TOKEN_ADMIN)
        return settle(c, 403, "forbidden", 0, "this token opens functions, not the API: that takes one of scope admin (fnctl token add NAME --admin)");
    return admit(c, "token:", t->name);
}

/* ---- passwords ---- */

static void answer(struct auth_login *l, int err)
{
    struct auth_common *m = l->auth->common;

    pthread_mutex_lock(&m->lock);
    if (err == 0 && l->generation != m->generation)
        err = EAGAIN; /* it was right until just now */
    if (err == 0) {
        memcpy(m->mac, l->mac, sizeof(m->mac));
        m->knows = true;
        slow_forget(&m->slow, l->client);
    }
    pthread_mutex_unlock(&m->lock);
    while (l->waiters) {
        struct auth_check *c = l->waiters;

        l->waiters = c->next;
        c->login = NULL;
        if (err == 0)
            admit(c, "admin", "");
        else if (err == EACCES)
            settle(c, 401, "unauthorized", 0, "wrong password");
        else if (err == EAGAIN)
            settle(c, 429, "too_many_logins", 1, "too many passwords are being checked, try again in a moment (tokens, and the unix socket, need no check)");
        else
            settle(c, 503, "no_runner", 1, "the password cannot be checked now: is fnd running?");
        c->on_done(c);
    }
}

static void on_reply(void *arg, const struct record_head *rec, int fd)
{
    struct auth_login *l = arg;

    if (rec->type != RECORD_REPLY)
        return;
    fd_close(fd);
    answer(l, ((const struct record_reply *)rec)->diag.err);
    login_free(l);
}

/* 0, or -errno with nothing under way. */
static int login_start(struct auth *a, const struct auth_header *h, const uint8_t *mac, const char *client, struct auth_login **ret)
{
    struct record_login rec = {.head = RECORD_INIT(RECORD_LOGIN, 0)};
    struct auth_login *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->auth = a;
    pthread_mutex_lock(&a->common->lock);
    l->generation = a->common->generation;
    pthread_mutex_unlock(&a->common->lock);
    memcpy(l->mac, mac, MAC_BYTES);
    snprintf(l->client, sizeof(l->client), "%s", client);
    memcpy(rec.password, h->secret, h->secret_len);
    r = worker_link(a->worker) ? link_request(worker_link(a->worker), &rec.head, -1, on_reply, l, &l->id) : -ENOTCONN;
    OPENSSL_cleanse(&rec, sizeof(rec));
    if (r < 0) {
        free(l);
        return r;
    }
    l->next = a->logins;
    a->logins = l;
    *ret = l;
    return 0;
}

/* The login that has this password on its way, or a new one; NULL after having settled. */
static struct auth_login *login_for(struct auth *a, struct auth_check *c, const struct auth_header *h, const uint8_t *mac, const char *client)
{
    uint64_t now = loop_now_ns(worker_loop(a->worker));
    struct auth_common *m = a->common;
    struct auth_login *l = a->logins;
    unsigned wait;
    bool full;

    while (l && CRYPTO_memcmp(l->mac, mac, MAC_BYTES) != 0)
        l = l->next;
    if (l)
        return l;
    pthread_mutex_lock(&m->lock);
    wait = slow_wait_s(&m->slow, client, now);
    full = m->nlogins >= LOGINS_MAX;
    if (!wait && !full) { /* it counts as wrong until it is known to be right: others may be tried meanwhile, by other threads too */
        m->nlogins++;
        slow_failed(&m->slow, client, now);
    }
    pthread_mutex_unlock(&m->lock);
    if (wait)
        settle(c, 429, "too_many_logins", wait, "too many wrong passwords came from this address: wait before the next");
    else if (full)
        settle(c, 429, "too_many_logins", 1, "too many passwords are being checked, try again in a moment (tokens, and the unix socket, need no check)");
    else if (login_start(a, h, mac, client, &l) < 0) {
        pthread_mutex_lock(&m->lock);
        m->nlogins--;
        pthread_mutex_unlock(&m->lock);
        settle(c, 503, "no_runner", 1, "the password cannot be checked now: is fnd running?");
    }
    return l;
}

static bool check_password(struct auth *a, struct auth_check *c, const struct auth_header *h, const char *client)
{
    struct auth_common *m = a->common;
    struct auth_login *l;
    uint8_t mac[MAC_BYTES];
    bool right;
    unsigned n = MAC_BYTES;

    if (strcmp(h->user, "admin") != 0)
        return settle(c, 401, "unauthorized", 0, "the one user with a password is admin");
    if (!HMAC(EVP_sha256(), m->key, sizeof(m->key), (const unsigned char *)h->secret, h->secret_len, mac, &n))
        return settle(c, 503, "no_memory", 1, "not enough memory");
    pthread_mutex_lock(&m->lock);
    right = m->knows && CRYPTO_memcmp(mac, m->mac, sizeof(mac)) == 0;
    pthread_mutex_unlock(&m->lock);
    if (right)
        return admit(c, "admin", "");
    l = login_for(a, c, h, mac, client);
    if (!l)
        return true;
    c->login = l;
    c->next = l->waiters;
    l->waiters = c;
    return false;
}

bool auth_check(struct worker *w, struct auth_check *c, const char *value, size_t len, const char *client)
{
    struct auth *a = worker_auth(w);
    struct auth_header h;
    bool done;

    auth_header_parse(value, len, &h);
    if (h.scheme == AUTH_NONE)
        done = settle(c, 401, "unauthorized", 0, "the API needs the administrator's password (Basic, user admin) or a token of scope admin (Bearer)");
    else if (h.scheme == AUTH_BROKEN)
        done = settle(c, 401, "unauthorized", 0, "the Authorization field cannot be read: \"Bearer TOKEN\", or Basic with admin:PASSWORD");
    else
        done = brings_token(&h) ? check_token(a, c, &h) : check_password(a, c, &h, client);
    auth_header_wipe(&h);
    return done;
}

void auth_check_cancel(struct auth_check *c)
{
    struct auth_check **at;

    if (!c->login)
        return;
    for (at = &c->login->waiters; *at != c; at = &(*at)->next)
        ;
    *at = c->next;
    c->login = NULL;
}
