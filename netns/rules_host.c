/*
 * rules_host.c: the host's table, `inet <bridge>`, installed by libnftables in a child that lives for this only: the library reads every table of the host first (330 ms and 138 MB beside a foreign set
 * of 100,000 elements), and the daemon keeps nothing of that.
 *
 * The table is replaced in one transaction and names every bridge that there can be, so nothing in it changes while the daemon runs. It only drops: other tables and their owners are left alone, whatever
 * their verdicts are. Priorities lie just before the usual ones. New connections to the host are recognised by what a first packet looks like, not by `ct state`: that would turn connection tracking on
 * for the whole host, costs 0.4 us of CPU per request, and fails where traffic is exempt from tracking.
 */
#include "net_internal.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define RULES_ERROR_MAX 4096

/* "fn0", "fn1", ...; or with their networks: "fn0" . 10.231.0.0/22, ... */
static void text_bridges(struct strbuf *b, const struct net_options *o, bool networks)
{
    for (unsigned i = 0; i < net_bridges_max(o); i++) {
        struct in_addr net = {.s_addr = htonl(net_bridge_base(o, i))};
        char name[IFNAMSIZ], text[INET_ADDRSTRLEN];

        net_bridge_name(o, i, name);
        strbuf_printf(b, "%s\"%s\"", i ? ", " : "", name);
        if (networks)
            strbuf_printf(b, " . %s/22", inet_ntop(AF_INET, &net, text, sizeof(text)));
    }
}

int rules_host_text(const struct net_options *o, char **ret)
{
    cleanup_strbuf struct strbuf b = {0};

    strbuf_printf(&b, "add table inet %s\ndelete table inet %s\ntable inet %s {\n", o->bridge, o->bridge, o->bridge);
    strbuf_puts(&b, " set bridges {\n  type ifname\n  elements = { ");
    text_bridges(&b, o, false);
    strbuf_puts(&b, " }\n }\n set sources {\n  typeof iifname . ip saddr\n  flags interval\n  elements = { ");
    text_bridges(&b, o, true);
    strbuf_puts(&b, " }\n }\n"
                    " chain spoofed {\n"
                    "  meta nfproto != ipv4 counter drop\n"
                    "  iifname . ip saddr != @sources counter drop\n"
                    " }\n"
                    " chain prerouting {\n  type filter hook prerouting priority raw - 10; policy accept;\n  iifname @bridges jump spoofed\n }\n"
                    " chain to_host {\n"
                    "  meta l4proto != tcp counter drop\n"
                    "  tcp flags & (syn | ack) == syn counter drop\n"
                    " }\n"
                    " chain input {\n  type filter hook input priority filter - 10; policy accept;\n  iifname @bridges jump to_host\n }\n"
                    " chain forward {\n  type filter hook forward priority filter - 10; policy accept;\n"
                    "  iifname @bridges counter drop\n  oifname @bridges counter drop\n }\n}\n");
    if (b.failed)
        return -ENOMEM;
    *ret = take_ptr(b.data);
    return 0;
}

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

static int rules_run(const struct net_options *o, const char *text, struct diag *d)
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
    if (r < 0)
        return diag_errno(d, -r, "nftables: wait");
    if (WIFSIGNALED(status))
        return diag_set(d, EIO, "nftables table inet %s: the child that installs it was ended by signal %d", o->bridge, WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ? 0 : rules_host_explain(o, output ? output : "", d);
}

int rules_host_install(const struct net_options *o, struct diag *d)
{
    cleanup_free char *text = NULL;
    int r = rules_host_text(o, &text);

    return r < 0 ? diag_errno(d, -r, "nftables rules") : rules_run(o, text, d);
}

int rules_host_remove(const struct net_options *o, struct diag *d)
{
    char text[96];

    snprintf(text, sizeof(text), "add table inet %s\ndelete table inet %s\n", o->bridge, o->bridge);
    return rules_run(o, text, d);
}
