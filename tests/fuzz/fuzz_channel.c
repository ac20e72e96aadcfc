/* What a parked child says to the runner (sandbox_on_channel), and what fnd-unpack says (unpacker_on_socket): both may have been taken over. */
#include "fuzz_patch.h"

#include "../../runner/sandbox/sandbox_private.h"

#include "diag.h"
#include "fd.h"
#include "sandbox.h"
#include "spec.h"
#include "unpacker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A message: what is well-formed, patched, and perhaps of another length. */
static void say(struct patches *p, int sock, const void *what, size_t len)
{
    unsigned char *copy = calloc(1, len + 64);
    int fds[2] = {sock, sock};

    if (!copy)
        return;
    memcpy(copy, what, len);
    for (unsigned n = patch_byte(p) % 6; n > 0; n--)
        patch_apply(p, copy, len);
    if (patch_byte(p) % 8 == 0)
        len = len - len * patch_byte(p) / 256 + patch_byte(p) % 64;
    fd_send(sock, copy, len, fds, patch_byte(p) % 3, MSG_DONTWAIT);
    free(copy);
}

static void child(struct patches *p, int ends[2])
{
    struct child_report report = {.kind = CHILD_PARKED};
    struct sandbox_child c = {.pid_fd = -1, .channel_fd = ends[0], .netns_fd = -1};

    c.stage = patch_byte(p) % (SANDBOX_RUNNING + 1);
    for (unsigned n = 0; n < 4 && p->left > 0; n++) {
        struct diag d = {0};

        report.kind = patch_byte(p) % 3;
        report.err = (int32_t)patch_number(p);
        report.op = patch_byte(p) % 2 ? patch_byte(p) : patch_number(p);
        say(p, ends[1], &report, sizeof(report));
        sandbox_on_channel(&c, &d);
    }
    fd_close(c.netns_fd);
}

static void jail(struct patches *p, int ends[2], int staging)
{
    struct unpacker u = UNPACKER_NONE;
    struct unpack_result res = {.magic = UNPACK_MAGIC, .bytes = 5, .entries = 2}, got;
    struct spec *spec = calloc(1, sizeof(*spec) + 8), *ret = NULL;
    struct diag d = {0};

    if (!spec)
        return;
    spec_init(spec);
    snprintf(spec->name, sizeof(spec->name), "hello");
    memcpy(spec->strings, "/server", 8);
    spec->strings_len = 8;
    spec->argc = 1;
    u.job = patch_byte(p) % 2 ? UNPACKER_SURVEY : UNPACKER_EXTRACT;
    u.socket_fd = ends[0];
    u.staging_fd = staging;
    u.limits = (struct unpack_limits){.max_bytes = 100, .max_entries = 10};
    if (u.job == UNPACKER_SURVEY)
        memset(res.sha256, 'a', 64);
    else
        res.spec_bytes = (uint32_t)spec_size(spec);
    say(p, ends[1], &res, sizeof(res));
    say(p, ends[1], spec, spec_size(spec));
    for (unsigned n = 0; n < 3; n++)
        if (unpacker_on_socket(&u, &got, &ret, &d) != -EAGAIN)
            break;
    free(ret);
    free(spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int staging = -1;
    struct patches p = {.at = data, .left = size};
    int ends[2];

    if (staging < 0) {
        char top[] = "/tmp/fuzz-staging-XXXXXX";

        if (!mkdtemp(top))
            abort();
        staging = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (staging < 0 || mkdirat(staging, UNPACK_ROOTFS, 0755) < 0)
            abort();
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return 0;
    if (patch_byte(&p) % 2)
        child(&p, ends);
    else
        jail(&p, ends, staging);
    fd_close(ends[0]);
    fd_close(ends[1]);
    return 0;
}
