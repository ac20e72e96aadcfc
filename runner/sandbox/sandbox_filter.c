/*
 * sandbox_filter.c: the tables of syscalls.c as one seccomp program, made once for each set of words that functions ask for (allow.h).
 *
 * The argument rules are assembled here, in front; what they do not refuse falls into the allow-list by number that libseccomp made. libseccomp 2.5 can
 * merge comparisons of 64-bit arguments into a weaker filter, and cannot give one call several errnos beside ALLOW; ours is one jump per value and
 * looks at the low 32 bits alone, as the kernel does for these arguments. Foreign architectures jump over the rules into libseccomp's check, which
 * kills, as it does numbers of x32.
 */
#include "sandbox_private.h"

#include "allow.h"
#include "diag.h"
#include "fd.h"

#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>

#define RULE_CODE_MAX   24 /* instructions of one rule */
#define FILTER_CODE_MAX 4096
#define CALL_NAME_MAX   64
#define CALL_NUMBERS    1024 /* more than any architecture has */

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the low half of an argument stands first"
#endif

struct assembler {
    struct sock_filter code[FILTER_CODE_MAX];
    size_t len;
};

static struct sock_filter *emit(struct assembler *a, struct sock_filter insn)
{
    assert(a->len < FILTER_CODE_MAX);
    a->code[a->len] = insn;
    return &a->code[a->len++];
}

#define STMT(op, k)         ((struct sock_filter)BPF_STMT(op, k))
#define JUMP(op, k, jt, jf) ((struct sock_filter)BPF_JUMP(BPF_JMP | (op) | BPF_K, k, jt, jf))
#define LOAD(offset)        STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define LOAD_ARG(n)         LOAD(offsetof(struct seccomp_data, args) + 8U * (n))
#define LOAD_ARG_HIGH(n)    LOAD(offsetof(struct seccomp_data, args) + 8U * (n) + 4U)

/*
 * load nr; is it the call? [load if_arg; is it the value?] load arg; tests; ret errno. Jumps that mean "not refused" go behind the ret; they are filled
 * in when its place is known.
 */
static void emit_rule(struct assembler *a, const struct syscall_rule *r, int nr)
{
    size_t begin = a->len, end;

    emit(a, LOAD(offsetof(struct seccomp_data, nr)));
    emit(a, JUMP(BPF_JEQ, (uint32_t)nr, 0, 255));
    if (r->if_arg >= 0) {
        emit(a, LOAD_ARG((unsigned)r->if_arg));
        emit(a, JUMP(BPF_JEQ, r->if_value, 0, 255));
    }
    if (r->pointer) { /* NULL: both halves are 0 */
        emit(a, LOAD_ARG(r->pointer));
        emit(a, JUMP(BPF_JEQ, 0, 0, 2));
        emit(a, LOAD_ARG_HIGH(r->pointer));
        emit(a, JUMP(BPF_JEQ, 0, 255, 0));
    }
    if (r->count > 0)
        emit(a, LOAD_ARG(r->arg));
    for (uint8_t i = 0; i < r->count; i++) {
        const uint8_t to_ret = (uint8_t)(r->count - 1 - i);
        const bool last = to_ret == 0;

        assert(r->test != SYSCALL_ALWAYS);
        if (r->test == SYSCALL_NOT_ONE_OF)
            emit(a, JUMP(BPF_JEQ, r->values[i], 255, 0));
        else
            emit(a, JUMP(r->test == SYSCALL_ANY_BIT ? BPF_JSET : BPF_JEQ, r->values[i], to_ret, last ? 255 : 0));
    }
    emit(a, STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)r->err));
    end = a->len;
    assert(end - begin <= RULE_CODE_MAX);
    for (size_t i = begin; i < end; i++) {
        if (a->code[i].jt == 255)
            a->code[i].jt = (uint8_t)(end - i - 1);
        if (a->code[i].jf == 255)
            a->code[i].jf = (uint8_t)(end - i - 1);
    }
}

/* What the kernel calls it (linux/audit.h); 0 for one that we have no rules for. */
static uint32_t audit_arch(uint32_t arch)
{
    return arch == SCMP_ARCH_X86_64 ? AUDIT_ARCH_X86_64 : arch == SCMP_ARCH_AARCH64 ? AUDIT_ARCH_AARCH64 : 0;
}

static void emit_rules(struct assembler *a, uint32_t arch, uint64_t allow)
{
    struct sock_filter *skip;
    size_t at;

    emit(a, LOAD(offsetof(struct seccomp_data, arch)));
    emit(a, JUMP(BPF_JEQ, audit_arch(arch), 1, 0));
    at = a->len;
    skip = emit(a, STMT(BPF_JMP | BPF_JA, 0));
    for (size_t i = 0; i < syscall_rules_count; i++) {
        int nr = seccomp_syscall_resolve_name_arch(arch, syscall_rules[i].call);

        if (nr >= 0 && syscall_rule_holds(&syscall_rules[i], allow)) /* a call of another architecture: the allow-list does not have it either */
            emit_rule(a, &syscall_rules[i], nr);
    }
    skip->k = (uint32_t)(a->len - at - 1);
}

