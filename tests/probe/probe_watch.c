/*
 * probe_watch.c: a function that waits for others to come into its sandbox (fnctl exec) and tries to get at what they bring along from outside: memory, descriptors, directories, names of the host.
 *
 * A process with the function's own ids is the command, which is as open to the function as the function is to itself; what counts is that it has nothing that the function has not.
 */
#include "probe.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define PIDS_MAX 32768

static volatile sig_atomic_t over;

static void on_term(int sig)
{
    over = 1;
}

static ssize_t read_all(const char *path, char *buf, size_t size)
{
    size_t len = 0;
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    buf[len] = '\0';
    return n < 0 ? -1 : (ssize_t)len;
}

/* Has it the function's own ids? A process that is gone counts as well: there is nothing to be got from it. */
static bool mine(int pid)
{
    char path[64], text[4096], *at;
    unsigned ids[4];

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    if (read_all(path, text, sizeof(text)) < 0 || strstr(text, "\nState:\tZ") || strstr(text, "\nState:\tX"))
        return true;
    at = strstr(text, "\nUid:");
    if (!at || sscanf(at, "\nUid: %u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) != 4)
        return true;
    for (int i = 0; i < 4; i++)
        if (ids[i] != getuid())
            return false;
    return true;
}

static void try_open(int pid, const char *name, int flags)
{
    char path[64], text[256] = "";
    ssize_t n = 1;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return;
    if (!(flags & O_DIRECTORY))
        n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n > 0) /* of a process that is just ending, and has no memory any more, some can be opened and are empty */
        probe_expect(mine(pid), "%s could be opened: %.*s", path, (int)n, text);
}

static void try_link(int pid, const char *name)
{
    char path[64], to[256];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    n = readlink(path, to, sizeof(to));
    if (n >= 0)
        probe_expect(mine(pid), "%s could be read: %.*s", path, (int)n, to);
}

/* What everybody may read must not tell of the host. */
static void try_tables(int pid, const char *mounts, char **secrets)
{
    static char text[65536];
    char path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
    if (read_all(path, text, sizeof(text)) > 0)
        probe_expect(strcmp(text, mounts) == 0, "%s is another one:\n%s", path, text);
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    n = read_all(path, text, sizeof(text));
    for (; *secrets && n > 0; secrets++)
        probe_expect(!memmem(text, (size_t)n, *secrets, strlen(*secrets)), "%s says \"%s\"", path, *secrets);
}

static void look_at(int pid, const char *mounts, char **secrets)
{
    static const char *const files[] = {"mem", "environ", "maps", "pagemap", "auxv", "io", "syscall", "stack", "personality"};
    static const char *const links[] = {"exe", "root", "cwd", "ns/mnt", "ns/net", "ns/user", "fd/3", "fd/4", "fd/5", "fd/6", "fd/7"};
    static const char *const directories[] = {"fd", "fdinfo", "map_files", "root/", "cwd/"};

    try_tables(pid, mounts, secrets);
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        try_link(pid, links[i]);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        try_open(pid, files[i], O_RDONLY);
    try_open(pid, "mem", O_RDWR);
    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
        try_open(pid, directories[i], O_RDONLY | O_DIRECTORY);
}

/* Sockets are the relay's alone, and so is the runner's memory file that it was executed from. */
static void look_at_own(int pid)
{
    char path[64], to[256];

    for (int fd = 0; fd < 16; fd++) {
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
        n = readlink(path, to, sizeof(to));
        if (n > 0)
            probe_expect(!memmem(to, (size_t)n, "socket:", 7) && !memmem(to, (size_t)n, "memfd:", 6), "%s is %.*s", path, (int)n, to);
    }
}

/* watch WORD...: until SIGTERM; none of the words may be read in a command line. Says of each process that it has met how many they are. */
int probe_watch(char **args)
{
    static char mounts[65536];
    static bool known[PIDS_MAX], met[PIDS_MAX];
    const struct sigaction action = {.sa_handler = on_term};
    unsigned count = 0;
    bool first = true;

    sigaction(SIGTERM, &action, NULL);
    probe_expect(read_all("/proc/self/mountinfo", mounts, sizeof(mounts)) > 0, "no mountinfo");
    for (; !over; first = false) {
        DIR *proc = opendir("/proc");
        const struct dirent *e;

        while (proc && (e = readdir(proc))) {
            const int pid = isdigit((unsigned char)e->d_name[0]) ? (int)strtol(e->d_name, NULL, 10) : 0;

            if (pid <= 0 || pid >= PIDS_MAX)
                continue;
            known[pid] |= first;
            if (known[pid])
                continue;
            if (mine(pid)) {
                look_at_own(pid);
                continue;
            }
            look_at(pid, mounts, args);
            if (!met[pid]) {
                met[pid] = true;
                printf("met %u\n", ++count);
                fflush(stdout);
            }
        }
        if (proc)
            closedir(proc);
        if (first) {
            printf("watching\n");
            fflush(stdout);
        }
    }
    return 0;
}

/* terminal ROWS COLUMNS: it is our own, and refuses what reaches into others' */
int probe_terminal(char **args)
{
    struct winsize size = {0};
    struct stat st;
    char c = 'x';

    probe_expect(isatty(0) && isatty(1) && isatty(2), "no terminal");
    probe_expect(ioctl(0, TIOCGWINSZ, &size) == 0 && size.ws_row == strtoul(args[0], NULL, 10) && size.ws_col == strtoul(args[1], NULL, 10),
                 "%u rows, %u columns", size.ws_row, size.ws_col);
    probe_expect(tcgetpgrp(0) == getpid() && getsid(0) == getpid(), "not the controlling terminal of our session");
    probe_expect(fstat(0, &st) == 0 && st.st_uid == getuid() && (st.st_mode & 0777) == 0600, "owner %u mode %o", st.st_uid, st.st_mode);
    probe_refused(ioctl(0, TIOCSTI, &c), "TIOCSTI", 0);
    probe_refused(ioctl(0, 0x541c, &c), "TIOCLINUX", 0);
    probe_expect(open("/dev/ptmx", O_RDWR | O_CLOEXEC) < 0 && open("/dev/pts/ptmx", O_RDWR | O_CLOEXEC) < 0, "there is a ptmx");
    return 0;
}
