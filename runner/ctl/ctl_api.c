/*
 * ctl_api.c: calls over the daemon's unix socket, by libcurl's multi interface, so that watches are served meanwhile. The one place that knows libcurl and
 * its codes.
 *
 * A server may answer before it has read the whole body (an archive that is too large, a name that is not valid) and close. Its answer is what the person
 * must see, so: before each piece is sent, the
 * socket is looked at, and with something to read there sending pauses; and should the server have closed in the instant between (EPIPE), the answer is
 * still in the socket's queue and is read from a duplicate of
 * the descriptor.
 */
#include "ctl.h"

#include "api.h"
#include "clock.h"
#include "fd.h"
#include "version.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ANSWER_MAX     (64U << 20)
#define ERROR_MAX      65536U
#define RECOVERED_MAX  (4U << 20) /* more than a socket holds */
#define CALL_TIMEOUT_S 120L
#define POLL_MS        1000

enum sending { SENDING, WAITS_FOR_BODY, WAITS_FOR_SERVER };

struct transfer {
    struct ctl *ctl;
    struct api_call *call;
    CURL *easy;
    struct curl_slist *headers;
    char *target; /* of a remote daemon; owned */
    enum sending sending;
    int sock; /* a duplicate of the connection's descriptor; of calls with a body only */
    uint64_t received;
    char error[CURL_ERROR_SIZE];
};

struct api {
    CURLM *multi;
    CURL *easy;
};

void ctl_api_free(struct ctl *ctl)
{
    if (!ctl->api)
        return;
    curl_easy_cleanup(ctl->api->easy);
    curl_multi_cleanup(ctl->api->multi);
    curl_global_cleanup();
    free(ctl->api);
    ctl->api = NULL;
}

static int api_need(struct ctl *ctl)
{
    if (ctl->api)
        return 0;
    ctl->api = calloc(1, sizeof(*ctl->api));
    if (!ctl->api || curl_global_init(CURL_GLOBAL_NOTHING) != 0)
        return -ENOMEM;
    ctl->api->multi = curl_multi_init();
    ctl->api->easy = curl_easy_init();
    return ctl->api->multi && ctl->api->easy ? 0 : -ENOMEM;
}

void ctl_api_call_done(struct api_call *c)
{
    strbuf_done(&c->answer);
    json_decref(c->error);
    c->error = NULL;
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return fd >= 0 && poll(&p, 1, 0) > 0;
}

static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
    struct transfer *t = arg;
    int fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);

    if (fd >= 0 && t->call->body) {
        fd_close(t->sock);
        t->sock = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    }
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static size_t on_read(char *buf, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    struct body *b = t->call->body;
    ssize_t n;

    if (readable(t->sock)) {
        t->sending = WAITS_FOR_SERVER;
        return CURL_READFUNC_PAUSE;
    }
    n = b->read(b, buf, size * count);
    if (n == -EAGAIN) {
        t->sending = WAITS_FOR_BODY;
        return CURL_READFUNC_PAUSE;
    }
    return n < 0 ? CURL_READFUNC_ABORT : (size_t)n;
}

/* To whom it may concern: on_data for what the caller asked for, the collected answer for the rest. */
static int deliver(struct transfer *t, int status, const char *data, size_t len)
{
    struct api_call *c = t->call;
    bool good = status >= 200 && status < 300;

    t->received += len;
    c->status = status;
    if (c->on_data && (c->raw || good)) {
        c->data_err = c->on_data(c->arg, data, len);
        return c->data_err;
    }
    if (c->answer.len + len > (good ? ANSWER_MAX : ERROR_MAX))
        return -EFBIG;
    strbuf_add(&c->answer, data, len);
    return c->answer.failed ? -ENOMEM : 0;
}

static size_t on_write(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    long status = 0;

    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    return deliver(t, (int)status, data, size * count) < 0 ? 0 : size * count;
}

static void set_body(struct transfer *t)
{
    struct api_call *c = t->call;

    if (!c->body) {
        curl_easy_setopt(t->easy, strcmp(c->method, "HEAD") == 0 ? CURLOPT_NOBODY : CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, c->method);
        return;
    }
    curl_easy_setopt(t->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, c->method);
    curl_easy_setopt(t->easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)c->body->size);
    curl_easy_setopt(t->easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L); /* so that on_socket() sees the connection */
    curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
}

