/*
 * api_exec.c: POST /functions/FN/exec: a command beside a function. The gateway chooses the instance and hands the client's connection to the runner, which hands it to a process in the sandbox: no byte of the
 * session passes through here, so there is nothing to copy, to bound or to get wrong, and a session outlives the gateway.
 */
#include "api_private.h"

#include "diag.h"
#include "execframe.h"
#include "fd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(EXEC_TERM_MAX == sizeof(((struct record_exec *)0)->term), "one length of TERM");

/* The oldest that is READY, so that one who asks twice meets the same. */
static const struct gw_instance *choose(const struct gw_function *f, const char *name)
{
    const struct gw_instance *best = NULL;

    for (const struct gw_instance *i = f->instances; i; i = i->next) {
        if (name ? strcmp(i->rec.name, name) != 0 : i->rec.state != INSTANCE_READY)
            continue;
        if (!best || i->rec.started_real_ns < best->rec.started_real_ns)
            best = i;
    }
    return best;
}

static int add_args(const struct query *q, struct record_exec *rec, struct diag *d)
{
    for (unsigned i = 0; i < q->count; i++) {
        const char *v = q->params[i].value;
        size_t len = strlen(v) + 1;

        if (strcmp(q->params[i].key, "arg") != 0)
            continue;
        if (len > sizeof(rec->args) - rec->args_len)
            return diag_set(d, E2BIG, "the command is longer than %zu bytes: put it into a file, or send it to a shell's standard input", sizeof(rec->args));
        memcpy(rec->args + rec->args_len, v, len);
        rec->args_len += (uint32_t)len;
        rec->argc++;
    }
    return rec->argc ? 0 : diag_set(d, EINVAL, "there is no command: arg=WORD for each word of it");
}

static int fill(const struct api_call *c, const struct gw_function *f, struct record_exec *rec, struct diag *d)
{
    const char *name = query_get(&c->query, "instance"), *terminal = query_get(&c->query, "terminal"), *term = query_get(&c->query, "term");
    const struct gw_instance *i = choose(f, name);
    bool tty = false;

    if (!i)
        return name ? diag_set(d, ESRCH, "%s has no instance %.80s", c->name, name)
                    : diag_set(d, ESRCH, "%s has no instance that is ready: `fnctl status %s` says why", c->name, c->name);
    if (terminal && str_parse_bool(terminal, &tty) < 0)
        return diag_set(d, EINVAL, "terminal=\"%.20s\" is neither 1 nor 0", terminal);
    if (term && str_copy(rec->term, sizeof(rec->term), term) < 0)
        return diag_set(d, EINVAL, "term=\"%.20s...\" is too long", term);
    rec->fn = f->rec.fn;
    rec->tty = tty;
    rec->uid = (uint32_t)exchange_request(c->ex)->peer_uid;
    memcpy(rec->instance, i->rec.name, sizeof(rec->instance));
    return add_args(&c->query, rec, d);
}

static void on_joined(struct api_call *c, const struct record_reply *reply, int fd)
{
    struct exchange *ex = c->ex;
    char headers[NAME_INSTANCE_MAX + 32];

    fd_close(fd);
    snprintf(headers, sizeof(headers), "Fnd-Instance: %s\r\n", (const char *)c->state);
    api_audit(c, 101);
    api_call_free(c);
    exchange_hand_over(ex, EXEC_PROTOCOL, headers);
}

static void free_name(struct api_call *c)
{
    free(c->state);
}

void api_exec(struct api_call *c)
{
    const struct gw_function *f = api_call_function(c);
    struct record_exec rec = {.head = RECORD_INIT(RECORD_EXEC, 0)};
    struct diag d = {0};
    int fd;

    if (!f)
        return;
    if (exchange_request(c->ex)->listener != LISTENER_API) {
        api_fail_set(c, EOPNOTSUPP, "exec works over the daemon's unix socket only: run fnctl on that host (ssh HOST fnctl exec ...)");
        return;
    }
    fd = exchange_connection(c->ex);
    if (!exchange_request(c->ex)->exec)
        api_fail_set(c, EINVAL, "this call needs \"Connection: Upgrade\" and \"Upgrade: " EXEC_PROTOCOL "\", and no body");
    else if (fd < 0)
        api_fail_set(c, EINVAL, "bytes came before the answer");
    else if (fill(c, f, &rec, &d) < 0)
        api_fail(c, &d);
    else if (!(c->state = strdup(rec.instance)))
        api_fail_set(c, ENOMEM, "not enough memory");
    else {
        c->free_state = free_name;
        api_ask_with(c, &rec.head, fd, on_joined);
    }
}
