/* From an unpacked tree to a spec: function.ini, variables, user, the way to start. */
#include "root/unpack_job.h"

#include <elf.h>

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
               {.name = "etc/passwd", .data = "root:x:0:0::/:\napp:x:500:600::/:\n"}, {.name = "bin/run", .data = "#!/bin/sh\n", .mode = 0755});
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

/* ---- programs for other machines, and what is none ---- */

struct elf {
    unsigned char class, data, machine;
    const char *says; /* NULL: it is one for this machine */
};

#if defined(__x86_64__)
#define MINE  EM_X86_64
#define OTHER EM_AARCH64, "is a program for arm64, this host is x86-64"
#else
#define MINE  EM_AARCH64
#define OTHER EM_X86_64, "is a program for x86-64, this host is arm64"
#endif

static const struct elf elves[] = {
    {ELFCLASS64, ELFDATA2LSB, MINE, NULL},
    {ELFCLASS64, ELFDATA2LSB, OTHER},
    {ELFCLASS32, ELFDATA2LSB, EM_386, "is a program for 32-bit x86"},
    {ELFCLASS32, ELFDATA2LSB, EM_ARM, "is a program for 32-bit ARM"},
    {ELFCLASS64, ELFDATA2MSB, EM_S390, "is a program for s390x"},
    {ELFCLASS32, ELFDATA2LSB, MINE, "this host is"},
    {ELFCLASS64, ELFDATA2MSB, MINE, "this host is"},
    {ELFCLASS64, ELFDATA2LSB, 123, "is a program for another machine (ELF machine 123)"},
};

static void make_elf(const struct elf *e, unsigned char head[64])
{
    memset(head, 0, 64);
    memcpy(head, ELFMAG, SELFMAG);
    head[EI_CLASS] = e->class;
    head[EI_DATA] = e->data;
    head[e->data == ELFDATA2LSB ? 18 : 19] = e->machine;
}

static struct job *unpack_runtime(struct host *h, const struct tar_entry *entries, size_t n)
{
    cleanup_strbuf struct strbuf tar = {0};
    struct job *j = job_new(h);

    j->req.kind = UNPACK_RUNTIME;
    for (size_t i = 0; i < n; i++)
        tar_add(&tar, &entries[i]);
    tar_end(&tar);
    job_run(h, j, tar.data, tar.len);
    return j;
}

#define RUNTIME(h, ...) unpack_runtime(h, (const struct tar_entry[]){__VA_ARGS__}, COUNT(((const struct tar_entry[]){__VA_ARGS__})))

static void expect_elf(struct job *j, const struct elf *e)
{
    if (e->says) {
        expect_refused(j, e->says);
        return;
    }
    expect_ok(j);
    job_free(j);
}

static void test_programs(void **state)
{
    static const char *const none[] = {"", "x", "echo hello\n", "MZ\220",
                                       "\x7f"
                                       "EL"};
    struct host *h = host_of(state);
    unsigned char head[64];

    for (size_t i = 0; i < COUNT(elves); i++) {
        const struct tar_entry program = {.name = "usr/bin/run", .data = (char *)head, .size = sizeof(head), .mode = 0755};

        make_elf(&elves[i], head);
        expect_elf(UNPACK(h, {.name = "function.ini", .data = "[function]\ncommand = /usr/bin/run\n"}, program), &elves[i]);
        expect_elf(UNPACK(h, {.name = "function.ini", .data = "[function]\nruntime = r\ncommand = ./usr/bin/run\n"}, program), &elves[i]);
        expect_elf(UNPACK(h, {.name = "server", .data = (char *)head, .size = sizeof(head), .mode = 0755}), &elves[i]);
        expect_elf(RUNTIME(h, {.name = "usr/lib/fnd/start", .data = "#! /usr/bin/run -B\n", .mode = 0755}, program), &elves[i]);
        expect_elf(RUNTIME(h, {.name = "bin/", .type = '2', .link = "usr/bin"}, {.name = "usr/bin/sh", .type = '2', .link = "/usr/bin/run"}, program), &elves[i]);
    }
    make_elf(&elves[0], head);
    for (size_t len = SELFMAG; len < 52; len++)
        expect_refused(UNPACK(h, {.name = "server", .data = (char *)head, .size = len, .mode = 0755}), "\"server\" is only the beginning of a program");
    for (size_t i = 0; i < COUNT(none); i++)
        expect_refused(UNPACK(h, {.name = "server", .data = none[i], .mode = 0755}), "\"server\" is neither a program nor a script");
    expect_refused(UNPACK(h, {.name = "server", .data = "#!/bin/sh\r\necho\r\n", .mode = 0755}), "\"server\" has the line ends of Windows");
    /* What cannot be judged from here: a name that PATH finds, a link that leads nowhere inside the package. */
    expect_refused(UNPACK(h, {.name = "function.ini", .data = "[function]\ncommand = /l\n"}, {.name = "l", .type = '2', .link = "/usr/bin/env"}),
                   "is not in the package");
}

static void test_runtimes(void **state)
{
    struct host *h = host_of(state);
    struct job *j = RUNTIME(h, {.name = "usr/lib/fnd/start", .data = "#!nowhere\n", .mode = 0755}); /* relative: the kernel's business */

    expect_ok(j);
    job_free(j);
    j = RUNTIME(h, {.name = "function.ini", .data = "nonsense"});
    expect_ok(j);
    job_free(j);
    expect_refused(RUNTIME(h, {.name = "usr/lib/fnd/start", .data = "#!/bin/sh\n"}), "\"/usr/lib/fnd/start\" is not an executable file: chmod +x");
    expect_refused(RUNTIME(h, {.name = "usr/lib/fnd/start", .data = "exec x\n", .mode = 0755}),
                   "the runtime's tree: \"/usr/lib/fnd/start\" is neither a program nor a script");
    expect_refused(RUNTIME(h, {.name = "usr/lib/fnd/start", .data = "#!/usr/bin/python9 -B\n", .mode = 0755}),
                   "is run by /usr/bin/python9, as its first line says, which is not in the tree");
    expect_refused(RUNTIME(h, {.name = "bin/sh", .type = '5'}), "\"/bin/sh\" is not an executable file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment), cmocka_unit_test(test_settings), cmocka_unit_test(test_package),
        cmocka_unit_test(test_programs),    cmocka_unit_test(test_runtimes),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
