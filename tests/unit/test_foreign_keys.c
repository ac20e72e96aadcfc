/* Other systems' project files, key by key: what each becomes, or what is said of it; and values that are not of its type. */
#include "check.h"

#include "../../runner/ctl/project/foreign.h"
#include "diag.h"
#include "function_facts.h"
#include "inifile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The files beside it. */
static const struct {
    const char *name, *text;
} files[] = {
    {"a.yml", "environment: {A: 'one', B: two, exec_timeout: 7s}\n"},
    {"sub/b.yml", "environment: {B: three}\nprovider: {}\n"},
    {"contract.yml", "environment: {HANDLER_CONTRACT: openfaas-classic}\n"},
    {"empty.yml", "environment:\n"},
    {"bare.yml", "A: b\n"},
    {"list.yml", "environment: [a]\n"},
    {"deep.yml", "environment: {A: {B: c}}\n"},
    {"long.yml", "environment: {A: "
                 "'01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
                 "01234567890123456789"
                 "01234567890123456789012345678901234567890123456789'}\n"},
    {"broken.yml", "environment: [\n"},
};

static int read_file(void *arg, const char *name, char *what, size_t size, struct ytree **ret, struct diag *d)
{
    snprintf(what, size, "y/%s", name);
    for (size_t i = 0; i < COUNT(files); i++)
        if (strcmp(files[i].name, name) == 0)
            return ytree_parse(what, files[i].text, strlen(files[i].text), ret, d) < 0 ? -EINVAL : 1;
    return 0;
}

static const struct foreign_reader reader = {read_file, NULL};

/* Text as foreign_convert() takes it; of a function alone, where `wrap` says so: "functions: {f: {...}}" on one line. */
static int convert(enum foreign_kind kind, const char *keys, bool wrap, struct foreign *f, struct diag *d)
{
    char text[8192];
    struct ytree *t;
    int r;

    snprintf(text, sizeof(text), wrap ? "functions: {f: {%s}}\n" : "%s", keys);
    r = ytree_parse("x", text, strlen(text), &t, d);
    if (r < 0)
        return r;
    r = foreign_convert(kind, "x", t, NULL, &reader, f, d);
    ytree_free(t);
    return r;
}

struct row {
    enum foreign_kind kind;
    const char *keys, *ini, *note; /* behind what every function has; behind "x:1: " */
};

#define NOTHING(kind, key, value, why)                                                                                                                         \
    {                                                                                                                                                          \
        kind, key ": " value, "", key ": not taken over: " why                                                                                                 \
    }

#define LANG_SAYS(lang, runtime, handler, contract, calls)                                                                                                     \
    "lang: " lang " is taken as Debian's: runtime = " runtime ", handler = " handler ", [env] HANDLER_CONTRACT = " contract ", which calls " calls

#define LANG(lang, runtime, handler, contract, calls)                                                                                                          \
    {                                                                                                                                                          \
        FOREIGN_STACK, "lang: " lang, "runtime = " runtime "\nhandler = " handler "\n\n[env]\nHANDLER_CONTRACT = " contract "\n",                              \
            LANG_SAYS(lang, runtime, handler, contract, calls)                                                                                                 \
    }

#define NO_LANG(lang)                                                                                                                                          \
    {                                                                                                                                                          \
        FOREIGN_STACK, "lang: " lang, "",                                                                                                                      \
            "lang: the template " lang                                                                                                                         \
            " is not known here (python3, -http, -flask, ruby, -http, node, node10 and later are): build the image elsewhere, and deploy its archive (fnctl "  \
            "deploy IMAGE)"                                                                                                                                    \
    }

