/* handshake.c: the TLS handshake of a client's connection. Its time is that of a head; nothing is kept of one that fails. */
#include "http.h"

#include "../h2/h2.h"
#include "../tls/tls.h"
#include "../worker.h"

#include <errno.h>

/* Somebody speaks HTTP to the port of TLS: he can read an answer. */
static void answer_plain(struct conn *c)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 46\r\nConnection: close\r\n\r\nthis port speaks TLS: "
                               "use https:// in the URL\n";
    struct outq out = {0};

    tls_abandon(&c->sock);
    outq_add(&out, text, sizeof(text) - 1);
    sock_send(&c->sock, &out); /* a socket that took nothing so far takes it whole */
    conn_linger(c);
}

bool handshake_run(struct conn *c)
{
    int r = c->sock.ops ? 0 : tls_accept(c->worker->picture.gateway->tls, &c->sock);

    if (r == 0)
        r = tls_handshake(&c->sock);
    if (r == -EAGAIN)
        return false;
    if (r == -EPROTOTYPE) {
        answer_plain(c);
        return true;
    }
    if (r < 0) {
        conn_close(c);
        return false;
    }
    c->tls_due = false;
    c->secure = true;
    if (tls_chose_h2(&c->sock) && h2_start(c) < 0) {
        conn_close(c);
        return false;
    }
    return true;
}
