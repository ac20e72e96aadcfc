/* What the runner gives up: every call on its list is refused to a process under the filter, by the filter and not by the kernel; other calls go on; a foreign architecture's are deadly. Needs root. */
#include "unit/check.h"

#include "../../runner/sandbox/sandbox_private.h"

#include "allow.h"
#include "diag.h"
#include "privileges.h"

#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARK 4000 /* an errno that no call has: only the filter can have said it */

enum { CHILD_WELL = 10, CHILD_NOT_LOADED, CHILD_NOT_DENIED, CHILD_BROKEN };

typedef void word_fn(const char *word, int nr, void *arg);

static void each_word(const char *words, word_fn *fn, void *arg)
{
    char *copy = strdup(words), *save = NULL;

    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        fn(w, seccomp_syscall_resolve_name(w), arg);
    free(copy);
}

/* Arguments that do no harm should the call go through: bad pointers, bad numbers, bad magic (reboot). */
static void try_denied(const char *word, int nr, void *arg)
{
    if (nr < 0)
        return;
    if (syscall(nr, -1L, -1L, -1L, -1L, -1L, -1L) != -1 || errno != MARK) {
        fprintf(stderr, "%s: %s\n", word, strerrorname_np(errno));
        _exit(CHILD_NOT_DENIED);
    }
}

static int in_child(void (*fn)(void))
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct diag d = {0};

        if (privileges_deny(MARK, &d) < 0) {
            fprintf(stderr, "%s\n", d.text);
            _exit(CHILD_NOT_LOADED);
        }
        fn();
        _exit(CHILD_WELL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void try_all(void)
{
    const char *calls;

    for (unsigned i = 0; (calls = privileges_denied(i)); i++)
        each_word(calls, try_denied, NULL);
}

static void test_denied(void **state)
{
    int status = in_child(try_all);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CHILD_WELL);
}

/* What the runner lives on still works, and exec too. */
static void go_on(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0 || syscall(SYS_unshare, 0) != 0 || syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3, 0) == -1)
        _exit(CHILD_BROKEN);
    execl("/bin/sh", "sh", "-c", "exit 10", (char *)NULL);
    _exit(CHILD_BROKEN);
}

static void test_rest_goes_on(void **state)
{
    int status = in_child(go_on);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CHILD_WELL);
}

#ifdef __x86_64__
static void call_x32(void)
{
    syscall(0x40000000 + SYS_getpid);
}

static void call_i386(void)
{
    long r = 20; /* getpid there */

    __asm__ volatile("int $0x80" : "+a"(r) : : "memory");
}

static void test_foreign_architectures(void **state)
{
    int status = in_child(call_x32);

    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    status = in_child(call_i386); /* a kernel without the emulation has no int 0x80: SIGSEGV */
    assert_true(WIFSIGNALED(status) && (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV));
}
#else
static void test_foreign_architectures(void **state)
{
    assert_int_equal(seccomp_syscall_resolve_name("iopl") < 0, 1);
}
#endif

/* A function inherits the list: what its own filter lets through, with every word of [sandbox] allow, must not be on it. */
static void check_not_allowed_inside(const char *word, int nr, void *arg)
{
    for (size_t g = 0; g < syscall_groups_count; g++) {
        char words[4096];

        if (!syscall_group_allowed(&syscall_groups[g], ALLOW_ALL))
            continue;
        snprintf(words, sizeof(words), " %s ", syscall_groups[g].names);
        char needle[96];
        snprintf(needle, sizeof(needle), " %s ", word);
        if (strstr(words, needle))
            fail_msg("%s is allowed to functions (%s), and refused to the runner", word, syscall_groups[g].reason);
    }
}

static void test_functions_lack_nothing(void **state)
{
    const char *calls;

    for (unsigned i = 0; (calls = privileges_denied(i)); i++)
        each_word(calls, check_not_allowed_inside, NULL);
}

/* A misspelt name would be refused to nobody: here each must be one that libseccomp knows, even if for another architecture. */
static void check_known(const char *word, int nr, void *arg)
{
    if (nr == __NR_SCMP_ERROR)
        fail_msg("libseccomp knows no call %s", word);
}

static void test_names(void **state)
{
    const char *calls;

    for (unsigned i = 0; (calls = privileges_denied(i)); i++)
        each_word(calls, check_known, NULL);
}

/* The capability set that README and STYLE name, and no other. */
static void test_capabilities(void **state)
{
    static const cap_value_t kept[] = {CAP_SYS_ADMIN,    CAP_NET_ADMIN, CAP_SETUID, CAP_SETGID, CAP_SETPCAP,    CAP_CHOWN,
                                       CAP_DAC_OVERRIDE, CAP_FOWNER,    CAP_KILL,   CAP_MKNOD,  CAP_SYS_CHROOT, CAP_NET_BIND_SERVICE};
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct diag d = {0};

        if (privileges_bound(&d) < 0)
            _exit(CHILD_NOT_LOADED);
        for (cap_value_t cap = 0; cap < cap_max_bits(); cap++) {
            bool keep = false;

            for (size_t i = 0; i < COUNT(kept); i++)
                keep |= kept[i] == cap;
            if (!keep && cap_get_bound(cap) > 0) {
                fprintf(stderr, "capability %d is still there\n", cap);
                _exit(CHILD_BROKEN);
            }
        }
        _exit(CHILD_WELL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CHILD_WELL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_denied),
        cmocka_unit_test(test_rest_goes_on),
        cmocka_unit_test(test_foreign_architectures),
        cmocka_unit_test(test_functions_lack_nothing),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_capabilities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
