/*
 * stdio_yard.c: what a process per request costs at the least, and a peer's program.
 *
 *   stdio_yard COUNT BYTES COMMAND [ARGUMENT]...    prints one line a request: microseconds from two pipes to the end of COMMAND, which was given BYTES and whose output was read: vfork, exec, wait, and nothing else
 *   stdio_yard                                      with REQUEST_METHOD set (CGI/1.1, RFC 3875): its standard input, after a head that says how long it is
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char buffer[65536];

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "stdio_yard: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0)
            die("write");
        data += n;
        len -= (size_t)n;
    }
}

static void request(size_t bytes, char **command)
{
    int in[2], out[2], status;
    ssize_t n;
    pid_t pid;

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        die("pipe2");
    pid = vfork();
    if (pid < 0)
        die("vfork");
    if (pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execv(command[0], command);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    write_all(in[1], buffer, bytes);
    close(in[1]);
    while ((n = read(out[0], buffer, sizeof(buffer))) > 0)
        continue;
    close(out[0]);
    if (waitpid(pid, &status, 0) < 0 || status != 0)
        die(command[0]);
}

static int cgi(const char *length)
{
    ssize_t n;

    printf("Content-Type: application/octet-stream\r\nContent-Length: %s\r\n\r\n", length ? length : "0");
    fflush(stdout);
    while ((n = read(STDIN_FILENO, buffer, sizeof(buffer))) > 0)
        write_all(STDOUT_FILENO, buffer, (size_t)n);
    return 0;
}

int main(int argc, char **argv)
{
    size_t bytes;

    if (getenv("REQUEST_METHOD"))
        return cgi(getenv("CONTENT_LENGTH"));
    bytes = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (argc < 4 || bytes > sizeof(buffer)) {
        fprintf(stderr, "usage: stdio_yard COUNT BYTES COMMAND [ARGUMENT]...\n");
        return 2;
    }
    for (unsigned long i = strtoul(argv[1], NULL, 10); i > 0; i--) {
        uint64_t begin = now_ns();

        request(bytes, argv + 3);
        printf("%.1f\n", (double)(now_ns() - begin) / 1000);
    }
    return 0;
}
