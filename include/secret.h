/*
 * secret.h: values that a function may read and nobody else: passwords, keys, tokens.
 *
 *   STATE/secrets/ENV/NAME/KEY   the value, byte for byte, 0600 root; directories 0700. They belong to the name: they can be set before the function's first deploy, and stay when it is removed
 *
 * An instance gets those that its spec names as files of its own, in /run/secrets (sandbox.h), as they are when it starts. Values are in no plan that is printed, no log, and no answer of the API.
 */
#pragma once

#include "names.h"
#include "sandbox.h"
#include "spec.h"

#include <stddef.h>
#include <stdint.h>

struct diag;
struct store;
struct strbuf;

#define SECRET_VALUE_MAX  (32U * 1024)
#define SECRETS_BYTES_MAX (40U * 1024) /* of all that one function names: they travel in its plan */
#define SECRETS_KEPT_MAX  4096U        /* of all functions together, named or not: 128 MB on disk at most */

/* -EINVAL for a key that is no name (names.h), or an empty or too long value; -ENOSPC above SECRETS_KEPT_MAX. */
int secret_set(struct store *s, const struct fn_id *id, const char *key, const void *value, size_t len, struct diag *d);
/* -ENOENT */
int secret_remove(struct store *s, const struct fn_id *id, const char *key, struct diag *d);

/* Appends lines "ENV NAME KEY BYTES CHANGED", the last in ns since the epoch; of one function, or of all (id NULL). */
int secret_list(struct store *s, const struct fn_id *id, struct strbuf *out, struct diag *d);

/* Are all that the spec names there? -ENOENT with the remedy for the first that is not. */
int secrets_check(struct store *s, const struct fn_id *id, const struct spec *spec, struct diag *d);

/* The values that a spec names. Filled by secrets_read(), emptied (and overwritten) by secrets_done(), which may be called on zeros. */
struct secrets {
    struct plan_secret list[SPEC_SECRETS_MAX];
};
int secrets_read(struct store *s, const struct fn_id *id, const struct spec *spec, struct secrets *ret, struct diag *d);
void secrets_done(struct secrets *s);
