/*
 * inifile.h: reading .ini text strictly with inih, which alone would cut or misread some of it.
 *
 * A check runs before inih: lines over 198 bytes, a ';' after a blank in a value (" ;"), keys with a colon, indented lines, control characters, text behind a section's ']' and section names of 49 bytes or
 * more are refused with the line and the remedy; then every (section, key, value) is delivered with its line; a key that comes twice in a section is refused. Values lose one pair of double quotes if it
 * surrounds the whole value and there is none inside: "a b" is a b, and "a" "b" stays as it is. The first error ends it.
 */
#pragma once

#include <stddef.h>

#define INIFILE_LINE_MAX 198

struct diag;

/* Returns 0 or -errno with d set; the caller prefixes the line. */
typedef int inifile_fn(void *arg, const char *section, const char *key, const char *value, unsigned line, struct diag *d);

/* `what` names the text in messages ("function.ini", "/etc/fnd/fnd.ini"): every error reads "WHAT:LINE: ...". */
int inifile_parse(const char *what, const char *text, size_t len, inifile_fn *fn, void *arg, struct diag *d);
