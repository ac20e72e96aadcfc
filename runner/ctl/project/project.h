/*
 * project.h: what fnctl does with code that is not a function yet. Private to runner/ctl.
 *
 *   share.c      templates and examples, in the build tree or installed
 *   template.c   a directory from a template
 *   ignore.c     .fndignore
 *   project.c    a directory that is to be sent
 */
#pragma once

#include "../ctl.h"

#include "function_facts.h"

/* ---- share.c: templates/NAME/ and examples/NAME/ ---- */

#define SHARE_TEMPLATES "templates"
#define SHARE_EXAMPLES  "examples"
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
int ignore_read(const char *dir, bool code, struct ignore **ret, struct diag *d);
int ignore_parse(const char *what, const char *text, bool code, struct ignore **ret, struct diag *d);
void ignore_free(struct ignore *g);
/* path: relative to the top. What is below an ignored directory is not asked for. */
bool ignore_match(const struct ignore *g, const char *path, bool directory);

/* ---- project.c: a directory (or an archive) that is to be sent ---- */

struct project {
    struct source source;
    char *ini;      /* function.ini's text; NULL where there is none, and for an archive */
    bool converted; /* ini is made from another system's file */
    struct function_facts facts;
    struct ignore *ignore;
    char name[NAME_PART_MAX + 1]; /* where function.ini has none: the directory's; or "" */
};

/* p must be given to project_done() whatever happens. With check the .ini is looked at as the daemon's jail would; its messages begin with the file's path. */
int project_load(const struct source *s, bool check, struct project *p, struct diag *d);
void project_done(struct project *p);
/* Its bytes as a body; `uniform` and progress as in struct pack_options, whose other fields are the project's. */
int project_open(const struct project *p, const struct pack_options *o, struct body *b, struct diag *d);
