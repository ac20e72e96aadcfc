/*
 * When a directory that changes is deployed anew (fnctl run --watch): with a clock that stands still but for what is waited for, a directory that changes at set times, and deploys that take theirs. No time passes.
 */
#include "check.h"

#include "../../runner/ctl/project/project.h"

#include "clock.h"
#include "diag.h"
#include "str.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>

#define DEPLOYS_MAX 64
#define END_MS      60000

/* A watch knows of the changes since it was opened that nobody has asked it for. */
struct dirwatch {
    uint64_t since_ms;
};

static struct world {
    uint64_t now_ms;
    const unsigned *changes; /* at these times, ascending */
    size_t nchanges;
    unsigned load_ms, open_ms, deploy_ms;
    unsigned deploys[DEPLOYS_MAX], read[DEPLOYS_MAX]; /* when each began, and the reading of what it deployed */
    unsigned reading;
    size_t ndeploys, watches;
    int load_err;
    unsigned load_until_ms; /* it fails until then, if at all */
    unsigned deploy_fails;  /* as many times */
    int deploy_code;
    unsigned said;
    const char *name; /* with which the last deploy was asked for */
} w;

static bool changed_between(uint64_t from_ms, uint64_t to_ms)
{
    for (size_t i = 0; i < w.nchanges; i++)
        if (w.changes[i] > from_ms && w.changes[i] <= to_ms)
            return true;
    return false;
}

uint64_t clock_mono_ns(void)
{
    return w.now_ms * NS_PER_MS;
}

/* Until the next change, or as long as was said; until somebody ends it when that is never. */
int ctl_wait(struct ctl *ctl, int fd, short events, int timeout_ms)
{
    uint64_t until = timeout_ms < 0 ? END_MS : w.now_ms + (unsigned)timeout_ms;

    while (w.now_ms < until && !changed_between((uint64_t)fd, w.now_ms))
        w.now_ms++;
    if (w.now_ms >= END_MS) {
        ctl->stop = 1;
        return -ECANCELED;
    }
    return w.now_ms < until;
}

int dirwatch_open(const char *top, const struct ignore *g, struct dirwatch **ret, struct diag *d)
{
    *ret = calloc(1, sizeof(**ret));
    assert_non_null(*ret);
    w.now_ms += w.open_ms;
    (*ret)->since_ms = w.now_ms; /* the worst: only what comes after it */
    w.watches++;
    return 0;
}

void dirwatch_close(struct dirwatch *watch)
{
    w.watches -= watch != NULL;
    free(watch);
}

int dirwatch_fd(const struct dirwatch *watch)
{
    return (int)watch->since_ms;
}

int dirwatch_read(struct dirwatch *watch, const struct ignore *g, struct diag *d)
{
    bool r = changed_between(watch->since_ms, w.now_ms);

    watch->since_ms = w.now_ms;
    return r;
}

int project_load(const struct source *s, enum project_check check, const char *pick, struct project *p, struct diag *d)
{
    *p = (struct project){.source = *s};
    w.reading = (unsigned)w.now_ms;
    w.now_ms += w.load_ms;
    str_copy(p->name, sizeof(p->name), "fn");
    return w.load_err && (!w.load_until_ms || w.reading < w.load_until_ms) ? diag_errno(d, w.load_err, "function.ini") : 0;
}

void project_done(struct project *p)
{
    dirwatch_close(p->watch);
    *p = (struct project){0};
}

int project_open(const struct project *p, const struct pack_options *o, struct body *b, struct diag *d)
{
    return 0;
}

int ctl_deploy(struct ctl *ctl, struct body *b, json_t **ret_function)
{
    assert_true(w.ndeploys < DEPLOYS_MAX);
    w.read[w.ndeploys] = w.reading;
    w.deploys[w.ndeploys++] = (unsigned)w.now_ms;
    w.now_ms += w.deploy_ms;
    w.name = ctl->o->name;
    if (w.deploy_fails == 0)
        return CTL_OK;
    w.deploy_fails--;
    w.said++;
    return w.deploy_code;
}

const char *needs_builder(const struct project *p)
{
    return NULL;
}

int builder_body(struct ctl *ctl, const struct project *p, const char *why, struct builder **keep, struct body *b)
{
    return CTL_FAILED;
}

const char *runtimes_of(const struct ctl *ctl, const struct project *p)
{
    return "";
}

int runtimes_need(struct ctl *ctl, const char *name)
{
    return CTL_OK;
}

void ctl_body_init(struct body *b)
{
}

void ctl_body_done(struct body *b)
{
}

uint64_t ctl_json_uint(const json_t *o, const char *key)
{
    return 0;
}

