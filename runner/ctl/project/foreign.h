/*
 * foreign.h: project files of other systems as the text of a function.ini: funko.yml (FaaSO), stack.yml (OpenFaaS), serverless.yml (with Spotinst's provider).
 *
 * What has no counterpart is never dropped silently: each such line becomes a note. A value that is there and makes no sense is an error.
 */
#pragma once

#include "str.h"
#include "yaml_tree.h"

struct diag;

struct foreign {
    char function[64];        /* which of the file's functions it is */
    char directory[256];      /* where its code lies, below the file's directory; "": there */
    struct strbuf ini, notes; /* notes: "stack.yml:12: ...\n", a line each */
};

enum foreign_kind { FOREIGN_FUNKO, FOREIGN_STACK, FOREIGN_SERVERLESS, FOREIGN_COUNT };

/* The names that files of a kind have, NULL at the end. */
extern const char *const foreign_files[FOREIGN_COUNT][3];

/* Other files of the same directory. what: how messages call it. 1, 0 where there is none of the name, or -errno. */
struct foreign_reader {
    int (*read)(void *arg, const char *name, char *what, size_t size, struct ytree **ret, struct diag *d);
    void *arg;
};

/* `pick`: which function, where the file has several; NULL: the only one. -EINVAL with "WHAT:LINE: ...", or with the names to choose from. */
int foreign_convert(enum foreign_kind kind, const char *what, const struct ytree *t, const char *pick, const struct foreign_reader *reader, struct foreign *ret,
                    struct diag *d);
void foreign_done(struct foreign *f);
/* The functions of a file in its order; NULL behind the last. Borrowed from the tree. */
const char *foreign_name(enum foreign_kind kind, const struct ytree *t, unsigned i);

/* ---- between foreign_ini.c, foreign_keys.c and foreign_env.c ---- */

#define FOREIGN_ENV_FILES 16

struct foreign_file {
    const char *name; /* the tree's that names it */
    char *what;
    struct ytree *tree;
};

enum ini_section { INI_FUNCTION, INI_LIMITS, INI_SCALE, INI_HTTP, INI_ENV, INI_SECRETS, INI_CRON, INI_SECTIONS };

struct conversion {
    const char *what;
    struct foreign *out;
    struct strbuf sections[INI_SECTIONS];
    const struct ynode *function;
    struct foreign_file files[FOREIGN_ENV_FILES]; /* of environment_file, in its order */
    unsigned nfiles;
    struct diag *d;
};

/* A key of another system: what to do with its value, or why nothing can be done. take returns 0 or -errno with c->d set. */
struct foreign_key {
    const char *key; /* NULL: the end */
    int (*take)(struct conversion *c, const struct ynode *value);
    const char *why; /* without take: "" is known and needs no word, else the note's reason */
};

extern const struct foreign_key *const foreign_keys[FOREIGN_COUNT]; /* of a function */
extern const struct foreign_key *const foreign_top[FOREIGN_COUNT];  /* of the file, where its functions are below `functions` */

int foreign_take(struct conversion *c, const struct ynode *map, const struct foreign_key *keys);
int foreign_put(struct conversion *c, enum ini_section section, const char *key, const struct ynode *at, const char *value);
void foreign_note(struct conversion *c, const struct ynode *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int foreign_refuse(struct conversion *c, const struct ynode *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int foreign_text(struct conversion *c, const struct ynode *at, const char **ret); /* -EINVAL for a map or a list */
bool foreign_leads_out(const char *path);                                         /* of the directory that it begins in, or may */

/* ---- foreign_env.c ---- */

int foreign_env_open(struct conversion *c, const struct foreign_reader *reader); /* what environment_file names, before anything is taken */
void foreign_env_close(struct conversion *c);
const struct ynode *foreign_env_map(const struct conversion *c, const char *name); /* the map whose variable of that name counts, or NULL */
int foreign_env_put(struct conversion *c, const struct ynode *v);                  /* these are for tables of keys */
int foreign_env_watchdog(struct conversion *c, const struct ynode *v);
int foreign_env_files(struct conversion *c, const struct ynode *v);