static const struct row rows[] = {
    /* stack.yml */
    {FOREIGN_STACK, "environment_file: [a.yml]", "\n[limits]\ntimeout = 7s\n\n[env]\nA = one\nB = two\nexec_timeout = 7s\n", NULL},
    {FOREIGN_STACK, "environment_file: .//./a.yml", "\n[limits]\ntimeout = 7s\n\n[env]\nA = one\nB = two\nexec_timeout = 7s\n", NULL},
    {FOREIGN_STACK, "environment_file: [empty.yml]", "", NULL},
    {FOREIGN_STACK, "environment_file: []", "", NULL},
    {FOREIGN_STACK, "environment_file: ", "", NULL},
    /* files over `environment`, whichever stands first, and the time limit with them */
    {FOREIGN_STACK, "environment: {A: mine, C: mine}, environment_file: [a.yml]",
     "\n[limits]\ntimeout = 7s\n\n[env]\nC = mine\nA = one\nB = two\nexec_timeout = 7s\n", "A: not taken over: a.yml says it, too"},
    {FOREIGN_STACK, "environment_file: [a.yml], environment: {exec_timeout: 9s}", "\n[limits]\ntimeout = 7s\n\n[env]\nA = one\nB = two\nexec_timeout = 7s\n",
     "exec_timeout: not taken over: a.yml says it, too"},
    {FOREIGN_STACK, "lang: node20, environment_file: [contract.yml]", "runtime = node\nhandler = handler\n\n[env]\nHANDLER_CONTRACT = openfaas-classic\n",
     LANG_SAYS("node20", "node", "handler", "openfaas-http", "the exported function (event, context)")},
    NOTHING(FOREIGN_STACK, "requests", "{memory: 1m}", "memory and CPU are promised as [limits] says"),
    NOTHING(FOREIGN_STACK, "constraints", "[a]", "there is one host"),
    NOTHING(FOREIGN_STACK, "namespace", "n", "fnctl deploy --env-name says the environment"),
    NOTHING(FOREIGN_STACK, "build_args", "{A: b}", "nothing is built from a Dockerfile"),
    NOTHING(FOREIGN_STACK, "build_secrets", "{A: b}", "nothing is built from a Dockerfile"),
    NOTHING(FOREIGN_STACK, "build_options", "[dev]", "Debian packages go into the file `packages`"),
    NOTHING(FOREIGN_STACK, "colour", "red", "not known here"),
    {FOREIGN_STACK, "skip_build: true, publish: true", "", NULL},
    {FOREIGN_STACK, "annotations: {topic: a}", "", "topic: not taken over: there are no connectors: whoever knows of the event calls the function's URL"},
    {FOREIGN_STACK, "annotations: {schedule: a}", "", "schedule: not taken over: a schedule is [cron NAME] in function.ini, with the path that it asks"},
    {FOREIGN_STACK, "annotations: {topic: cron-function, schedule: '*/5 * * * *'}", "\n[cron scheduled]\nschedule = */5 * * * *\npath = /\n", NULL},
    {FOREIGN_STACK, "annotations: {topic: cron-function}", "",
     "topic: not taken over: there are no connectors: whoever knows of the event calls the function's URL"},
    {FOREIGN_STACK, "annotations: {com.openfaas.health.http.path: /healthz}", "",
     "com.openfaas.health.http.path: not taken over: a handler's health is asked by GET /ping, which is answered for it; [health] path says another place"},
    {FOREIGN_STACK, "annotations: {other: a}", "", "other: not taken over: not known here"},
    {FOREIGN_STACK, "labels: {other: a}", "", "other: not taken over: not known here"},
    {FOREIGN_STACK, "limits: {gpu: 1}", "", "gpu: not taken over: not known here"},
    {FOREIGN_STACK, "secrets: [one, two]", "\n[secrets]\nnames = one, two\n", NULL},
    {FOREIGN_STACK, "secrets: one", "\n[secrets]\nnames = one\n", NULL},
    {FOREIGN_STACK, "secrets: []", "", NULL},
    {FOREIGN_STACK, "limits: {memory: 1g}", "\n[limits]\nmemory = 1G\n", NULL},
    {FOREIGN_STACK, "limits: {memory: 512k}", "\n[limits]\nmemory = 512K\n", NULL},
    {FOREIGN_STACK, "limits: {memory: 64Mi, cpu: '0.5'}", "\n[limits]\nmemory = 64Mi\ncpu = 0.5\n", NULL},
    {FOREIGN_STACK, "readonly_root_filesystem: yes", "", NULL},
    {FOREIGN_STACK, "readonly_root_filesystem: On", "", NULL},
    {FOREIGN_STACK, "readonly_root_filesystem: TRUE", "", NULL},
    {FOREIGN_STACK, "readonly_root_filesystem: off", "writable = yes\n", NULL},
    {FOREIGN_STACK, "readonly_root_filesystem: no", "writable = yes\n", NULL},
    {FOREIGN_STACK, "environment: {exec_timeout: 0}", "\n[env]\nexec_timeout = 0\n", NULL},
    {FOREIGN_STACK, "environment: {exec_timeout: 1m30s}", "\n[env]\nexec_timeout = 1m30s\n", NULL},
    LANG("python3", "python", "handler.handle", "openfaas-classic", "handle(req)"),
    LANG("python3-debian", "python", "handler.handle", "openfaas-classic", "handle(req)"),
    LANG("python", "python", "handler.handle", "openfaas-classic", "handle(req)"),
    LANG("python27", "python", "handler.handle", "openfaas-classic", "handle(req)"),
    LANG("python3-http", "flask", "handler.handle", "openfaas-http", "handle(event, context)"),
    LANG("python3-http-debian", "flask", "handler.handle", "openfaas-http", "handle(event, context)"),
    LANG("python3-flask", "flask", "handler.handle", "openfaas-flask", "handle(req)"),
    LANG("python3-flask-debian", "flask", "handler.handle", "openfaas-flask", "handle(req)"),
    LANG("python27-flask", "flask", "handler.handle", "openfaas-flask", "handle(req)"),
    LANG("ruby", "ruby", "handler.Handler", "openfaas-classic", "Handler#run(req)"),
    LANG("ruby-http", "ruby", "handler.Handler", "openfaas-http", "Handler#run(body, headers)"),
    LANG("node", "node", "handler", "openfaas-classic", "the exported function (context, callback)"),
    LANG("node-arm64", "node", "handler", "openfaas-classic", "the exported function (context, callback)"),
    LANG("node12", "node", "handler", "openfaas-http", "the exported function (event, context)"),
    LANG("node22", "node", "handler", "openfaas-http", "the exported function (event, context)"),
    LANG("node14-debian", "node", "handler", "openfaas-http", "the exported function (event, context)"),
    LANG("node10-express", "node", "handler", "openfaas-http", "the exported function (event, context)"),
    LANG("node10-express-armhf", "node", "handler", "openfaas-http", "the exported function (event, context)"),
    NO_LANG("golang"),
    NO_LANG("python3-fastapi"),
    NO_LANG("python3-httpd"),
    NO_LANG("node10-express-service"),
    NO_LANG("node-express"),
    NO_LANG("nodejs"),
    NO_LANG("node12x"),
    NO_LANG("ruby3"),
    NO_LANG("java11"),
    NO_LANG("php8"),
    NO_LANG("bash-streaming"),
    NO_LANG("bun-express"),
    {FOREIGN_STACK, "lang: Dockerfile", "", "lang: not taken over: build the image elsewhere, and deploy its archive (fnctl deploy IMAGE)"},
    {FOREIGN_STACK, "lang: python3, fprocess: cat", "command = cat\nmode = stdio\nruntime = shell\n", "lang: not taken over: fprocess says what runs"},
    {FOREIGN_STACK, "lang: ruby, fprocess: ruby index.rb", "runtime = ruby\nhandler = handler.Handler\n\n[env]\nHANDLER_CONTRACT = openfaas-classic\n",
     LANG_SAYS("ruby", "ruby", "handler.Handler", "openfaas-classic", "Handler#run(req)")},
    {FOREIGN_STACK, "fprocess: python3 index.py", "", "fprocess: not taken over: a template's own, and no lang says which"},
    {FOREIGN_STACK, "lang: node20, environment: {HANDLER_CONTRACT: openfaas-classic}",
     "runtime = node\nhandler = handler\n\n[env]\nHANDLER_CONTRACT = openfaas-classic\n",
     LANG_SAYS("node20", "node", "handler", "openfaas-http", "the exported function (event, context)")},
    {FOREIGN_STACK, "image: a/b, handler: ./c, fprocess: cat", "command = cat\nmode = stdio\n", NULL},
    {FOREIGN_STACK, "image: a/b", "",
     "image: not taken over: the image itself is deployed by fnctl import docker://a/b, or by fnctl deploy with an archive of it"},
    /* serverless.yml */
    NOTHING(FOREIGN_SERVERLESS, "activeVersions", "[a]", "the newest version is the one that is asked"),
    NOTHING(FOREIGN_SERVERLESS, "events", "[a]", "a function is asked by its URL; [http] paths gives it one of its own"),
    NOTHING(FOREIGN_SERVERLESS, "iamRoleConfig", "{}", "there are no roles of a cloud here"),
    {FOREIGN_SERVERLESS, "events: [], activeVersions: []", "", NULL},
    {FOREIGN_SERVERLESS, "runtime: ruby", "runtime = ruby\n", NULL},
    {FOREIGN_SERVERLESS, "runtime: python3.6, handler: a.b", "runtime = python\nhandler = a.b\n\n[env]\nHANDLER_CONTRACT = spotinst\n",
     "runtime: python3.6 is taken as Debian's python"},
    {FOREIGN_SERVERLESS, "handler: a.b, environmentVariables: {HANDLER_CONTRACT: event, A: '1'}, environment: {A: '2', B: '3'}",
     "handler = a.b\n\n[env]\nHANDLER_CONTRACT = event\nA = 1\nB = 3\n", "A: not taken over: environmentVariables says it, too"},
    {FOREIGN_SERVERLESS, "access: private", "access = private\n", NULL},
    {FOREIGN_SERVERLESS, "memory: 128, timeout: 300", "\n[limits]\nmemory = 128M\ntimeout = 300s\n", NULL},
    {FOREIGN_SERVERLESS, "cors: true", "\n[http]\ncors = *\ncors_headers = Content-Type,Authorization\ncors_methods = DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT\n",
     NULL},
    {FOREIGN_SERVERLESS, "cors: {enabled: true, origin: 'http://a.example', headers: X-A}",
     "\n[http]\ncors = http://a.example\ncors_headers = X-A\ncors_methods = DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT\n", NULL},
    {FOREIGN_SERVERLESS, "cors: false", "", NULL},
    {FOREIGN_SERVERLESS, "cors: {enabled: false, origin: a}", "", NULL},
    {FOREIGN_SERVERLESS, "cors: {origin: a}", "", "cors: not taken over: without `enabled: true` there is none"},
    {FOREIGN_SERVERLESS, "cors: {enabled: false, colour: a}", "", "colour: not taken over: not known here"},
    {FOREIGN_SERVERLESS, "cron: {value: '0 3 * * *'}", "\n[cron scheduled]\nschedule = 0 3 * * *\npath = /\n", NULL},
    {FOREIGN_SERVERLESS, "cron: {active: true, value: '0 3 * * *'}", "\n[cron scheduled]\nschedule = 0 3 * * *\npath = /\n", NULL},
    {FOREIGN_SERVERLESS, "cron: {active: no, value: '0 3 * * *'}", "\n[cron scheduled]\nschedule = 0 3 * * *\npath = /\nactive = no\n", NULL},
    {FOREIGN_SERVERLESS, "cron: {value: a, tz: b}", "\n[cron scheduled]\nschedule = a\npath = /\n", "tz: not taken over: not known here"},
};

