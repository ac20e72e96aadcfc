/*
 * fnd_unpack.c: the program of the jail: one request, one archive or one tree to survey, one result (unpack.h). It is started by fnd (unpacker.c) inside its namespaces and by nobody else.
 *
 * The order is the point: libcrypto and jansson (a seed for its tables) start while there are files to read, then the jail is entered, and only then is a byte read that somebody else wrote. It ends with _exit: no handler of a library runs at
 * the end of a process that may have been taken over.
 */
#include "image.h"
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_DEPTH 1000 /* deeper than PATH_MAX lets one reach */

/* Outside its namespaces it would move the host's root. */
static bool started_by_fnd(void)
{
    int type = 0;
    socklen_t len = sizeof(type);

    return getpid() == 1 && getsockopt(UNPACK_FD_SOCKET, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

static int receive_request(struct unpack_request *req, struct diag *d)
{
    ssize_t n = fd_recv(UNPACK_FD_SOCKET, req, sizeof(*req), NULL, 0, NULL, 0);

    if (n != (ssize_t)sizeof(*req) || req->magic != UNPACK_MAGIC)
        return diag_set(d, EPROTO, "not a request to unpack");
    if (req->kind >= UNPACK_KIND_COUNT || req->vars_len > sizeof(req->vars) || (req->vars_len > 0 && req->vars[req->vars_len - 1] != '\0') ||
        req->sets_len > sizeof(req->sets) || (req->sets_len > 0 && req->sets[req->sets_len - 1] != '\0') || !memchr(req->id.name, '\0', sizeof(req->id.name)) ||
        (req->id.name[0] && !name_valid(req->id.name)))
        return diag_set(d, EPROTO, "a request to unpack that cannot be");
    if (req->limits.max_depth > MAX_DEPTH)
        req->limits.max_depth = MAX_DEPTH;
    return 0;
}

static int export(int root, const struct unpack_request *req, struct diag *d)
{
    const size_t room = sizeof(struct spec) + SPEC_STRINGS_MAX;
    cleanup_free struct spec *spec = malloc(room);
    ssize_t n;
    int r;

    if (!spec)
        return diag_set(d, ENOMEM, "out of memory");
    n = fd_recv(UNPACK_FD_SOCKET, spec, room, NULL, 0, NULL, 0);
    if (n < 0 || spec_check(spec, (size_t)n, d) < 0)
        return diag_set(d, EPROTO, "no spec of what is to be exported");
    r = fd_set_nonblock(UNPACK_FD_OUTPUT, 0);
    return r < 0 ? diag_errno(d, -r, "the archive's pipe") : image_export(root, spec, req, d);
}

static int unpack(enum jail_job job, struct digest *g, struct unpack_result *res, struct spec **ret_spec, struct diag *d)
{
    cleanup_free struct unpack_request *req = calloc(1, sizeof(*req));
    struct survey_flush flush;
    struct jail_help help = {.flush = job == JAIL_SURVEY ? &flush : NULL};
    struct image image = IMAGE_NONE(-1, &req->limits);
    cleanup_fd int root = -1;
    int r;

    if (!req)
        return diag_set(d, ENOMEM, "out of memory");
    r = jail_enter(job, &help, &root, d);
    if (r == 0)
        r = receive_request(req, d);
    if (r == 0)
        r = jail_limit(&req->limits, d);
    image.root_fd = root;
    image.digest_thread = help.digest;
    digest_by_thread(g, help.digest);
    if (r == 0 && job == JAIL_SURVEY)
        return survey_all(root, &req->limits, &flush, g, res, d);
    if (r == 0 && job == JAIL_EXPORT)
        return export(root, req, d);
    if (r == 0) /* a pipe may have come with the mode of its other users */
        r = fd_set_nonblock(UNPACK_FD_INPUT, 0);
    if (r == 0)
        r = extract_all(UNPACK_FD_INPUT, &image, res, d);
    if (r == 0)
        r = image_unpack(&image, res, d);
    if (r == 0)
        r = req->kind == UNPACK_RUNTIME ? package_finish_runtime(root, d) : package_finish(root, req, &image, res, ret_spec, d);
    image_done(&image);
    return r;
}

static enum jail_job job_of(const char *word)
{
    return strcmp(word, UNPACK_SURVEY) == 0 ? JAIL_SURVEY : strcmp(word, UNPACK_EXPORT) == 0 ? JAIL_EXPORT : JAIL_EXTRACT;
}

int main(int argc, char **argv)
{
    const enum jail_job job = job_of(argc == 2 ? argv[1] : "");
    struct unpack_result res = {.magic = UNPACK_MAGIC};
    struct digest *g = NULL;
    struct spec *spec = NULL;
    int r;

    if (!started_by_fnd()) {
        fputs("fnd-unpack is started by fnd alone: see fnd(8)\n", stderr);
        return 2;
    }
    json_object_seed(0);
    r = digest_new(&g, &res.diag);
    if (r == 0)
        r = unpack(job, g, &res, &spec, &res.diag);
    if (r < 0 && res.diag.err == 0)
        diag_errno(&res.diag, -r, "unpacking");
    if (spec)
        res.spec_bytes = (uint32_t)spec_size(spec);
    else if (r < 0)
        res = (struct unpack_result){.magic = UNPACK_MAGIC, .diag = res.diag};
    if (fd_send(UNPACK_FD_SOCKET, &res, sizeof(res), NULL, 0, 0) == 0 && spec)
        r = fd_send(UNPACK_FD_SOCKET, spec, spec_size(spec), NULL, 0, 0);
    _exit(r < 0);
}
