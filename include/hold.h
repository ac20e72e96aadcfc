/* hold.h: `fnd --hold`, the process of fnd-instances.service: it keeps the cgroup of all instances in being while the daemon is restarted. */
#pragma once

/* Moves itself to the leaf `hold` of its own cgroup, says READY=1 and pauses until SIGTERM or SIGINT. Returns the exit status. */
int hold_main(void);
