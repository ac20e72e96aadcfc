/* An image's configuration as plain data: what is taken, what is left out, and what is refused. */
#include "unit/check.h"

#include "../../runner/unpack/image.h"
#include "diag.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int parse(const char *text, struct image_config *c, struct diag *d)
{
    *d = (struct diag){0};
    *c = (struct image_config){0};
    return image_config_parse(text, strlen(text), c, d);
}

static void expect_refused(const char *text, const char *part)
{
    struct image_config c;
    struct diag d;

    if (parse(text, &c, &d) >= 0 || !strstr(d.text, part))
        fail_msg("%s: \"%s\" has no \"%s\"", text, d.text, part);
    image_config_done(&c);
}

static const char full[] =
    "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Entrypoint\":[\"/bin/a\",\"\"],\"Cmd\":[\"b "
    "c\"],\"Env\":[\"PATH=/bin\",\"EMPTY=\",\"BARE\",\"PORT=80\","
    "\"A=1\",\"A=2\",\"FND_FUNCTION=x\",\"=x\"],\"WorkingDir\":\"/srv\",\"User\":\"1:2\",\"ExposedPorts\":{\"53/"
    "udp\":{},\"8080\":{}},\"StopSignal\":\"SIGINT\","
    "\"Volumes\":{\"/a\":{},\"/b\":{}},\"Healthcheck\":{\"Test\":[\"CMD-SHELL\",\"x\"]},\"Labels\":{\"fnd.function.ini\":\"[function]\\n\",\"other\":\"x\"}},"
    "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"]},\"history\":[{\"empty_layer\":"
    "true}]}";

static void test_full(void **state)
{
    struct image_config c;
    struct diag d;

    if (parse(full, &c, &d) < 0)
        fail_msg("%s", d.text);
    assert_int_equal(c.argc, 3);
    assert_memory_equal(c.words.data, "/bin/a\0\0b c", 12);
    assert_int_equal(c.env.count, 4);
    assert_string_equal(c.env.items[0], "PATH=/bin");
    assert_string_equal(c.env.items[1], "EMPTY=");
    assert_string_equal(c.env.items[2], "BARE=");
    assert_string_equal(c.env.items[3], "A=2");
    assert_int_equal(c.env_dropped, 1); /* what an export says of fnd's own is no news */
    assert_string_equal(c.env_dropped_name, "");
    assert_int_equal(c.env_port, 80);
    assert_int_equal(c.ports, 1);
    assert_int_equal(c.port, 8080);
    assert_string_equal(c.cwd, "/srv");
    assert_string_equal(c.user, "1:2");
    assert_string_equal(c.stop_signal, "SIGINT");
    assert_int_equal(c.nvolumes, 2);
    assert_true(c.has_health);
    assert_string_equal(c.ini, "[function]\n");
    assert_int_equal(c.ndiff_ids, 1);
    assert_int_equal(strlen(c.diff_ids[0]), 64);
    image_config_done(&c);
}

/* What an export says besides the function's own is not taken for it; elsewhere the same words are the image's. */
static void test_of_an_export(void **state)
{
    static const char body[] = "\"Env\":[\"HOME=/tmp\",\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\",\"FND_VERSION=1\",\"A=1\"]";
    struct image_config c;
    char text[512];
    struct diag d;

    snprintf(text, sizeof(text), "{\"config\":{%s,\"Labels\":{\"fnd.function.set\":\"limits.pids=9\"}}}", body);
    assert_int_equal(parse(text, &c, &d), 0);
    assert_int_equal(c.env.count, 3);
    assert_string_equal(c.env_dropped_name, "FND_VERSION");
    assert_null(c.sets);
    image_config_done(&c);
    snprintf(text, sizeof(text), "{\"config\":{%s,\"Labels\":{\"fnd.function.ini\":\"\",\"fnd.function.set\":\"limits.pids=9\"}}}", body);
    assert_int_equal(parse(text, &c, &d), 0);
    assert_int_equal(c.env.count, 1);
    assert_string_equal(c.env.items[0], "A=1");
    assert_int_equal(c.env_dropped, 0);
    assert_string_equal(c.sets, "limits.pids=9");
    image_config_done(&c);
}

static void test_little(void **state)
{
    static const char *const texts[] = {"{}", "{\"config\":null}",
                                        "{\"config\":{\"Entrypoint\":null,\"Cmd\":null,\"Env\":null,\"User\":null,\"ExposedPorts\":null,\"Volumes\":null}}",
                                        "{\"config\":{\"ExposedPorts\":[],\"Volumes\":3,\"Labels\":[1],\"Healthcheck\":{\"Test\":[\"NONE\"]}},\"rootfs\":7}"};
    struct image_config c;
    struct diag d;

    for (size_t i = 0; i < COUNT(texts); i++) {
        if (parse(texts[i], &c, &d) < 0)
            fail_msg("%s: %s", texts[i], d.text);
        assert_int_equal(c.argc + c.env.count + c.ports + c.nvolumes + c.ndiff_ids, 0);
        assert_false(c.has_health);
        image_config_done(&c);
    }
}