int ctl_fail(int code, const char *fmt, ...)
{
    w.said++;
    return code;
}

int ctl_fail_diag(int code, const struct diag *d)
{
    w.said++;
    return code;
}

static const struct source source = {.kind = SOURCE_DIRECTORY, .path = "fn"};

/* From the beginning of `fnctl run` until it is interrupted, the first deploy included: what its end was. */
static int run_as(const char *pick, const unsigned *changes, size_t n)
{
    struct builder *builder = NULL;
    struct rerun again = {.source = &source, .pick = pick, .builder = &builder};
    struct project project;
    struct options o = {0};
    struct ctl ctl = {.o = &o};
    json_t *fn = NULL;
    int r;

    w.changes = changes;
    w.nchanges = n;
    r = rerun_load(&ctl, &again, &project);
    if (r == CTL_OK && !ctl.stop)
        r = rerun_first(&ctl, &project, &again, &fn);
    if (r == CTL_OK && !ctl.stop)
        r = rerun(&ctl, &project, &again);
    if (ctl.stop)
        r = CTL_OK;
    project_done(&project);
    assert_int_equal(w.watches, 0);
    return r;
}

static void run(const unsigned *changes, size_t n)
{
    assert_int_equal(run_as(NULL, changes, n), CTL_OK);
}

static int setup(void **state)
{
    w = (struct world){.now_ms = 1, .load_ms = 5, .open_ms = 5, .deploy_ms = 300};
    return 0;
}

static void test_nothing_changes(void **state)
{
    run(NULL, 0);
    assert_int_equal(w.ndeploys, 1);
    assert_int_equal(w.said, 0);
}

/* As soon as it has been quiet for a moment. */
static void test_one_change(void **state)
{
    static const unsigned changes[] = {1000};

    run(changes, COUNT(changes));
    assert_int_equal(w.ndeploys, 2);
    assert_in_range(w.deploys[1], 1100, 1120);
}

/* Many files that are written at once are one change, and it is deployed when the last of them is there. */
static void test_many_changes_at_once(void **state)
{
    unsigned changes[20];

    for (unsigned i = 0; i < COUNT(changes); i++)
        changes[i] = 1000 + i * 60;
    run(changes, COUNT(changes));
    assert_int_equal(w.ndeploys, 2);
    assert_in_range(w.deploys[1], changes[19] + 100, changes[19] + 120);
}

static void test_two_changes(void **state)
{
    static const unsigned changes[] = {1000, 5000};

    run(changes, COUNT(changes));
    assert_int_equal(w.ndeploys, 3);
    assert_in_range(w.deploys[2], 5100, 5120);
}

/* Somebody who writes without end does not keep what is there from running. */
static void test_changes_without_end(void **state)
{
    unsigned changes[200];

    for (unsigned i = 0; i < COUNT(changes); i++)
        changes[i] = 1000 + i * 50;
    run(changes, COUNT(changes));
    assert_in_range(w.deploys[1], 3000, 3100);
    assert_in_range(w.ndeploys, 5, 7);
    assert_true(w.deploys[w.ndeploys - 1] > changes[199]);
}

/* Whenever it comes: while the directory is read, while it is watched anew, while it is deployed. The first time too. */
static void test_a_change_meanwhile(void **state)
{
    for (unsigned at = 1; at < 700; at++) {
        const unsigned changes[] = {at, 2000, 2000 + at};
        unsigned read = 0;

        setup(state);
        w.load_ms = w.open_ms = 20;
        run(changes, COUNT(changes));
        for (size_t i = 0; i < w.ndeploys; i++)
            read = w.read[i] > 2000 ? read : w.read[i];
        if (read < at)
            fail_msg("a change at %u: what ran before the next was read at %u", at, read);
        if (w.read[w.ndeploys - 1] < changes[2])
            fail_msg("a change %u ms after another, at %u: what runs was read at %u", at, changes[2], w.read[w.ndeploys - 1]);
        if (w.ndeploys > 4)
            fail_msg("a change at %u: %zu deploys", at, w.ndeploys);
    }
}

/* What cannot be read is said, and the next change is seen. */
static void test_what_cannot_be_read(void **state)
{
    static const unsigned changes[] = {1000, 5000};
    struct builder *builder = NULL;
    struct rerun again = {.source = &source, .builder = &builder};
    struct project project;
    struct options o = {0};
    struct ctl ctl = {.o = &o};

    assert_int_equal(rerun_load(&ctl, &again, &project), CTL_OK);
    w.load_err = EINVAL;
    w.changes = changes;
    w.nchanges = COUNT(changes);
    assert_int_equal(rerun(&ctl, &project, &again), CTL_OK);
    assert_int_equal(w.said, 4); /* what, and that the version before goes on */
    assert_int_equal(w.ndeploys, 0);
    project_done(&project);
    assert_int_equal(w.watches, 0);
}