/* Whether this version has schedules yet: what it lacks becomes a note. */
static bool has_cron(void)
{
    static const char text[] = "[cron a]\nschedule = * * * * *\npath = /\n";

    return function_facts_check(text, sizeof(text) - 1, NULL) >= 0;
}

static void test_keys(void **state)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        char ini[1024], note[512] = "";
        struct diag d = {0};
        struct foreign f = {0};
        bool late = strstr(rows[i].ini, "[cron") && !has_cron();

        if (convert(rows[i].kind, rows[i].keys, true, &f, &d) < 0)
            fail_msg("%s: %s", rows[i].keys, d.text);
        snprintf(ini, sizeof(ini), "[function]\nname = f\n%s", late ? "" : rows[i].ini);
        if (rows[i].note)
            snprintf(note, sizeof(note), "x:1: %s\n", rows[i].note);
        assert_string_equal(f.ini.data, ini);
        if (late)
            assert_non_null(strstr(f.notes.data, "not taken over: schedules need a later version of fnd"));
        else
            assert_string_equal(f.notes.data ? f.notes.data : "", note);
        foreign_done(&f);
    }
}

/* Later files over earlier ones; what is said of a file names it. */
static void test_environment_files(void **state)
{
    struct diag d = {0};
    struct foreign f = {0};

    assert_int_equal(convert(FOREIGN_STACK, "environment_file: [a.yml, sub/b.yml], environment: {B: mine}", true, &f, &d), 0);
    assert_string_equal(f.ini.data, "[function]\nname = f\n\n[limits]\ntimeout = 7s\n\n[env]\nA = one\nexec_timeout = 7s\nB = three\n");
    assert_string_equal(f.notes.data, "y/sub/b.yml:2: provider: not taken over: not known here\nx:1: B: not taken over: sub/b.yml says it, too\n");
    foreign_done(&f);
    assert_int_equal(convert(FOREIGN_STACK, "environment_file: [sub/b.yml, a.yml]", true, &f, &d), 0);
    assert_string_equal(f.ini.data, "[function]\nname = f\n\n[limits]\ntimeout = 7s\n\n[env]\nA = one\nB = two\nexec_timeout = 7s\n");
    foreign_done(&f);
    assert_int_equal(convert(FOREIGN_STACK,
                             "environment_file: [a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,sub/b.yml]", true,
                             &f, &d),
                     0);
    assert_non_null(strstr(f.ini.data, "B = three\n"));
    foreign_done(&f);
    /* other systems have no such key */
    assert_int_equal(convert(FOREIGN_SERVERLESS, "environment_file: [a.yml]", true, &f, &d), 0);
    assert_string_equal(f.ini.data, "[function]\nname = f\n");
    foreign_done(&f);
}

