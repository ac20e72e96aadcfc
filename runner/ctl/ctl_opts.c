/* ctl_opts.c: the option tables of the verbs. */
#include "ctl.h"

#define FLAG(letter, name, field, help)                                                                                                                        \
    {                                                                                                                                                          \
        letter, name, NULL, OPT_FLAG, offsetof(struct options, field), 0, 0, help                                                                              \
    }
#define TEXT(letter, name, arg, field, help)                                                                                                                   \
    {                                                                                                                                                          \
        letter, name, arg, OPT_TEXT, offsetof(struct options, field), 0, 0, help                                                                               \
    }
#define LIST(letter, name, arg, field, help)                                                                                                                   \
    {                                                                                                                                                          \
        letter, name, arg, OPT_LIST, offsetof(struct options, field), 0, 0, help                                                                               \
    }
#define NUMBER(letter, name, arg, field, min, max, help)                                                                                                       \
    {                                                                                                                                                          \
        letter, name, arg, OPT_NUMBER, offsetof(struct options, field), min, max, help                                                                         \
    }
#define END                                                                                                                                                    \
    {                                                                                                                                                          \
        0, NULL, NULL, OPT_FLAG, 0, 0, 0, NULL                                                                                                                 \
    }

const struct opt_def ctl_opts_common[] = {
    FLAG('h', "help", help, "what the verb does and takes"),
    FLAG('v', "verbose", verbose, "print every API call on standard error"),
    TEXT(0, "socket", "PATH", socket, "the daemon's socket (FND_SOCKET; default " CTL_SOCKET ")"),
    TEXT(0, "profile", "NAME", profile, "another daemon (fnctl login); " PROFILE_LOCAL ": the socket"),
    TEXT(0, "cacert", "FILE", cacert, "certificates to trust instead of the host's, for https"),
    FLAG(0, "insecure", insecure, "credentials may go over plain http to another host"),
    FLAG('V', "version", version, "print the version"),
    END,
};

const struct opt_def ctl_opts_none[] = {END};

const struct opt_def ctl_opts_list[] = {
    FLAG(0, "json", json, "print JSON"),
    END,
};

/* The variables reach the daemon in a request's head: their number is bounded there. */
const struct opt_def ctl_opts_deploy[] = {
    TEXT(0, "name", "NAME", name, "name of the function (default: what function.ini says)"),
    TEXT(0, "env-name", "ENV", env_name, "environment (default: " NAME_DEFAULT_ENV ")"),
    LIST('e', "env", "KEY=VALUE", vars, "environment variable of the function; may be repeated"),
    LIST(0, "set", "SECTION.KEY=VALUE", sets, "a key of function.ini, in place of what the package says; may be repeated"),
    TEXT(0, "egress", "WHAT", egress, "what the builder of dependencies may reach, as [network] egress (default: internet)"),
    END,
};

const struct opt_def ctl_opts_foreign[] = {
    FLAG(0, "all", all, "every function of a stack.yml or serverless.yml (--name: one of them)"),
    FLAG(0, "print-ini", print_ini, "print the function.ini that a directory has, or that is made of another system's file, and deploy nothing"),
    END,
};

const struct opt_def ctl_opts_run[] = {
    TEXT(0, "name", "NAME", name, "name of the function (default: what function.ini says)"),
    LIST('e', "env", "KEY=VALUE", vars, "environment variable of the function; may be repeated"),
    LIST(0, "set", "SECTION.KEY=VALUE", sets, "a key of function.ini, in place of what the package says; may be repeated"),
    LIST(0, "secret", "SECRET=FILE", secrets, "a secret of the function, out of a file; may be repeated; with --name"),
    NUMBER(0, "scale", "N", scale, 1, 60, "how many instances (default: 1)"),
    NUMBER('p', "port", "PORT", port, 1, 65535, "listen there (default: 8888, or the next free one)"),
    TEXT(0, "listen", "ADDRESS", listen, "listen on this IPv4 address (default: 127.0.0.1)"),
    NUMBER(0, "admin", "PORT", admin, 1, 65535, "serve the admin listener on 127.0.0.1:PORT"),
    FLAG(0, "watch", watch, "build and deploy again whenever the directory changes"),
    FLAG(0, "once", once, "send one request, print the answer's body, end"),
    TEXT(0, "egress", "WHAT", egress, "what the builder of dependencies may reach, as [network] egress (default: internet)"),
    END,
};

