/*
 * shortway.c: which connections to instances ask the runner's programs for the short way (sockmap.h), and which requests go there. What the programs take for granted is kept here: a request goes out in one message, when
 * the whole answer before it has been read and nothing else has come; nothing but such requests is sent. So requests with more body than is there already, upgrades and large heads have connections of their own.
 *
 * If nobody attached the programs, or the kernel did not take a connection in, all goes by TCP: the connection then works as any other does.
 */
#include "../http/http.h"
#include "../worker.h"
#include "fd.h"
#include "sockmap.h"
#include "upstream.h"

#include <sys/socket.h>

/* A runner that was started anew brings new maps. Connections may still be in those before; of two starts ago there are none that are in use for something short. */
void shortway_hold(struct worker *w, unsigned end, int fd)
{
    fd_close(w->short_maps_before[end]);
    w->short_maps_before[end] = w->short_maps[end];
    w->short_maps[end] = fd;
    if (w->short_maps[0] >= 0 && w->short_maps[1] >= 0)
        atomic_store(&w->picture.gateway->sockmap, true);
}

void shortway_done(struct worker *w)
{
    for (unsigned end = 0; end < RECORD_SOCKMAP_ENDS; end++) {
        w->short_maps[end] = fd_close(w->short_maps[end]);
        w->short_maps_before[end] = fd_close(w->short_maps_before[end]);
    }
}

static uint64_t request_bytes(const struct exchange *ex)
{
    const struct buffer *head = ex->up_flow.head;

    return (head ? head->end : SOCKMAP_BYTES) + (ex->rq.body == BODY_LENGTH ? ex->rq.length : 0);
}

bool shortway_fits(const struct exchange *ex)
{
    const struct buffer *in = ex->conn->in;

    if (!atomic_load_explicit(&ex->worker->picture.gateway->sockmap, memory_order_relaxed) || ex->rq.upgrade || ex->rq.expects_continue)
        return false;
    if (ex->rq.body == BODY_LENGTH && (!in || buffer_len(in) < ex->rq.length || ex->up_bytes_lost))
        return false;
    return (ex->rq.body == BODY_NONE || ex->rq.body == BODY_LENGTH) && request_bytes(ex) <= SOCKMAP_BYTES;
}

void shortway_ask(int fd)
{
    const int priority = SOCKMAP_PRIORITY;

    setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority));
}

void shortway_count(struct upconn *u)
{
    if (u->sock.mapped)
        u->short_cost += (uint32_t)request_bytes(u->ex) + SOCKMAP_COST;
}

bool shortway_is_worn(const struct upconn *u)
{
    return u->sock.mapped && u->short_cost > SOCKMAP_LIFETIME - SOCKMAP_BYTES - SOCKMAP_COST;
}
