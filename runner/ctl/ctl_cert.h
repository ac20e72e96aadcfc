/* ctl_cert.h: certificates as fnctl makes and shows them. Private to `fnctl cert` and `fnctl doctor`. */
#pragma once

#include "certificate.h"
#include "str.h"

#include <stdbool.h>

struct certdir_entry;
struct diag;

bool ctl_cert_is_address(const char *name);
int ctl_cert_check_name(const char *name, struct diag *d);

/* A self-signed certificate for these names and addresses, and its key (ECDSA P-256), as PEM. */
int ctl_cert_make(const char *const *names, unsigned n, struct strbuf *certificate, struct strbuf *key, struct diag *d);

/* Reads and checks the two files of a directory's entry (certdir.h). Its time is not checked. */
int ctl_cert_read(int dir, const struct certdir_entry *e, struct certificate *ret, struct diag *d);