/* The next of the names at *p, as a number on that architecture; negative: unknown there. False behind the last. */
static bool next_call(const char **p, uint32_t arch, char name[CALL_NAME_MAX], int *ret_nr)
{
    size_t n = strcspn(*p, " ");

    if (n == 0)
        return false;
    assert(n < CALL_NAME_MAX);
    memcpy(name, *p, n);
    name[n] = '\0';
    *p += n + strspn(*p + n, " ");
    *ret_nr = seccomp_syscall_resolve_name_arch(arch, name);
    return true;
}

static int add_group(scmp_filter_ctx ctx, uint32_t arch, uint64_t allow, const struct syscall_group *g, struct diag *d)
{
    const bool allowed = syscall_group_allowed(g, allow);
    const uint32_t action = allowed ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO((uint16_t)g->err);
    char name[CALL_NAME_MAX];
    const char *p = g->names;
    int nr, r;

    if (!allowed && g->err == ENOSYS) /* the default; libseccomp refuses to be told it twice */
        return 0;
    while (next_call(&p, arch, name, &nr)) {
        /* Rules are said in native (or pseudo) numbers, whatever architecture they are for. */
        r = nr < 0 ? 0 : seccomp_rule_add_exact(ctx, action, seccomp_syscall_resolve_name(name), 0);
        if (r < 0)
            return diag_errno(d, -r, "seccomp: rule for %s", name);
    }
    return 0;
}

struct syscall_count sandbox_filter_count(uint64_t allow)
{
    const uint32_t arch = seccomp_arch_native();
    struct syscall_count c = {0};
    char name[CALL_NAME_MAX];
    int nr;

    for (size_t i = 0; i < syscall_groups_count; i++) {
        const char *p = syscall_groups[i].names;

        while (syscall_group_allowed(&syscall_groups[i], allow) && next_call(&p, arch, name, &nr)) {
            c.allowed += nr >= 0;
            c.function += nr >= 0 && !syscall_groups[i].init_only;
        }
    }
    for (nr = 0; nr < CALL_NUMBERS; nr++) {
        char *known = seccomp_syscall_resolve_num_arch(arch, nr);

        c.known += known != NULL;
        free(known);
    }
    return c;
}

static int build_list(scmp_filter_ctx ctx, uint32_t arch, uint64_t allow, struct diag *d)
{
    int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

    if (r == 0 && arch != seccomp_arch_native()) {
        r = seccomp_arch_add(ctx, arch);
        if (r == 0)
            r = seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
    }
    /* A binary tree: a linear list of 300 numbers takes three times as long to load. */
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r < 0)
        return diag_errno(d, -r, "seccomp: attributes");
    for (size_t i = 0; i < syscall_groups_count; i++) {
        r = add_group(ctx, arch, allow, &syscall_groups[i], d);
        if (r < 0)
            return r;
    }
    return 0;
}

static int append_list(struct assembler *a, scmp_filter_ctx ctx, struct diag *d)
{
    cleanup_fd int fd = memfd_create("seccomp", MFD_CLOEXEC);
    const size_t room = sizeof(a->code) - a->len * sizeof(a->code[0]);
    int r = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);
    ssize_t n;

    if (r < 0)
        return diag_errno(d, -r, "seccomp: export");
    n = pread(fd, a->code + a->len, room, 0);
    if (n <= 0 || (size_t)n == room || (size_t)n % sizeof(a->code[0]))
        return diag_set(d, n < 0 ? errno : E2BIG, "seccomp: exported program of %zd bytes", n);
    a->len += (size_t)n / sizeof(a->code[0]);
    return 0;
}

int sandbox_filter_make(uint32_t arch, uint64_t allow, struct sandbox_filter *ret, struct diag *d)
{
    cleanup_free struct assembler *a = calloc(1, sizeof(*a));
    scmp_filter_ctx ctx;
    int r;

    if (!a)
        return diag_errno(d, ENOMEM, "seccomp");
    if (arch == 0)
        arch = seccomp_arch_native();
    if (audit_arch(arch) == 0)
        return diag_set(d, ENOTSUP, "seccomp: no system call filter for this architecture");
    emit_rules(a, arch, allow);
    ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (!ctx)
        return diag_errno(d, ENOMEM, "seccomp: init");
    r = build_list(ctx, arch, allow, d);
    if (r == 0)
        r = append_list(a, ctx, d);
    seccomp_release(ctx);
    if (r < 0)
        return r;
    ret->code = malloc(a->len * sizeof(a->code[0]));
    if (!ret->code)
        return diag_errno(d, ENOMEM, "seccomp");
    memcpy(ret->code, a->code, a->len * sizeof(a->code[0]));
    ret->len = a->len;
    ret->allow = allow;
    return 0;
}
