/*
 * project.h: what fnctl does with code that is not a function yet. Private to runner/ctl.
 *
 *   share.c      templates and examples, in the build tree or installed
 *   template.c   a directory from a template
 *   ignore.c     .fndignore
 *   project.c    a directory that is to be sent
 *   beneath.c    what lies in it, and not elsewhere
 *   foreign_ini.c    other systems' files; foreign_keys.c has what their keys mean, foreign_env.c their variables, yaml_tree.c their syntax
 *   needs.c      what of it a builder has to install
 *   builder.c    the builder: a function that is asked once
 *   apt_sources.c    what of this host's apt sources it is told
 *   runtimes.c   runtimes for a private daemon
 *   runtime_build.c  runtimes from Debian's packages
 *   rerun.c      deployed anew at every change; dirwatch.c notices them, beside.c follows the log meanwhile
 *   packfile.c   a package in a file
 *   progress.c   the bar
 */
#pragma once

#include "../ctl.h"

#include "function_facts.h"

/* ---- share.c: templates/NAME/ and examples/NAME/ ---- */

#define SHARE_TEMPLATES "templates"
#define SHARE_EXAMPLES  "examples"
#define SAMPLE_PREFIX   "sample:" /* before the name of an example, where a path is possible too */
#define SHARE_LINE_MAX  160

/* Beside the running program, then below PREFIX/share/fnd. -ENOENT without a message. */
int share_find(const char *kind, const char *name, char *buf, size_t size);
/* The names of a kind, sorted, each once; the caller's (free each and the array). Returns how many. */
int share_names(const char *kind, char ***ret, struct diag *d);
void share_names_free(char **names);
/* The line about it: README.md's first, behind "# NAME: ". "" where it has none. */
void share_line(const char *kind, const char *name, char *buf, size_t size);

/* ---- template.c ---- */

/* Makes the directory `path`, which must not be there; @NAME@ becomes `name`. What was made is removed on failure. */
int template_copy(const char *from, const char *path, const char *name, struct diag *d);

/* ---- ignore.c ---- */

#define IGNORE_FILE ".fndignore"

struct ignore;

/*
 * The rules of `dir`, before them the ones that hold for all `code` (.git, __pycache__ ...), which lines can take back. Lines are what .gitignore has: # and ! before, / behind for directories, a / elsewhere ties
 * to the top; * ? [a-z] within a name, ** over several. -EINVAL names file and line.
 */
int ignore_read(const struct source *s, bool code, struct ignore **ret, struct diag *d);
int ignore_parse(const char *what, const char *text, bool code, struct ignore **ret, struct diag *d);
void ignore_free(struct ignore *g);
/* path: relative to the top. What is below an ignored directory is not asked for. */
bool ignore_match(const struct ignore *g, const char *path, bool directory);

/* ---- beneath.c ---- */

/* A directory whose path begins with what was said by whoever called fnctl (`said` bytes; 0: all of it); the rest is the project's word, and leads nowhere but below that. Its fd, or -errno: -EXDEV: it leads elsewhere. */
int beneath_dir(const char *path, size_t said);
/* A regular file in such a directory, by a path of which the same holds. Its fd, or -errno: -EXDEV, -EINVAL: it is something else. */
int beneath_file(const char *path, size_t said, const char *name);
int beneath_refuse(int err, const char *path, struct diag *d); /* says so */

/* ---- project.c: a directory (or an archive) that is to be sent ---- */

struct project {
    struct source source;
    char *ini;      /* function.ini's text; NULL where there is none, and for an archive */
    char *notes;    /* what of another system's file could not be taken over, a line each; or NULL */
    bool converted; /* ini is made from another system's file */
    struct function_facts facts;
    struct ignore *ignore;
    struct dirwatch *watch;       /* of one that is deployed at every change; else NULL */
    char name[NAME_PART_MAX + 1]; /* where function.ini has none: the directory's; or "" */
};

/* Which .ini is judged on this side, too: the daemon may be newer. */
enum project_check { PROJECT_UNCHECKED, PROJECT_MADE /* what is made here of another system's file */, PROJECT_CHECKED };

/*
 * p must be given to project_done() whatever happens. What is checked is looked at as the daemon's jail would; its messages begin with the file's path. Without a function.ini another system's file is read
 * (foreign.h), where `pick` says which of several functions.
 */
int project_load(const struct source *s, enum project_check check, const char *pick, struct project *p, struct diag *d);
/* The functions that another system's file has; share_names_free(). Returns how many, 0 where there is no such file. */
int project_names(const struct source *s, char ***ret, struct diag *d);
void project_done(struct project *p);
void project_print_notes(const struct project *p); /* on standard error */
/* Its bytes as a body; `uniform` and progress as in struct pack_options, whose other fields are the project's. */
int project_open(const struct project *p, const struct pack_options *o, struct body *b, struct diag *d);

/* ---- needs.c ---- */

/* The first file that names something to install ("requirements.txt"), or NULL: the package is the directory as it stands. */
const char *needs_builder(const struct project *p);

/* ---- progress.c ---- */

struct progress {
    const char *what;
    bool on, shown;
    uint64_t last_ns;
};
void progress_begin(struct progress *p, const char *what);
void progress_bytes(void *arg, uint64_t done, uint64_t total); /* arg: the progress; for struct pack_options */
void progress_end(struct progress *p);