static void test_environment_files_refused(void **state)
{
    static const char *const refused[][2] = {
        {"[gone.yml]", "x:1: environment_file: gone.yml is not there"},
        {"gone.yml", "x:1: environment_file: gone.yml is not there"},
        {"[../a.yml]", "x:1: environment_file: ../a.yml: a file below this directory is expected: copy it there"},
        {"[./../a.yml]", "x:1: environment_file: ../a.yml: a file below this directory is expected: copy it there"},
        {"[sub/../../a.yml]", "x:1: environment_file: sub/../../a.yml: a file below this directory is expected: copy it there"},
        {"/a.yml", "x:1: environment_file: /a.yml: a file below this directory is expected: copy it there"},
        {"[..]", "x:1: environment_file: ..: a file below this directory is expected: copy it there"},
        {"{a: b}", "x:1: environment_file: a list of files is expected"},
        {"[[a.yml]]", "x:1: one value is expected"},
        {"[bare.yml]", "y/bare.yml:1: environment: with NAME: VALUE lines below it is expected"},
        {"[list.yml]", "y/list.yml:1: environment: NAME: VALUE lines are expected below it"},
        {"[deep.yml]", "y/deep.yml:1: A: one value is expected"},
        {"[a.yml, long.yml]", "y/long.yml:1: A: the value is too long for a line of function.ini, or has control characters, \" ;\" or mixed quotes: keep it "
                              "in the package as a file env/A"},
        {"[broken.yml]", "y/broken.yml:2: did not find expected node content"},
        {"[a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml,a.yml]",
         "x:1: environment_file: more than 16 files"},
    };

    for (size_t i = 0; i < COUNT(refused); i++) {
        struct foreign f = {0};
        struct diag d = {0};
        char keys[512];

        snprintf(keys, sizeof(keys), "environment_file: %s", refused[i][0]);
        if (convert(FOREIGN_STACK, keys, true, &f, &d) >= 0)
            fail_msg("%s is taken: %s", keys, f.ini.data);
        assert_string_equal(d.text, refused[i][1]);
        foreign_done(&f);
    }
}

