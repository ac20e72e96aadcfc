/*
 * syscalls.c: which system calls a sandbox has. One table by name for every architecture; a name that is in no group does not exist inside (ENOSYS),
 * and so does every call that a newer kernel brings.
 *
 * Refused with EPERM is what programs know to be refused at times; ENOSYS is for calls whose absence libraries handle by falling back. The kernel
 * itself refuses most of what is in the refused groups, for want of capabilities: the filter is the second lock, and keeps code that is rarely used by
 * anybody out of reach.
 */
#include "sandbox_private.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>

const struct syscall_group syscall_groups[] = {
    {"files", 0,
     "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close close_range lseek stat fstat lstat "
     "newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir "
     "unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat mknod mknodat chmod fchmod fchmodat fchmodat2 chown fchown lchown "
     "fchownat utime utimes utimensat futimesat truncate ftruncate fallocate fadvise64 readahead copy_file_range sendfile splice tee vmsplice "
     "sync_file_range fsync fdatasync flock fcntl dup dup2 dup3 pipe pipe2 ioctl umask getxattr lgetxattr fgetxattr listxattr llistxattr "
     "flistxattr setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr inotify_init inotify_init1 inotify_add_watch inotify_rm_watch"},
    {"memory", 0,
     "mmap munmap mprotect mremap madvise brk msync mincore mlock mlock2 munlock mlockall munlockall memfd_create pkey_alloc pkey_free "
     "pkey_mprotect membarrier"},
    {"processes", 0,
     "clone fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill getpid getppid gettid getpgid setpgid getpgrp getsid setsid "
     "prctl arch_prctl set_tid_address set_robust_list get_robust_list rseq futex futex_waitv sched_yield sched_getaffinity sched_setaffinity "
     "sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_getattr sched_setattr sched_get_priority_min "
     "sched_get_priority_max sched_rr_get_interval getpriority setpriority ioprio_get ioprio_set getrlimit setrlimit prlimit64 getrusage times "
     "sysinfo uname getcpu personality unshare pidfd_open pidfd_send_signal restart_syscall seccomp landlock_create_ruleset landlock_add_rule "
     "landlock_restrict_self riscv_flush_icache"},
    {"identity", 0, "getuid geteuid getgid getegid getresuid getresgid getgroups capget"},
    {"identity, for fn-init alone (its second filter refuses them to the function)", 0,
     "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset"},
    {"signals", 0,
     "rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend rt_sigreturn sigaltstack pause "
     "alarm signalfd signalfd4"},
    {"time", 0,
     "nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time timer_create timer_settime timer_gettime timer_getoverrun "
     "timer_delete timerfd_create timerfd_settime timerfd_gettime getitimer setitimer"},
    {"events", 0,
     "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 io_setup io_destroy "
     "io_submit io_cancel io_getevents io_pgetevents"},
    {"sockets", 0,
     "socket socketpair bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt sendto recvfrom sendmsg recvmsg sendmmsg "
     "recvmmsg shutdown"},
    {"System V and POSIX communication, in a namespace of its own", 0,
     "shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive "
     "mq_notify mq_getsetattr"},
    {"random numbers", 0, "getrandom"},

    {"mounts are the plan's", EPERM,
     "mount umount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr name_to_handle_at open_by_handle_at "
     "swapon swapoff quotactl quotactl_fd"},
    {"namespaces are the plan's", EPERM, "setns"},
    {"looking into other processes", EPERM, "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_getfd kcmp"},
    {"kernel interfaces that have been the way out before", EPERM,
     "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register fanotify_init fanotify_mark memfd_secret modify_ldt "
     "remap_file_pages vhangup lookup_dcookie uselib ustat sysfs nfsservctl"},
    {"keys are not divided by namespaces", EPERM, "add_key request_key keyctl"},
    {"the host's kernel", EPERM,
     "kexec_load kexec_file_load init_module finit_module delete_module create_module query_module get_kernel_syms reboot acct syslog _sysctl "
     "settimeofday clock_settime clock_adjtime adjtimex stime sethostname setdomainname iopl ioperm vm86 vm86old sync syncfs"},
    {"placement of memory on the host", EPERM, "mbind set_mempolicy get_mempolicy set_mempolicy_home_node migrate_pages move_pages"},

    {"its flags are behind a pointer, where no filter can see them: libraries fall back to clone", ENOSYS, "clone3"},
};
const size_t syscall_groups_count = sizeof(syscall_groups) / sizeof(syscall_groups[0]);

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#ifndef TIOCLINUX
#define TIOCLINUX 0x541C
#endif

#define NS_CLONE (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

#define PR_LINUX     0x0000
#define PR_LINUX32   0x0008
#define PR_UNAME26   0x20000
#define PROTO_TCP    6
#define PROTO_UDP    17
#define PROTO_ICMP   1
#define PROTO_ICMPV6 58
#define INET_PROTOCOLS                                                                                                                                         \
    5,                                                                                                                                                         \
    {                                                                                                                                                          \
        0, PROTO_TCP, PROTO_UDP, PROTO_ICMP, PROTO_ICMPV6                                                                                                      \
    }

/* call, only where argument = value, argument, test, count and values, errno, for people, only where this is a pointer */
const struct syscall_rule syscall_rules[] = {
    {"clone", -1, 0, 0, SYSCALL_ANY_BIT, 1, {NS_CLONE}, EPERM, "no new namespaces", 0},
    {"unshare", -1, 0, 0, SYSCALL_ANY_BIT, 1, {NS_CLONE | CLONE_NEWTIME}, EPERM, "no new namespaces", 0},
    {"socket", -1, 0, 0, SYSCALL_NOT_ONE_OF, 4, {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}, EAFNOSUPPORT, "families unix, inet, inet6 and netlink only", 0},
    {"socket", 0, AF_INET, 2, SYSCALL_NOT_ONE_OF, INET_PROTOCOLS, EPROTONOSUPPORT, "of inet only TCP, UDP and ICMP", 0},
    {"socket", 0, AF_INET6, 2, SYSCALL_NOT_ONE_OF, INET_PROTOCOLS, EPROTONOSUPPORT, "of inet6 only TCP, UDP and ICMP", 0},
    {"socket", 0, AF_NETLINK, 2, SYSCALL_NOT_ONE_OF, 1, {0}, EPROTONOSUPPORT, "of netlink only routing", 0},
    {"socketpair", -1, 0, 0, SYSCALL_NOT_ONE_OF, 1, {AF_UNIX}, EAFNOSUPPORT, "family unix only", 0},
    {"ioctl", -1, 0, 1, SYSCALL_ONE_OF, 3, {TIOCSTI, TIOCLINUX, TIOCSETD}, EPERM, "no TIOCSTI, TIOCLINUX, TIOCSETD: they reach into terminals", 0},
    {"personality",
     -1,
     0,
     0,
     SYSCALL_NOT_ONE_OF,
     5,
     {PR_LINUX, PR_LINUX32, PR_UNAME26, PR_UNAME26 | PR_LINUX32, 0xffffffff},
     EPERM,
     "no personality that weakens the process",
     0},
    {"setrlimit", -1, 0, 0, SYSCALL_ONE_OF, 1, {RLIMIT_CORE}, EPERM, "the core limit stays: 0 would start the host's dump handler for every crash", 0},
    {"prlimit64", -1, 0, 1, SYSCALL_ONE_OF, 1, {RLIMIT_CORE}, EPERM, "the core limit stays: 0 would start the host's dump handler for every crash", 2},
};
const size_t syscall_rules_count = sizeof(syscall_rules) / sizeof(syscall_rules[0]);
