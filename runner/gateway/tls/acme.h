/*
 * acme.h: answers to ACME's http-01 challenges (RFC 8555 section 8.3), from the directory that the runner passes: what an ACME client (certbot --webroot) puts below it as .well-known/acme-challenge/TOKEN is served at that
 * path, and nothing else is.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define ACME_PATH     "/.well-known/acme-challenge/"
#define ACME_TEXT_MAX 4096 /* a key authorization has about 90 bytes */

/* Is it such a path? Whether or not there is an answer. */
bool acme_is_path(const char *path, size_t len);

/* The answer's length; -ENOENT: there is none, or the token is none. dir is borrowed; -1: there is no directory. */
ssize_t acme_read(int dir, const char *path, size_t len, char buf[ACME_TEXT_MAX]);
