/* accounts.c: see accounts.h. */
#include "accounts.h"

#include "audit.h"
#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "logins.h"
#include "record.h"
#include "str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define HASH_MAX      384 /* CRYPT_OUTPUT_SIZE */
#define INITIAL_CHARS 24U /* of 5 bits */
#define LINE_MAX_     512

struct accounts {
    struct accounts_parts p;
    int state_fd, dir_fd, tokens_fd;
    struct logins *logins;
    struct audit *audit;
    uint64_t generation;
    char hash[HASH_MAX];             /* empty: there is none yet */
    char initial[INITIAL_CHARS + 1]; /* while its hash is being made */
    struct record_token *tokens;
    unsigned ntokens, room;
};

/* A request that waits for its helper. */
struct asked {
    struct accounts *a;
    uint64_t client, id;
};

static void reply(struct accounts *a, uint64_t client, uint64_t id, const struct diag *d)
{
    struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, id), .diag = *d};

    a->p.reply(a->p.owner, client, &rec.head);
}

static void push_accounts(const struct accounts *a)
{
    const struct record_accounts rec = {.head = RECORD_INIT(RECORD_ACCOUNTS, 0), .generation = a->generation};

    a->p.push(a->p.owner, &rec.head);
}

static void next_generation(struct accounts *a)
{
    uint64_t before = a->generation;

    if (getrandom(&a->generation, sizeof(a->generation), 0) != (ssize_t)sizeof(a->generation) || a->generation == 0 || a->generation == before)
        a->generation = before + 1;
}

/* ---- tokens ---- */

static struct record_token *find_token(const struct accounts *a, const char *name)
{
    for (unsigned i = 0; i < a->ntokens; i++)
        if (strcmp(a->tokens[i].name, name) == 0)
            return &a->tokens[i];
    return NULL;
}

