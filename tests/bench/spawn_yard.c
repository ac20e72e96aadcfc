/*
 * spawn_yard.c: the yardstick of a start: fork + exec of a server, no sandbox, to its first 200.
 *
 *   spawn_yard COUNT PACE_MS SERVER     prints one line a start: microseconds from before the fork to the answer of GET /ping
 *
 * It polls as the gateway does: connect every 50 us.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
    const struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000ULL), .tv_nsec = (long)(ns % 1000000000ULL)};

    nanosleep(&ts, NULL);
}

static int ask(unsigned port)
{
    static const char request[] = "GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    const struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ok = 0;
    char answer[64];

    if (fd < 0)
        return 0;
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0 && write(fd, request, sizeof(request) - 1) > 0) {
        ssize_t n = read(fd, answer, sizeof(answer));

        ok = n > 12 && memcmp(answer + 9, "200", 3) == 0;
    }
    close(fd);
    return ok;
}

static int start(const char *server, unsigned port)
{
    char text[32];
    char *const argv[] = {(char *)server, NULL}, *const envp[] = {text, NULL};
    uint64_t begin = now_ns(), end = begin + 5000000000ULL;
    pid_t pid;

    snprintf(text, sizeof(text), "PORT=%u", port);
    pid = fork();
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(127);
        execve(server, argv, envp);
        _exit(127);
    }
    while (!ask(port) && now_ns() < end)
        sleep_ns(50000);
    printf("%.1f\n", (double)(now_ns() - begin) / 1000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return now_ns() < end ? 0 : 1;
}

int main(int argc, char **argv)
{
    long count = argc == 4 ? strtol(argv[1], NULL, 10) : 0, pace = argc == 4 ? strtol(argv[2], NULL, 10) : 0;

    if (count <= 0 || count > 10000) {
        fprintf(stderr, "usage: spawn_yard COUNT PACE_MS SERVER\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
    for (long i = 0; i < count; i++) {
        if (start(argv[3], 20000 + (unsigned)i))
            return 1;
        fflush(stdout);
        sleep_ns((uint64_t)pace * 1000000);
    }
    return 0;
}