/* ---- packfile.c ---- */

struct packfile;
int packfile_open(const char *path, struct packfile **ret, struct diag *d); /* -EINVAL: the name says no compression */
int packfile_stat(const struct packfile *f, struct stat *ret);
int packfile_write(struct packfile *f, const void *data, size_t len, struct diag *d);
/* Publishes it, or not; f is gone in both cases. */
int packfile_close(struct packfile *f, uint64_t *ret_bytes, char ret_sha256[65], struct diag *d);
void packfile_abort(struct packfile *f);

/* ---- builder.c ---- */

/* What the package's bytes are given to. */
struct build_sink {
    int (*write)(void *arg, const void *data, size_t len, struct diag *d);
    void *arg;
};

/* Has the daemon that ctl speaks with build the project. An exit code, with its message printed; nothing is left there. Locks are written into the project's directory. */
int builder_run(struct ctl *ctl, const struct project *p, const char *why, const struct build_sink *sink);
/* The same into a nameless file, which becomes the body. With `keep`, which points to NULL at first, the builder stays there for the next time, and does not install anew what it has; builder_end() removes it. */
struct builder;
int builder_body(struct ctl *ctl, const struct project *p, const char *why, struct builder **keep, struct body *b);
int builder_end(struct builder *b); /* NULL: nothing */

/* ---- apt_sources.c ---- */

#define APT_SOURCE_VARIABLE "APT_SOURCE_"

/* A line APT_SOURCE_N=deb ... for each source of this host for the release that it runs, as rootfs/build-runtime chooses them; what is longer than line_max, or signed by a key that is not Debian's, is left out. None where there is no apt. */
int apt_sources(struct strbuf *out, size_t line_max, struct diag *d);
int apt_sources_in(const char *etc, const char *os_release, struct strbuf *out, size_t line_max, struct diag *d); /* of another /etc/apt */

/* ---- runtimes.c ---- */

/* Gives a private daemon the runtime, from the file that `make runtime-R` or `fnctl runtime build` left on this host, if it has none of that name; without such a file as runtimes_ask(). "": nothing to do. */
json_t *runtimes_list(struct ctl *ctl); /* an array of objects with a name; NULL, silently, where no daemon says. The caller's. */
bool runtimes_has(const json_t *list, const char *name);
bool runtimes_shipped(const char *name, char *path, size_t size); /* the image that came with the programs, or was made beside them */
bool runtimes_on_host(const char *name);                          /* is there such a file? */
bool runtimes_unheard_of(const char *name);                       /* recipes are known, and it is none of them */
int runtimes_need(struct ctl *ctl, const char *name);
/*
 * Before anything is built or sent for it: CTL_FAILED, with the message, where the daemon says that it has no such runtime. One small request. What becomes of the deploy is the daemon's to decide, which looks again:
 * where it does not say (an older one, a token that may not ask) or the name is none, this is CTL_OK.
 */
int runtimes_ask(struct ctl *ctl, const char *name);
const char *runtimes_of(const struct ctl *ctl, const struct project *p); /* what the daemon will take for it: --set is laid over function.ini; or "" */

/* ---- runtime_build.c: `fnctl runtime build NAME`; the name is valid ---- */

int runtime_build(struct ctl *ctl, const char *name);
void runtime_recipes(void (*on_name)(void *arg, const char *name), void *arg); /* what it can build or has, where that is known */

/* ---- dirwatch.c ---- */

struct dirwatch;
int dirwatch_open(const char *top, const struct ignore *g, struct dirwatch **ret, struct diag *d);
void dirwatch_close(struct dirwatch *w);
int dirwatch_fd(const struct dirwatch *w); /* readable: ask */
/* What has happened since: 1 when something of it counts, 0, or a negative errno. Never blocks. */
int dirwatch_read(struct dirwatch *w, const struct ignore *g, struct diag *d);

/* ---- beside.c ---- */

/* fn in a process of its own whose standard output is output_fd; 0 when there can be none. */
pid_t beside_start(struct ctl *ctl, int (*fn)(struct ctl *ctl, void *arg), void *arg, int output_fd);
void beside_wait(pid_t pid, int ms); /* until it has ended by itself, at most so long */
void beside_end(pid_t *pid);

/* ---- rerun.c ---- */

struct rerun {
    const struct source *source;
    const char *pick;         /* as project_load() has it */
    struct builder **builder; /* as builder_body() has it */
    bool changed;             /* since what was read last */
};

/* As project_load() with what it checks, and watched since before it was read; what a change of the directory can cure is said and waited for. CTL_OK (also when ctl->stop is set), or the message's code. */
int rerun_load(struct ctl *ctl, const struct rerun *w, struct project *p);
/* Deploys the project (of rerun_load()); where that fails, anew at each change until one is deployed: CTL_OK, *ret is the answer. Sets ctl->o->name to what may point into *p. Else a code, with its message unless ctl->stop is set. */
int rerun_first(struct ctl *ctl, struct project *p, struct rerun *w, json_t **ret);
/* Deploys it anew whenever its directory has changed, until ctl->stop. */
int rerun(struct ctl *ctl, struct project *p, struct rerun *w);
