/* sandbox_keys.c: the keys of [sandbox]: words of allow.h. */
#include "unpack_internal.h"

#include "allow.h"
#include "diag.h"
#include "str.h"

#include <errno.h>
#include <string.h>

#define SEPARATORS " \t,"

static int refuse_word(const char *word, size_t len, struct diag *d)
{
    cleanup_strbuf struct strbuf known = {0};

    sandbox_allow_format(ALLOW_ALL, &known);
    return diag_set(d, EINVAL, "\"%.*s\" is not known: known words are %s", (int)(len < 60 ? len : 60), word, known.data ? known.data : "");
}

int sandbox_keys_allow(struct function_ini *f, const char *value, struct diag *d)
{
    uint64_t bits = 0;

    value += strspn(value, SEPARATORS);
    while (*value) {
        const size_t len = strcspn(value, SEPARATORS);
        const int word = sandbox_allow_find(value, len);

        if (word < 0)
            return refuse_word(value, len, d);
        bits |= ALLOW_BIT(word);
        value += len;
        value += strspn(value, SEPARATORS);
    }
    f->spec.allow = bits;
    return 0;
}