/* The whole file: what stands beside the functions, and funko.yml, which is one. */
static void test_tops(void **state)
{
    static const struct row tops[] = {
        {FOREIGN_STACK, "version: 1\nprovider: {name: a, gateway: b}\nfunctions: {f: {}}\n", "name = f\n", NULL},
        {FOREIGN_STACK, "configuration: {templates: [{name: a}]}\nfunctions: {f: {}}\n", "name = f\n", NULL},
        {FOREIGN_STACK, "configuration: {copy: [./a]}\nfunctions: {f: {}}\n", "name = f\n",
         "x:1: copy: not taken over: copy or link the directories into the function's own\n"},
        {FOREIGN_SERVERLESS, "service: a\nframeworkVersion: 3\nplugins: [a]\nprovider: spotinst\nfunctions: {f: {}}\n", "name = f\n", NULL},
        {FOREIGN_SERVERLESS, "package: {}\nfunctions: {f: {}}\n", "name = f\n",
         "x:1: package: not taken over: what is no part of the package stands in .fndignore\n"},
        {FOREIGN_SERVERLESS, "custom: {}\nfunctions: {f: {}}\n", "name = f\n", "x:1: custom: not taken over: not known here\n"},
        {FOREIGN_SERVERLESS, "provider: {name: spotinst, stage: dev, spotinst: {environment: e}, region: r}\nfunctions: {f: {}}\n", "name = f\n",
         "x:1: spotinst: not taken over: fnctl deploy --env-name says the environment\nx:1: region: not taken over: not known here\n"},
        {FOREIGN_SERVERLESS, "provider: {name: spotinst, runtime: ruby}\nfunctions: {f: {}}\n", "name = f\nruntime = ruby\n", NULL},
        {FOREIGN_SERVERLESS, "provider: {name: spotinst, runtime: ruby}\nfunctions: {f: {runtime: python}}\n", "name = f\nruntime = python\n", NULL},
        {FOREIGN_SERVERLESS, "provider: aws\nfunctions: {f: {}}\n", "name = f\n",
         "x:1: provider: read as Spotinst's form: other providers mean other things by the same keys\n"},
        {FOREIGN_FUNKO, "name: f\nruntime: flask\n", "name = f\nruntime = flask\nhandler = funko:app\n", NULL},
        {FOREIGN_FUNKO, "name: f\noptions: {healthcheck_options: a}\n", "name = f\n",
         "x:2: healthcheck_options: not taken over: fnd asks GET /ping itself: [health] interval and threshold\n"},
        {FOREIGN_FUNKO, "name: f\noptions: {healthcheck_command: a}\n", "name = f\n",
         "x:2: healthcheck_command: not taken over: fnd asks GET /ping itself: [health] path says another place\n"},
        {FOREIGN_FUNKO, "name: f\noptions: {copy_from_build: [a]}\n", "name = f\n",
         "x:2: copy_from_build: not taken over: the package is what the directory holds\n"},
        {FOREIGN_FUNKO, "name: f\noptions:\n", "name = f\n", NULL},
        {FOREIGN_FUNKO, "name: f\noptions: {ship_packages: [], devel_packages: [], copy_from_build: []}\n", "name = f\n", NULL},
        {FOREIGN_FUNKO, "name: f\nruntime: \"./my\\nown\\e[31m\"\n",
         "name = f\n", "x:2: runtime: there is no runtime ./my?own?[31m here: the directory is taken as the root filesystem, with its program in it (fnctl new --list names the runtimes)\n"},
    };

    for (size_t i = 0; i < COUNT(tops); i++) {
        struct diag d = {0};
        struct foreign f = {0};
        char ini[256];

        if (convert(tops[i].kind, tops[i].keys, false, &f, &d) < 0)
            fail_msg("%s: %s", tops[i].keys, d.text);
        snprintf(ini, sizeof(ini), "[function]\n%s", tops[i].ini);
        assert_string_equal(f.ini.data, ini);
        assert_string_equal(f.notes.data ? f.notes.data : "", tops[i].note ? tops[i].note : "");
        foreign_done(&f);
    }
}