static int set_headers(struct transfer *t)
{
    static const char *const fixed[] = {"Expect:", "Accept: application/json"};
    struct api_call *c = t->call;
    unsigned nfixed = c->raw ? 1 : 2;

    for (unsigned i = 0; i < nfixed + c->nheaders; i++) {
        struct curl_slist *grown = curl_slist_append(t->headers, i < nfixed ? fixed[i] : c->headers[i - nfixed]);

        if (!grown)
            return -ENOMEM;
        t->headers = grown;
    }
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    return 0;
}

static void set_socket(struct transfer *t)
{
    curl_easy_setopt(t->easy, CURLOPT_URL, "http://localhost/");
    curl_easy_setopt(t->easy, CURLOPT_UNIX_SOCKET_PATH, t->ctl->socket);
    curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
}

/* The credentials are for the API: a function that is called does not get them. */
static void set_remote(struct transfer *t, const struct remote *r)
{
    bool api = strncmp(t->call->target, API_PREFIX "/", sizeof(API_PREFIX)) == 0;

    struct remote functions;
    bool elsewhere = !api && *r->functions && ctl_remote_parse(r->functions, &functions, NULL) == 0;
    const struct remote *to = elsewhere ? &functions : r;

    curl_easy_setopt(t->easy, CURLOPT_URL, to->origin);
    if (!to->https) /* http_proxy would have it carry the credentials for this very host elsewhere, in clear */
        curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
    if (asprintf(&t->target, "%s%s%s", to->path, api ? "/admin" : "", t->call->target) < 0)
        t->target = NULL;
    if (*r->cacert)
        curl_easy_setopt(t->easy, CURLOPT_CAINFO, r->cacert);
    if (!api)
        return;
    if (ctl_remote_is_token(r->secret)) {
        curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(t->easy, CURLOPT_XOAUTH2_BEARER, r->secret);
    } else {
        curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(t->easy, CURLOPT_USERNAME, "admin");
        curl_easy_setopt(t->easy, CURLOPT_PASSWORD, r->secret);
    }
}

static int transfer_set(struct transfer *t)
{
    CURL *easy = t->easy;

    curl_easy_reset(easy);
    if (t->ctl->is_remote)
        set_remote(t, &t->ctl->remote);
    else
        set_socket(t);
    curl_easy_setopt(easy, CURLOPT_REQUEST_TARGET, t->target ? t->target : t->call->target); /* byte for byte: libcurl would resolve dot segments */
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "fnctl/" FND_VERSION);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, t->call->no_timeout ? 0L : CALL_TIMEOUT_S);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, t);
    set_body(t);
    return t->ctl->is_remote && !t->target ? -ENOMEM : set_headers(t);
}

/* Sending goes on when the body has something, or when what the server said was no final answer. */
static void resume(struct transfer *t)
{
    bool now = t->sending == WAITS_FOR_BODY ? readable(t->call->body->wait_fd) || readable(t->sock) : t->sending == WAITS_FOR_SERVER && !readable(t->sock);

    if (!now)
        return;
    t->sending = SENDING;
    curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

/* Until the transfer ends (0, its code in *ret) or a watch stops it. */
static int transfer_run(struct transfer *t, CURLcode *ret)
{
    CURLM *multi = t->ctl->api->multi;

    for (;;) {
        struct curl_waitfd extra[CTL_WATCHES + 1];
        unsigned n = 0;
        int running = 0, left;
        CURLMsg *msg;

        curl_multi_perform(multi, &running);
        msg = curl_multi_info_read(multi, &left);
        if (msg && msg->msg == CURLMSG_DONE) {
            *ret = msg->data.result;
            return 0;
        }
        if (!running)
            return -EIO;
        for (; n < t->ctl->nwatches; n++)
            extra[n] = (struct curl_waitfd){.fd = t->ctl->watches[n].fd, .events = CURL_WAIT_POLLIN};
        if (t->sending == WAITS_FOR_BODY)
            extra[n++] = (struct curl_waitfd){.fd = t->call->body->wait_fd, .events = CURL_WAIT_POLLIN};
        curl_multi_poll(multi, extra, n, t->sending == WAITS_FOR_SERVER ? 10 : POLL_MS, NULL);
        if (ctl_wait(t->ctl, -1, 0, 0) == -ECANCELED)
            return -ECANCELED;
        resume(t);
    }
}

/* The answer that arrived before libcurl's write failed; its own head and body, since libcurl has read none of it. */
static void recover_answer(struct transfer *t)
{
    struct strbuf raw cleanup_strbuf = {0};
    struct pollfd p = {.fd = t->sock, .events = POLLIN};
    size_t len = 0;
    char buf[4096], *body = NULL;
    int status = 0;

    while (t->sock >= 0 && raw.len < RECOVERED_MAX && poll(&p, 1, POLL_MS) > 0) {
        ssize_t n = recv(t->sock, buf, sizeof(buf), MSG_DONTWAIT);

        if (n <= 0)
            break;
        strbuf_add(&raw, buf, (size_t)n);
    }
    if (raw.len && !raw.failed && ctl_answer_parse(raw.data, raw.len, &status, &body, &len) == 0 && deliver(t, status, body, len) == 0)
        t->call->status = status;
}

/* Was the whole answer there although sending failed? (A server need not read a body that it does not want.) */
static bool answer_complete(const struct transfer *t)
{
    curl_off_t expected = -1;

    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &expected);
    return t->call->status >= 200 && (expected < 0 || (uint64_t)expected == t->received);
}

