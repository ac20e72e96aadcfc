/* The gate of the spec record: defaults pass, and nothing that a hostile jail could send does. */
#include "unit/check.h"

#include "diag.h"
#include "fd.h"
#include "spec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define STRINGS "server\0--port\0003000\0A=1\0B_2=two words"

static struct spec *make(size_t *ret_size)
{
    struct spec *s = calloc(1, sizeof(*s) + 4096);

    assert_non_null(s);
    spec_init(s);
    memcpy(s->strings, STRINGS, sizeof(STRINGS));
    s->strings_len = sizeof(STRINGS);
    s->argc = 3;
    s->envc = 2;
    *ret_size = spec_size(s);
    return s;
}

static void test_good(void **state)
{
    const char *argv[SPEC_ARGS_MAX + 1], *envp[SPEC_ENV_MAX + 1];
    struct diag d = {0};
    size_t size;
    struct spec *s = make(&size);

    assert_int_equal(spec_check(s, size, &d), 0);
    spec_argv(s, argv);
    spec_envp(s, envp);
    assert_string_equal(argv[0], "server");
    assert_string_equal(argv[2], "3000");
    assert_null(argv[3]);
    assert_string_equal(envp[1], "B_2=two words");
    assert_null(envp[2]);
    free(s);
}

/* Each breaks one thing. */
#define BREAK(NAME, ...)                                                                                                                                       \
    static void break_##NAME(struct spec *s, size_t *size)                                                                                                     \
    {                                                                                                                                                          \
        __VA_ARGS__;                                                                                                                                           \
    }
BREAK(magic, s->magic++)
BREAK(format, s->format++)
BREAK(short_record, *size -= 1)
BREAK(long_record, *size += 1)
BREAK(tiny, *size = 8)
BREAK(length, s->strings_len = SPEC_STRINGS_MAX + 1)
BREAK(no_args, s->argc = 0)
BREAK(many_args, s->argc = UINT32_MAX)
BREAK(one_more_arg, s->argc++)
BREAK(one_less_env, s->envc--)
BREAK(unterminated, s->strings[s->strings_len - 1] = 'x')
BREAK(empty_command, s->strings[0] = '\0'; memmove(s->strings + 1, s->strings + 6, s->strings_len - 6); s->strings_len -= 5; *size = spec_size(s))
BREAK(env_name, memcpy(s->strings + 19, "9=1", 3))
BREAK(env_equals, memcpy(s->strings + 19, "A11", 3))
BREAK(root, s->uid = 0)
BREAK(init_id, s->uid = 1)
BREAK(root_group, s->gid = 0)
BREAK(big_uid, s->uid = 65534)
BREAK(port, s->port = 65536)
BREAK(port_zero, s->port = 0)
BREAK(mode, s->mode = SPEC_MODE_COUNT)
BREAK(memory, s->memory_bytes = 1024)
BREAK(huge_memory, s->memory_bytes = UINT64_MAX)
BREAK(high_above_memory, s->memory_high_bytes = s->memory_bytes)
BREAK(tiny_high, s->memory_high_bytes = 1)
BREAK(tiny_io, s->io_bytes = 1)
BREAK(timeout, s->timeout_ns = 0)
BREAK(queue_timeout, s->queue_timeout_ns = UINT64_MAX)
BREAK(stream_idle, s->stream_idle_ns = SPEC_AS_CONFIGURED - 1)
BREAK(pids, s->pids = 1)
BREAK(min_above_max, s->scale_min = 5; s->scale_max = 4)
BREAK(name_text, memset(s->name, 'a', sizeof(s->name)))
BREAK(name_path, strncpy(s->name, "../../etc", sizeof(s->name) - 1))
BREAK(cwd, s->cwd[0] = 'x')
BREAK(health_blank, strncpy(s->health_path, "/ping HTTP/1.1", sizeof(s->health_path) - 1))
BREAK(health_newline, strncpy(s->health_path, "/p\r\nX: y", sizeof(s->health_path) - 1))
BREAK(health_relative, strncpy(s->health_path, "ping", sizeof(s->health_path) - 1))
BREAK(egress, s->egress = SPEC_EGRESS_COUNT)
BREAK(many_dests, s->ndests = SPEC_DESTS_MAX + 1)

