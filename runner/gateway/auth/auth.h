/*
 * auth.h: who is it that asks, and may he?
 *
 * There is one administrator, with a password (user "admin"), and there are tokens: 256 random bits, written "fnd_" and 43 characters. The gateway knows the SHA-256 of each token, which is enough to look one up, and of
 * the password nothing: whether one is right says the runner (RECORD_LOGIN), which has it checked in a helper and bounds how many are. A right one is remembered as a keyed hash until the password changes.
 * A worker has its own table of tokens; passwords are checked by the worker that has the link.
 */
#pragma once

#include "../gateway.h"

struct auth;
struct auth_login;

/* What all workers must agree on: which password is the right one, and how often who guessed. Any thread. NULL: no memory, no randomness. */
struct auth_common;
struct auth_common *auth_common_new(void);
void auth_common_free(struct auth_common *m);

int auth_new(struct worker *w, struct auth_common *common, struct auth **ret); /* common: borrowed */
void auth_free(struct auth *a);
void auth_on_record(struct auth *a, const struct record_head *rec); /* WELCOME, ACCOUNTS, TOKEN, SYNCED; others are nothing to it */
void auth_prepare(void); /* before the confinement: the crypto library reads its files, or does not find them, once */

/*
 * Does that value of an Authorization field (len bytes; not terminated) open the function? Bearer TOKEN, or Basic with a token for the password; the token must be for every function or for this one, and not expired.
 * Never waits, allocates nothing: about a microsecond.
 */
bool auth_token_allows(struct worker *w, const char *value, size_t len, const struct fn_id *fn);

/* The same by the number of its scope: what the API asks for needs TOKEN_ADMIN. Embedded by who asks; zeroed before. */
struct auth_check {
    void (*on_done)(struct auth_check *c); /* set before, with arg */
    void *arg;
    /* results */
    int status;               /* 200, 401, 403, 429, 503 */
    unsigned retry_after;     /* seconds; 0: none */
    const char *code, *text;  /* of an error */
    char who[96];             /* 200: "admin", "token:NAME" */
    struct auth_check *next;  /* private */
    struct auth_login *login; /* private: the one it waits for */
};

/*
 * May whoever sent that value call the API? client: its address, for slowing down who guesses. True: the results are there; false: on_done() comes later, in another turn, unless auth_check_cancel() does before.
 */
bool auth_check(struct worker *w, struct auth_check *c, const char *value, size_t len, const char *client);
void auth_check_cancel(struct auth_check *c);

/* The tokens that there are, in no order. The list is the table's own: do not keep it. */
const struct record_token *auth_tokens_next(const struct auth *a, const struct record_token *after);

/* A new one: its text to buf of AUTH_TOKEN_BUF, its hash. -errno. */
#define AUTH_TOKEN_BUF 48
int auth_token_make(char *buf, uint8_t hash[TOKEN_HASH_BYTES]);
