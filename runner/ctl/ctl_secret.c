/* ctl_secret.c: a line that nobody sees: from the terminal without echo, which every end of the wait puts back, or from a pipe. Never from argv. */
#include "ctl.h"

#include "fd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

/* One byte at a time: what follows the line in a pipe is somebody else's. -errno; -EINTR: signals (a signalfd, or -1) has one. */
static int read_line(int signals, char *buf, size_t size)
{
    struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    size_t n = 0;

    for (;;) {
        char c;
        ssize_t got;

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return -errno;
        if (p[1].revents)
            return -EINTR;
        got = read(STDIN_FILENO, &c, 1);
        if (got < 0)
            return -errno;
        if (got == 0 && n == 0)
            return -ENODATA;
        if (got == 0 || c == '\n')
            break;
        if (n + 1 == size)
            return -ENAMETOOLONG;
        buf[n++] = c;
    }
    if (n > 0 && buf[n - 1] == '\r')
        n--;
    buf[n] = '\0';
    return 0;
}

/* A signal that comes meanwhile is left pending, and does what it does when the echo is back. */
static int read_hidden(const char *prompt, char *buf, size_t size)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    struct termios shown, hidden;
    cleanup_fd int signals = -1;
    sigset_t set, before;
    int r;

    if (tcgetattr(STDIN_FILENO, &shown) < 0)
        return -errno;
    sigemptyset(&set);
    for (size_t i = 0; i < CTL_COUNT(numbers); i++)
        sigaddset(&set, numbers[i]);
    sigprocmask(SIG_BLOCK, &set, &before);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    fprintf(stderr, "%s: ", prompt);
    fflush(stderr);
    r = read_line(signals, buf, size);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    fputc('\n', stderr);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}

int ctl_secret_read(const char *prompt, bool twice, char *buf, size_t size, struct diag *d)
{
    bool terminal = isatty(STDIN_FILENO);
    int r = terminal ? read_hidden(prompt, buf, size) : read_line(-1, buf, size);
    char again[SECRET_MAX + 1];

    if (r == -ENODATA)
        return diag_set(d, EINVAL, "nothing came on standard input: the secret is expected there, as one line");
    if (r == -ENAMETOOLONG)
        return diag_set(d, EINVAL, "that is longer than %zu bytes", size - 1);
    if (r < 0)
        return diag_errno(d, -r, "standard input");
    if (!twice || !terminal)
        return 0;
    r = read_hidden("once more", again, sizeof(again));
    if (r < 0 || strcmp(buf, again) != 0)
        r = diag_set(d, EINVAL, "the two differ: nothing was changed");
    explicit_bzero(again, sizeof(again));
    return r;
}
