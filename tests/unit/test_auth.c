/* Authorization: what a field says, from every prefix to garbage; the table of tokens; who guesses waits; what is remembered of a right password, and until when. */
#include "gateway_fakes.h"

#include "../../runner/gateway/auth/auth_private.h"

#include <openssl/evp.h>
#include <unistd.h>

/* ---- the field ---- */

static enum auth_scheme parse(const char *text, struct auth_header *h)
{
    return auth_header_parse(text, strlen(text), h);
}

static void headers(void **state)
{
    static const struct {
        const char *text, *user, *secret;
        enum auth_scheme scheme;
    } rows[] = {
        {"", "", "", AUTH_NONE},
        {"Basic YWRtaW46c2VjcmV0", "admin", "secret", AUTH_BASIC},
        {"bAsIc YWRtaW46c2VjcmV0", "admin", "secret", AUTH_BASIC},
        {"Basic YWRtaW46", "admin", "", AUTH_BASIC},
        {"Basic OmE=", "", "a", AUTH_BASIC},
        {"Basic YTpiOmM=", "a", "b:c", AUTH_BASIC},
        {"Basic YTrDpA==", "a", "\xc3\xa4", AUTH_BASIC},
        {"Bearer abc.-_~+/=", "", "abc.-_~+/=", AUTH_BEARER},
        {"Basic", "", "", AUTH_BROKEN},
        {"Basic ", "", "", AUTH_BROKEN},
        {"Basic  YWRtaW46c2VjcmV0", "", "", AUTH_BROKEN},
        {"Basic\tYWRtaW46c2VjcmV0", "", "", AUTH_BROKEN},
        {"Basic YWRtaW46c2VjcmV0 ", "", "", AUTH_BROKEN},
        {"Basic YWRtaW46c2VjcmV", "", "", AUTH_BROKEN},
        {"Basic YWRtaW4=", "", "", AUTH_BROKEN}, /* no colon */
        {"Basic OmF=", "", "", AUTH_BROKEN},     /* bits behind the end */
        {"Basic OmE=OmE=", "", "", AUTH_BROKEN}, /* padding inside */
        {"Basic ====", "", "", AUTH_BROKEN},
        {"Basic =", "", "", AUTH_BROKEN},
        {"Basic YToA", "", "", AUTH_BROKEN}, /* a NUL */
        {"Basic YTp/", "", "", AUTH_BROKEN}, /* DEL */
        {"Bearer ", "", "", AUTH_BROKEN},
        {"Bearer a b", "", "", AUTH_BROKEN},
        {"Bearer a,b", "", "", AUTH_BROKEN},
        {"Digest username=\"admin\"", "", "", AUTH_BROKEN},
        {"Basic YWRtaW46c2VjcmV0, Bearer x", "", "", AUTH_BROKEN},
        {"BasicYWRtaW46c2VjcmV0", "", "", AUTH_BROKEN},
    };
    struct auth_header h;

    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(parse(rows[i].text, &h), rows[i].scheme);
        assert_int_equal(h.scheme, rows[i].scheme);
        assert_string_equal(h.user, rows[i].user);
        assert_string_equal(h.secret, rows[i].secret);
        assert_int_equal(h.secret_len, strlen(rows[i].secret));
    }
}

/* Each prefix ends where its memory ends: what reads behind it is seen by the sanitizer. */
static void prefixes_and_garbage(void **state)
{
    static const char full[] = "Basic YWRtaW46c2VjcmV0c2VjcmV0";
    struct auth_header h;
    unsigned seed = 1, good = 0;

    for (size_t n = 0; n < sizeof(full) - 1; n++) {
        char *exact = malloc(n + 1);

        memcpy(exact, full, n);
        good += auth_header_parse(exact, n, &h) == AUTH_BASIC;
        free(exact);
    }
    assert_int_equal(good, 4); /* of 8, 12, 16 and 20 characters */
    for (unsigned round = 0; round < 20000; round++) {
        char text[64];
        size_t n = 0;

        for (; n < round % sizeof(text); n++)
            text[n] = (char)((seed = seed * 1103515245U + 12345U) >> 16);
        if (round % 3 == 0 && n > 7)
            memcpy(text, "Bearer ", 7);
        if (round % 3 == 1 && n > 6)
            memcpy(text, "Basic ", 6);
        auth_header_parse(text, n, &h);
        assert_true(strlen(h.secret) <= PASSWORD_MAX && h.secret_len == strlen(h.secret));
    }
}

