#include "files.h"

#include "config.h"
#include "diag.h"
#include "gateway_child.h"
#include "listen.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void __attribute__((noreturn)) run(const struct config *c, const char *gateway)
{
    char uid[48], gid[48];
    char *const argv[] = {(char *)"fnd-gateway", (char *)LISTEN_CHECK_OPTION, (char *)c->tls_dir, NULL};
    char *const envp[] = {uid, gid, NULL};
    uid_t u;
    gid_t g;

    gateway_ids(c, &u, &g);
    snprintf(uid, sizeof(uid), "FND_GATEWAY_UID=%u", u);
    snprintf(gid, sizeof(gid), "FND_GATEWAY_GID=%u", g);
    execve(gateway, argv, envp);
    _exit(127);
}

int files_check(const struct config *c, const char *gateway, struct diag *d)
{
    int status = 0;
    pid_t pid;

    if (geteuid() != 0) /* who may not read the keys */
        return 0;
    pid = fork();
    if (pid == 0)
        run(c, gateway);
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return diag_errno(d, errno, "gateway.tls_dir = %s: cannot be checked", c->tls_dir);
    if (status != 0)
        return diag_set(d, EINVAL, "gateway.tls_dir = %s: a certificate there cannot be used (`fnctl cert ls`)", c->tls_dir);
    return 0;
}