int ctl_fail_connect(const struct ctl *ctl, int err)
{
    const int code = ctl_exit_of_connect(err);

    if (code == CTL_DENIED)
        return ctl_fail(code, "%s: %s: use sudo, or join the group fnd (usermod -aG fnd USER)", ctl->socket, strerror(err));
    return ctl_fail(code, "no daemon answers on %s%s%s: start it (systemctl start fnd), or serve a function without one (fnctl run NAME)", ctl->socket,
                    err ? ": " : "", err ? strerror(err) : "");
}

static int fail_connect(const struct transfer *t)
{
    long err = 0;

    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &err);
    if (t->ctl->is_remote)
        return ctl_fail(CTL_NO_DAEMON, "no daemon answers at %s: %s", t->ctl->remote.origin, err ? strerror((int)err) : t->error);
    return ctl_fail_connect(t->ctl, (int)err);
}

static int fail_transfer(const struct transfer *t, CURLcode code)
{
    const struct api_call *c = t->call;

    if (c->quiet)
        return CTL_NO_DAEMON;
    if (code == CURLE_COULDNT_CONNECT)
        return fail_connect(t);
    if (code == CURLE_COULDNT_RESOLVE_HOST)
        return ctl_fail(CTL_NO_DAEMON, "%s: %s", t->ctl->remote.origin, t->error);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return ctl_fail(CTL_DENIED, "%s: %s: if its certificate is your own, name it with --cacert FILE", t->ctl->remote.origin, t->error);
    if (code == CURLE_WRITE_ERROR && c->data_err < 0)
        return c->data_err == -ECANCELED ? CTL_FAILED : ctl_fail(CTL_FAILED, "standard output: %s", strerror(-c->data_err));
    if (code == CURLE_ABORTED_BY_CALLBACK && c->body && c->body->diag.err)
        return ctl_fail_diag(CTL_FAILED, &c->body->diag);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return ctl_fail(CTL_FAILED, "%s %s: no answer within %ld s", c->method, c->target, CALL_TIMEOUT_S);
    return ctl_fail(CTL_FAILED, "%s %s: the daemon broke off: %s", c->method, c->target, t->error[0] ? t->error : curl_easy_strerror(code));
}

/* The object in an error answer. */
static void parse_error(struct api_call *c)
{
    c->error = c->answer.len ? json_loadb(c->answer.data, c->answer.len, 0, NULL) : NULL;
    if (!json_is_object(c->error)) {
        json_decref(c->error);
        c->error = NULL;
    }
}

/* The command line is refused by the same codes, in messages that begin with what it says. */
static bool is_about_body(const char *code, const char *message)
{
    static const char *const codes[] = {"invalid", "bad_archive", "not_supported", "too_large"};
    static const char *const others[] = {"--", "deploy:", "var=", "replicas=", "function.ini with --set", "the function has no name"};

    for (size_t i = 0; i < CTL_COUNT(others); i++)
        if (strncmp(message, others[i], strlen(others[i])) == 0)
            return false;
    for (size_t i = 0; i < CTL_COUNT(codes); i++)
        if (strcmp(code, codes[i]) == 0)
            return true;
    return false;
}

static int fail_answer(struct api_call *c)
{
    const char *message, *text = c->answer.len ? c->answer.data : "";
    int code;

    parse_error(c);
    code = ctl_exit_of_answer(c->status, c->error ? ctl_json_text(c->error, "error", NULL) : NULL);
    if (c->error && c->expects && c->expects(c->arg, c->error))
        return code;
    message = c->error ? ctl_json_text(c->error, "message", NULL) : NULL;
    if (message && c->subject && is_about_body(ctl_json_text(c->error, "error", ""), message))
        return ctl_fail(code, "%s: %s", c->subject, message);
    if (message)
        return ctl_fail(code, "%s", message);
    if (*text)
        return ctl_fail(code, "%s %s: %d: %.*s", c->method, c->target, c->status, (int)strcspn(text, "\r\n"), text);
    return ctl_fail(code, "%s %s: the daemon answered with status %d", c->method, c->target, c->status);
}

