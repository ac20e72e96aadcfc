/*
 * listen.h: listeners that are handed to fnd-gateway at its start, by systemd (fnd.socket) or by the runner: sd_listen_fds(3)'s environment LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, descriptors from 3 on.
 * The names: "public", "tls" (the same over TLS), "admin" (TCP), "api" (unix). A listener that is not there is not served. The same gateway process therefore serves in every setting. FND_RUNNER_SOCKET names the runner's socket
 * (default /run/fnd/gw/runner.sock).
 */
#pragma once

#define LISTEN_FDS_START   3
#define LISTEN_NAME_PUBLIC "public"
#define LISTEN_NAME_TLS    "tls"
#define LISTEN_NAME_ADMIN  "admin"
#define LISTEN_NAME_API    "api"
#define LISTEN_CHECK_OPTION                                                                                                                                    \
    "--check-certificates" /* DIRECTORY: fnd-gateway serves nothing, says on standard error which certificates cannot be used, and ends; 1: there were some */
#define LISTEN_RUNNER_ENV    "FND_RUNNER_SOCKET"
#define LISTEN_RUNNER_SOCKET "gw/runner.sock" /* below the run directory */
