/*
 * probe_allow.c: what the words of [sandbox] allow open, each by real calls that do something; and every number of a system call, to be compared with the
 * filter's tables.
 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <mqueue.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- words: 0, or the errno of the first call that is refused ---- */

/* The list of links comes; changing one is refused by the kernel, whatever the filter says. */
static int use_netlink_route(void)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg link;
    } ask = {.head = {.nlmsg_len = sizeof(ask), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
    char answer[8192];
    const struct nlmsghdr *head = (const struct nlmsghdr *)answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0)
        return errno;
    probe_expect(send(fd, &ask, sizeof(ask), 0) == sizeof(ask) && recv(fd, answer, sizeof(answer), 0) > 0 && head->nlmsg_type == RTM_NEWLINK,
                 "no list of links");
    while (head->nlmsg_type != NLMSG_DONE && recv(fd, answer, sizeof(answer), 0) > 0)
        ;
    ask.head.nlmsg_type = RTM_NEWLINK;
    ask.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    ask.link = (struct ifinfomsg){.ifi_index = 1, .ifi_change = 1};
    probe_expect(send(fd, &ask, sizeof(ask), 0) == sizeof(ask) && recv(fd, answer, sizeof(answer), 0) > 0 && head->nlmsg_type == NLMSG_ERROR &&
                     ((const struct nlmsgerr *)NLMSG_DATA(head))->error == -EPERM,
                 "lo could be changed");
    close(fd);
    probe_refused(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), "netlink of the packet filter", EPROTONOSUPPORT);
    return 0;
}

static int use_ptrace(void)
{
    long word = 0, copy = 0x1234;
    struct iovec to = {.iov_base = &word, .iov_len = sizeof(word)}, from = {.iov_base = &copy, .iov_len = sizeof(copy)};
    int status = 0, err = 0;
    pid_t pid = fork();

    if (pid == 0)
        for (;;)
            pause();
    if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) < 0)
        err = errno;
    if (err == 0)
        probe_expect(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0, "the child cannot be traced");
    if (err == 0 && process_vm_readv(pid, &to, 1, &from, 1, 0) < 0)
        err = errno;
    probe_expect(err != 0 || word == 0x1234, "process_vm_readv read %lx", word);
    if (err == 0 && process_vm_writev(pid, &to, 1, &from, 1, 0) < 0)
        err = errno;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return err;
}

static int use_io_uring(void)
{
    struct io_uring_params params = {0};
    long fd = syscall(SYS_io_uring_setup, 4, &params);

    if (fd < 0)
        return errno;
    if (syscall(SYS_io_uring_enter, fd, 0, 0, 0, NULL, 0) < 0 || (syscall(SYS_io_uring_register, fd, 1 /* unregister buffers */, NULL, 0) < 0 && errno != ENXIO))
        return errno;
    close((int)fd);
    return 0;
}

static int use_keyctl(void)
{
    char text[8] = "";
    long key = syscall(SYS_add_key, "user", "probe", "secret", 6, KEY_SPEC_PROCESS_KEYRING);

    if (key < 0)
        return errno;
    if (syscall(SYS_keyctl, KEYCTL_READ, key, text, sizeof(text)) < 0)
        return errno;
    probe_expect(strcmp(text, "secret") == 0, "the key says \"%s\"", text);
    if (syscall(SYS_request_key, "user", "probe", NULL, 0) != key)
        return errno ? errno : EIO;
    probe_refused(syscall(SYS_request_key, "user", "unknown", "information", KEY_SPEC_PROCESS_KEYRING), "request_key with the host's helper", 0);
    return 0;
}

static int use_numa(void)
{
    int node = -1;

    if (syscall(SYS_get_mempolicy, &node, NULL, 0, NULL, 0) < 0)
        return errno;
    return syscall(SYS_set_mempolicy, 0, NULL, 0) < 0 ? errno : 0;
}

static int use_aio(void)
{
    aio_context_t ctx = 0;

    if (syscall(SYS_io_setup, 1, &ctx) < 0)
        return errno;
    return syscall(SYS_io_destroy, ctx) < 0 ? errno : 0;
}

static int use_mqueue(void)
{
    struct {
        long type;
        char text[8];
    } message = {1, "hello"};
    int queue = msgget(IPC_PRIVATE, 0600);
    struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 8};
    mqd_t mq;

    if (queue < 0)
        return errno;
    if (msgsnd(queue, &message, sizeof(message.text), 0) < 0 || msgrcv(queue, &message, sizeof(message.text), 0, 0) < 0 || msgctl(queue, IPC_RMID, NULL) < 0)
        return errno;
    mq = mq_open("/probe", O_RDWR | O_CREAT | O_CLOEXEC, 0600, &attr);
    if (mq < 0)
        return errno;
    return mq_send(mq, "x", 1, 0) < 0 || mq_unlink("/probe") < 0 || mq_close(mq) < 0 ? errno : 0;
}

