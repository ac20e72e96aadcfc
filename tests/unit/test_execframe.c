/* The frames of `fnctl exec`, and what the relay makes of those that come from outside: every prefix, every wrong byte, random ones. */
#include "check.h"

#include "../../runner/init/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct {
    enum exec_type type;
    enum exec_side from;
    uint16_t min, max;
} types[] = {
    {EXEC_START, EXEC_FROM_CLIENT, 4, 4},
    {EXEC_STDIN, EXEC_FROM_CLIENT, 0, EXEC_DATA_MAX},
    {EXEC_SIZE, EXEC_FROM_CLIENT, 4, 4},
    {EXEC_SIGNAL, EXEC_FROM_CLIENT, 1, 1},
    {EXEC_STDOUT, EXEC_FROM_RELAY, 1, EXEC_DATA_MAX},
    {EXEC_STDERR, EXEC_FROM_RELAY, 1, EXEC_DATA_MAX},
    {EXEC_TAKEN, EXEC_FROM_RELAY, 4, 4},
    {EXEC_EXIT, EXEC_FROM_RELAY, 4, 4},
};

/* The input's last byte is the page's last: a look behind it would end the test. */
static int parse_at_edge(enum exec_side from, const uint8_t *data, size_t len, struct exec_frame *ret)
{
    const size_t page = 65536;
    char *at = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int r;

    assert_true(at != MAP_FAILED);
    assert_int_equal(mprotect(at + page, page, PROT_NONE), 0);
    memcpy(at + page - len, data, len);
    r = exec_frame_parse(from, at + page - len, len, ret);
    munmap(at, 2 * page);
    return r;
}

static void test_each_type(void **state)
{
    static uint8_t buf[EXEC_FRAME_MAX + 8];

    for (size_t i = 0; i < COUNT(types); i++) {
        const enum exec_side other = types[i].from == EXEC_FROM_CLIENT ? EXEC_FROM_RELAY : EXEC_FROM_CLIENT;
        struct exec_frame f;

        for (int edge = 0; edge < 2; edge++) {
            const uint16_t len = edge ? types[i].max : types[i].min;
            const size_t whole = EXEC_HEAD + len;

            exec_frame_head(buf, types[i].type, len);
            for (size_t n = 0; n < whole; n += n < 8 || n + 8 > whole ? 1 : 997)
                assert_int_equal(parse_at_edge(types[i].from, buf, n, &f), 0);
            assert_int_equal(parse_at_edge(types[i].from, buf, whole, &f), (int)whole);
            assert_int_equal(exec_frame_parse(types[i].from, buf, whole + 3, &f), (int)whole);
            assert_int_equal(f.type, types[i].type);
            assert_int_equal(f.len, len);
            assert_ptr_equal(f.payload, buf + EXEC_HEAD);
            assert_int_equal(exec_frame_parse(other, buf, whole, &f), -EPROTO);
            assert_int_equal(exec_frame_parse(other, buf, 1, &f), -EPROTO);
        }
        exec_frame_head(buf, types[i].type, types[i].max + 1U);
        assert_int_equal(parse_at_edge(types[i].from, buf, EXEC_HEAD, &f), -EPROTO);
        if (types[i].min) {
            exec_frame_head(buf, types[i].type, types[i].min - 1U);
            assert_int_equal(parse_at_edge(types[i].from, buf, EXEC_HEAD, &f), -EPROTO);
        }
        exec_frame_head(buf, types[i].type, types[i].min);
        buf[1] = 1;
        assert_int_equal(parse_at_edge(types[i].from, buf, 2, &f), -EPROTO);
    }
}

static void test_unknown_types(void **state)
{
    struct exec_frame f;

    for (unsigned type = 0; type < 256; type++) {
        const uint8_t head[] = {(uint8_t)type, 0, 0, 0};
        bool known = false;

        for (size_t i = 0; i < COUNT(types); i++)
            known |= types[i].type == type;
        if (known)
            continue;
        assert_int_equal(exec_frame_parse(EXEC_FROM_CLIENT, head, 1, &f), -EPROTO);
        assert_int_equal(exec_frame_parse(EXEC_FROM_RELAY, head, sizeof(head), &f), -EPROTO);
    }
}

static void test_values(void **state)
{
    const struct exec_exit said = {.end = EXEC_END_FAILED, .step = EXEC_STEP_CWD, .value = 65535};
    uint8_t buf[EXEC_HEAD + 4];
    unsigned rows, cols;
    struct exec_frame f;
    struct exec_exit e;

    assert_int_equal(exec_frame_parse(EXEC_FROM_CLIENT, buf, exec_frame_size(buf, EXEC_SIZE, 65535, 258), &f), sizeof(buf));
    exec_read_size(&f, &rows, &cols);
    assert_true(rows == 65535 && cols == 258);
    assert_int_equal(exec_frame_parse(EXEC_FROM_RELAY, buf, exec_frame_taken(buf, 0x89abcdef), &f), sizeof(buf));
    assert_int_equal(exec_read_taken(&f), 0x89abcdef);
    assert_int_equal(exec_frame_parse(EXEC_FROM_CLIENT, buf, exec_frame_signal(buf, 15), &f), EXEC_HEAD + 1);
    assert_int_equal(f.payload[0], 15);
    assert_int_equal(exec_frame_parse(EXEC_FROM_RELAY, buf, exec_frame_exit(buf, &said), &f), sizeof(buf));
    assert_int_equal(exec_read_exit(&f, &e), 0);
    assert_memory_equal(&e, &said, sizeof(e));
    buf[EXEC_HEAD] = EXEC_END_COUNT;
    assert_int_equal(exec_read_exit(&f, &e), -EPROTO);
    buf[EXEC_HEAD] = EXEC_END_EXITED;
    buf[EXEC_HEAD + 1] = EXEC_STEP_COUNT;
    assert_int_equal(exec_read_exit(&f, &e), -EPROTO);
}

