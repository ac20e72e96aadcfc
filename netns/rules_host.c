/*
 * rules_host.c: the host's tables, installed by libnftables in a child that lives for this only: the library reads every table of the host first (330 ms and 138 MB beside a foreign set
 * of 100,000 elements), and the daemon keeps nothing of that.
 *
 * The tables are replaced together, with all elements, in one transaction: by the first and by every later daemon, when the kinds of rules change, and when somebody has removed or changed them.
 */
#include "nft_internal.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define RULES_ERROR_MAX 4096

/* In order: the first that the output contains. */
static const struct {
    const char *sign;
    int err;
    const char *text;
} explanations[] = {
    {"Operation not permitted", EPERM, "this needs root (CAP_NET_ADMIN)"},
    {"Protocol not supported", EOPNOTSUPP, "the kernel has no nftables: load the module nf_tables, or enable CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET"},
    {"syntax error", EINVAL, "nftables refuses the name of the table: " NET_REMEDY_NAMES},
};

int rules_host_explain(const struct net_options *o, const char *output, struct diag *d)
{
    char first[200];

    for (size_t i = 0; i < sizeof(explanations) / sizeof(explanations[0]); i++)
        if (strstr(output, explanations[i].sign))
            return diag_set(d, explanations[i].err, "nftables table inet %s: %s", o->bridge, explanations[i].text);
    snprintf(first, sizeof(first), "%.*s", (int)strcspn(output, "\n"), output);
    return diag_set(d, EIO, "nftables table inet %s: %s", o->bridge, first[0] ? first : "installing it failed without a message");
}

static _Noreturn void child_main(int out, const char *text)
{
    struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
    const char *output;
    int r;

    if (!ctx || nft_ctx_buffer_error(ctx) || nft_ctx_buffer_output(ctx))
        _exit(2);
    r = nft_run_cmd_from_buffer(ctx, text);
    output = nft_ctx_get_error_buffer(ctx);
    if (r && output) {
        size_t len = strlen(output);

        (void)!write(out, output, len < RULES_ERROR_MAX ? len : RULES_ERROR_MAX - 1); /* less than a pipe holds */
    }
    _exit(r ? 1 : 0);
}

static int child_wait(pid_t pid, int *ret_status)
{
    pid_t r;

    do
        r = waitpid(pid, ret_status, 0);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static int rules_run(const struct net_options *o, const char *text, pid_t *ret_pid, struct diag *d)
{
    cleanup_free char *output = NULL;
    cleanup_fd int in = -1;
    int fds[2], status = 0, r;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return diag_errno(d, errno, "nftables: pipe");
    in = fds[0];
    pid = fork();
    if (pid == 0)
        child_main(fds[1], text);
    fds[1] = fd_close(fds[1]);
    if (pid < 0)
        return diag_errno(d, errno, "nftables: fork");
    (void)fd_read_all(in, RULES_ERROR_MAX, &output); /* to its end: the child has gone then, or has said all */
    r = child_wait(pid, &status);
    *ret_pid = pid;
    if (r < 0)
        return diag_errno(d, -r, "nftables: wait");
    if (WIFSIGNALED(status))
        return diag_set(d, EIO, "nftables table inet %s: the child that installs it was ended by signal %d", o->bridge, WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ? 0 : rules_host_explain(o, output ? output : "", d);
}

/* What the old tables have counted goes with them. */
static void rules_keep_counters(struct net *n)
{
    struct net_counters old;

    if (rules_counters_read(n, &old) < 0)
        return; /* there are none */
    for (size_t i = 0; i < sizeof(old) / sizeof(uint64_t); i++)
        ((uint64_t *)&n->counted)[i] += ((const uint64_t *)&old)[i];
}

static int install_text(struct net *n, bool timeouts, struct diag *d)
{
    cleanup_free char *text = NULL;
    int r = rules_text(n, clock_mono_ns(), timeouts, &text);

    if (r < 0)
        return diag_errno(d, -r, "nftables rules");
    return rules_run(&n->o, text, &n->install_pids[n->installs++ % NET_INSTALLS_KEPT], d);
}

/* A kernel without CONFIG_NF_CONNTRACK_TIMEOUT, or a module that is not there, refuses the whole: then without them, as the next time says anew. `fnctl doctor` tries the same. */
int rules_install(struct net *n, struct diag *d)
{
    rules_keep_counters(n);
    return install_text(n, true, NULL) == 0 ? 0 : install_text(n, false, d);
}

static int compare_ports(const void *a, const void *b)
{
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

int net_listeners(struct net *n, const uint16_t *ports, size_t nports, struct diag *d)
{
    const bool tracks = n->forwards || !n->notrack;
    uint16_t sorted[NET_LISTENERS_MAX];
    size_t k = 0;

    if (nports > NET_LISTENERS_MAX)
        return diag_set(d, EINVAL, "more than %u listeners", NET_LISTENERS_MAX);
    memcpy(sorted, ports, nports * sizeof(*ports));
    qsort(sorted, nports, sizeof(*sorted), compare_ports);
    for (size_t i = 0; i < nports; i++)
        if (sorted[i] && (k == 0 || sorted[k - 1] != sorted[i]))
            sorted[k++] = sorted[i];
    if (k == n->nlisteners && memcmp(sorted, n->listeners, k * sizeof(*sorted)) == 0)
        return 0;
    memcpy(n->listeners, sorted, k * sizeof(*sorted));
    n->nlisteners = k;
    return tracks ? rules_install(n, d) : 0; /* nothing asks for them until something is tracked */
}

int rules_host_remove(const struct net_options *o, struct diag *d)
{
    char text[160];
    pid_t pid;

    snprintf(text, sizeof(text), "add table inet %s\ndelete table inet %s\nadd table bridge %s\ndelete table bridge %s\n", o->bridge, o->bridge, o->bridge,
             o->bridge);
    return rules_run(o, text, &pid, d);
}