static const struct {
    const char *word;
    int (*use)(void);
    int refused; /* what it meets without the word */
} words[] = {
    {"netlink-route", use_netlink_route, EAFNOSUPPORT},
    {"ptrace", use_ptrace, EPERM},
    {"io_uring", use_io_uring, EPERM},
    {"keyctl", use_keyctl, EPERM},
    {"numa", use_numa, EPERM},
    {"aio", use_aio, ENOSYS},
    {"mqueue", use_mqueue, ENOSYS},
};

/* allow WORD...: these work and all others are refused; "none" for no word. A kernel built without a facility answers ENOSYS where the filter does not. */
int probe_allow(char **args)
{
    for (size_t i = 0; i < COUNT(words); i++) {
        const int err = words[i].use();
        bool allowed = false;

        for (char **a = args; *a; a++)
            allowed |= strcmp(*a, words[i].word) == 0;
        if (allowed)
            probe_expect(err == 0, "%s does not work: %s", words[i].word, strerrorname_np(err));
        else
            probe_expect(err == words[i].refused, "%s: %s", words[i].word, err ? strerrorname_np(err) : "it works");
    }
    return 0;
}

/* device PATH...: each is a device that gives zeros; nothing can be put beside it. */
int probe_device(char **args)
{
    for (; *args; args++) {
        char byte = 'x';
        int fd = open(*args, O_RDWR | O_CLOEXEC);

        probe_expect(fd >= 0 && read(fd, &byte, 1) == 1 && byte == 0, "%s cannot be read", *args);
        probe_expect(unlink(*args) < 0 && errno == EROFS, "%s can be removed", *args);
        if (fd >= 0)
            close(fd);
    }
    return 0;
}

/* ---- every number ---- */

enum { MATRIX_NOTHING, MATRIX_RETURNED }; /* what a child says before and after its call */

struct matrix_slot {
    int stage, err;
};

static void on_alarm(int sig)
{
}

/* A call may wait for ever: the alarm interrupts it. It may end the process, or never come back: the parent sees that. */
static void matrix_child(volatile struct matrix_slot *slot, long nr, bool i386)
{
    const struct sigaction action = {.sa_handler = on_alarm};
    const struct itimerval soon = {.it_value = {.tv_usec = 20000}, .it_interval = {.tv_usec = 20000}};
    long r = nr;

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    if (!i386) {
        r = syscall(nr, -1L, -1L, -1L, -1L, -1L, -1L);
        slot->err = r == -1 ? errno : 0;
    }
#ifdef __x86_64__
    else
        __asm__ volatile("int $0x80" : "+a"(r) : "b"(-1L), "c"(-1L), "d"(-1L) : "memory", "r8", "r9", "r10", "r11");
#endif
    slot->stage = MATRIX_RETURNED;
    syscall(SYS_exit_group, 0);
}

static void matrix_one(volatile struct matrix_slot *slot, const char *kind, long nr, bool i386)
{
    int status = 0;
    pid_t pid;

    *slot = (struct matrix_slot){0};
    pid = fork();
    if (pid == 0)
        matrix_child(slot, nr, i386);
    probe_expect(pid > 0 && waitpid(pid, &status, 0) == pid, "a child for number %ld", nr);
    nr &= 0xffff;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        printf("%s %ld kill\n", kind, nr);
    else if (slot->stage != MATRIX_RETURNED)
        printf("%s %ld gone\n", kind, nr);
    else
        printf("%s %ld %d\n", kind, nr, slot->err);
}

/* matrix FIRST LAST: one line a number, "native NR ERRNO", with `kill` for SIGSYS and `gone` for a call that did not come back; on x86 for x32 and i386 too. */
int probe_matrix(char **args)
{
    const long first = strtol(args[0], NULL, 10), last = strtol(args[1], NULL, 10);
    volatile struct matrix_slot *slot = mmap(NULL, sizeof(*slot), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    probe_expect(slot != MAP_FAILED, "shared memory");
    setvbuf(stdout, NULL, _IONBF, 0);
    for (long nr = first; nr <= last && slot != MAP_FAILED; nr++) {
        matrix_one(slot, "native", nr, false);
#ifdef __x86_64__
        matrix_one(slot, "x32", nr | 0x40000000L, false);
        matrix_one(slot, "i386", nr, true);
#endif
    }
    printf("matrix complete\n");
    return 0;
}