static void too_long(void **state)
{
    static char text[8192];
    struct auth_header h;

    memset(text, 'A', sizeof(text));
    memcpy(text, "Basic ", 6);
    for (size_t n = 7; n < sizeof(text); n++)
        assert_int_equal(auth_header_parse(text, n, &h), AUTH_BROKEN);
    memcpy(text, "Bearer ", 7);
    for (size_t n = 8; n < sizeof(text); n++)
        assert_int_equal(auth_header_parse(text, n, &h), n - 7 <= PASSWORD_MAX ? AUTH_BEARER : AUTH_BROKEN);
}

/* ---- a worker and its runner ---- */

struct bench {
    struct worker w;
    struct auth_common *common;
    struct runner runner;
    struct loop *loop;
    uint64_t logins; /* that the runner was asked */
    int answers;     /* errno that it answers, -1: nothing yet */
    uint64_t last_id;
    char last_password[PASSWORD_MAX + 1];
};

static void bench_tell(struct bench *b, const void *rec)
{
    auth_on_record(b->w.auth, rec);
}

static void bench_password(struct bench *b, uint64_t generation)
{
    struct record_accounts rec = {.head = RECORD_INIT(RECORD_ACCOUNTS, 0), .generation = generation};

    bench_tell(b, &rec);
}

static void bench_mark(struct bench *b, uint32_t type)
{
    struct record_welcome rec = {.head = RECORD_INIT(type, 0)};

    bench_tell(b, &rec);
}

static struct record_token bench_token(struct bench *b, const char *name, enum token_scope scope, const char *fn, uint64_t expires, char *text)
{
    struct record_token rec = {.head = RECORD_INIT(RECORD_TOKEN, 0), .scope = scope, .expires_real_s = expires};

    assert_int_equal(auth_token_make(text, rec.hash), 0);
    snprintf(rec.name, sizeof(rec.name), "%s", name);
    if (fn)
        assert_int_equal(name_parse(fn, &rec.fn, NULL), 0);
    bench_tell(b, &rec);
    return rec;
}

static void on_login(struct runner *r, const struct record_head *rec, int fd)
{
    struct bench *b = r->arg;

    fd_close(fd);
    if (rec->type != RECORD_LOGIN)
        return;
    b->logins++;
    b->last_id = rec->id;
    snprintf(b->last_password, sizeof(b->last_password), "%s", ((const struct record_login *)rec)->password);
    if (b->answers >= 0)
        runner_reply(r, rec->id, b->answers, "no", -1);
}

static void on_pushed(void *owner, const struct record_head *rec)
{
}

static void on_down(void *owner)
{
}

static bool link_up(void *arg)
{
    return link_is_up(arg);
}

static int bench_setup(void **state)
{
    static const struct link_events events = {.on_record = on_pushed, .on_down = on_down};
    struct bench *b = calloc(1, sizeof(*b));

    log_set_level(LOG_CRIT);
    assert_int_equal(loop_new(&b->loop), 0);
    b->w.loop = b->loop;
    runner_init(&b->runner, b->loop);
    b->runner.on_record = on_login;
    b->runner.arg = b;
    runner_listen(&b->runner);
    assert_int_equal(link_open(b->loop, b->runner.path, &events, b, &b->w.link), 0);
    run_until(b->loop, link_up, b->w.link);
    b->common = auth_common_new();
    assert_non_null(b->common);
    assert_int_equal(auth_new(&b->w, b->common, &b->w.auth), 0);
    bench_mark(b, RECORD_WELCOME);
    bench_password(b, 1);
    *state = b;
    return 0;
}

static int bench_teardown(void **state)
{
    struct bench *b = *state;

    auth_free(b->w.auth);
    auth_common_free(b->common);
    link_free(b->w.link);
    runner_done(&b->runner);
    loop_free(b->loop);
    free(b);
    return 0;
}

static bool allows(struct bench *b, const char *token, const char *fn)
{
    char value[128];
    struct fn_id id;

    assert_int_equal(name_parse(fn, &id, NULL), 0);
    snprintf(value, sizeof(value), "Bearer %s", token);
    return auth_token_allows(&b->w, value, strlen(value), &id);
}

static int api(struct bench *b, const char *value)
{
    struct auth_check c = {.arg = b};

    return auth_check(&b->w, &c, value, strlen(value), "192.0.2.1") ? c.status : 0;
}