/* Before anything has been read: said once for each change, until it can be. */
static void test_what_cannot_be_read_at_first(void **state)
{
    static const unsigned changes[] = {1000, 3000, 5000};

    w.load_err = EINVAL;
    w.load_until_ms = 2500;
    run(changes, COUNT(changes));
    assert_int_equal(w.said, 4); /* what, and that a change is waited for */
    assert_int_equal(w.ndeploys, 2);
    assert_in_range(w.deploys[0], 3100, 3140);
    assert_in_range(w.deploys[1], 5100, 5120);
}

/* Whatever happens while it is read and fails is not missed. */
static void test_a_change_while_it_cannot_be_read(void **state)
{
    for (unsigned at = 1; at < 60; at++) {
        setup(state);
        w.load_err = EINVAL;
        w.load_until_ms = at;
        run(&at, 1);
        if (w.ndeploys < 1)
            fail_msg("a change at %u was not seen", at);
    }
}

/* It is interrupted while nothing has ever been read. */
static void test_never_readable(void **state)
{
    w.load_err = EINVAL;
    run(NULL, 0);
    assert_int_equal(w.said, 2);
    assert_int_equal(w.ndeploys, 0);
}

/* No change of the directory helps. */
static void test_what_no_change_cures(void **state)
{
    static const int errs[] = {EACCES, EPERM, ENOMEM, EMFILE, ENFILE, ENOSPC};
    static const unsigned changes[] = {1000};

    for (size_t i = 0; i < COUNT(errs); i++) {
        setup(state);
        w.load_err = errs[i];
        assert_int_equal(run_as(NULL, changes, COUNT(changes)), CTL_FAILED);
        assert_int_equal(w.said, 1);
        assert_int_equal(w.ndeploys, 0);
    }
    setup(state);
    w.deploy_fails = 1;
    w.deploy_code = CTL_NO_DAEMON;
    assert_int_equal(run_as(NULL, changes, COUNT(changes)), CTL_NO_DAEMON);
    assert_int_equal(w.said, 1);
    assert_int_equal(w.ndeploys, 1);
}

/* The first deploy is refused, and so is the second: the third is the first that runs, under the name that the directory gives it. */
static void test_the_first_deploy_fails(void **state)
{
    static const unsigned changes[] = {1000, 3000, 5000};

    w.deploy_fails = 2;
    w.deploy_code = CTL_FAILED;
    run(changes, COUNT(changes));
    assert_int_equal(w.said, 4); /* what, and that a change is waited for */
    assert_int_equal(w.ndeploys, 4);
    assert_in_range(w.deploys[1], 1100, 1120);
    assert_in_range(w.deploys[2], 3100, 3120);
    assert_in_range(w.deploys[3], 5100, 5120);
    setup(state);
    w.deploy_fails = 1;
    w.deploy_code = CTL_FAILED;
    assert_int_equal(run_as("picked", changes, 1), CTL_OK);
    assert_string_equal(w.name, "picked");
}

/* A change while the deploy that fails is under way is not waited for a second time. */
static void test_a_change_while_the_first_deploy_fails(void **state)
{
    for (unsigned at = 1; at < 400; at++) {
        setup(state);
        w.deploy_fails = 1;
        w.deploy_code = CTL_FAILED;
        run(&at, 1);
        if (w.read[0] < at && w.ndeploys != 2)
            fail_msg("a change at %u: %zu deploys", at, w.ndeploys);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nothing_changes, setup),
        cmocka_unit_test_setup(test_one_change, setup),
        cmocka_unit_test_setup(test_many_changes_at_once, setup),
        cmocka_unit_test_setup(test_two_changes, setup),
        cmocka_unit_test_setup(test_changes_without_end, setup),
        cmocka_unit_test_setup(test_a_change_meanwhile, setup),
        cmocka_unit_test_setup(test_what_cannot_be_read, setup),
        cmocka_unit_test_setup(test_what_cannot_be_read_at_first, setup),
        cmocka_unit_test_setup(test_a_change_while_it_cannot_be_read, setup),
        cmocka_unit_test_setup(test_never_readable, setup),
        cmocka_unit_test_setup(test_what_no_change_cures, setup),
        cmocka_unit_test_setup(test_the_first_deploy_fails, setup),
        cmocka_unit_test_setup(test_a_change_while_the_first_deploy_fails, setup),
    };

    return cmocka_run_group_tests_name("rerun", tests, NULL, NULL);
}
