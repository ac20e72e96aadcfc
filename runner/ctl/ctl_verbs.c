/* ctl_verbs.c: the table of verbs, looking one up, and what was probably meant. */
#include "ctl.h"

#include <stdio.h>
#include <string.h>

#define SIMILAR_MAX 32

const struct verb ctl_verbs[] = {
    {"run",
     {0},
     "NAME|DIRECTORY|ARCHIVE",
     "serve a function from here, without a daemon, until interrupted",
     "With a '/' in it, or as \".\", the argument is a path; else a directory with a function.ini, or an archive, of that name\n"
     "in the current directory; else a sample (sample:NAME is nothing else). A private daemon of its own state, network and port is started, and nothing\n"
     "is left at the end but an image cache in /var/cache/fnd. The function's log goes to standard output.",
     verb_run,
     1,
     1,
     {ctl_opts_run, ctl_opts_request}},
    {"deploy",
     {0},
     "DIRECTORY|ARCHIVE|IMAGE|SAMPLE",
     "make a new version of a function; returns when its first instance is ready",
     "The argument is found as for `run`. An archive is a tar, a zip, or an image (an OCI layout, what docker save or podman save write).\n"
     "When no instance gets ready the version before stays.",
     verb_deploy,
     1,
     1,
     {ctl_opts_deploy, ctl_opts_foreign, ctl_opts_list}},
    {"import",
     {0},
     "IMAGE|FILE|DIRECTORY",
     "deploy an image of the container world: docker://REF (fetched by skopeo), an archive, an OCI layout",
     "Entrypoint, Cmd, Env, WorkingDir, User and an exposed port are taken over; what is not is said. Where the image says nothing, and for\n"
     "limits, health and the rest: --set SECTION.KEY=VALUE. Every transport of skopeo(1) is understood: docker-daemon:web:latest.",
     verb_import,
     1,
     1,
     {ctl_opts_deploy, ctl_opts_list}},
    {"export",
     {0},
     "NAME",
     "write a function as an image of the container world: an archive for podman, docker and skopeo",
     "The archive is an OCI layout, and one of `docker load`; layers are not compressed, and the same version gives the same bytes. Variables are in it, "
     "secrets\n"
     "are not. `fnctl import` makes the same function of it again.",
     verb_export,
     1,
     1,
     {ctl_opts_export}},
    {"new",
     {0},
     "NAME|--list",
     "make a directory with a working function, from the template of a runtime",
     "NAME is the directory that is made, and what the function is called; nothing is ever overwritten. Needs no daemon, and no network.",
     verb_new,
     0,
     1,
     {ctl_opts_new}},
    {"build",
     {0},
     "DIRECTORY",
     "make the package of a function: one file, the same bytes for the same files",
     "function.ini is checked. Dependencies (requirements.txt, package.json, Gemfile, packages) are installed by the builder of the\n"
     "runtime, in a private daemon's sandbox; what was installed is locked in a file in the directory. Prints the digest.",
     verb_build,
     1,
     1,
     {ctl_opts_build}},
    {"ls", {"list", "ps"}, "", "list the functions", NULL, verb_ls, 0, 0, {ctl_opts_list}},
    {"status", {0}, "[NAME]", "state, limits against use, instances, last failure; without a name: the daemon", NULL, verb_status, 0, 1, {ctl_opts_list}},
    {"scale", {0}, "NAME N|auto", "hold N instances, or decide automatically again", NULL, verb_scale, 2, 2, {ctl_opts_none}},
    {"start", {0}, "NAME", "serve a stopped function again", NULL, verb_start, 1, 1, {ctl_opts_none}},
    {"stop", {0}, "NAME", "end all instances and refuse requests until `start`", NULL, verb_stop, 1, 1, {ctl_opts_none}},
    {"restart", {0}, "NAME", "replace the instances one by one", NULL, verb_restart, 1, 1, {ctl_opts_none}},
    {"logs", {0}, "NAME", "what the function wrote to standard output and error", NULL, verb_logs, 1, 1, {ctl_opts_logs}},
    {"invoke",
     {0},
     "NAME",
     "send one request and print the answer's body",
     "What is piped into standard input is the body. A status other than 2xx goes to standard error; exit code 1.",
     verb_invoke,
     1,
     1,
     {ctl_opts_request}},
    {"exec",
     {0},
     "[-it] NAME|INSTANCE [--] [COMMAND [ARGUMENT...]]",
     "run a command in a function's sandbox, beside it (default: a shell)",
     "It has the function's user, environment and restrictions, and its share of the limits. When standard input and output\n"
     "are a terminal, and neither -i nor -t is given, both are on; otherwise the command's input is empty without -i.\n"
     "Exit code: the command's, 128 + N when signal N killed it, 127 when it is not in the image, 126 when it cannot run.",
     verb_exec,
     1,
     VERB_COMMAND,
     {ctl_opts_exec}},
    {"shell", {0}, "NAME|INSTANCE", "a shell in a function's sandbox: exec -it", NULL, verb_shell, 1, 1, {ctl_opts_exec}},
    {"rm",
     {"remove", "delete"},
     "NAME",
     "remove a function with all its versions",
     "Its volumes are kept, and are there again for a function of that name, unless --volumes says that they go too (also later, when the function is gone).",
     verb_rm,
     1,
     1,
     {ctl_opts_rm}},
    {"plan", {0}, "NAME", "print what the sandbox will be: mounts, ids, limits, environment, system calls", NULL, verb_plan, 1, 1, {ctl_opts_none}},
    {"runtime",
     {0},
     "ls | build NAME | put NAME DIRECTORY|ARCHIVE | rm NAME",
     "trees that functions are laid over ([function] runtime)",
     "`build` makes the tree from the packages of this host's apt sources: python, flask, node, express, ruby, shell, imagemagick, python-postgresql, and the\n"
     "builders of dependencies (python-build ...); static came with fnd. A new tree of a name is for later deploys; what runs keeps the one that it was\n"
     "deployed with, also when the name is gone.",
     verb_runtime,
     1,
     3,
     {ctl_opts_list}},
    {"images", {0}, "", "the images on disk, with their size and who uses them", NULL, verb_images, 0, 0, {ctl_opts_list}},
    {"prune", {0}, "", "remove images that nobody uses, and what is left half unpacked", NULL, verb_prune, 0, 0, {ctl_opts_list}},
    {"secret",
     {0},
     "set NAME SECRET | ls [NAME] | rm NAME SECRET",
     "secrets of functions, which read them as files in /run/secrets: set one, list them, remove one",
     "The value is typed without echo, or comes from standard input (without the newline at its end) or a file. No answer and no\n"
     "log ever has it. [secrets] names = ... in function.ini says which ones a function gets; those must be there before it is\n"
     "deployed. A new value is for instances that start from then on.",
     verb_secret,
     1,
     3,
     {ctl_opts_secret, ctl_opts_list}},
    {"token",
     {0},
     "add NAME|ls|rm NAME",
     "tokens for clients and scripts: make one, list them, remove one",
     "`add` prints the token, this once; it is kept nowhere. What it opens must be said: --function, --invoke or --admin.",
     verb_token,
     1,
     2,
     {ctl_opts_token, ctl_opts_list}},
    {"passwd",
     {0},
     "",
     "change the password of admin, which the API asks for over the network",
     "It is read from the terminal without echo, or as one line from standard input. The first one is in auth/initial below the state directory until then.",
     verb_passwd,
     0,
     0,
     {ctl_opts_none}},
    {"login",
     {0},
     "URL [NAME]",
     "use another daemon: asks for a password or a token, tries it, remembers it as a profile",
     "What is asked for is read from the terminal without echo, or as one line from standard input. It is kept in ~/.config/fnd, readable by you alone.\n"
     "Without a profile: FND_URL and FND_TOKEN.",
     verb_login,
     1,
     2,
     {ctl_opts_none}},
    {"profile", {0}, "ls|use NAME|rm NAME", "the daemons that you have logged in at; `use " PROFILE_LOCAL "`: this host's", NULL, verb_profile, 1, 2, {ctl_opts_none}},
    {"doctor", {0}, "", "try everything on this host that fnd needs, with a remedy for what fails", NULL, verb_doctor, 0, 0, {ctl_opts_doctor, ctl_opts_list}},
    {"cert",
     {0},
     "self-signed [NAME...] | ls",
     "make a certificate that signs itself; list those of the directory, with their days left",
     "The names are host names (*.example.org too) and addresses; without any: those of this host. The files are called after\n"
     "the first one, and are not overwritten. The daemon takes them by itself. Exit code of ls: 1 when one cannot be used.",
     verb_cert,
     1,
     101,
     {ctl_opts_cert, ctl_opts_list}},
    {"config", {0}, "show", "the daemon's configuration: value, default and origin of each key", NULL, verb_config, 1, 1, {ctl_opts_list}},
    {"reload", {0}, "", "read the daemon's configuration anew; names the keys that take a restart", NULL, verb_reload, 0, 0, {ctl_opts_list}},
    {"version", {0}, "", "versions of fnctl and of the daemon", NULL, verb_version, 0, 0, {ctl_opts_list}},
    {"help", {0}, "[VERB]", "this text, or what a verb does and takes", NULL, verb_help, 0, 1, {ctl_opts_none}},
    {0},
};