static void tokens(void **state)
{
    struct bench *b = *state;
    char admin[AUTH_TOKEN_BUF], invoke[AUTH_TOKEN_BUF], one[AUTH_TOKEN_BUF], late[AUTH_TOKEN_BUF], value[128];
    struct record_token rec = bench_token(b, "a", TOKEN_ADMIN, NULL, 0, admin);

    bench_token(b, "i", TOKEN_INVOKE, NULL, 0, invoke);
    bench_token(b, "f", TOKEN_FUNCTION, "hello.staging", 0, one);
    bench_token(b, "l", TOKEN_ADMIN, NULL, clock_real_ns() / NS_PER_SEC, late);
    assert_int_equal(strlen(admin), AUTH_TOKEN_LEN);
    assert_true(allows(b, admin, "hello") && allows(b, invoke, "hello") && allows(b, invoke, "other.staging"));
    assert_true(allows(b, one, "HELLO.staging"));
    assert_false(allows(b, one, "hello"));
    assert_false(allows(b, one, "hello2.staging"));
    assert_false(allows(b, late, "hello"));
    snprintf(value, sizeof(value), "Bearer %s", admin);
    assert_int_equal(api(b, value), 200);
    for (size_t n = 0; n < strlen(value); n++) {
        char cut[128];

        snprintf(cut, sizeof(cut), "%.*s", (int)n, value);
        assert_int_equal(api(b, cut), 401);
        snprintf(cut, sizeof(cut), "%s", value);
        cut[n] ^= 1;
        assert_true(n < 6 || api(b, cut) == 401);
    }
    snprintf(value, sizeof(value), "Bearer %s", invoke);
    assert_int_equal(api(b, value), 403);
    snprintf(value, sizeof(value), "Bearer %s", late);
    assert_int_equal(api(b, value), 401);
    rec.gone = 1;
    bench_tell(b, &rec);
    assert_false(allows(b, admin, "hello"));
}

/* A snapshot names what there is: what it does not name is gone with SYNCED, and is served until then. */
static void snapshots_of_tokens(void **state)
{
    struct bench *b = *state;
    char kept[AUTH_TOKEN_BUF], lost[AUTH_TOKEN_BUF];
    struct record_token rec = bench_token(b, "kept", TOKEN_INVOKE, NULL, 0, kept);

    bench_token(b, "lost", TOKEN_INVOKE, NULL, 0, lost);
    bench_mark(b, RECORD_SYNCED);
    assert_true(allows(b, kept, "f") && allows(b, lost, "f"));
    bench_mark(b, RECORD_WELCOME);
    bench_tell(b, &rec);
    assert_true(allows(b, kept, "f") && allows(b, lost, "f"));
    bench_mark(b, RECORD_SYNCED);
    assert_true(allows(b, kept, "f"));
    assert_false(allows(b, lost, "f"));
}

static void no_more_tokens_than_allowed(void **state)
{
    struct bench *b = *state;
    char text[AUTH_TOKEN_BUF], name[32];
    unsigned n = 0;

    for (unsigned i = 0; i < TOKENS_MAX + 10; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        bench_token(b, name, TOKEN_INVOKE, NULL, 0, text);
    }
    for (const struct record_token *t = NULL; (t = auth_tokens_next(b->w.auth, t));)
        n++;
    assert_int_equal(n, TOKENS_MAX);
    assert_false(allows(b, text, "f"));
}

/* ---- slowing down ---- */

static void guesses_wait(void **state)
{
    static struct slow s;
    uint64_t now = 1000 * NS_PER_SEC;
    unsigned expected[] = {0, 0, 1, 2, 4, 8, 16, 32, 60, 60};

    slow_init(&s);
    for (size_t i = 0; i < COUNT(expected); i++) {
        slow_failed(&s, "192.0.2.1", now);
        assert_int_equal(slow_wait_s(&s, "192.0.2.1", now), expected[i]);
        assert_int_equal(slow_wait_s(&s, "192.0.2.2", now), 0);
    }
    assert_int_equal(slow_wait_s(&s, "192.0.2.1", now + 60 * NS_PER_SEC), 0);
    slow_failed(&s, "192.0.2.1", now + 700 * NS_PER_SEC); /* long ago is forgotten */
    assert_int_equal(slow_wait_s(&s, "192.0.2.1", now + 700 * NS_PER_SEC), 0);
    for (unsigned i = 0; i < 5; i++)
        slow_failed(&s, "2001:db8::1", now);
    assert_int_equal(slow_wait_s(&s, "2001:db8::ffff:1", now), 4);
    assert_int_equal(slow_wait_s(&s, "2001:db8:0:1::1", now), 0);
    slow_forget(&s, "2001:db8::2");
    assert_int_equal(slow_wait_s(&s, "2001:db8::1", now), 0);
}

