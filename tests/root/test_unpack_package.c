/* From an unpacked tree to a spec: function.ini, variables, user, the way to start. */
#include "root/unpack_job.h"

/* ---- the package ---- */

static bool has_env(const struct spec *s, const char *want)
{
    const char *env[SPEC_ENV_MAX + 1];

    spec_envp(s, env);
    for (size_t i = 0; env[i]; i++)
        if (strcmp(env[i], want) == 0)
            return true;
    return false;
}

static void test_environment(void **state)
{
    struct job *j = job_new(host_of(state));
    cleanup_strbuf struct strbuf tar = {0};

    corpus_begin(&tar);
    tar_add(&tar, &(struct tar_entry){.name = "function.ini", .data = "[function]\nenv_file = conf/.env\n[env]\nINI=ini\nBOTH=ini\nALL=ini\n"});
    tar_add(&tar, &(struct tar_entry){.name = "conf/.env", .data = "FILE=file\nBOTH=file\nLONG=\"a ; b\"\nDIR=file\nALL=file\n"});
    tar_add(&tar, &(struct tar_entry){.name = "env/DIR", .data = "dir\n"});
    tar_add(&tar, &(struct tar_entry){.name = "env/LINES", .data = "1\n2\n"});
    tar_add(&tar, &(struct tar_entry){.name = "env/ALL", .data = "dir"});
    tar_end(&tar);
    memcpy(j->req.vars, "ALL=vars\0NEW=\0", 14);
    j->req.vars_len = 14;
    job_run(host_of(state), j, tar.data, tar.len);
    expect_ok(j);
    for (size_t i = 0; i < 8; i++) {
        static const char *const want[] = {"INI=ini", "BOTH=ini", "FILE=file", "LONG=a ; b", "DIR=dir", "LINES=1\n2", "ALL=vars", "NEW="};

        if (!has_env(j->spec, want[i]))
            fail_msg("%s is missing", want[i]);
    }
    assert_int_equal(j->spec->envc, 8);
    assert_false(is_there(j, "rootfs/env"));
    assert_false(is_there(j, "rootfs/conf/.env"));
    assert_true(is_there(j, "rootfs/conf"));
    job_free(j);
}

/* Laid over function.ini, and where there is none. */
static void test_settings(void **state)
{
    static const char sets[] = "function.command=/server now\0limits.memory=64M";

    for (unsigned i = 0; i < 2; i++) {
        struct job *j = job_new(host_of(state));
        cleanup_strbuf struct strbuf tar = {0};

        corpus_begin(&tar);
        if (i == 0)
            tar_add(&tar, &(struct tar_entry){.name = "function.ini", .data = "[function]\ncommand = /nothing\nport = 99\n"});
        tar_end(&tar);
        memcpy(j->req.sets, sets, sizeof(sets));
        j->req.sets_len = sizeof(sets);
        job_run(host_of(state), j, tar.data, tar.len);
        expect_ok(j);
        assert_int_equal(j->spec->memory_bytes, 64 << 20);
        assert_int_equal(j->spec->port, i == 0 ? 99 : 3000);
        assert_int_equal(j->spec->argc, 2);
        assert_memory_equal(j->spec->strings, "/server\0now", 12);
        job_free(j);
    }
    {
        struct job *j = job_new(host_of(state));
        cleanup_strbuf struct strbuf tar = {0};

        corpus_begin(&tar);
        tar_end(&tar);
        memcpy(j->req.sets, "function.command=/nothing", 26);
        j->req.sets_len = 26;
        job_run(host_of(state), j, tar.data, tar.len);
        expect_refused(j, "--set: [function] command: \"/nothing\" is not in the package");
    }
    {
        struct job *j = job_new(host_of(state));
        cleanup_strbuf struct strbuf tar = {0};

        corpus_begin(&tar);
        tar_end(&tar);
        memcpy(j->req.sets, "function.port=1", 15); /* no terminator */
        j->req.sets_len = 15;
        job_run(host_of(state), j, tar.data, tar.len);
        expect_refused(j, "cannot be");
    }
}

static void test_package(void **state)
{
    struct host *h = host_of(state);
    struct job *j;

    j = UNPACK(h, {.name = "function.ini", .data = "[function]\nuser = app\ncommand = bin/run \"a b\" c\n"},
               {.name = "etc/passwd", .data = "root:x:0:0::/:\napp:x:500:600::/:\n"}, {.name = "bin/run", .mode = 0755});
    expect_ok(j);
    assert_int_equal(j->spec->uid, 500);
    assert_int_equal(j->spec->gid, 600);
    assert_int_equal(j->spec->argc, 3);
    assert_memory_equal(j->spec->strings, "bin/run\0a b\0c", 14);
    job_free(j);
    expect_refused(UNPACK(h, {.name = "function.ini", .data = "[function]\nuser = root\n"}, {.name = "etc/passwd", .data = "root:x:0:0::/:\n"}),
                   "never runs as root");
    expect_refused(UNPACK(h, {.name = "function.ini", .data = "[function]\nuser = nobody\n"}), "etc/passwd");
    expect_refused(UNPACK(h, {.name = "function.ini", .data = "[function]\ncommand = /nothing\n"}), "\"/nothing\" is not in the package");
    expect_refused(UNPACK(h, {.name = "function.ini", .data = "[function]\ncommand = /f\n"}, {.name = "f", .data = "x"}), "chmod +x");
    expect_refused(UNPACK(h, {.name = "function.ini", .data = "[function]\nnmae = x\n"}), "function.ini:2: [function] has no key nmae");
    expect_refused(UNPACK(h, {.name = "function.ini", .type = '2', .link = "server"}), "symlink");
    expect_refused(UNPACK(h, {.name = "function.ini", .type = '5'}), "function.ini is not a file");
    expect_refused(UNPACK(h, {.name = "function.ini", .data = "[function]\nenv_file = .env\n"}), "no such file");
    expect_refused(UNPACK(h, {.name = "function.ini", .data = "[function]\nenv_file = e\n"}, {.name = "e", .type = '2', .link = "/etc/passwd"}),
                   "e is a symlink");
    expect_refused(UNPACK(h, {.name = "env/bin/", .type = '5'}), "env/bin is not a file");
    expect_refused(UNPACK(h, {.name = "env/BAD NAME", .data = "x"}), "env/BAD NAME");
    expect_refused(UNPACK(h, {.name = "other", .data = "x", .mode = 0755}), "2 executable files");
    expect_refused(UNPACK(h, {.name = "server", .data = "x"}, {.name = "lib/x", .data = "x"}), "no way to start");
    expect_refused(UNPACK(h, {.name = "proc", .data = "x"}), "/proc is in the package, and is not a directory");
    expect_refused(UNPACK(h, {.name = "run", .type = '2', .link = "/tmp"}), "/run is in the package");
    { /* a name from nowhere */
        cleanup_strbuf struct strbuf tar = {0};

        j = job_new(h);
        j->req.id.name[0] = '\0';
        corpus_begin(&tar);
        tar_end(&tar);
        job_run(h, j, tar.data, tar.len);
        expect_refused(j, "no name");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_package),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