static int keep_token(struct accounts *a, const struct record_token *rec)
{
    if (a->ntokens == a->room) {
        unsigned room = a->room ? a->room * 2 : 16;
        struct record_token *grown = realloc(a->tokens, room * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        a->tokens = grown;
        a->room = room;
    }
    a->tokens[a->ntokens++] = *rec;
    return 0;
}

/* "HASH SCOPE MADE EXPIRES NAME.ENV|-\n" */
static void format_token(const struct record_token *t, struct strbuf *out)
{
    char fn[NAME_FUNCTION_MAX + 1] = "-";

    for (unsigned i = 0; i < TOKEN_HASH_BYTES; i++)
        strbuf_printf(out, "%02x", t->hash[i]);
    if (t->scope == TOKEN_FUNCTION)
        name_format(&t->fn, fn);
    strbuf_printf(out, " %s %llu %llu %s\n", token_scope_names[t->scope], (unsigned long long)t->made_real_s, (unsigned long long)t->expires_real_s, fn);
}

static int parse_hash(const char *text, uint8_t *ret)
{
    static const char digits[] = "0123456789abcdef";

    if (strlen(text) != 2 * TOKEN_HASH_BYTES || strspn(text, digits) != 2 * TOKEN_HASH_BYTES)
        return -EINVAL;
    for (unsigned i = 0; i < TOKEN_HASH_BYTES; i++)
        ret[i] = (uint8_t)((strchr(digits, text[2 * i]) - digits) << 4 | (strchr(digits, text[2 * i + 1]) - digits));
    return 0;
}

static int parse_token(char *line, struct record_token *ret)
{
    char *save = NULL, *words[6];
    unsigned n = 0;

    for (char *w = strtok_r(line, " \n", &save); w && n < 6; w = strtok_r(NULL, " \n", &save))
        words[n++] = w;
    if (n != 5 || parse_hash(words[0], ret->hash) < 0 || str_parse_uint(words[2], INT64_MAX, &ret->made_real_s) < 0 ||
        str_parse_uint(words[3], INT64_MAX, &ret->expires_real_s) < 0)
        return -EINVAL;
    while (ret->scope < TOKEN_SCOPE_COUNT && strcmp(words[1], token_scope_names[ret->scope]) != 0)
        ret->scope++;
    if (ret->scope == TOKEN_SCOPE_COUNT)
        return -EINVAL;
    return ret->scope == TOKEN_FUNCTION ? name_parse(words[4], &ret->fn, NULL) : 0;
}

static void load_token(struct accounts *a, const char *name)
{
    struct record_token rec = {.head = RECORD_INIT(RECORD_TOKEN, 0)};
    char line[LINE_MAX_];
    ssize_t n = fd_read_file(a->tokens_fd, name, line, sizeof(line));

    if (n < 0 || str_copy(rec.name, sizeof(rec.name), name) < 0 || parse_token(line, &rec) < 0 || a->ntokens >= TOKENS_MAX || keep_token(a, &rec) < 0)
        log_msg(LOG_WARNING, "token ignored", "file=auth/tokens/%s reason=\"it cannot be read: remove it, and make a new one\"", name);
}

static int load_tokens(struct accounts *a, struct diag *d)
{
    cleanup_fd int fd = openat(a->tokens_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!dir)
        return diag_errno(d, errno, "auth/tokens: cannot read");
    take_fd(&fd);
    while ((e = readdir(dir)))
        if (name_valid(e->d_name))
            load_token(a, e->d_name);
    closedir(dir);
    return 0;
}

static int token_check(const struct accounts *a, const struct record_token *rec, struct diag *d)
{
    if (!name_valid(rec->name))
        return diag_set(d, EINVAL, "\"%.60s\" cannot be a token's name: letters, digits, '-' and '_'", rec->name);
    if (find_token(a, rec->name))
        return diag_set(d, EEXIST, "there is a token %s: remove it first (fnctl token rm %s), or choose another name", rec->name, rec->name);
    if (a->ntokens >= TOKENS_MAX)
        return diag_set(d, ENOSPC, "there are %u tokens, and no more fit: remove some (fnctl token ls)", TOKENS_MAX);
    if (rec->scope == TOKEN_FUNCTION && (!name_valid(rec->fn.name) || !name_valid(rec->fn.env)))
        return diag_set(d, EINVAL, "a token of one function needs its name");
    return 0;
}

static int token_add(struct accounts *a, const struct record_token *asked, struct diag *d)
{
    struct record_token rec = {.head = RECORD_INIT(RECORD_TOKEN, 0), .scope = asked->scope, .made_real_s = clock_real_ns() / NS_PER_SEC};
    struct strbuf line cleanup_strbuf = {0};
    int r = token_check(a, asked, d);

    if (r < 0)
        return r;
    memcpy(rec.name, asked->name, sizeof(rec.name));
    memcpy(rec.hash, asked->hash, sizeof(rec.hash));
    rec.expires_real_s = asked->expires_real_s;
    if (rec.scope == TOKEN_FUNCTION)
        rec.fn = asked->fn;
    format_token(&rec, &line);
    r = line.failed ? -ENOMEM : fd_publish_file(a->tokens_fd, rec.name, line.data, line.len, 0600);
    if (r == 0)
        r = keep_token(a, &rec);
    if (r < 0)
        return diag_errno(d, -r, "auth/tokens/%s", rec.name);
    a->p.push(a->p.owner, &rec.head);
    return 0;
}

static int token_remove(struct accounts *a, const struct record_token *asked, struct diag *d)
{
    struct record_token *t = find_token(a, asked->name), gone;

    if (!t)
        return diag_set(d, ENOENT, "there is no token %.60s", asked->name);
    gone = *t;
    gone.gone = 1;
    if (unlinkat(a->tokens_fd, gone.name, 0) < 0 && errno != ENOENT)
        return diag_errno(d, errno, "auth/tokens/%s", gone.name);
    fsync(a->tokens_fd);
    *t = a->tokens[--a->ntokens];
    a->p.push(a->p.owner, &gone.head);
    return 0;
}

/* ---- the password ---- */

/* Only what crypt(5) writes: the line comes from a child that has read a stranger's text. */
static bool hash_valid(const char *hash)
{
    static const char allowed[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz$=,_-";
    size_t len = strlen(hash);

    return hash[0] == '$' && len > 20 && len < HASH_MAX && strspn(hash, allowed) == len;
}

static int set_hash(struct accounts *a, const char *hash, struct diag *d)
{
    char line[HASH_MAX + 1];
    int r;

    if (!hash_valid(hash))
        return diag_set(d, EIO, "the password could not be hashed");
    snprintf(line, sizeof(line), "%s\n", hash);
    r = fd_publish_file(a->dir_fd, "password", line, strlen(line), 0600);
    if (r < 0)
        return diag_errno(d, -r, "auth/password");
    str_copy(a->hash, sizeof(a->hash), hash);
    next_generation(a);
    push_accounts(a);
    return 0;
}

/* The clear text is on disk before its hash counts: killed in between, the next start makes another one. */
static void on_initial(void *arg, int err, const char *hash)
{
    struct accounts *a = arg;
    char line[INITIAL_CHARS + 2];
    struct diag d = {0};
    int r = err ? diag_errno(&d, err, "the first password could not be made") : 0;

    snprintf(line, sizeof(line), "%s\n", a->initial);
    if (r == 0) {
        r = fd_publish_file(a->dir_fd, "initial", line, INITIAL_CHARS + 1, 0600);
        r = r < 0 ? diag_errno(&d, -r, "auth/initial") : set_hash(a, hash, &d);
    }
    if (r < 0 && err != ECANCELED)
        log_diag(LOG_ERR, "nobody can log in with a password", &d, NULL);
    else if (r == 0)
        log_msg(LOG_NOTICE, "first password made", "user=admin file=%s/auth/initial", a->p.state);
    OPENSSL_cleanse(a->initial, sizeof(a->initial));
    OPENSSL_cleanse(line, sizeof(line));
}

static int make_initial(struct accounts *a, struct diag *d)
{
    static const char digits[32 + 1] = "abcdefghijkmnpqrstuvwxyz23456789"; /* none that looks like another */
    unsigned char random[INITIAL_CHARS];
    int r;

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return diag_errno(d, errno, "no random bytes");
    for (unsigned i = 0; i < INITIAL_CHARS; i++)
        a->initial[i] = digits[random[i] & 31];
    OPENSSL_cleanse(random, sizeof(random));
    r = logins_hash(a->logins, a->initial, on_initial, a);
    return r < 0 ? diag_errno(d, -r, "the first password cannot be made") : 0;
}

static int load_password(struct accounts *a, struct diag *d)
{
    ssize_t n = fd_read_file(a->dir_fd, "password", a->hash, sizeof(a->hash));

    if (n == -ENOENT)
        return make_initial(a, d);
    a->hash[n < 0 ? 0 : strcspn(a->hash, "\n")] = '\0';
    if (n < 0 || !hash_valid(a->hash))
        return diag_set(d, EINVAL, "%s/auth/password cannot be read: remove it, and the next start makes a new password", a->p.state);
    return 0;
}

static void on_checked(void *arg, int err, const char *hash)
{
    struct asked *q = arg;
    struct diag d = {0};

    if (err)
        diag_set(&d, err, err == EACCES ? "wrong password" : "the password could not be checked");
    reply(q->a, q->client, q->id, &d);
    free(q);
}

static void on_hashed(void *arg, int err, const char *hash)
{
    struct asked *q = arg;
    struct diag d = {0};

    if (err)
        diag_errno(&d, err, "the password could not be hashed");
    else if (set_hash(q->a, hash, &d) == 0 && unlinkat(q->a->dir_fd, "initial", 0) < 0 && errno != ENOENT)
        log_msg(LOG_WARNING, "first password not removed", "file=%s/auth/initial", q->a->p.state);
    reply(q->a, q->client, q->id, &d);
    free(q);
}

static int ask_helper(struct accounts *a, uint64_t client, const struct record_login *rec, struct diag *d)
{
    bool check = rec->head.type == RECORD_LOGIN;
    struct asked *q;
    int r;

    if (check && !*a->hash)
        return diag_set(d, EAGAIN, "the first password is being made");
    if (!check && !*rec->password)
        return diag_set(d, EINVAL, "an empty password is none");
    q = malloc(sizeof(*q));
    if (!q)
        return diag_set(d, ENOMEM, "out of memory");
    *q = (struct asked){.a = a, .client = client, .id = rec->head.id};
    r = check ? logins_check(a->logins, rec->password, a->hash, on_checked, q) : logins_hash(a->logins, rec->password, on_hashed, q);
    if (r == 0)
        return 1;
    free(q);
    return diag_set(d, -r, r == -EAGAIN ? "too many passwords are being checked: try again in a moment" : "the password cannot be checked");
}

/* ---- the frame ---- */

bool accounts_request(struct accounts *a, uint64_t client, const struct record_head *rec)
{
    struct diag d = {0};
    int r;

    switch (rec->type) {
    case RECORD_LOGIN:
    case RECORD_PASSWORD:
        r = ask_helper(a, client, (const struct record_login *)rec, &d);
        break;
    case RECORD_TOKEN_ADD:
        r = token_add(a, (const struct record_token *)rec, &d);
        break;
    case RECORD_TOKEN_REMOVE:
        r = token_remove(a, (const struct record_token *)rec, &d);
        break;
    case RECORD_AUDIT:
        audit_write(a->audit, (const struct record_audit *)rec);
        return true;
    default:
        return false;
    }
    if (r <= 0)
        reply(a, client, rec->id, &d);
    return true;
}

void accounts_snapshot(struct accounts *a)
{
    push_accounts(a);
    for (unsigned i = 0; i < a->ntokens; i++)
        a->p.push(a->p.owner, &a->tokens[i].head);
}

static int open_dirs(struct accounts *a, struct diag *d)
{
    a->state_fd = open(a->p.state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (a->state_fd < 0)
        return diag_errno(d, errno, "%s", a->p.state);
    if (fd_mkdir_p(a->state_fd, "auth/tokens", 0700) < 0)
        return diag_errno(d, errno, "%s/auth/tokens: cannot make the directory", a->p.state);
    a->dir_fd = openat(a->state_fd, "auth", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    a->tokens_fd = a->dir_fd < 0 ? -1 : openat(a->dir_fd, "tokens", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return a->tokens_fd < 0 ? diag_errno(d, errno, "%s/auth: cannot open", a->p.state) : 0;
}

int accounts_open(const struct accounts_parts *parts, struct accounts **ret, struct diag *d)
{
    struct accounts *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return diag_set(d, ENOMEM, "out of memory");
    a->p = *parts;
    a->state_fd = a->dir_fd = a->tokens_fd = -1;
    next_generation(a);
    r = open_dirs(a, d);
    if (r == 0 && (logins_new(parts->loop, &a->logins) < 0 || audit_new(a->state_fd, &a->audit) < 0))
        r = diag_set(d, ENOMEM, "out of memory");
    if (r == 0)
        r = load_tokens(a, d);
    if (r == 0)
        r = load_password(a, d);
    if (r < 0) {
        accounts_close(a);
        return r;
    }
    *ret = a;
    return 0;
}

void accounts_close(struct accounts *a)
{
    if (!a)
        return;
    logins_free(a->logins);
    audit_free(a->audit);
    fd_close(a->tokens_fd);
    fd_close(a->dir_fd);
    fd_close(a->state_fd);
    free(a->tokens);
    OPENSSL_cleanse(a, sizeof(*a));
    free(a);
}