/* A flood from everywhere uses no memory, and who is new gets in. */
static void table_is_bounded(void **state)
{
    static struct slow s;
    char client[32];

    slow_init(&s);
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(client, sizeof(client), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        slow_failed(&s, client, (1000 + i) * NS_PER_MS);
    }
    assert_int_equal(slow_wait_s(&s, "192.0.2.1", 200 * NS_PER_SEC), 0);
}

/* ---- passwords ---- */

/* What curl -u admin:PASSWORD sends; only passwords of three letters (base64 in threes behind "admin:"). */
static const char *basic(const char *password)
{
    static char buf[64];
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = (uint32_t)(unsigned char)password[0] << 16 | (uint32_t)(unsigned char)password[1] << 8 | (unsigned char)password[2];

    snprintf(buf, sizeof(buf), "Basic YWRtaW46%c%c%c%c", digits[bits >> 18 & 63], digits[bits >> 12 & 63], digits[bits >> 6 & 63], digits[bits & 63]);
    return buf;
}

struct asked {
    struct auth_check check;
    bool at_once, answered;
};

static void on_done(struct auth_check *c)
{
    ((struct asked *)c->arg)->answered = true;
}

static bool is_answered(void *arg)
{
    const struct asked *a = arg;

    return a->at_once || a->answered;
}

static void ask_from(struct bench *b, struct asked *a, const char *password, const char *client)
{
    const char *value = basic(password);

    *a = (struct asked){.check = {.on_done = on_done}};
    a->check.arg = a;
    a->at_once = auth_check(&b->w, &a->check, value, strlen(value), client);
}

static int password_from(struct bench *b, const char *password, const char *client)
{
    struct asked a;

    ask_from(b, &a, password, client);
    run_until(b->loop, is_answered, &a);
    return a.check.status;
}

static void right_password_is_asked_for_once(void **state)
{
    struct bench *b = *state;
    char who[96];
    struct asked a;

    assert_int_equal(password_from(b, "abc", "192.0.2.1"), 200);
    assert_string_equal(b->last_password, "abc");
    for (unsigned i = 0; i < 20; i++) {
        ask_from(b, &a, "abc", "192.0.2.2");
        assert_true(a.at_once && a.check.status == 200);
        snprintf(who, sizeof(who), "%s", a.check.who);
        assert_string_equal(who, "admin");
    }
    assert_int_equal(b->logins, 1);
    b->answers = EACCES;
    assert_int_equal(password_from(b, "abd", "192.0.2.2"), 401);
    assert_int_equal(password_from(b, "abc", "192.0.2.2"), 200);
    assert_int_equal(b->logins, 2);
}

static bool third_login(void *arg)
{
    return ((const struct bench *)arg)->logins == 3;
}

static void changed_password_is_forgotten(void **state)
{
    struct bench *b = *state;
    struct asked a;

    assert_int_equal(password_from(b, "abc", "192.0.2.1"), 200);
    bench_password(b, 1);
    assert_int_equal(password_from(b, "abc", "192.0.2.1"), 200);
    assert_int_equal(b->logins, 1);
    bench_password(b, 2);
    b->answers = EACCES;
    assert_int_equal(password_from(b, "abc", "192.0.2.1"), 401);
    assert_int_equal(b->logins, 2);
    b->answers = -1; /* changed while it is being checked: the answer is about the one before */
    ask_from(b, &a, "abe", "192.0.2.9");
    run_until(b->loop, third_login, b);
    bench_password(b, 3);
    runner_reply(&b->runner, b->last_id, 0, "", -1);
    run_until(b->loop, is_answered, &a);
    assert_int_equal(a.check.status, 429);
    b->answers = EACCES; /* nor is it remembered */
    assert_int_equal(password_from(b, "abe", "192.0.2.9"), 401);
}

static void the_same_password_is_one_question(void **state)
{
    struct bench *b = *state;
    struct asked all[50];

    for (unsigned i = 0; i < COUNT(all); i++) {
        ask_from(b, &all[i], "abc", "192.0.2.1");
        assert_false(all[i].at_once);
    }
    auth_check_cancel(&all[7].check);
    auth_check_cancel(&all[49].check);
    auth_check_cancel(&all[49].check);
    run_until(b->loop, is_answered, &all[0]);
    for (unsigned i = 0; i < COUNT(all); i++)
        assert_int_equal(all[i].answered, i != 7 && i != 49);
    assert_int_equal(b->logins, 1);
}

