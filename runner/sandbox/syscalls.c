/*
 * syscalls.c: which system calls a sandbox has. One table by name for every architecture; a name that is in no group does not exist inside (ENOSYS),
 * and so does every call that a newer kernel brings.
 *
 * Refused with EPERM is what programs know to be refused at times; ENOSYS is for calls whose absence libraries handle by falling back. The kernel
 * itself refuses most of what is in the refused groups, for want of capabilities: the filter is the second lock, and keeps code that is rarely used by
 * anybody out of reach. tests/system/test_programs.py holds the first half: interpreters, compilers' output, servers and databases run under it.
 */
#include "sandbox_private.h"

#include "allow.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>

const struct syscall_group syscall_groups[] = {
    {"files", "every program reads, writes, lists and renames; who may do what is the file system's decision", 0, 0, false,
     "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close close_range lseek stat fstat lstat "
     "newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir "
     "unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat mknod mknodat chmod fchmod fchmodat chown fchown lchown "
     "fchownat utime utimes utimensat truncate ftruncate fallocate fadvise64 readahead copy_file_range sendfile splice sync_file_range fsync "
     "fdatasync flock fcntl dup dup2 dup3 pipe pipe2 ioctl umask"},
    {"attributes of files", "tar, rsync and cp keep user.* on volumes; all others need capabilities that nobody has inside", 0, 0, false,
     "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr"},
    {"watching files", "servers that reload, build tools; instances and marks are counted for the instance's own id", 0, 0, false,
     "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch"},
    {"memory", "allocators, loaders and garbage collectors; what they take is counted by the cgroup", 0, 0, false,
     "mmap munmap mprotect mremap madvise brk msync mlock munlock memfd_create membarrier"},
    {"processes and threads", "to make them, wait for them, and end; namespace flags are refused below", 0, 0, false,
     "clone fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open pidfd_send_signal getpid getppid gettid getpgid "
     "setpgid getpgrp getsid setsid prctl arch_prctl set_tid_address set_robust_list rseq futex restart_syscall personality uname sysinfo getcpu"},
    {"scheduling and limits", "thread libraries ask and set; the kernel lets a function only lower itself", 0, 0, false,
     "sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_min "
     "sched_get_priority_max getpriority setpriority getrlimit setrlimit prlimit64 getrusage times"},
    {"restricting oneself", "programs that put their own workers into a sandbox; nothing of it gives anything", 0, 0, false,
     "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"},
    {"identity", "to ask who one is", 0, 0, false, "getuid geteuid getgid getegid getresuid getresgid getgroups capget"},
    {"identity of fn-init", "fn-init becomes the function and drops everything; its second filter refuses these to the function", 0, 0, true,
     "setresuid setresgid capset"},
    {"signals", "handlers, masks and queues; who may be signalled is the pid namespace's and the ids' decision", 0, 0, false,
     "rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend rt_sigreturn sigaltstack pause alarm signalfd4"},
    {"time", "to read clocks, sleep, and set one's own timers", 0, 0, false,
     "nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time timer_create timer_settime timer_gettime timer_getoverrun "
     "timer_delete timerfd_create timerfd_settime timerfd_gettime getitimer setitimer"},
    {"events", "every server waits with one of these", 0, 0, false,
     "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2"},
    {"sockets", "every server has them; families and protocols are chosen below", 0, 0, false,
     "socket socketpair bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt sendto recvfrom sendmsg recvmsg sendmmsg "
     "recvmmsg shutdown"},
    {"System V shared memory and semaphores", "PostgreSQL and PHP use them; they live in the instance's IPC namespace and are charged to it", 0, 0, false,
     "shmget shmat shmctl shmdt semget semop semtimedop semctl"},
    {"random numbers", "keys and hash seeds", 0, 0, false, "getrandom"},

    {"debugging", "a process that can write another's memory is that other", EPERM, ALLOW_BIT(ALLOW_PTRACE), false, "ptrace process_vm_readv process_vm_writev"},
    {"io_uring", "does what it is told behind the filter's back", EPERM, ALLOW_BIT(ALLOW_IO_URING), false, "io_uring_setup io_uring_enter io_uring_register"},
    {"keys", "kernel memory that outlives processes, and a helper that runs on the host", EPERM, ALLOW_BIT(ALLOW_KEYCTL), false, "add_key request_key keyctl"},
    {"placement of memory", "where memory lies is the host's affair", EPERM, ALLOW_BIT(ALLOW_NUMA), false,
     "mbind set_mempolicy get_mempolicy set_mempolicy_home_node migrate_pages move_pages"},
    {"asynchronous input and output", "counted for the whole host; libraries fall back to threads", ENOSYS, ALLOW_BIT(ALLOW_AIO), false,
     "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents"},
    {"message queues", "hardly a program uses them, most attacks on the kernel do", ENOSYS, ALLOW_BIT(ALLOW_MQUEUE), false,
     "msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr"},

    {"mounts", "they are the plan's", EPERM, 0, false,
     "mount umount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr name_to_handle_at open_by_handle_at "
     "swapon swapoff quotactl quotactl_fd"},
    {"namespaces", "they are the plan's, and a user namespace would bring all capabilities and most of the kernel's holes", EPERM, 0, false, "setns unshare"},
    {"other identities", "there is one uid and one gid for a function", EPERM, 0, false, "setuid setgid setreuid setregid setfsuid setfsgid setgroups"},
    {"looking into other processes", "nothing that is not a debugger needs it", EPERM, 0, false,
     "process_madvise process_mrelease pidfd_getfd kcmp get_robust_list"},
    {"interfaces that have been the way out before", "no function needs them", EPERM, 0, false,
     "bpf perf_event_open userfaultfd fanotify_init fanotify_mark memfd_secret modify_ldt remap_file_pages vhangup lookup_dcookie uselib ustat sysfs "
     "nfsservctl"},
    {"the host's kernel", "modules, clock, power, ports and accounts are nobody's inside", EPERM, 0, false,
     "kexec_load kexec_file_load init_module finit_module delete_module create_module query_module get_kernel_syms reboot acct syslog _sysctl "
     "settimeofday clock_settime clock_adjtime adjtimex stime sethostname setdomainname iopl ioperm vm86 vm86old sync syncfs"},
    {"sharing the host's disks, processors and memory", "queues of the disk, deadlines and locked memory are limits of the host", EPERM, 0, false,
     "ioprio_get ioprio_set sched_setattr sched_getattr sched_rr_get_interval mlockall munlockall"},
    {"page cache", "tells which pages of a shared image others have used", ENOSYS, 0, false, "mincore"},
    {"pages in pipes", "of its kind only splice is used, by proxies and runtimes", ENOSYS, 0, false, "tee vmsplice"},
    {"flags behind a pointer", "no filter can see them: libraries fall back to clone. fn-init of mode stdio has it, to give birth into cgroups", ENOSYS,
     ALLOW_INIT_CLONE3, true, "clone3"},
    {"rare forms of calls", "libraries fall back to others of this list, or do without", ENOSYS, 0, false,
     "fchmodat2 mlock2 pkey_alloc pkey_free pkey_mprotect futex_waitv epoll_pwait2 signalfd eventfd futimesat rt_tgsigqueueinfo"},
};
const size_t syscall_groups_count = sizeof(syscall_groups) / sizeof(syscall_groups[0]);

