/* api_accounts.c: who am I, tokens, the password. A token's text is made here, told once, and kept nowhere; what the runner keeps is its hash. */
#include "api_private.h"

#include "../auth/auth.h"
#include "clock.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#define PASSWORD_MIN  8U
#define EXPIRES_MAX_S (100ULL * 366 * 86400)

void api_whoami(struct api_call *c)
{
    api_reply_json(c, 200, json_pack("{s:s, s:s}", "who", c->who, "scope", token_scope_names[TOKEN_ADMIN])); /* nobody else gets here */
}

/* ---- tokens ---- */

static json_t *time_text(uint64_t real_s)
{
    char text[CLOCK_RFC3339_MAX];

    if (real_s == 0)
        return json_null();
    clock_format_rfc3339(real_s * NS_PER_SEC, text);
    return json_string(text);
}

static json_t *token_json(const struct record_token *t)
{
    char fn[NAME_FUNCTION_MAX + 1];
    json_t *function = t->scope == TOKEN_FUNCTION ? json_string(name_format(&t->fn, fn)) : json_null();

    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "name", t->name, "scope", token_scope_names[t->scope], "function", function, "made",
                     time_text(t->made_real_s), "expires", time_text(t->expires_real_s));
}

void api_get_tokens(struct api_call *c)
{
    const struct auth *a = worker_auth(c->worker);
    json_t *list = json_array();

    for (const struct record_token *t = NULL; list && (t = auth_tokens_next(a, t));)
        if (json_array_append_new(list, token_json(t)) < 0) {
            json_decref(list);
            list = NULL;
        }
    api_reply_json(c, 200, list ? json_pack("{s:o}", "tokens", list) : NULL);
}

static void on_added(struct api_call *c, const struct record_reply *reply, int fd)
{
    json_t *answer = c->json;

    fd_close(fd);
    c->json = NULL;
    api_reply_json(c, 201, answer);
}

/* {"name", "scope", "function" (scope function only), "expires_seconds" (0 or absent: never)} */
static int parse_token(const json_t *body, struct record_token *rec, struct diag *d)
{
    const char *name = NULL, *scope = NULL, *fn = NULL;
    json_int_t expires = 0;
    json_error_t error;

    if (json_unpack_ex((json_t *)body, &error, JSON_STRICT, "{s:s, s:s, s?:s, s?:I}", "name", &name, "scope", &scope, "function", &fn, "expires_seconds",
                       &expires) < 0)
        return diag_set(d, EINVAL, "the body must be {\"name\", \"scope\": \"admin\"|\"invoke\"|\"function\", \"function\", \"expires_seconds\"}: %.100s",
                        error.text);
    if (!name_valid(name) || str_copy(rec->name, sizeof(rec->name), name) < 0)
        return diag_set(d, EINVAL, "\"%.60s\" cannot be a token's name: letters, digits, '-' and '_', at most %d", name, NAME_PART_MAX);
    while (rec->scope < TOKEN_SCOPE_COUNT && strcmp(scope, token_scope_names[rec->scope]) != 0)
        rec->scope++;
    if (rec->scope == TOKEN_SCOPE_COUNT)
        return diag_set(d, EINVAL, "scope \"%.40s\": admin, invoke or function", scope);
    if ((rec->scope == TOKEN_FUNCTION) != (fn != NULL))
        return diag_set(d, EINVAL, fn ? "only scope function has a function" : "scope function needs one: \"function\": \"NAME\"");
    if (expires < 0 || (uint64_t)expires > EXPIRES_MAX_S)
        return diag_set(d, EINVAL, "expires_seconds: from 0 (never) to %llu", EXPIRES_MAX_S);
    rec->made_real_s = clock_real_ns() / NS_PER_SEC;
    rec->expires_real_s = expires ? rec->made_real_s + (uint64_t)expires : 0;
    return fn ? name_parse(fn, &rec->fn, d) : 0;
}

static void add_token(struct api_call *c)
{
    struct record_token rec = {.head = RECORD_INIT(RECORD_TOKEN_ADD, 0)};
    char text[AUTH_TOKEN_BUF];
    struct diag d = {0};
    json_t *body = api_body_object(c, &d);
    int r = body ? parse_token(body, &rec, &d) : -EINVAL;

    if (r == 0 && auth_token_make(text, rec.hash) < 0)
        r = diag_set(&d, EAGAIN, "no random bytes");
    if (r == 0) {
        c->json = token_json(&rec);
        if (!c->json || json_object_set_new(c->json, "token", json_string(text)) < 0)
            r = diag_set(&d, ENOMEM, "not enough memory");
    }
    OPENSSL_cleanse(text, sizeof(text));
    json_decref(body);
    if (r < 0)
        api_fail(c, &d);
    else
        api_ask(c, &rec.head, on_added);
}

void api_add_token(struct api_call *c)
{
    api_take_body(c, add_token);
}

void api_remove_token(struct api_call *c)
{
    struct record_token rec = {.head = RECORD_INIT(RECORD_TOKEN_REMOVE, 0)};

    memcpy(rec.name, c->name, sizeof(rec.name));
    api_ask_empty(c, &rec.head);
}

/* ---- the password ---- */

static int parse_password(const json_t *body, struct record_login *rec, struct diag *d)
{
    const char *text = NULL;
    size_t len = 0;

    if (json_unpack_ex((json_t *)body, NULL, JSON_STRICT, "{s:s%}", "password", &text, &len) < 0)
        return diag_set(d, EINVAL, "the body must be {\"password\": \"...\"}");
    if (len < PASSWORD_MIN || len > PASSWORD_MAX)
        return diag_set(d, EINVAL, "a password has %u to %d bytes", PASSWORD_MIN, PASSWORD_MAX);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return diag_set(d, EINVAL, "a password has no control characters");
    memcpy(rec->password, text, len);
    return 0;
}

static void set_password(struct api_call *c)
{
    struct record_login rec = {.head = RECORD_INIT(RECORD_PASSWORD, 0)};
    struct diag d = {0};
    json_t *body = api_body_object(c, &d);
    int r = body ? parse_password(body, &rec, &d) : -EINVAL;

    json_decref(body);
    api_ask_secret(c, &rec.head, r, &d);
}

void api_set_password(struct api_call *c)
{
    api_take_body(c, set_password);
}
