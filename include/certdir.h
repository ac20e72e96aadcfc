/*
 * certdir.h: the directory of certificates (gateway.tls_dir): which files it holds, and whether they may be used. Looks at names and modes, never at what is in the files.
 *
 *   NAME.pem and NAME.key                        the certificate (with its chain behind it) and its key
 *   NAME/fullchain.pem and NAME/privkey.pem      the same, as certbot has them in /etc/letsencrypt/live
 */
#pragma once

#include <limits.h>

struct diag;

#define CERTDIR_MAX 255 /* certificates of one directory */

struct certdir_entry {
    char name[NAME_MAX + 1];
    char certificate[NAME_MAX + 32], key[NAME_MAX + 32]; /* below the directory; either may be missing */
};

/* Calls `each` for every certificate in the order of their names; a negative result of it ends the walk. Returns how many there are, -errno; -E2BIG beyond CERTDIR_MAX (the first ones have been shown). A missing directory holds none. */
typedef int certdir_fn(void *arg, int dir, const struct certdir_entry *e);
int certdir_each(const char *path, certdir_fn *each, void *arg, struct diag *d);

/* A regular file; a key that others can read or change is refused. */
int certdir_open(int dir, const char *path, int is_key, struct diag *d);