/* ---- what the relay does with them; its command has ended, so that nobody is signalled ---- */

static struct session *relay(void)
{
    struct session *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    s->ended = true;
    s->socket_fd = s->signal_fd = s->in_fd = s->out_fds[0] = s->out_fds[1] = s->master_fd = -1;
    return s;
}

static int receive(struct session *s, const void *data, size_t len)
{
    assert_true(len <= sizeof(s->from) - s->from_len);
    memcpy(s->from + s->from_len, data, len);
    s->from_len += len;
    return session_receive(s);
}

static size_t stdin_frame(uint8_t *buf, size_t len, char fill)
{
    exec_frame_head(buf, EXEC_STDIN, len);
    memset(buf + EXEC_HEAD, fill, len);
    return EXEC_HEAD + len;
}

static void test_window(void **state)
{
    static uint8_t buf[EXEC_FRAME_MAX];
    struct session *s = relay();
    unsigned n = 0;

    for (; (n + 1) * EXEC_DATA_MAX <= EXEC_WINDOW; n++)
        assert_int_equal(receive(s, buf, stdin_frame(buf, EXEC_DATA_MAX, (char)('a' + n))), 0);
    assert_int_equal(s->in_len, EXEC_WINDOW);
    assert_int_equal(receive(s, buf, stdin_frame(buf, 0, 0)), 0); /* the end needs no room */
    assert_true(s->in_over);
    free(s);

    s = relay();
    for (n = 0; n < EXEC_WINDOW / EXEC_DATA_MAX; n++)
        receive(s, buf, stdin_frame(buf, EXEC_DATA_MAX, 'x'));
    s->in_at = 100; /* so many have been taken: the rest moves down */
    s->in_len -= 100;
    memset(s->input + s->in_at, 'y', s->in_len);
    assert_int_equal(receive(s, buf, stdin_frame(buf, 100, 'z')), 0);
    assert_true(s->in_at + s->in_len == EXEC_WINDOW && s->input[s->in_at] == 'y' && s->input[EXEC_WINDOW - 1] == 'z' && s->input[EXEC_WINDOW - 101] == 'y');
    assert_int_equal(receive(s, buf, stdin_frame(buf, 1, 'x')), -EPROTO);
    free(s);
}

static void test_after_the_end(void **state)
{
    uint8_t buf[64];
    struct session *s = relay();

    assert_int_equal(receive(s, buf, stdin_frame(buf, 0, 0)), 0);
    assert_int_equal(receive(s, buf, stdin_frame(buf, 1, 'x')), -EPROTO);
    free(s);
    s = relay();
    assert_int_equal(receive(s, buf, exec_frame_size(buf, EXEC_START, 1, 1)), -EPROTO);
    free(s);
    s = relay();
    assert_int_equal(receive(s, buf, exec_frame_signal(buf, 0)), -EPROTO);
    free(s);
    s = relay();
    assert_int_equal(receive(s, buf, exec_frame_signal(buf, 200)), -EPROTO);
    free(s);
}

/* Byte by byte is the same as at once. */
static void test_pieces(void **state)
{
    uint8_t buf[256];
    size_t len = stdin_frame(buf, 30, 'p');
    struct session *s = relay();

    len += exec_frame_size(buf + len, EXEC_SIZE, 10, 20);
    len += stdin_frame(buf + len, 5, 'q');
    len += exec_frame_signal(buf + len, 2);
    len += stdin_frame(buf + len, 0, 0);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(receive(s, buf + i, 1), 0);
    assert_true(s->in_over && s->in_len == 35 && s->from_len == 0 && s->input[34] == 'q' && s->input[29] == 'p');
    free(s);
}

static void test_random(void **state)
{
    static uint8_t buf[512];

    srandom(1);
    for (int round = 0; round < 20000; round++) {
        struct session *s = relay();
        int r = 0;

        while (r == 0 && s->from_len + sizeof(buf) < sizeof(s->from) && s->in_len < EXEC_WINDOW / 2) {
            size_t n = 1 + (size_t)random() % sizeof(buf);

            for (size_t i = 0; i < n; i++)
                buf[i] = (uint8_t)(random() % (random() % 4 ? 6 : 256)); /* mostly what frames begin with */
            r = receive(s, buf, n);
            assert_true(s->in_at + s->in_len <= sizeof(s->input) && s->from_len <= sizeof(s->from));
        }
        free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_type),     cmocka_unit_test(test_unknown_types), cmocka_unit_test(test_values), cmocka_unit_test(test_window),
        cmocka_unit_test(test_after_the_end), cmocka_unit_test(test_pieces),        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