/* Each key with a value that is not of its type. */
static void test_wrong_types(void **state)
{
    static const struct {
        enum foreign_kind kind;
        const char *keys, *message; /* behind "x:1: " */
    } bad[] = {
        {FOREIGN_STACK, "lang: [a]", "lang: one value is expected"},
        {FOREIGN_STACK, "handler: {a: b}", "handler: one value is expected"},
        {FOREIGN_STACK, "handler: a/../b", "handler: a/../b: a directory below this one is expected"},
        {FOREIGN_STACK, "handler: a/..", "handler: a/..: a directory below this one is expected"},
        {FOREIGN_STACK, "handler: ..", "handler: ..: a directory below this one is expected"},
        {FOREIGN_STACK, "image: [a]", "image: one value is expected"},
        {FOREIGN_STACK, "fprocess: [a]", "fprocess: one value is expected"},
        {FOREIGN_STACK, "environment: [a]", "environment: NAME: VALUE lines are expected below it"},
        {FOREIGN_STACK, "environment: a", "environment: NAME: VALUE lines are expected below it"},
        {FOREIGN_STACK, "environment: {A: {}}", "A: one value is expected"},
        {FOREIGN_STACK, "environment: {A: 'a ;b'}",
         "A: the value is too long for a line of function.ini, or has control characters, \" ;\" or mixed quotes: keep it in the package as a file env/A"},
        {FOREIGN_STACK, "environment: {A: ' \"a\" '}",
         "A: the value is too long for a line of function.ini, or has control characters, \" ;\" or mixed quotes: keep it in the package as a file env/A"},
        {FOREIGN_STACK, "environment: {\"\": a}", ": \"\" cannot be a key of function.ini"},
        {FOREIGN_STACK, "environment: {\"A\\nB\": a}", "a key has no control characters"},
        {FOREIGN_STACK, "environment: {\"A\\0B\": a}", "a NUL byte"},
        {FOREIGN_STACK, "environment: {&a A: b}", "a key must be a plain text"},
        {FOREIGN_STACK, "limits: {cpu: many}", "cpu: \"many\" is no number of CPUs (0.5, 500m)"},
        {FOREIGN_STACK, "limits: {memory: [1]}", "memory: one value is expected"},
        {FOREIGN_STACK, "limits: much", "limits: KEY: VALUE lines are expected below it"},
        {FOREIGN_STACK, "labels: [a]", "labels: KEY: VALUE lines are expected below it"},
        {FOREIGN_STACK, "labels: {com.openfaas.scale.max: 1.5}", "com.openfaas.scale.max: \"1.5\" is no whole number"},
        {FOREIGN_STACK, "labels: {com.openfaas.scale.max: 4294967296}", "com.openfaas.scale.max: \"4294967296\" is no whole number"},
        {FOREIGN_STACK, "annotations: [a]", "annotations: KEY: VALUE lines are expected below it"},
        {FOREIGN_STACK, "secrets: {a: b}", "secrets: one value is expected"},
        {FOREIGN_STACK, "secrets: [[a]]", "one value is expected"},
        {FOREIGN_STACK, "readonly_root_filesystem: 1", "readonly_root_filesystem: \"1\": true or false is expected"},
        {FOREIGN_SERVERLESS, "runtime: [a]", "runtime: one value is expected"},
        {FOREIGN_SERVERLESS, "handler: [a]", "handler: one value is expected"},
        {FOREIGN_SERVERLESS, "memory: 128M", "memory: \"128M\" is no whole number"},
        {FOREIGN_SERVERLESS, "timeout: 30s", "timeout: \"30s\" is no whole number"},
        {FOREIGN_SERVERLESS, "access: []", "access: one value is expected"},
        {FOREIGN_SERVERLESS, "cors: maybe", "cors: \"maybe\": true or false is expected"},
        {FOREIGN_SERVERLESS, "cors: [a]", "cors: KEY: VALUE lines are expected below it"},
        {FOREIGN_SERVERLESS, "cors: {enabled: []}", "enabled: one value is expected"},
        {FOREIGN_SERVERLESS, "cron: '0 3 * * *'", "cron: KEY: VALUE lines are expected below it"},
        {FOREIGN_SERVERLESS, "cron: {active: true}", "cron: value: '0 3 * * *' is missing below it"},
        {FOREIGN_SERVERLESS, "cron: {active: maybe, value: a}", "active: \"maybe\": true or false is expected"},
        {FOREIGN_SERVERLESS, "environmentVariables: a", "environmentVariables: NAME: VALUE lines are expected below it"},
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        struct diag d = {0};
        struct foreign f = {0};
        int r = convert(bad[i].kind, bad[i].keys, true, &f, &d);

        if (r != -EINVAL || strncmp(d.text, "x:1: ", 5) != 0 || strcmp(d.text + 5, bad[i].message) != 0)
            fail_msg("%s: %d \"%s\"", bad[i].keys, r, d.text);
    }
}

