/* secret_keys.c: [secrets] names: a list of names by spaces or commas. */
#include "unpack_internal.h"

#include "diag.h"
#include "names.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define SEPARATORS " ,\t"

int secret_keys_names(struct function_ini *f, const char *value, struct diag *d)
{
    struct spec *s = &f->spec;

    for (const char *at = value + strspn(value, SEPARATORS); *at;) {
        size_t len = strcspn(at, SEPARATORS);
        char *name = s->secrets[s->nsecrets];

        if (s->nsecrets == SPEC_SECRETS_MAX)
            return diag_set(d, EINVAL, "at most %d secrets", SPEC_SECRETS_MAX);
        if (len < sizeof(s->secrets[0]))
            memcpy(name, at, len);
        name[len < sizeof(s->secrets[0]) ? len : 0] = '\0';
        if (!name_valid(name))
            return diag_set(d, EINVAL, "\"%.*s\" is no name: use letters, digits, '-' and '_', beginning and ending with a letter or digit, at most %d",
                            (int)(len < 80 ? len : 80), at, NAME_PART_MAX);
        for (uint32_t i = 0; i < s->nsecrets; i++)
            if (strcasecmp(s->secrets[i], name) == 0)
                return diag_set(d, EINVAL, "%s is there twice", name);
        s->nsecrets++;
        at += len + strspn(at + len, SEPARATORS);
    }
    return s->nsecrets ? 0 : diag_set(d, EINVAL, "is empty: leave the key out");
}