static int transfer_result(struct transfer *t, CURLcode code)
{
    struct api_call *c = t->call;
    long status = 0;

    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    c->status = (int)status;
    if (code == CURLE_SEND_ERROR && c->status < 200 && !(t->ctl->is_remote && t->ctl->remote.https))
        recover_answer(t);
    if (code != CURLE_OK && !(code == CURLE_SEND_ERROR && (c->status >= 300 || answer_complete(t))))
        return fail_transfer(t, code);
    if (c->raw || (c->status >= 200 && c->status < 300))
        return CTL_OK;
    return fail_answer(c);
}

int ctl_api_perform(struct ctl *ctl, struct api_call *c)
{
    struct transfer t = {.ctl = ctl, .call = c, .sock = -1};
    uint64_t begin = clock_mono_ns();
    CURLcode code = CURLE_OK;
    int r;

    r = ctl_remote_need(ctl);
    if (r != CTL_OK)
        return r;
    if (!ctl->is_remote && strlen(ctl->socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return ctl_fail(CTL_USAGE, "--socket %.40s...: a socket's path has at most 107 bytes", ctl->socket);
    if (api_need(ctl) < 0)
        return ctl_fail(CTL_FAILED, "out of memory");
    t.easy = ctl->api->easy;
    r = transfer_set(&t);
    if (r == 0) {
        curl_multi_add_handle(ctl->api->multi, t.easy);
        r = transfer_run(&t, &code);
        if (r == 0)
            r = transfer_result(&t, code);
        else
            r = r == -ECANCELED ? CTL_FAILED : ctl_fail(CTL_FAILED, "%s %s: %s", c->method, c->target, strerror(-r));
        curl_multi_remove_handle(ctl->api->multi, t.easy);
    } else {
        r = ctl_fail(CTL_FAILED, "out of memory");
    }
    curl_easy_setopt(t.easy, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(t.easy, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_setopt(t.easy, CURLOPT_PASSWORD, NULL);
    curl_easy_setopt(t.easy, CURLOPT_XOAUTH2_BEARER, NULL);
    curl_slist_free_all(t.headers);
    free(t.target);
    fd_close(t.sock);
    if (ctl->o->verbose)
        fprintf(stderr, "%s %s %d %.1f ms\n", c->method, c->target, c->status, (double)(clock_mono_ns() - begin) / NS_PER_MS);
    return r;
}

int ctl_api_json(struct ctl *ctl, const char *method, const char *target, const char *body, json_t **ret)
{
    static const char *const type[] = {"Content-Type: application/json"};
    struct body b;
    struct api_call c = {.method = method, .target = target};
    json_t *j cleanup_json = NULL;
    int r;

    ctl_body_init(&b);
    if (body) {
        ctl_body_text(&b, body);
        c.body = &b;
        c.headers = type;
        c.nheaders = 1;
    }
    r = ctl_api_perform(ctl, &c);
    if (r == CTL_OK && ret) {
        j = json_loadb(c.answer.len ? c.answer.data : "", c.answer.len, 0, NULL);
        if (json_is_object(j))
            *ret = json_incref(j);
        else
            r = ctl_fail(CTL_FAILED, "%s %s: the answer is no JSON object: is this fnd's socket?", method, target);
    }
    ctl_api_call_done(&c);
    return r;
}

int ctl_api_function(const char *name, char *buf)
{
    struct diag d = {0};
    struct fn_id id;

    if (name_parse(name, &id, &d) < 0)
        return ctl_fail_diag(CTL_USAGE, &d);
    name_format(&id, buf);
    return CTL_OK;
}

void ctl_api_quote(struct strbuf *b, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("-._~", *p))
            strbuf_add(b, p, 1);
        else
            strbuf_printf(b, "%%%02X", *p);
    }
}

int ctl_api_change(struct ctl *ctl, const char *method, const char *name, const char *action, const char *body, json_t **ret)
{
    char fn[NAME_FUNCTION_MAX + 1], target[512];
    int r = ctl_api_function(name, fn);

    if (r != CTL_OK)
        return r;
    snprintf(target, sizeof(target), API_PREFIX "/functions/%s%s%s", fn, action ? "/" : "", action ? action : "");
    return ctl_api_json(ctl, method, target, body, ret);
}