static int on_pair(void *arg, const char *section, const char *key, const char *value, unsigned line, struct diag *d)
{
    if (strcmp(section, "env") == 0)
        strbuf_printf(arg, "%s", value);
    return 0;
}

/* 0: what a variable's value was is what the parser of function.ini reads. */
static int way_there(const char *value)
{
    struct strbuf back cleanup_strbuf = {0}, keys cleanup_strbuf = {0};
    struct diag d = {0};
    struct foreign f = {0};
    int r;

    strbuf_puts(&keys, "environment: {A: '");
    for (const char *p = value; *p; p++)
        strbuf_printf(&keys, *p == '\'' ? "''" : "%c", *p);
    strbuf_puts(&keys, "'}");
    r = convert(FOREIGN_STACK, keys.data, true, &f, &d);
    if (r < 0)
        return r;
    if (inifile_parse("ini", f.ini.data, f.ini.len, on_pair, &back, &d) < 0)
        fail_msg("%s: %s", value, d.text);
    assert_string_equal(back.data, value);
    foreign_done(&f);
    return 0;
}

static void test_values_survive(void **state)
{
    static const char *const values[] = {"a",   " a", "a ",    ";a",  ";",        "a;b",  "\"", "a\"b", "\"a",
                                         "'a'", "#a", "a = b", "[a]", "\xc3\xa4", "a: b", "=",  "\\n",  "yes"};
    char longest[194];

    for (size_t i = 0; i < COUNT(values); i++)
        if (way_there(values[i]) < 0)
            fail_msg("%s", values[i]);
    assert_int_equal(way_there("\"a\""), -EINVAL); /* what the quotes would go from */
    memset(longest, 'x', sizeof(longest));
    longest[193] = '\0'; /* a line has 198 bytes, "A = " and its end among them */
    assert_int_equal(way_there(longest), -EINVAL);
    longest[192] = '\0';
    assert_int_equal(way_there(longest), 0);
}

