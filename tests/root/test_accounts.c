/* Passwords, tokens and the audit log as the runner keeps them, asked by a gateway that was taken over: how fast it can guess, what it can leave behind. Needs root: the helpers become nobody. */
#include "unit/check.h"

#include "../../runner/accounts.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "loop.h"
#include "record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IDS 4096

struct bench {
    char dir[64];
    struct loop *loop;
    struct accounts *accounts;
    uint64_t generation, id;
    unsigned tokens, gone, replies;
    struct record_token last;
    int answers[IDS]; /* by id: errno, -1: none yet */
    struct timer timer;
    bool (*until)(const struct bench *b);
    uint64_t deadline_ns, moment_ns;
};

static void on_push(void *owner, const struct record_head *rec)
{
    struct bench *b = owner;

    assert_int_equal(record_check(rec, rec->size, 0, NULL), 0);
    if (rec->type == RECORD_ACCOUNTS)
        b->generation = ((const struct record_accounts *)rec)->generation;
    if (rec->type != RECORD_TOKEN)
        return;
    b->last = *(const struct record_token *)rec;
    b->tokens += !b->last.gone;
    b->gone += b->last.gone;
}

static void on_reply(void *owner, uint64_t client, const struct record_head *rec)
{
    struct bench *b = owner;

    assert_int_equal(client, 7);
    assert_int_equal(b->answers[rec->id], -1);
    b->answers[rec->id] = ((const struct record_reply *)rec)->diag.err;
    b->replies++;
}

static void on_tick(struct timer *t)
{
    struct bench *b = t->owner;

    if (b->until(b))
        loop_stop(b->loop, 0);
    else if (clock_mono_ns() > b->deadline_ns)
        loop_stop(b->loop, 1);
    else
        loop_arm_in(b->loop, t, NS_PER_MS);
}

static void wait_for(struct bench *b, bool (*until)(const struct bench *b))
{
    b->until = until;
    b->deadline_ns = clock_mono_ns() + 20 * NS_PER_SEC;
    b->timer = (struct timer){.on_expire = on_tick, .owner = b};
    loop_arm_in(b->loop, &b->timer, 0);
    assert_int_equal(loop_run(b->loop), 0);
}

static int open_accounts(struct bench *b, struct diag *d)
{
    const struct accounts_parts parts = {.state = b->dir, .loop = b->loop, .push = on_push, .reply = on_reply, .owner = b};

    return accounts_open(&parts, &b->accounts, d);
}

static void reopen(struct bench *b)
{
    struct diag d = {0};

    accounts_close(b->accounts);
    b->accounts = NULL;
    if (open_accounts(b, &d) < 0)
        fail_msg("%s", d.text);
}

static void path_of(const struct bench *b, const char *name, char *buf, size_t size)
{
    assert_true(snprintf(buf, size, "%s/%s", b->dir, name) < (int)size);
}