static void set_volume(struct spec *s, unsigned i, const char *name, const char *path, uint64_t bytes)
{
    struct spec_volume *v = &s->volumes[i];

    snprintf(v->name, sizeof(v->name), "%s", name);
    snprintf(v->path, sizeof(v->path), "%s", path);
    v->bytes = bytes;
    s->nvolumes = i + 1;
}

#define VOLUME(path) set_volume(s, 0, "data", path, 1 << 30)
BREAK(volume_name, set_volume(s, 0, "da/ta", "/data", 1 << 30))
BREAK(volume_small, set_volume(s, 0, "data", "/data", 1 << 20))
BREAK(volume_root, VOLUME("/"))
BREAK(volume_relative, VOLUME("data"))
BREAK(volume_dots, VOLUME("/data/../etc"))
BREAK(volume_empty_part, VOLUME("/data//x"))
BREAK(volume_slash, VOLUME("/data/"))
BREAK(volume_blank, VOLUME("/da ta"))
BREAK(volume_proc, VOLUME("/proc"))
BREAK(volume_proc_sys, VOLUME("/proc/sys"))
BREAK(volume_etc, VOLUME("/etc"))
BREAK(volume_deep, VOLUME("/1/2/3/4/5/6/7/8/9"))
BREAK(volume_twice, VOLUME("/a"); set_volume(s, 1, "DATA", "/b", 1 << 30))
BREAK(volume_nested, VOLUME("/a"); set_volume(s, 1, "other", "/a/b", 1 << 30))
BREAK(volume_text, VOLUME("/a"); memset(s->volumes[0].path, 'a', sizeof(s->volumes[0].path)))

static void test_volumes(void **state)
{
    struct diag d = {0};
    size_t size;
    struct spec *s = make(&size);

    VOLUME("/data");
    set_volume(s, 1, "other", "/database", 16 << 20); /* not below /data */
    set_volume(s, 2, "third", "/procedures/...", 1 << 30);
    if (spec_check(s, size, &d) < 0)
        fail_msg("%s", d.text);
    free(s);
}

static void test_bad(void **state)
{
    static void (*const breaks[])(struct spec *, size_t *) = {
        break_magic,
        break_format,
        break_short_record,
        break_long_record,
        break_tiny,
        break_length,
        break_no_args,
        break_many_args,
        break_one_more_arg,
        break_one_less_env,
        break_unterminated,
        break_empty_command,
        break_env_name,
        break_env_equals,
        break_root,
        break_init_id,
        break_root_group,
        break_big_uid,
        break_port,
        break_port_zero,
        break_mode,
        break_memory,
        break_huge_memory,
        break_timeout,
        break_queue_timeout,
        break_stream_idle,
        break_pids,
        break_min_above_max,
        break_name_text,
        break_name_path,
        break_cwd,
        break_health_blank,
        break_health_newline,
        break_health_relative,
        break_egress,
        break_many_dests,
        break_volume_name,
        break_volume_small,
        break_volume_root,
        break_volume_relative,
        break_volume_dots,
        break_volume_empty_part,
        break_volume_slash,
        break_volume_blank,
        break_volume_proc,
        break_volume_proc_sys,
        break_volume_etc,
        break_volume_deep,
        break_volume_twice,
        break_volume_nested,
        break_volume_text,
        break_high_above_memory,
        break_tiny_high,
        break_tiny_io,
    };

    for (size_t i = 0; i < COUNT(breaks); i++) {
        struct diag d = {0};
        size_t size;
        struct spec *s = make(&size);

        breaks[i](s, &size);
        if (spec_check(s, size, &d) >= 0)
            fail_msg("break %zu was accepted", i);
        assert_true(d.err > 0 && d.text[0]);
        free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_volumes), cmocka_unit_test(test_bad)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