#ifndef TIOCLINUX
#define TIOCLINUX 0x541C
#endif

#define NS_CLONE (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

#define PR_LINUX       0x0000
#define PR_LINUX32     0x0008
#define PR_UNAME26     0x20000
#define PROTO_TCP      6
#define PROTO_UDP      17
#define PROTO_ICMP     1
#define PROTO_ICMPV6   58
#define INET_PROTOCOLS .count = 5, .values = {0, PROTO_TCP, PROTO_UDP, PROTO_ICMP, PROTO_ICMPV6}

#define ALWAYS          .if_arg = -1
#define TERMINAL_REASON "no TIOCSTI, TIOCLINUX, TIOCSETD: they reach into terminals"
#define CORE_REASON     "the core limit stays: 0 would start the host's dump handler for every crash"

const struct syscall_rule syscall_rules[] = {
    {"clone", ALWAYS, .arg = 0, .test = SYSCALL_ANY_BIT, .count = 1, .values = {NS_CLONE}, .err = EPERM, .reason = "no new namespaces"},
    {"socket", ALWAYS, .arg = 0, .test = SYSCALL_NOT_ONE_OF, .count = 3, .values = {AF_UNIX, AF_INET, AF_INET6}, .err = EAFNOSUPPORT,
     .reason = "families unix, inet and inet6 only", .without = ALLOW_BIT(ALLOW_NETLINK_ROUTE)},
    {"socket", ALWAYS, .arg = 0, .test = SYSCALL_NOT_ONE_OF, .count = 4, .values = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}, .err = EAFNOSUPPORT,
     .reason = "families unix, inet, inet6 and netlink only", .with = ALLOW_BIT(ALLOW_NETLINK_ROUTE)},
    {"socket", .if_arg = 0, .if_value = AF_NETLINK, .arg = 2, .test = SYSCALL_NOT_ONE_OF, .count = 1, .values = {0}, .err = EPROTONOSUPPORT,
     .reason = "of netlink only routing", .with = ALLOW_BIT(ALLOW_NETLINK_ROUTE)},
    {"socket", .if_arg = 0, .if_value = AF_INET, .arg = 2, .test = SYSCALL_NOT_ONE_OF, INET_PROTOCOLS, .err = EPROTONOSUPPORT,
     .reason = "of inet only TCP, UDP and ICMP"},
    {"socket", .if_arg = 0, .if_value = AF_INET6, .arg = 2, .test = SYSCALL_NOT_ONE_OF, INET_PROTOCOLS, .err = EPROTONOSUPPORT,
     .reason = "of inet6 only TCP, UDP and ICMP"},
    {"socketpair", ALWAYS, .arg = 0, .test = SYSCALL_NOT_ONE_OF, .count = 1, .values = {AF_UNIX}, .err = EAFNOSUPPORT, .reason = "family unix only"},
    {"ioctl", ALWAYS, .arg = 1, .test = SYSCALL_ONE_OF, .count = 3, .values = {TIOCSTI, TIOCLINUX, TIOCSETD}, .err = EPERM, .reason = TERMINAL_REASON},
    {"personality", ALWAYS, .arg = 0, .test = SYSCALL_NOT_ONE_OF, .count = 5, .values = {PR_LINUX, PR_LINUX32, PR_UNAME26, PR_UNAME26 | PR_LINUX32, 0xffffffff},
     .err = EPERM, .reason = "no personality that weakens the process"},
    {"setrlimit", ALWAYS, .arg = 0, .test = SYSCALL_ONE_OF, .count = 1, .values = {RLIMIT_CORE}, .err = EPERM, .reason = CORE_REASON},
    {"prlimit64", ALWAYS, .arg = 1, .test = SYSCALL_ONE_OF, .count = 1, .values = {RLIMIT_CORE}, .err = EPERM, .reason = CORE_REASON, .pointer = 2},
    {"request_key", ALWAYS, .test = SYSCALL_ALWAYS, .err = EPERM, .pointer = 2, .with = ALLOW_BIT(ALLOW_KEYCTL),
     .reason = "no information for the host's helper, which then is not started"},
};
const size_t syscall_rules_count = sizeof(syscall_rules) / sizeof(syscall_rules[0]);