static bool has_password(const struct bench *b)
{
    char path[128];

    path_of(b, "auth/password", path, sizeof(path));
    return access(path, F_OK) == 0;
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    log_set_level(LOG_CRIT);
    memset(b->answers, 0xff, sizeof(b->answers));
    snprintf(b->dir, sizeof(b->dir), "/tmp/fnd-accounts-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    assert_int_equal(loop_new(&b->loop), 0);
    reopen(b);
    wait_for(b, has_password);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    accounts_close(b->accounts);
    loop_free(b->loop);
    assert_int_equal(fd_remove_tree(AT_FDCWD, b->dir), 0);
    free(b);
    return 0;
}

static uint64_t ask_password(struct bench *b, uint32_t type, const char *password)
{
    struct record_login rec = {.head = RECORD_INIT(type, ++b->id)};

    snprintf(rec.password, sizeof(rec.password), "%s", password);
    assert_true(accounts_request(b->accounts, 7, &rec.head));
    return b->id;
}

static bool all_answered(const struct bench *b)
{
    return b->replies == b->id;
}

static int answer_to(struct bench *b, uint32_t type, const char *password)
{
    uint64_t id = ask_password(b, type, password);

    wait_for(b, all_answered);
    return b->answers[id];
}

static void read_initial(const struct bench *b, char *buf, size_t size)
{
    char path[128];

    path_of(b, "auth/initial", path, sizeof(path));
    assert_true(fd_read_file(AT_FDCWD, path, buf, size) > 0);
    buf[strcspn(buf, "\n")] = '\0';
}

static void passwords(void **state)
{
    struct bench *b = *state;
    char first[64], path[128], longest[PASSWORD_MAX + 1];
    uint64_t generation = b->generation;

    read_initial(b, first, sizeof(first));
    assert_int_equal(strlen(first), 24);
    assert_int_equal(answer_to(b, RECORD_LOGIN, first), 0);
    assert_int_equal(answer_to(b, RECORD_LOGIN, "no"), EACCES);
    assert_int_equal(answer_to(b, RECORD_LOGIN, ""), EACCES);
    assert_int_equal(answer_to(b, RECORD_PASSWORD, ""), EINVAL);
    assert_int_equal(b->generation, generation);
    memset(longest, 'x', PASSWORD_MAX);
    longest[PASSWORD_MAX] = '\0';
    assert_int_equal(answer_to(b, RECORD_PASSWORD, longest), 0);
    assert_int_not_equal(b->generation, generation);
    path_of(b, "auth/initial", path, sizeof(path));
    assert_int_equal(access(path, F_OK), -1);
    reopen(b);
    assert_int_equal(answer_to(b, RECORD_LOGIN, longest), 0);
    longest[PASSWORD_MAX - 1] = 'y';
    assert_int_equal(answer_to(b, RECORD_LOGIN, longest), EACCES);
    assert_int_equal(answer_to(b, RECORD_LOGIN, first), EACCES);
}

/* Killed before the hash was on disk: what was written to `initial` opens nothing, and the next start makes another. */
static void first_password_is_made_anew(void **state)
{
    struct bench *b = *state;
    char path[128], before[64], after[64];

    read_initial(b, before, sizeof(before));
    path_of(b, "auth/password", path, sizeof(path));
    assert_int_equal(unlink(path), 0);
    reopen(b);
    assert_int_equal(answer_to(b, RECORD_LOGIN, before), EAGAIN);
    wait_for(b, has_password);
    read_initial(b, after, sizeof(after));
    assert_string_not_equal(before, after);
    assert_int_equal(answer_to(b, RECORD_LOGIN, after), 0);
}

static void broken_password_file(void **state)
{
    static const char *const broken[] = {"", "secret\n", "$y$j9T$\n", "$y$j9T$abcdefgh$abcdefghijkl mnopqrst\n", "$y$j9T$abcdefgh$abcdefghijkl:mnopqrst\n"};
    struct bench *b = *state;
    char path[128];

    path_of(b, "auth/password", path, sizeof(path));
    for (size_t i = 0; i < COUNT(broken); i++) {
        cleanup_fd int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
        struct diag d = {0};

        assert_int_equal(fd_write_all(fd, broken[i], strlen(broken[i])), 0);
        accounts_close(b->accounts);
        b->accounts = NULL;
        assert_int_equal(open_accounts(b, &d), -EINVAL);
        assert_non_null(strstr(d.text, "remove it"));
    }
}

static unsigned helpers(void)
{
    char path[64], list[1024] = "";
    unsigned n = 0;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    assert_true(fd_read_file(AT_FDCWD, path, list, sizeof(list)) >= 0);
    for (const char *p = list; *p; p++)
        n += *p == ' ';
    return n;
}

static bool answered_by_two(const struct bench *b)
{
    assert_true(helpers() <= 2);
    return b->replies == b->id;
}

static bool moment_is_over(const struct bench *b)
{
    return clock_mono_ns() > b->moment_ns;
}

/* A gateway that was taken over is not slowed down by itself. However fast it asks, it has no more tries than the runner gives, and the right password comes through when the bucket has filled. */
static void guessing_is_bounded(void **state)
{
    struct bench *b = *state;
    char first[64], guess[32];
    unsigned tried = 0, begun_s;
    uint64_t begin = clock_mono_ns();

    read_initial(b, first, sizeof(first));
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(guess, sizeof(guess), "guess %u", i);
        ask_password(b, RECORD_LOGIN, guess);
    }
    wait_for(b, answered_by_two);
    for (unsigned i = 1; i <= 1000; i++) {
        assert_true(b->answers[i] == EACCES || b->answers[i] == EAGAIN);
        tried += b->answers[i] == EACCES;
    }
    begun_s = (unsigned)((clock_mono_ns() - begin) / NS_PER_SEC) + 1;
    assert_true(tried >= 10 && tried <= 20 + 5 * begun_s);
    begin = clock_mono_ns();
    while (answer_to(b, RECORD_LOGIN, first) != 0) {
        assert_true(clock_mono_ns() - begin < 30 * NS_PER_SEC);
        b->moment_ns = clock_mono_ns() + 50 * NS_PER_MS;
        wait_for(b, moment_is_over);
    }
}

/* Right ones pay nothing. */
static void logging_in_is_not_bounded(void **state)
{
    struct bench *b = *state;
    char first[64];

    read_initial(b, first, sizeof(first));
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(answer_to(b, RECORD_LOGIN, first), 0);
}

