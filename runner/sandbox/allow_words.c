/* allow_words.c: the table of allow.h. */
#include "allow.h"

#include "diag.h"
#include "str.h"

#include <errno.h>
#include <string.h>

const struct sandbox_allow_word sandbox_allow_words[ALLOW_COUNT] = {
    [ALLOW_NETLINK_ROUTE] =
        {"netlink-route", "netlink sockets of the routing family: the list of interfaces, addresses and routes, as getifaddrs(3), Node's os.networkInterfaces and Go's net.Interfaces read it",
         "reading only, because the function has no capability over its network namespace, not because the filter could tell; the "
         "code behind it has had holes"},
    [ALLOW_PTRACE] = {"ptrace", "ptrace, process_vm_readv and process_vm_writev: debuggers inside the sandbox",
                      "one process of the function can take over the others; fn-init stays out of reach, being under other ids and not dumpable"},
    [ALLOW_IO_URING] = {"io_uring", "io_uring_setup, io_uring_enter and io_uring_register",
                        "what a ring does passes no filter, so that sockets of every family are open too; its code has been the way into the kernel more "
                        "often than any other"},
    [ALLOW_KEYCTL] = {"keyctl", "add_key, keyctl, and request_key without a call of the host's helper",
                      "keys are kernel memory beside the instance's limit; keyrings of other instances stay out of reach, being under other ids and another "
                      "user namespace"},
    [ALLOW_NUMA] = {"numa", "mbind, set_mempolicy, get_mempolicy, set_mempolicy_home_node, migrate_pages and move_pages",
                    "the function learns on which nodes its memory lies and can crowd one of them, slowing down its neighbours there"},
    [ALLOW_AIO] = {"aio", "io_setup, io_submit, io_getevents, io_pgetevents, io_cancel and io_destroy",
                   "the kernel counts requests for the whole host (fs.aio-max-nr): one function can use up what others, and the host's databases, need"},
    [ALLOW_MQUEUE] = {"mqueue", "message queues: msgget, msgsnd, msgrcv, msgctl and mq_*",
                      "blocks of kernel memory of chosen size and content, the usual tool to make use of a hole in the kernel"},
};

int sandbox_allow_find(const char *word, size_t len)
{
    for (int i = 0; i < ALLOW_COUNT; i++)
        if (strlen(sandbox_allow_words[i].word) == len && memcmp(sandbox_allow_words[i].word, word, len) == 0)
            return i;
    return -ENOENT;
}

void sandbox_allow_format(uint64_t bits, struct strbuf *out)
{
    const char *separator = "";

    for (int i = 0; i < ALLOW_COUNT; i++)
        if (bits & ALLOW_BIT(i)) {
            strbuf_printf(out, "%s%s", separator, sandbox_allow_words[i].word);
            separator = " ";
        }
}

static int refuse_word(const char *word, size_t len, struct diag *d)
{
    cleanup_strbuf struct strbuf known = {0};

    sandbox_allow_format(ALLOW_ALL, &known);
    return diag_set(d, EINVAL, "\"%.*s\" is not known: known words are %s", (int)(len < 60 ? len : 60), word, known.data ? known.data : "");
}

int sandbox_allow_parse(const char *words, uint64_t *ret, struct diag *d)
{
    static const char separators[] = " \t,";
    uint64_t bits = 0;

    for (words += strspn(words, separators); *words; words += strspn(words, separators)) {
        const size_t len = strcspn(words, separators);
        const int word = sandbox_allow_find(words, len);

        if (word < 0)
            return refuse_word(words, len, d);
        bits |= ALLOW_BIT(word);
        words += len;
    }
    *ret = bits;
    return 0;
}
