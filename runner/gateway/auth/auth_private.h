/* auth_private.h: shared by the files of auth/ alone. */
#pragma once

#include "auth.h"

/* ---- auth_header.c: pure ---- */

enum auth_scheme { AUTH_NONE, AUTH_BASIC, AUTH_BEARER, AUTH_BROKEN };

#define AUTH_USER_MAX 63

struct auth_header {
    enum auth_scheme scheme;
    char user[AUTH_USER_MAX + 1];  /* AUTH_BASIC */
    char secret[PASSWORD_MAX + 1]; /* the password, or the token */
    size_t secret_len;
};

/* RFC 7617, RFC 6750. Strict: one blank, canonical base64, no control characters, nothing longer than fits. AUTH_NONE: empty. */
enum auth_scheme auth_header_parse(const char *value, size_t len, struct auth_header *ret);
void auth_header_wipe(struct auth_header *h);

#define AUTH_TOKEN_PREFIX "fnd_"
#define AUTH_TOKEN_LEN    47U /* "fnd_" and 43 characters of base64url: 256 bits */
bool auth_token_shaped(const char *text, size_t len);

/* ---- auth_tokens.c ---- */

struct token {
    struct record_token rec;
    struct token *next, *next_hash;
    uint32_t heard;
};

#define AUTH_BUCKETS 1024U

struct auth_tokens {
    struct token *list;
    struct token *buckets[AUTH_BUCKETS]; /* by the hash's first bytes: nobody can choose those */
    unsigned count;
    uint32_t snapshot;
};

void auth_tokens_on_record(struct auth_tokens *t, const struct record_head *rec);
void auth_tokens_done(struct auth_tokens *t);
/* The token of that text, expired or not; NULL. */
const struct record_token *auth_tokens_find(const struct auth_tokens *t, const char *text, size_t len);
int auth_sha256(const void *data, size_t len, uint8_t ret[TOKEN_HASH_BYTES]);

/* ---- auth_slow.c ---- */

#define SLOW_SETS   256U
#define SLOW_WAYS   4U
#define SLOW_FREE   3U  /* mistakes without a wait */
#define SLOW_MAX_S  60U /* the longest wait */
#define SLOW_KEEP_S 600U

struct slow_entry {
    uint64_t key; /* 0: unused */
    uint64_t last_ns, until_ns;
    uint32_t failures;
};

struct slow {
    uint64_t seed;
    struct slow_entry entries[SLOW_SETS][SLOW_WAYS];
};

void slow_init(struct slow *s);
unsigned slow_wait_s(const struct slow *s, const char *client, uint64_t now_ns); /* 0: go on */
void slow_failed(struct slow *s, const char *client, uint64_t now_ns);
void slow_forget(struct slow *s, const char *client);