static int add_token(struct bench *b, const char *name, uint32_t scope, const char *fn)
{
    struct record_token rec = {.head = RECORD_INIT(RECORD_TOKEN_ADD, ++b->id), .scope = scope};

    snprintf(rec.name, sizeof(rec.name), "%s", name);
    snprintf(rec.fn.name, sizeof(rec.fn.name), "%s", fn);
    snprintf(rec.fn.env, sizeof(rec.fn.env), "%s", *fn ? "default" : "");
    memset(rec.hash, (int)b->id, sizeof(rec.hash));
    assert_true(accounts_request(b->accounts, 7, &rec.head));
    return b->answers[b->id];
}

static int remove_token(struct bench *b, const char *name)
{
    struct record_token rec = {.head = RECORD_INIT(RECORD_TOKEN_REMOVE, ++b->id)};

    snprintf(rec.name, sizeof(rec.name), "%s", name);
    assert_true(accounts_request(b->accounts, 7, &rec.head));
    return b->answers[b->id];
}

static void write_token(const struct bench *b, const char *name, const char *text)
{
    char path[192];
    cleanup_fd int fd = -1;

    assert_true(snprintf(path, sizeof(path), "%s/auth/tokens/%s", b->dir, name) < (int)sizeof(path));
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
}

static void tokens(void **state)
{
    static const char *const names[] = {"", ".", "..", "../x", "a/b", "-a", "a b", "a\n"};
    static const char hash[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    static const char *const broken[] = {
        "", "\n", "short admin 1 0 -\n", " admin 1 0\n", " root 1 0 -\n", " admin x 0 -\n", " admin 1 -1 -\n", " function 1 0 ../x\n", " admin 1 0 - more\n"};
    struct bench *b = *state;
    char text[256];

    for (size_t i = 0; i < COUNT(names); i++)
        assert_int_equal(add_token(b, names[i], TOKEN_ADMIN, ""), EINVAL);
    assert_int_equal(add_token(b, "f", TOKEN_FUNCTION, ""), EINVAL);
    assert_int_equal(add_token(b, "f", TOKEN_FUNCTION, "../x"), EINVAL);
    assert_int_equal(add_token(b, "f", TOKEN_FUNCTION, "hello"), 0);
    assert_string_equal(b->last.fn.name, "hello");
    assert_int_equal(add_token(b, "f", TOKEN_ADMIN, ""), EEXIST);
    assert_int_equal(add_token(b, "a", TOKEN_ADMIN, "ignored"), 0);
    assert_string_equal(b->last.fn.name, "");
    assert_int_equal(remove_token(b, "none"), ENOENT);
    assert_int_equal(remove_token(b, "../password"), ENOENT);
    assert_true(has_password(b));
    for (size_t i = 0; i < COUNT(broken); i++) {
        char name[16];

        snprintf(name, sizeof(name), "broken%zu", i);
        snprintf(text, sizeof(text), "%s%s", *broken[i] == ' ' ? hash : "", broken[i]);
        write_token(b, name, text);
    }
    b->tokens = 0;
    reopen(b);
    accounts_snapshot(b->accounts);
    assert_int_equal(b->tokens, 2);
    assert_int_equal(remove_token(b, "a"), 0);
    assert_int_equal(b->gone, 1);
    assert_int_equal(remove_token(b, "a"), ENOENT);
}

static void audit_lines(void **state)
{
    struct record_audit rec = {.head = RECORD_INIT(RECORD_AUDIT, 0), .who = "a b\n2026 who=admin", .what = "x\"y", .target = "\x1b[2J\xff", .status = 200};
    struct bench *b = *state;
    char path[128], old[128], text[256];
    struct stat st;
    unsigned n = 0;

    assert_true(accounts_request(b->accounts, 7, &rec.head));
    path_of(b, "audit.log", path, sizeof(path));
    path_of(b, "audit.log.1", old, sizeof(old));
    assert_true(fd_read_file(AT_FDCWD, path, text, sizeof(text)) > 0);
    assert_non_null(strstr(text, " who=a?b?2026?who?admin from=- what=x?y target=?[2J? status=200\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    while (stat(old, &st) < 0 && n++ < 200000)
        accounts_request(b->accounts, 7, &rec.head);
    assert_true(stat(old, &st) == 0 && st.st_size < (9 << 20));
    assert_true(stat(path, &st) == 0 && st.st_size < 4096 && (st.st_mode & 07777) == 0600);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(passwords),           TEST(first_password_is_made_anew), TEST(broken_password_file),
        TEST(guessing_is_bounded), TEST(logging_in_is_not_bounded),   TEST(tokens),
        TEST(audit_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
