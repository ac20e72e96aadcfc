/* stdio_log.c: what goes into the instance's log: standard error of all processes as it comes, and the lines that tools of the classic watchdog look for. */
#include "stdio_server.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_PIECE 8192
#define LOG_TURN  (64U * 1024) /* of standard error at once: what a pipe holds */

/* Lines of our own go to the file together: two writes for each line are 5 % of a short request. Who watches the log sees them this much later, and whoever kills us this soon takes them away. */
#define SAID_NS UINT64_C(5000000)

void stdio_log_bytes(struct stdio *s, const void *data, size_t len)
{
    if (s->alone)
        (void)!write(STDERR_FILENO, data, len);
    else
        (void)ringlog_write(&s->in.log, data, len);
}

void stdio_log_flush(struct stdio *s)
{
    if (s->said_len > 0)
        stdio_log_bytes(s, s->said, s->said_len);
    s->said_len = 0;
}

uint64_t stdio_log_due(const struct stdio *s)
{
    return s->said_len > 0 ? s->said_at_ns + SAID_NS : STDIO_NEVER;
}

void stdio_log(struct stdio *s, const char *text)
{
    const size_t len = strlen(text);

    if (len > sizeof(s->said) - s->said_len)
        stdio_log_flush(s);
    if (s->said_len == 0)
        s->said_at_ns = s->now_ns;
    memcpy(s->said + s->said_len, text, len); /* no text of ours is longer than `said` */
    s->said_len += len;
}

void stdio_log_errors(struct stdio *s)
{
    char buffer[LOG_PIECE];

    for (size_t all = 0; all < LOG_TURN;) {
        const ssize_t n = read(s->err_fd, buffer, sizeof(buffer));

        if (n <= 0)
            return;
        stdio_log_flush(s);
        stdio_log_bytes(s, buffer, (size_t)n);
        all += (size_t)n;
        if ((size_t)n < sizeof(buffer))
            return;
    }
}

/* 0.001194 */
char *stdio_put_seconds(char *buf, size_t size, uint64_t ns)
{
    char micros[] = ".000000";
    uint64_t us = ns / 1000 % 1000000;

    for (size_t i = sizeof(micros) - 2; us; us /= 10)
        micros[i--] = (char)('0' + us % 10);
    return init_puts(init_putn(buf, size, ns / 1000000000), size, micros);
}

/* As Go's exec.ExitError has it. */
void stdio_put_result(char *buf, size_t size, const struct stdio_conn *c)
{
    buf[0] = '\0';
    if (!c->ended)
        return;
    if (WIFSIGNALED(c->status)) {
        const char *name = sigdescr_np(WTERMSIG(c->status));
        size_t at;

        init_puts(buf, size, "signal: ");
        at = strlen(buf);
        if (name)
            init_puts(buf, size, name);
        else
            init_putn(init_puts(buf, size, "signal "), size, (unsigned)WTERMSIG(c->status));
        if (at < size && buf[at] >= 'A' && buf[at] <= 'Z')
            buf[at] |= 0x20;
    } else if (WEXITSTATUS(c->status) != 0) {
        init_putn(init_puts(buf, size, "exit status "), size, (unsigned)WEXITSTATUS(c->status));
    }
}

void stdio_log_wrote(struct stdio *s, const struct stdio_conn *c)
{
    static const char *const ends[] = {
        [STDIO_END_NONE] = "",
        [STDIO_END_TIMEOUT] = "Killed: its time was over (exec_timeout, X-Timeout, [limits] timeout).\n",
        [STDIO_END_SLOW_BODY] = "Killed: the request did not come within read_timeout.\n",
        [STDIO_END_SLOW_ANSWER] = "Killed: the answer was not taken within write_timeout.\n",
        [STDIO_END_GONE] = "Killed: the client has gone away.\n",
        [STDIO_END_LARGE] = "Killed: its output is larger than a quarter of its memory, which mode = serializing cannot hold.\n",
        [STDIO_END_BROKEN] = "Killed: the request's body is broken.\n",
    };
    char line[160] = "", result[64];

    stdio_put_result(result, sizeof(result), c);
    if (*ends[c->end])
        stdio_log(s, ends[c->end]);
    else if (*result)
        init_puts(init_puts(init_puts(line, sizeof(line), "Success=false, Error="), sizeof(line), result), sizeof(line), "\n");
    init_putn(init_puts(line, sizeof(line), "Wrote "), sizeof(line), c->written);
    stdio_put_seconds(init_puts(line, sizeof(line), " Bytes - Duration: "), sizeof(line), s->now_ns - c->since_ns);
    init_puts(line, sizeof(line), "s\n");
    stdio_log(s, line);
}
