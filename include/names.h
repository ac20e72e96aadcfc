/*
 * names.h: what a function, an environment and an instance are called.
 *
 * A function is ENV/NAME; on command lines and in URLs NAME or NAME.ENV, with environment "default" unless said. Each part matches [A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?, has at most 57
 * characters (an instance's host name is NAME-xxxxxx, and Linux host names end at 64) and is unique ignoring case.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define NAME_PART_MAX     57
#define NAME_DEFAULT_ENV  "default"
#define NAME_INSTANCE_MAX 64                      /* "hello-x3k9ab", the host name */
#define NAME_FUNCTION_MAX (2 * NAME_PART_MAX + 1) /* "hello.staging" */

struct diag;

struct fn_id {
    char env[NAME_PART_MAX + 1];
    char name[NAME_PART_MAX + 1];
};

/* Is the part a valid one? */
bool name_valid(const char *part);

/* "NAME" or "NAME.ENV"; -EINVAL with a message that says what is wrong and what is allowed. */
int name_parse(const char *text, struct fn_id *ret, struct diag *d);

/* Of parts from elsewhere; an empty env means the default one. */
int name_make(const char *name, const char *env, struct fn_id *ret, struct diag *d);

/* "NAME", or "NAME.ENV" where the environment is not the default one; buf of NAME_FUNCTION_MAX + 1. Returns buf. */
const char *name_format(const struct fn_id *id, char *buf);

bool name_equal(const struct fn_id *a, const struct fn_id *b); /* ignores case */

/* "NAME-xxxxxx" with six random characters of [a-z0-9]; buf of NAME_INSTANCE_MAX + 1. */
int name_new_instance(const struct fn_id *id, char *buf);

/* Is the text formed like an instance's name (a valid part, '-', six of [a-z0-9])? */
bool name_instance_valid(const char *text);
