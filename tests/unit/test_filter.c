/*
 * The compiled filters, for both architectures, without a kernel: every number against a golden file, every rule about an argument at its borders and with garbage above the low 32 bits. FND_GOLDEN_UPDATE=1
 * writes the golden files. tests/root/test_filter_matrix.c holds the same programs against a kernel.
 */
#include "check.h"

#include "../../runner/sandbox/sandbox_private.h"

#include "allow.h"
#include "bpf_run.h"
#include "diag.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define NUMBERS 600
#define HIGH    0xdeadbeef00000000ULL
#define ALLOW   SECCOMP_RET_ALLOW
#define ERR(e)  (SECCOMP_RET_ERRNO | (uint32_t)(e))

static const struct arch {
    const char *name;
    uint32_t scmp, audit;
} arches[] = {{"x86_64", SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64}, {"aarch64", SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64}};

static struct sandbox_filter make(const struct arch *a, uint64_t allow)
{
    struct sandbox_filter f = {0};
    struct diag d = {0};

    if (sandbox_filter_make(a->scmp, allow, &f, &d) < 0)
        fail_msg("%s", d.text);
    assert_true(f.len > 0 && f.len <= BPF_MAXINSNS);
    return f;
}

static uint32_t ask(const struct sandbox_filter *f, const struct arch *a, int nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
    const struct seccomp_data data = {.nr = nr, .arch = a->audit, .args = {a0, a1, a2}};

    return bpf_run(f->code, f->len, &data);
}

