/* function_facts.c: function.ini outside of the jail: the same parsers, nothing kept but a few texts. */
#include "function_facts.h"

#include "inifile.h"
#include "str.h"
#include "unpack_internal.h"

#include <string.h>

static int on_pair(void *arg, const char *section, const char *key, const char *value, unsigned line, struct diag *d)
{
    struct function_facts *f = arg;
    const struct {
        const char *key;
        char *field;
        size_t size;
    } texts[] = {{"name", f->name, sizeof(f->name)}, {"runtime", f->runtime, sizeof(f->runtime)}, {"handler", f->handler, sizeof(f->handler)}};

    if (strcmp(section, "function") != 0)
        return 0;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strcmp(key, texts[i].key) == 0)
            str_copy(texts[i].field, texts[i].size, value); /* one that is too long is refused by who takes it */
    return 0;
}

int function_facts_read(const char *text, size_t len, struct function_facts *ret, struct diag *d)
{
    struct function_facts f = {0};
    int r = inifile_parse(UNPACK_INI, text, len, on_pair, &f, d);

    if (r == 0)
        *ret = f;
    return r;
}

int function_facts_check(const char *text, size_t len, struct diag *d)
{
    struct function_ini f;
    int r;

    function_ini_init(&f);
    r = function_ini_parse(text, len, &f, d);
    function_ini_done(&f);
    return r;
}
