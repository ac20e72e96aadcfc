/*
 * api.h: the HTTP API, as served by fnd-gateway on RUN/fnd.sock (peer credentials: root, or a member of group fnd) and used by fnctl; and below /admin/api/v1 on the admin and the public listener, to who sends the
 * administrator's password (Basic, user admin) or a token of scope admin (Bearer). contrib/openapi.json describes it for programs.
 *
 * JSON objects; times are RFC 3339 UTC; sizes in bytes; durations in seconds (numbers). FN is "NAME" or "NAME.ENV". Queries are percent-encoded (a '+' is a plus); unknown parameters, and all but `var` given
 * twice, are refused. HEAD works where GET does. Fields may be added.
 *
 *   GET    /api/v1/version                     {"version":"0.1.0","api":1,"runner":"0.1.0"|null}   answers even without a runner
 *   GET    /api/v1/functions                   {"functions":[FUNCTION...]}            ?application=A filters
 *   GET    /api/v1/functions/FN                FUNCTION, with "instances" and, where one failed or none is ready, "last_log": [the last 20 lines]
 *   POST   /api/v1/functions                   the body is the archive (Content-Length or chunked): deploys, answers 201 FUNCTION when the first instance of the new version is READY.
 *                                              ?name=NAME &environment=ENV &replicas=N, and &var=KEY=VALUE (percent-encoded) any number of times.
 *                                              A client that goes away before the body's end takes the deploy back, afterwards not
 *   DELETE /api/v1/functions/FN                {}
 *   PUT    /api/v1/functions/FN/scale          {"replicas": 3} or {"replicas": "auto"}    FUNCTION
 *   POST   /api/v1/functions/FN/start | stop | restart                                   FUNCTION
 *   GET    /api/v1/functions/FN/instances      {"instances":[INSTANCE...]}
 *   GET    /api/v1/instances                   {"instances":[INSTANCE...]}
 *   GET    /api/v1/functions/FN/logs           text/plain; ?lines=N (default 100) &follow=1 &instance=I; without `instance` the lines of all instances that live (follow: and of those that start later),
 *                                              or, where none lives, of the newest that died; lines are prefixed "INSTANCE | " when more than one instance is read. With `instance` and
 *                                              follow the answer ends with the instance; else when the function is removed or the client goes away. A line "[fnd: ...]" tells of bytes that were lost
 *   GET    /api/v1/functions/FN/plan           text/plain: what the sandbox will be
 *   GET    /api/v1/functions/FN/export         application/x-tar: the current version, or ?version=N, as an archive of an image: an OCI layout with docker save's manifest.json. An answer that ends without its last
 *                                              chunk is not whole
 *   POST   /api/v1/functions/FN/exec           with Upgrade: fnd-exec/1: runs a command beside the function, in its sandbox; &arg=WORD for each word of it, ?instance=I (default: the oldest that is ready),
 *                                              &terminal=1 and &term=TERM for a terminal. 101 with "Fnd-Instance: I"; from there on the frames of execframe.h. Send nothing before the answer is there
 *   GET    /api/v1/functions/FN/secrets        {"secrets":[{"function","environment","name","bytes","changed":TIME}...]}   never a value; the function need not be there
 *   PUT    /api/v1/functions/FN/secrets        ?name=SECRET; the body is the value, byte for byte (1 to 32768): {}. For instances that start from then on
 *   DELETE /api/v1/functions/FN/secrets        ?name=SECRET: {}
 *   GET    /api/v1/secrets                     the same list, of all functions
 *   GET    /api/v1/runtimes                    {"runtimes":[{"name","image":"sha256...","bytes","entries","versions":N (that lie over it)}...]}
 *   PUT    /api/v1/runtimes/NAME               the body is an archive of the tree: 201 {"name","bytes"}. For later deploys; a client that goes away before the body's end takes it back
 *   DELETE /api/v1/runtimes/NAME               {}: the name goes, versions keep the image
 *   GET    /api/v1/images                      {"images":[{"digest","bytes","entries" (0: not known),"runtimes":[NAME...],"versions":[USE...],"layers_of":[USE...]}...]}  USE {"function","environment","version"}
 *   POST   /api/v1/prune                       {"images":N,"bytes":N}: images that nobody used, removed now
 *   GET    /api/v1/whoami                      {"who":"admin"|"token:NAME"|"uid:N","scope":"admin"}
 *   GET    /api/v1/tokens                      {"tokens":[{"name","scope":"admin|invoke|function","function":FN|null,"made":TIME,"expires":TIME|null}...]}
 *   POST   /api/v1/tokens                      {"name","scope","function","expires_seconds"}: answers 201 with the same and "token", which is said this once
 *   DELETE /api/v1/tokens/NAME                 {}
 *   PUT    /api/v1/password                    {"password"}: {}
 *   GET    /api/v1/openapi.json
 *   POST   /api/v1/reload                      {"restart":["gateway.listen"...]}   the configuration is read anew; the keys that changed and take a restart. 400: it is broken, and the old one holds
 *   GET    /api/v1/config                      {"config":[{"key":,"value":,"default":,"origin":}...]}
 *
 *   FUNCTION  {"name","environment","application","state":"active|stopped|crash-loop","version":3,"scale":"auto"|N,"wanted":N,"ready":N,"starting":N,"image":"sha256...","image_bytes":,"deployed":TIME,"url":"/fn/NAME/",
 *              "limits":{"memory_bytes","cpu":1.0,"pids","tmp_bytes","timeout":60,"concurrency","queue","queue_timeout":null|5,"stream_idle":null|60 (null: as configured)},"health":{"path","interval","threshold"},"port","restarts","last_failure":null|"...",
 *              "last_failed_instance":null|"...","next_start":null|TIME (the pause after a failure ends)}
 *   INSTANCE  {"name","function","environment","version","state","address":"10.231.0.2","port","pid","uid","slot","started":TIME,"ready_ms":2.1,"memory_bytes","memory_max_bytes","cpu_seconds","pids","oom_kills","in_flight","ejected":null|2.5 (seconds without requests: they failed there)}
 *
 * Errors: a status and {"error": CODE, "message": TEXT, "function": FN or null}; codes and statuses stand in one table (api_errors). The gateway's own errors on /fn/NAME/ have the same form where
 * Accept names JSON, else one line of text/plain.
 * no_runtime: the package needs a runtime that is not here; the message begins with "runtime NAME is not here", and the same deploy succeeds once the runtime was put.
 * The same socket serves /fn/NAME/... (so that `fnctl invoke` needs no other address), /healthz and /metrics.
 */
#pragma once

#define API_PREFIX         "/api/v1"
#define API_PREFIX_NETWORK "/admin/api/v1"
#define API_SOCKET         "fnd.sock"   /* below the run directory */
#define API_NO_RUNTIME     "no_runtime" /* an error's code */

/* "error" codes, one per cause a client can act on; runner errnos map to them (ENOENT -> not_found, EINVAL -> invalid, ...). */
struct api_error {
    int err; /* errno of the runner's diag, 0 for the gateway's own */
    const char *code;
    int status;
};
extern const struct api_error api_errors[]; /* ends with code NULL; the last before it is the fallback "internal" 500 */