const struct opt_def ctl_opts_new[] = {
    TEXT(0, "runtime", "R", runtime, "begin with the template of this runtime"),
    FLAG(0, "list", list, "print the runtimes and the samples, and which runtimes the daemon has"),
    END,
};

const struct opt_def ctl_opts_build[] = {
    TEXT('o', "output", "FILE", output, "write the package there (default: NAME.tar.gz); .tar, .tgz, .tar.zst and .tar.xz work too"),
    TEXT(0, "name", "NAME", name, "which function of a stack.yml or serverless.yml"),
    TEXT(0, "egress", "WHAT", egress, "what the builder of dependencies may reach, as [network] egress (default: internet)"),
    END,
};

const struct opt_def ctl_opts_export[] = {
    TEXT('o', "output", "FILE", output, "write the archive there (default: standard output)"),
    NUMBER(0, "version", "N", version_number, 1, UINT32_MAX, "not the current version, but this one"),
    END,
};

const struct opt_def ctl_opts_request[] = {
    TEXT('X', "request", "METHOD", method, "the method (default: GET; POST with a body)"),
    LIST('H', "header", "'NAME: VALUE'", headers, "a header; may be repeated"),
    TEXT('d', "data", "BODY", data, "the body; @FILE: a file's bytes, -: standard input"),
    TEXT(0, "path", "/PATH?QUERY", path, "path and query as the function sees them (default: /)"),
    TEXT(0, "request-file", "FILE", request_file, "what FILE says: METHOD /PATH, headers, an empty line, the body; sample:NAME: that of an example"),
    END,
};

const struct opt_def ctl_opts_logs[] = {
    FLAG('f', "follow", follow, "go on with what is written from now on"),
    NUMBER('n', "lines", "N", lines, 0, 1000000, "begin with the last N lines (default: 100)"),
    TEXT(0, "instance", "INSTANCE", instance, "of one instance only"),
    END,
};

const struct opt_def ctl_opts_rm[] = {
    FLAG(0, "volumes", volumes, "remove its volumes too, with what is in them"),
    END,
};

const struct opt_def ctl_opts_exec[] = {
    FLAG('i', "interactive", interactive, "pass standard input on"),
    FLAG('t', "tty", terminal, "give the command a terminal"),
    TEXT(0, "instance", "INSTANCE", instance, "in this instance (default: the oldest that is ready)"),
    END,
};

const struct opt_def ctl_opts_token[] = {
    TEXT(0, "function", "NAME", function, "opens this private function"),
    FLAG(0, "invoke", scope_invoke, "opens every private function"),
    FLAG(0, "admin", scope_admin, "opens the API, with everything that it can do"),
    TEXT(0, "expires", "TIME", expires, "opens nothing any more after 12h, 90d ... (default: never expires)"),
    END,
};

const struct opt_def ctl_opts_secret[] = {
    TEXT(0, "from", "FILE", from, "the value is what this file holds, byte for byte (default: standard input, or what is typed)"),
    END,
};

const struct opt_def ctl_opts_cert[] = {
    TEXT(0, "dir", "DIRECTORY", dir, "the directory of certificates (default: gateway.tls_dir, /etc/fnd/tls)"),
    END,
};

const struct opt_def ctl_opts_doctor[] = {
    FLAG(0, "self-test", self_test, "start a function that tries what it must not be able to do, and print the table"),
    TEXT(0, "state", "DIRECTORY", state, "the state directory to try (default: /var/lib/fnd)"),
    END,
};