static void test_merges(void **state)
{
    struct diag d = {0};
    struct foreign f = {0};

    assert_int_equal(convert(FOREIGN_STACK, "x: [&a {A: 1, B: 2}, &a {A: 3, C: 4}]\nfunctions: {f: {environment: {<<: *a, A: 9}}}\n", false, &f, &d), 0);
    assert_string_equal(f.ini.data, "[function]\nname = f\n\n[env]\nA = 9\nC = 4\n"); /* the newest of that name; its own value first */
    foreign_done(&f);
}

/* As many values as there may be, and one more; an alias below an alias. */
static void test_bounds(void **state)
{
    struct strbuf text cleanup_strbuf = {0};
    struct diag d = {0};
    struct ytree *t;

    strbuf_puts(&text, "a: [");
    for (unsigned i = 0; i + 2 < YTREE_NODES_MAX; i++)
        strbuf_puts(&text, "1,");
    strbuf_puts(&text, "]\n");
    assert_int_equal(ytree_parse("x", text.data, text.len, &t, &d), 0);
    ytree_free(t);
    strbuf_puts(&text, "b: 1\n");
    assert_int_equal(ytree_parse("x", text.data, text.len, &t, &d), -E2BIG);
    text.len = 0;
    strbuf_puts(&text, "a0: &a0 [x]\n");
    for (unsigned i = 1; i < YTREE_DEPTH_MAX + 2; i++)
        strbuf_printf(&text, "a%u: &a%u [*a%u]\n", i, i, i - 1);
    assert_int_equal(ytree_parse("x", text.data, text.len, &t, &d), -EINVAL);
    assert_non_null(strstr(d.text, "nested too deep"));
}

/* UTF-8 alone: what else a byte order mark announces is no text for function.ini. */
static void test_encodings(void **state)
{
    static const char wide[] = "\xff\xfe"
                               "a\0:\0 \0b\0";
    struct diag d = {0};
    struct ytree *t;

    assert_int_equal(ytree_parse("x", wide, sizeof(wide) - 1, &t, &d), -EINVAL);
    assert_int_equal(ytree_parse("x",
                                 "\xef\xbb\xbf"
                                 "a: b\n",
                                 8, &t, &d),
                     0);
    assert_string_equal(ytree_get(ytree_top(t), "a")->text, "b");
    ytree_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_tops),
        cmocka_unit_test(test_environment_files),
        cmocka_unit_test(test_environment_files_refused),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_values_survive),
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_encodings),
    };

    return cmocka_run_group_tests_name("foreign_keys", tests, NULL, NULL);
}