const struct verb *verb_find(const char *name)
{
    for (const struct verb *v = ctl_verbs; v->name; v++) {
        if (strcmp(v->name, name) == 0)
            return v;
        for (unsigned i = 0; i < CTL_COUNT(v->aliases) && v->aliases[i]; i++)
            if (strcmp(v->aliases[i], name) == 0)
                return v;
    }
    return NULL;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;

    return m < c ? m : c;
}

/* How many letters to insert, drop, change or swap with their neighbour (optimal string alignment). */
static unsigned distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    unsigned rows[3][SIMILAR_MAX + 1];

    if (la > SIMILAR_MAX || lb > SIMILAR_MAX)
        return SIMILAR_MAX;
    for (unsigned j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= la; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];

        row[0] = i;
        for (unsigned j = 1; j <= lb; j++) {
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && two_above[j - 2] + 1 < row[j])
                row[j] = two_above[j - 2] + 1;
        }
    }
    return rows[la % 3][lb];
}

void ctl_nearest(const char *given, const char *candidate, const char **best, unsigned *best_distance)
{
    size_t len = strlen(given);
    unsigned dist = len >= 2 && strncmp(candidate, given, len) == 0 ? 1 : distance(given, candidate);

    if (dist < *best_distance && dist < strlen(candidate)) {
        *best = candidate;
        *best_distance = dist;
    }
}

const char *verb_similar(const char *name)
{
    const char *best = NULL;
    unsigned best_distance = 3;

    for (const struct verb *v = ctl_verbs; v->name; v++) {
        ctl_nearest(name, v->name, &best, &best_distance);
        for (unsigned i = 0; i < CTL_COUNT(v->aliases) && v->aliases[i]; i++)
            ctl_nearest(name, v->aliases[i], &best, &best_distance);
    }
    return best;
}

int verb_unknown(const char *name)
{
    const char *similar = verb_similar(name);

    if (similar)
        return ctl_fail(CTL_USAGE, "unknown verb \"%.40s\": did you mean \"%s\"? (fnctl help)", name, similar);
    return ctl_fail(CTL_USAGE, "unknown verb \"%.40s\" (fnctl help)", name);
}