static void wrong_passwords_wait(void **state)
{
    struct bench *b = *state;
    struct asked a;

    b->answers = EACCES;
    for (unsigned i = 0; i < SLOW_FREE; i++)
        assert_int_equal(password_from(b, "bad", "192.0.2.1"), 401);
    ask_from(b, &a, "bad", "192.0.2.1");
    assert_true(a.at_once && a.check.status == 429 && a.check.retry_after >= 1);
    assert_int_equal(b->logins, SLOW_FREE);
    b->answers = 0;
    assert_int_equal(password_from(b, "abc", "192.0.2.2"), 200);
    ask_from(b, &a, "abc", "192.0.2.1"); /* the right one, remembered, does not wait */
    assert_true(a.at_once && a.check.status == 200);
}

/* Many at once from one address are as many mistakes; many from everywhere are refused beyond LOGINS_MAX, and use nothing up. */
static void flood(void **state)
{
    struct bench *b = *state;
    struct asked some[40];
    unsigned waiting = 0, refused = 0;
    char client[32], password[4] = "a00";

    b->answers = -1;
    for (unsigned i = 0; i < COUNT(some); i++) {
        password[1] = (char)('0' + i / 10);
        password[2] = (char)('0' + i % 10);
        ask_from(b, &some[i], password, "192.0.2.1");
        waiting += !some[i].at_once;
    }
    assert_int_equal(waiting, SLOW_FREE);
    for (unsigned i = 0; i < COUNT(some); i++)
        auth_check_cancel(&some[i].check);
    password[0] = 'b';
    for (unsigned i = 0; i < COUNT(some); i++) {
        password[1] = (char)('0' + i / 10);
        password[2] = (char)('0' + i % 10);
        snprintf(client, sizeof(client), "198.51.100.%u", i);
        ask_from(b, &some[i], password, client);
        refused += some[i].at_once && some[i].check.status == 429;
    }
    assert_int_equal(refused, COUNT(some) - (16 - SLOW_FREE));
    for (unsigned i = 0; i < COUNT(some); i++)
        auth_check_cancel(&some[i].check);
}

static bool runner_saw_login(void *arg)
{
    return ((struct bench *)arg)->logins > 0;
}

static void runner_goes_away(void **state)
{
    struct bench *b = *state;
    struct asked a;

    b->answers = -1;
    ask_from(b, &a, "abc", "192.0.2.1");
    run_until(b->loop, runner_saw_login, b);
    runner_hang_up(&b->runner);
    run_until(b->loop, is_answered, &a);
    assert_int_equal(a.check.status, 503);
}

static void other_users(void **state)
{
    struct bench *b = *state;

    assert_int_equal(api(b, "Basic cm9vdDpzZWNyZXQ="), 401); /* root:secret */
    assert_int_equal(api(b, ""), 401);
    assert_int_equal(api(b, "Negotiate abc"), 401);
    assert_int_equal(b->logins, 0);
}

/* Clients that know nothing but Basic send a token as the password, under any name. */
static void token_as_password(void **state)
{
    struct bench *b = *state;
    char token[AUTH_TOKEN_BUF], plain[64], value[128] = "Basic ";
    struct fn_id id;

    bench_token(b, "t", TOKEN_ADMIN, NULL, 0, token);
    assert_int_equal(name_parse("f", &id, NULL), 0);
    for (int i = 0; i < 2; i++) {
        snprintf(plain, sizeof(plain), "x:%s", token);
        EVP_EncodeBlock((unsigned char *)value + 6, (unsigned char *)plain, (int)strlen(plain));
        assert_int_equal(api(b, value), i == 0 ? 200 : 401);
        assert_int_equal(auth_token_allows(&b->w, value, strlen(value), &id), i == 0);
        token[20] ^= 1; /* shaped like one: no question to the runner */
    }
    assert_int_equal(b->logins, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),
        cmocka_unit_test(prefixes_and_garbage),
        cmocka_unit_test(too_long),
        cmocka_unit_test(guesses_wait),
        cmocka_unit_test(table_is_bounded),
        TEST(tokens),
        TEST(snapshots_of_tokens),
        TEST(no_more_tokens_than_allowed),
        TEST(right_password_is_asked_for_once),
        TEST(changed_password_is_forgotten),
        TEST(the_same_password_is_one_question),
        TEST(wrong_passwords_wait),
        TEST(flood),
        TEST(runner_goes_away),
        TEST(other_users),
        TEST(token_as_password),
    };

    auth_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
