/* The picture: what a snapshot that was not heard again leaves, numbers that a new runner uses for something else, and the order of events. */
#include "check.h"

#include "../../runner/gateway/picture.h"

#include <stdio.h>
#include <string.h>

/* What the owner was told, as short words. */
struct told {
    struct shared_gateway *gateway;
    struct picture picture;
    char text[512];
};

static void tell(struct told *t, const char *what, const char *name)
{
    size_t len = strlen(t->text);

    snprintf(t->text + len, sizeof(t->text) - len, "%s%s %s", len ? "," : "", what, name);
}

static void on_function(void *owner, struct gw_function *f, bool is_new)
{
    tell(owner, is_new ? "+f" : "f", f->rec.fn.name);
}

static void on_function_gone(void *owner, struct gw_function *f)
{
    tell(owner, "-f", f->rec.fn.name);
}

static void on_instance(void *owner, struct gw_instance *inst, uint32_t old_state, uint32_t heard)
{
    tell(owner, old_state == INSTANCE_EMPTY ? "+i" : heard != inst->rec.state ? "i?" : "i", inst->rec.name);
}

static void on_instance_gone(void *owner, struct gw_instance *inst)
{
    assert_null(picture_instance(&((struct told *)owner)->picture, inst->rec.instance));
    assert_int_equal(inst->rec.state, INSTANCE_GONE); /* whatever took it away: its requests must not be tried there again */
    tell(owner, "-i", inst->rec.name);
}

static const struct picture_events events = {on_function, on_function_gone, on_instance, on_instance_gone};

static void welcome(struct told *t)
{
    struct record_welcome rec = {.head = RECORD_INIT(RECORD_WELCOME, 0)};

    assert_int_equal(picture_apply(&t->picture, &rec.head), 0);
}

static void synced(struct told *t)
{
    struct record_empty rec = {.head = RECORD_INIT(RECORD_SYNCED, 0)};

    assert_int_equal(picture_apply(&t->picture, &rec.head), 0);
}

static void function(struct told *t, uint64_t number, const char *name, uint32_t state)
{
    struct record_function rec = {.head = RECORD_INIT(RECORD_FUNCTION, 0), .function = number, .fn = {.env = "default"}, .state = state};

    snprintf(rec.fn.name, sizeof(rec.fn.name), "%s", name);
    assert_int_equal(picture_apply(&t->picture, &rec.head), 0);
}

static void instance(struct told *t, uint64_t number, uint64_t of, const char *name, uint32_t state)
{
    struct record_instance rec = {.head = RECORD_INIT(RECORD_INSTANCE, 0), .instance = number, .function = of, .state = state, .addr = 1, .port = 3000};

    snprintf(rec.name, sizeof(rec.name), "%s", name);
    assert_int_equal(picture_apply(&t->picture, &rec.head), 0);
}

static void expect_told(struct told *t, const char *text)
{
    assert_string_equal(t->text, text);
    t->text[0] = '\0';
}

static void begin(struct told *t)
{
    memset(t, 0, sizeof(*t));
    t->gateway = shared_gateway_new(1);
    assert_non_null(t->gateway);
    picture_init(&t->picture, t->gateway, 0, &events, t);
    welcome(t);
    function(t, 1, "b", FUNCTION_ACTIVE);
    function(t, 2, "a", FUNCTION_ACTIVE);
    instance(t, 10, 1, "b-1", INSTANCE_STARTING);
    instance(t, 11, 2, "a-1", INSTANCE_READY);
    assert_false(t->picture.synced);
    synced(t);
    assert_true(t->picture.synced);
    expect_told(t, "+f b,+f a,+i b-1,+i a-1");
}