static void format_verdict(uint32_t v, char *buf, size_t size)
{
    if (v == ALLOW)
        snprintf(buf, size, "allow");
    else if ((v & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO)
        snprintf(buf, size, "%s", strerrorname_np((int)(v & SECCOMP_RET_DATA)));
    else
        snprintf(buf, size, "%s", v == SECCOMP_RET_KILL_PROCESS ? "kill" : "?");
}

/* What every number gets, and after each word the numbers that it changes; calls that libseccomp has no name for are told only if they get something else than ENOSYS. */
static void format_matrix(const struct arch *a, struct strbuf *out)
{
    for (int word = -1; word < ALLOW_COUNT; word++) {
        cleanup_free struct sock_filter *code = NULL, *plain_code = NULL;
        struct sandbox_filter f = make(a, word < 0 ? 0 : ALLOW_BIT(word)), plain = make(a, 0);

        code = f.code;
        plain_code = plain.code;
        if (word >= 0)
            strbuf_printf(out, "with %s\n", sandbox_allow_words[word].word);
        for (int nr = 0; nr <= NUMBERS; nr++) {
            cleanup_free char *name = seccomp_syscall_resolve_num_arch(a->scmp, nr);
            const uint32_t v = ask(&f, a, nr, 0, 0, 0), before = ask(&plain, a, nr, 0, 0, 0);
            char text[32];

            format_verdict(v, text, sizeof(text));
            if (word < 0 ? v != ERR(ENOSYS) : v != before)
                strbuf_printf(out, "%3d %-7s %s\n", nr, text, name ? name : "-");
        }
    }
}

static void test_matrix(void **state)
{
    for (size_t i = 0; i < COUNT(arches); i++) {
        cleanup_strbuf struct strbuf out = {0};
        cleanup_free char *want = NULL;
        cleanup_fd int fd = -1;
        const char *slash = strrchr(__FILE__, '/');
        char path[512];

        format_matrix(&arches[i], &out);
        assert_false(out.failed);
        snprintf(path, sizeof(path), "%.*s/golden/calls-%s.txt", (int)(slash - __FILE__), __FILE__, arches[i].name);
        if (getenv("FND_GOLDEN_UPDATE")) {
            fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
            assert_int_equal(fd_write_all(fd, out.data, out.len), 0);
            continue;
        }
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_true(fd_read_all(fd, 1U << 20, &want) > 0);
        assert_string_equal(out.data, want);
    }
}

struct argument_case {
    const char *call;
    uint64_t args[3];
    uint32_t want, want_all; /* with no word, and with all of them */
};

#define SAME(v) v, v

static const struct argument_case argument_cases[] = {
    {"clone", {CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SETTLS}, SAME(ALLOW)},
    {"clone", {17}, SAME(ALLOW)},
    {"clone", {CLONE_NEWUSER}, SAME(ERR(EPERM))},
    {"clone", {CLONE_NEWNS | CLONE_VM}, SAME(ERR(EPERM))},
    {"clone", {CLONE_NEWCGROUP}, SAME(ERR(EPERM))},
    {"clone", {CLONE_NEWUTS}, SAME(ERR(EPERM))},
    {"clone", {CLONE_NEWIPC}, SAME(ERR(EPERM))},
    {"clone", {CLONE_NEWPID}, SAME(ERR(EPERM))},
    {"clone", {CLONE_NEWNET}, SAME(ERR(EPERM))},
    {"clone", {CLONE_NEWNET << 1}, SAME(ALLOW)}, /* CLONE_IO */
    {"clone3", {0}, SAME(ERR(ENOSYS))},
    {"unshare", {CLONE_FILES}, SAME(ERR(EPERM))},
    {"socket", {AF_UNSPEC}, SAME(ERR(EAFNOSUPPORT))},
    {"socket", {AF_UNIX}, SAME(ALLOW)},
    {"socket", {AF_INET6 + 1}, SAME(ERR(EAFNOSUPPORT))},
    {"socket", {AF_NETLINK, SOCK_RAW, 0}, ERR(EAFNOSUPPORT), ALLOW},
    {"socket", {AF_NETLINK, SOCK_RAW, 1}, ERR(EAFNOSUPPORT), ERR(EPROTONOSUPPORT)},
    {"socket", {AF_NETLINK, SOCK_RAW, 12}, ERR(EAFNOSUPPORT), ERR(EPROTONOSUPPORT)},
    {"socket", {AF_NETLINK + 1, SOCK_RAW, 0}, SAME(ERR(EAFNOSUPPORT))},
    {"socket", {AF_ALG, SOCK_SEQPACKET}, SAME(ERR(EAFNOSUPPORT))},
    {"socket", {AF_VSOCK, SOCK_STREAM}, SAME(ERR(EAFNOSUPPORT))},
    {"socket", {AF_INET, SOCK_STREAM, 6}, SAME(ALLOW)},
    {"socket", {AF_INET, SOCK_STREAM, 5}, SAME(ERR(EPROTONOSUPPORT))},
    {"socket", {AF_INET, SOCK_STREAM, 7}, SAME(ERR(EPROTONOSUPPORT))},
    {"socket", {AF_INET, SOCK_STREAM, 132}, SAME(ERR(EPROTONOSUPPORT))},
    {"socket", {AF_INET, SOCK_STREAM, 262}, SAME(ERR(EPROTONOSUPPORT))},
    {"socket", {AF_INET6, SOCK_DGRAM, 58}, SAME(ALLOW)},
    {"socket", {AF_INET6, SOCK_DGRAM, 136}, SAME(ERR(EPROTONOSUPPORT))},
    {"socketpair", {AF_UNIX}, SAME(ALLOW)},
    {"socketpair", {AF_INET}, SAME(ERR(EAFNOSUPPORT))},
    {"ioctl", {0, TIOCSTI}, SAME(ERR(EPERM))},
    {"ioctl", {0, TIOCSTI - 1}, SAME(ALLOW)},
    {"ioctl", {0, TIOCSTI + 1}, SAME(ALLOW)},
    {"ioctl", {0, 0x541c}, SAME(ERR(EPERM))}, /* TIOCLINUX */
    {"ioctl", {0, 0x541b}, SAME(ALLOW)},
    {"ioctl", {0, TIOCSETD}, SAME(ERR(EPERM))},
    {"personality", {0}, SAME(ALLOW)},
    {"personality", {0x0040000}, SAME(ERR(EPERM))},
    {"personality", {0xffffffff}, SAME(ALLOW)},
    {"personality", {0xfffffffe}, SAME(ERR(EPERM))},
    {"setrlimit", {RLIMIT_CORE}, SAME(ERR(EPERM))},
    {"setrlimit", {RLIMIT_CORE + 1}, SAME(ALLOW)},
    {"prlimit64", {0, RLIMIT_CORE, 0}, SAME(ALLOW)},
    {"prlimit64", {0, RLIMIT_CORE, 4096}, SAME(ERR(EPERM))},
    {"prlimit64", {0, RLIMIT_CORE, 1ULL << 32}, SAME(ERR(EPERM))}, /* a pointer whose low half is 0 */
    {"request_key", {1, 1, 0}, ERR(EPERM), ALLOW},
    {"request_key", {1, 1, 4096}, SAME(ERR(EPERM))},
    {"request_key", {1, 1, 1ULL << 32}, SAME(ERR(EPERM))},
};

static void check_arguments(const struct arch *a, uint64_t allow)
{
    struct sandbox_filter f = make(a, allow);

    for (size_t i = 0; i < COUNT(argument_cases); i++) {
        const struct argument_case *c = &argument_cases[i];
        const int nr = seccomp_syscall_resolve_name_arch(a->scmp, c->call);
        const bool pointer = strcmp(c->call, "prlimit64") == 0 || strcmp(c->call, "request_key") == 0;
        const uint64_t high = pointer ? 0 : HIGH;
        const uint32_t want = allow ? c->want_all : c->want;

        assert_true(nr >= 0);
        if (ask(&f, a, nr, c->args[0], c->args[1], c->args[2]) != want)
            fail_msg("%s on %s, case %zu, words %#llx: not %#x", c->call, a->name, i, (unsigned long long)allow, want);
        if (ask(&f, a, nr, c->args[0] | HIGH, c->args[1] | HIGH, c->args[2] | high) != want)
            fail_msg("%s on %s, case %zu with high bits, words %#llx: not %#x", c->call, a->name, i, (unsigned long long)allow, want);
    }
    free(f.code);
}

static void test_arguments(void **state)
{
    for (size_t i = 0; i < COUNT(arches); i++) {
        check_arguments(&arches[i], 0);
        check_arguments(&arches[i], ALLOW_ALL);
    }
}

/* Numbers of another architecture, whichever, are deadly under every program. */
static void test_foreign(void **state)
{
    static const uint32_t audits[] = {AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64, AUDIT_ARCH_RISCV64, 0};

    for (size_t i = 0; i < COUNT(arches); i++) {
        struct sandbox_filter f = make(&arches[i], ALLOW_ALL);

        for (size_t k = 0; k < COUNT(audits); k++)
            for (int nr = 0; nr <= NUMBERS && audits[k] != arches[i].audit; nr++) {
                const struct seccomp_data data = {.nr = nr, .arch = audits[k]};

                assert_int_equal(bpf_run(f.code, f.len, &data), SECCOMP_RET_KILL_PROCESS);
            }
        for (int nr = 0; nr <= NUMBERS && arches[i].scmp == SCMP_ARCH_X86_64; nr++)
            assert_int_equal(ask(&f, &arches[i], nr | 0x40000000, 0, 0, 0), SECCOMP_RET_KILL_PROCESS);
        assert_int_equal(ask(&f, &arches[i], 100000, 0, 0, 0), ERR(ENOSYS));
        free(f.code);
    }
}

/* Fewer than Docker's default profile allows (306 of 385), and every name once: what stands in two groups would mean what the later one says. */
static void test_table(void **state)
{
    const struct syscall_count plain = sandbox_filter_count(0), all = sandbox_filter_count(ALLOW_ALL);
    cleanup_strbuf struct strbuf seen = {0};

    assert_true(plain.function <= 230);
    assert_int_equal(plain.allowed, plain.function + 3);
    assert_true(all.function > plain.function && all.function < 306);
    assert_true(plain.known > 290);
    strbuf_puts(&seen, " ");
    for (size_t i = 0; i < syscall_groups_count; i++) {
        const char *p = syscall_groups[i].names;

        assert_true(*syscall_groups[i].name && *syscall_groups[i].reason && *p);
        while (*p) {
            const int n = (int)strcspn(p, " ");
            char word[80];

            snprintf(word, sizeof(word), " %.*s ", n, p);
            if (strstr(seen.data, word))
                fail_msg("%s is there twice", word);
            snprintf(word, sizeof(word), "%.*s", n, p);
            if (seccomp_syscall_resolve_name(word) == __NR_SCMP_ERROR && strcmp(word, "fchmodat2") != 0)
                fail_msg("libseccomp knows no call %s", word);
            strbuf_printf(&seen, "%s ", word);
            p += n + (p[n] == ' ');
        }
    }
}

static void test_words(void **state)
{
    cleanup_strbuf struct strbuf text = {0};

    for (int i = 0; i < ALLOW_COUNT; i++) {
        const struct sandbox_allow_word *w = &sandbox_allow_words[i];

        assert_true(*w->word && *w->opens && *w->price);
        assert_int_equal(sandbox_allow_find(w->word, strlen(w->word)), i);
        assert_int_equal(sandbox_allow_find(w->word, strlen(w->word) - 1), -ENOENT);
    }
    assert_int_equal(sandbox_allow_find("", 0), -ENOENT);
    assert_int_equal(sandbox_allow_find("everything", 10), -ENOENT);
    sandbox_allow_format(ALLOW_BIT(ALLOW_PTRACE) | ALLOW_BIT(ALLOW_NUMA), &text);
    assert_string_equal(text.data, "ptrace numa");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix), cmocka_unit_test(test_arguments), cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_table),  cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
