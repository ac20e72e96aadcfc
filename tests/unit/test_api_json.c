/* The JSON forms of api.h, and making text valid UTF-8. */
#include "gateway_fakes.h"

#include "../../runner/gateway/api/api_private.h"

#include <arpa/inet.h>

static void expect_clean(const char *in, size_t len, const char *out)
{
    cleanup_strbuf struct strbuf b = {0};
    json_t *s = api_json_text(in, len);

    utf8_sanitize(&b, in, len);
    assert_string_equal(b.data ? b.data : "", out);
    assert_non_null(s);
    assert_string_equal(json_string_value(s), out);
    json_decref(s);
}

#define BAD                   "\xef\xbf\xbd"
#define EXPECT_CLEAN(in, out) expect_clean(in, sizeof(in) - 1, out)

static void text_becomes_valid(void **state)
{
    EXPECT_CLEAN("", "");
    EXPECT_CLEAN("plain\ttext\n\x1b[0m", "plain\ttext\n\x1b[0m");
    EXPECT_CLEAN("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
    EXPECT_CLEAN("a\0b", "ab");
    EXPECT_CLEAN("\xff\xfe", BAD BAD);
    EXPECT_CLEAN("\xc0\xaf", BAD BAD);                    /* overlong */
    EXPECT_CLEAN("\xe0\x80\xaf", BAD BAD BAD);            /* overlong */
    EXPECT_CLEAN("\xed\xa0\x80", BAD BAD BAD);            /* a surrogate */
    EXPECT_CLEAN("\xf4\x90\x80\x80", BAD BAD BAD BAD);    /* above U+10FFFF */
    EXPECT_CLEAN("\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"); /* U+10FFFF */
    EXPECT_CLEAN("x\xe2\x82", "x" BAD BAD);               /* cut */
    EXPECT_CLEAN("\xe2\x28\xa1", BAD "(" BAD);
}

/* Whatever the bytes are, jansson takes the result. */
static void any_bytes_make_json(void **state)
{
    uint32_t seed = 1;
    char buf[64];

    for (int round = 0; round < 20000; round++) {
        json_t *s;

        for (size_t i = 0; i < sizeof(buf); i++) {
            seed = seed * 1103515245 + 12345;
            buf[i] = (char)(seed >> 16 | (seed >> 20 & 0x80));
        }
        s = api_json_text(buf, sizeof(buf));
        assert_non_null(s);
        json_decref(s);
    }
}

static void function_form(void **state)
{
    struct picture p = {0};
    struct gw_function *f = picture_add(&p, 1, "hello", "staging");
    json_t *j, *expected;

    f->rec.crash_loop = 1;
    f->rec.scale = 3;
    f->rec.cpu_milli = 1500;
    f->hits[RECORD_LIMIT_PIDS] = 9;
    memcpy(f->rec.network, "internet; mesh", 15);
    f->rec.timeout_ns = 60500 * NS_PER_MS;
    f->rec.memory_bytes = 128 << 20;
    f->rec.deployed_real_ns = 1763668000123000000;
    snprintf(f->rec.image, sizeof(f->rec.image), "abc");
    snprintf(f->rec.last_failure, sizeof(f->rec.last_failure), "exited \xff");
    snprintf(f->rec.health_path, sizeof(f->rec.health_path), "/ping");
    picture_add_instance(&p, f, 5, "hello-aaaaaa", INSTANCE_READY);
    picture_add_instance(&p, f, 6, "hello-bbbbbb", INSTANCE_STARTING);
    j = api_json_function(&p, f);
    expected = json_loads(
        "{\"name\":\"hello\",\"environment\":\"staging\",\"application\":\"\",\"state\":\"crash-loop\",\"version\":1,\"scale\":3,\"wanted\":1,\"ready\":1,"
        "\"starting\":1,\"image\":\"abc\",\"image_bytes\":0,\"deployed\":\"2025-11-20T19:46:40.123Z\",\"url\":\"/fn/hello.staging/"
        "\",\"hosts\":[],\"paths\":[],\"access\":\"public\","
        "\"limits\":{\"memory_bytes\":134217728,\"cpu\":1.5,\"pids\":0,\"tmp_bytes\":0,\"timeout\":60.5,\"concurrency\":0,\"queue\":0,\"queue_timeout\":null,"
        "\"stream_idle\":0},"
        "\"limit_hits\":{\"memory\":0,\"memory_high\":0,\"cpu\":0,\"pids\":9},"
        "\"health\":{\"path\":\"/ping\",\"interval\":5,\"threshold\":0},\"network\":\"internet; mesh\",\"port\":3000,\"restarts\":0,\"last_failure\":\"exited "
        "\xef\xbf\xbd\","
        "\"last_failed_instance\":null,\"next_start\":null}",
        0, NULL);
    assert_non_null(expected);
    assert_true(json_equal(j, expected));
    json_decref(j);
    f->rec.retry_mono_ns = clock_mono_ns() + 3600 * NS_PER_SEC;
    j = api_json_function(&p, f);
    assert_true(json_is_string(json_object_get(j, "next_start")));
    json_decref(j);
    f->rec.retry_mono_ns = 1;
    f->rec.state = FUNCTION_STOPPED;
    f->rec.scale = RECORD_SCALE_AUTO;
    j = api_json_function(&p, f);
    assert_string_equal(json_string_value(json_object_get(j, "state")), "stopped");
    assert_true(json_is_null(json_object_get(j, "next_start")));
    assert_string_equal(json_string_value(json_object_get(j, "scale")), "auto");
    json_decref(j);
    json_decref(expected);
    picture_done(&p);
}

static void instance_form(void **state)
{
    struct picture p = {0};
    struct gw_function *f = picture_add(&p, 1, "hello", NULL);
    struct gw_instance *i = picture_add_instance(&p, f, 5, "hello-aaaaaa", INSTANCE_READY);
    json_t *j, *expected;

    i->rec.addr = htonl(0x0ae70002);
    i->rec.port = 3000;
    i->rec.pid = 42;
    i->rec.uid = 0x70010000;
    i->rec.slot = 1;
    i->rec.version = 2;
    i->rec.ready_ns = 2100000;
    i->stats.memory_bytes = 4096;
    i->stats.cpu_ns = 250 * NS_PER_MS;
    i->stats.cpu_milli = 125;
    i->stats.cpu_max_milli = 500;
    i->stats.pids_max = 64;
    i->stats.throttled_ns = 1500 * NS_PER_MS;
    i->stats.throttled = 15;
    i->stats.io_read_bytes = 8192;
    atomic_store(&i->shared->in_flight, 3);
    j = api_json_instance(i);
    expected =
        json_loads("{\"name\":\"hello-aaaaaa\",\"function\":\"hello\",\"environment\":\"default\",\"version\":2,\"state\":\"ready\",\"address\":\"10.231.0.2\","
                   "\"port\":3000,\"pid\":42,\"uid\":1879113728,\"slot\":1,\"started\":null,\"ready_ms\":2.1,\"memory_bytes\":4096,\"memory_max_bytes\":0,"
                   "\"cpu_seconds\":0.25,\"pids\":0,\"pids_max\":64,\"cpu\":0.125,\"cpu_max\":0.5,\"throttled_seconds\":1.5,\"throttled_periods\":15,\"memory_"
                   "high_events\":0,"
                   "\"pids_refused\":0,\"io_read_bytes\":8192,\"io_write_bytes\":0,\"oom_kills\":0,\"in_flight\":3,\"ejected\":null}",
                   0, NULL);
    assert_non_null(expected);
    assert_true(json_equal(j, expected));
    json_decref(j);
    json_decref(expected);
    picture_done(&p);
}

static int scale(const char *body, uint32_t *ret)
{
    struct diag d = {0};
    int r = api_parse_scale(body, strlen(body), ret, &d);

    assert_true(r == 0 || *d.text);
    return r;
}

static void scale_form(void **state)
{
    static const char *const bad[] = {
        "",
        "3",
        "[]",
        "{}",
        "{\"replicas\": -1}",
        "{\"replicas\": 3.0}",
        "{\"replicas\": \"3\"}",
        "{\"replicas\": \"AUTO\"}",
        "{\"replicas\": true}",
        "{\"replicas\": null}",
        "{\"replicas\": 4294967295}",
        "{\"replicas\": 99999999999999999999}",
        "{\"replicas\": 3, \"replicas\": 4}",
        "{\"replicas\": 3, \"more\": 1}",
        "{\"replica\": 3}",
        "{\"replicas\": 3",
        "{\"replicas\": 3} x",
        "\xff",
    };
    uint32_t n = 77;

    for (size_t i = 0; i < COUNT(bad); i++)
        if (scale(bad[i], &n) != -EINVAL)
            fail_msg("%s was taken", bad[i]);
    assert_int_equal(n, 77);
    assert_int_equal(scale("{\"replicas\": 3}", &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(scale(" {\"replicas\":0}\n", &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(scale("{\"replicas\": \"auto\"}", &n), 0);
    assert_int_equal(n, RECORD_SCALE_AUTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_valid), cmocka_unit_test(any_bytes_make_json), cmocka_unit_test(function_form),
        cmocka_unit_test(instance_form),      cmocka_unit_test(scale_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