static void test_ports(void **state)
{
    static const struct {
        const char *text;
        unsigned count, port;
    } cases[] = {{"\"80/tcp\":{}", 1, 80},        {"\"80\":{},\"81/tcp\":{}", 2, 80}, {"\"80-90/tcp\":{}", 2, 0}, {"\"0/tcp\":{}", 2, 0},
                 {"\"99999\":{}", 2, 0},          {"\"80/sctp\":{}", 0, 0},           {"\"/tcp\":{}", 2, 0},      {"\"-1/tcp\":{}", 2, 0},
                 {"\"12345678901/tcp\":{}", 2, 0}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct image_config c;
        struct diag d;
        char text[200];

        snprintf(text, sizeof(text), "{\"config\":{\"ExposedPorts\":{%s}}}", cases[i].text);
        if (parse(text, &c, &d) < 0 || c.ports != cases[i].count || (c.ports == 1 && c.port != cases[i].port))
            fail_msg("%s: %u ports, %u", cases[i].text, c.ports, c.port);
        image_config_done(&c);
    }
}

static void test_refused(void **state)
{
    struct strbuf large = {0};

    expect_refused("", "not JSON");
    expect_refused("[]", "no object");
    expect_refused("{\"architecture\":1}", "architecture");
    expect_refused("{\"config\":{\"Cmd\":\"x\"}}", "Cmd of the image's configuration is no list of words");
    expect_refused("{\"config\":{\"Cmd\":[1]}}", "holds what is no text");
    expect_refused("{\"config\":{\"Cmd\":[\"a\\u0000b\"]}}", "not JSON");
    expect_refused("{\"config\":{\"Env\":{}}}", "Env");
    expect_refused("{\"config\":{\"Env\":[{}]}}", "Env");
    expect_refused("{\"config\":{\"User\":{}}}", "User");
    expect_refused("{\"config\":{},\"config\":{}}", "not JSON");
    expect_refused("{\"rootfs\":{\"diff_ids\":[\"sha256:xyz\"]}}", "diff_ids");
    expect_refused("{\"rootfs\":{\"diff_ids\":[3]}}", "diff_ids");
    strbuf_puts(&large, "{\"config\":{\"WorkingDir\":\"/");
    for (unsigned i = 0; i < 300; i++)
        strbuf_puts(&large, "x");
    strbuf_puts(&large, "\"}}");
    expect_refused(large.data, "WorkingDir of the image's configuration is longer");
    strbuf_done(&large);
    large = (struct strbuf){0};
    strbuf_puts(&large, "{\"config\":{\"Cmd\":[");
    for (unsigned i = 0; i < 300; i++)
        strbuf_printf(&large, "%s\"x\"", i ? "," : "");
    strbuf_puts(&large, "]}}");
    expect_refused(large.data, "more than 256 words");
    strbuf_done(&large);
}

/* Every beginning of it, at the end of readable memory. */
static void test_prefixes(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), len = sizeof(full) - 1;
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(map != MAP_FAILED && len < page);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    for (size_t n = 0; n < len; n++) {
        struct image_config c = {0};
        struct diag d = {0};

        memcpy(map + page - n, full, n);
        if (image_config_parse(map + page - n, n, &c, &d) >= 0)
            fail_msg("%zu bytes are enough", n);
    }
    munmap(map, 2 * page);
}

/* Nested deeper than the parser is let to recurse; brackets in texts do not count. */
static void test_depth(void **state)
{
    struct strbuf b = {0};
    struct image_config c;
    struct diag d;

    for (unsigned i = 0; i < 100000; i++)
        strbuf_puts(&b, "[");
    expect_refused(b.data, "nested more than 64 deep");
    b.len = 0;
    strbuf_puts(&b, "{\"x\":\"\\\"");
    for (unsigned i = 0; i < 100; i++)
        strbuf_puts(&b, "[");
    strbuf_puts(&b, "\"}");
    if (parse(b.data, &c, &d) < 0)
        fail_msg("%s", d.text);
    image_config_done(&c);
    strbuf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),    cmocka_unit_test(test_of_an_export), cmocka_unit_test(test_little), cmocka_unit_test(test_ports),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_prefixes),     cmocka_unit_test(test_depth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
