/*
 * fninit.h: what fn-init is started with: the contract between the sandbox's plan and the program.
 *
 *   fn-init UID GID CWD -- COMMAND [ARGUMENT]...
 *
 * UID and GID are the function's, inside. The environment is the function's, each string with FN_INIT_ENV_PREFIX before it: the C library of fn-init
 * must not look into what a stranger wrote (GLIBC_TUNABLES). Descriptors: 0, 1 and 2 are /dev/null, FN_INIT_LOG_FD is the ring log, all others are
 * closed. All signals are blocked, none is ignored. Ids are inner 1, capabilities exactly SETUID and SETGID, no_new_privs is set. fn-init exits with
 * the function's status, or 128 + signal, or 127 when it could not be executed; the reason is in the log's head.
 *
 * The same program is the relay of `fnctl exec`, a process beside the function that runs one command for somebody outside:
 *
 *   fn-exec UID GID CWD t|p -- COMMAND [ARGUMENT]...
 *
 * with everything as above but the descriptors: FN_EXEC_SOCKET_FD is the connection to fnctl (execframe.h), and for a terminal (t) there are its two
 * ends. COMMAND gets the function's ids, filters and environment.
 *
 * And it is the server of a function of mode stdio, which executes COMMAND once a request:
 *
 *   fn-stdio UID GID CWD PORT HEALTH TIMEOUT MEMORY -- COMMAND [ARGUMENT]...
 *
 * with FN_STDIO_GROUP_FD besides the log: the instance's cgroup v2 directory, in which it may make groups. HEALTH is the path that it answers itself (empty: none but /_/health and /_/ready), TIMEOUT the
 * milliseconds until an answer has begun, MEMORY the instance's limit in bytes. All else is in the environment (watchdog.h).
 *
 * In an exported image there is no sandbox around it; there it is started as what a container's first process is, with the ids, the directory, the descriptors and the (plain) environment of the function:
 *
 *   /usr/lib/fnd/stdio COMMAND [ARGUMENT]...
 *
 * PORT, FND_HEALTH_PATH, FND_TIMEOUT_MS and FND_MEMORY say the rest; the log is standard error. A request's processes are a process group then, not a cgroup: what leaves it outlives the request.
 */
#pragma once

#define FN_INIT_LOG_FD      3
#define FN_INIT_ENV_PREFIX  "="
#define FN_INIT_ID          1U
#define FN_INIT_ARGS        5 /* argv[5] is the command */
#define FN_INIT_EXEC_FAILED 127

#define FN_EXEC_NAME      "fn-exec" /* argv[0] decides */
#define FN_EXEC_ARGS      6
#define FN_EXEC_SOCKET_FD 3
#define FN_EXEC_MASTER_FD 6
#define FN_EXEC_SLAVE_FD  7

#define FN_STDIO_NAME     "fn-stdio"
#define FN_STDIO_ARGS     9 /* argv[9] is the command */
#define FN_STDIO_GROUP_FD 6

#define FN_ALONE_NAME "/usr/lib/fnd/stdio" /* spec.h: SPEC_WATCHDOG */