static void changes(void **state)
{
    struct told t;

    begin(&t);
    assert_string_equal(t.picture.functions->rec.fn.name, "a"); /* in the order of the names */
    assert_ptr_equal(picture_function(&t.picture, &(struct fn_id){"DEFAULT", "B"}), t.picture.functions->next);
    assert_null(picture_function(&t.picture, &(struct fn_id){"other", "b"}));
    assert_int_equal(t.picture.functions->ready, 1);
    instance(&t, 99, 77, "x-1", INSTANCE_READY); /* of no function */
    instance(&t, 98, 1, "b-9", INSTANCE_GONE);   /* nobody knew it */
    instance(&t, 11, 2, "a-1", INSTANCE_DRAINING);
    assert_int_equal(t.picture.functions->ready, 0);
    instance(&t, 11, 2, "a-1", INSTANCE_GONE);
    function(&t, 1, "b", FUNCTION_STOPPED);
    function(&t, 1, "b", FUNCTION_GONE);
    expect_told(&t, "i a-1,-i a-1,f b,-i b-1,-f b");
    picture_done(&t.picture);
    shared_gateway_free(t.gateway);
}

static void ready_stays_ready(void **state)
{
    struct told t;
    struct gw_instance *inst;

    begin(&t);
    inst = picture_instance(&t.picture, 10);
    picture_set_state(&t.picture, inst, INSTANCE_READY);
    instance(&t, 10, 1, "b-1", INSTANCE_STARTING); /* sent before the runner heard of it */
    assert_int_equal(inst->rec.state, INSTANCE_READY);
    assert_int_equal(inst->function->ready, 1);
    expect_told(&t, "i b-1,i? b-1");
    picture_done(&t.picture);
    shared_gateway_free(t.gateway);
}

static void next_snapshot(void **state)
{
    struct told t;

    begin(&t);
    welcome(&t); /* of a new runner, which counts from 1 again */
    assert_true(t.picture.synced && t.picture.functions->next);
    function(&t, 1, "c", FUNCTION_ACTIVE);
    function(&t, 2, "b", FUNCTION_ACTIVE);
    instance(&t, 10, 2, "b-1", INSTANCE_READY); /* the same one, its function has another number now */
    instance(&t, 11, 1, "c-1", INSTANCE_READY); /* another one with a known number */
    expect_told(&t, "+f c,f b,i b-1,-i a-1,+i c-1");
    synced(&t);
    expect_told(&t, "-f a");
    welcome(&t);
    synced(&t);
    expect_told(&t, "-i b-1,-i c-1,-f b,-f c");
    assert_null(t.picture.functions);
    picture_done(&t.picture);
    shared_gateway_free(t.gateway);
}

static void many_functions(void **state)
{
    struct told t = {0};
    struct fn_id id = {"default", ""};

    t.gateway = shared_gateway_new(1);
    assert_non_null(t.gateway);
    picture_init(&t.picture, t.gateway, 0, &events, &t);
    welcome(&t);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(id.name, sizeof(id.name), "f%u", i * 7919 % 1000);
        function(&t, i + 1, id.name, FUNCTION_ACTIVE);
    }
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(id.name, sizeof(id.name), "F%u", i);
        assert_non_null(picture_function(&t.picture, &id));
        function(&t, 0, id.name, FUNCTION_GONE);
        assert_null(picture_function(&t.picture, &id));
    }
    assert_null(t.picture.functions);
    picture_done(&t.picture);
    shared_gateway_free(t.gateway);
}

static void a_request_keeps_its_function(void **state)
{
    struct gw_function *f;
    struct told t;

    begin(&t);
    f = t.picture.functions;
    assert_true(function_enter(f, 1));
    assert_false(function_enter(f, 1));
    function(&t, 2, "a", FUNCTION_GONE);
    assert_string_equal(f->rec.fn.name, "a"); /* the sanitizer would say */
    metrics_request(f->counters, 200, 1);
    function_leave(f);
    picture_done(&t.picture);
    shared_gateway_free(t.gateway);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes),
        cmocka_unit_test(ready_stays_ready),
        cmocka_unit_test(next_snapshot),
        cmocka_unit_test(many_functions),
        cmocka_unit_test(a_request_keeps_its_function),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
