/* hold.c: see hold.h. The leaf is what makes the unit's own cgroup free of processes, so that the daemon may enable controllers there; readiness is said only then, since the daemon starts right after it. */
#include "hold.h"

#include "cgroup.h"
#include "diag.h"
#include "log.h"
#include "notify.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

#define HOLD_LEAF "hold"

int hold_main(void)
{
    struct diag d = {0};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (cg_enter_leaf(HOLD_LEAF, &d) < 0) {
        log_diag(LOG_ERR, "cannot hold the cgroup of the instances", &d, NULL);
        return 1;
    }
    notify_send("READY=1");
    while (sigwaitinfo(&set, NULL) < 0 && errno == EINTR) {
    }
    return 0;
}
