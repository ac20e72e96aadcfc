/* function_facts.h: what a function.ini says, for programs that do not make the spec of it: the very parser of the jail (runner/unpack), with the caller's rights. */
#pragma once

#include <stddef.h>

struct diag;

struct function_facts {
    char name[64], runtime[64], handler[256]; /* "": it says none */
};

/* Only these keys are looked at; what else is wrong is not. -EINVAL with "function.ini:LINE: ..." for what is no .ini text at all. */
int function_facts_read(const char *text, size_t len, struct function_facts *ret, struct diag *d);

/* Would this version take it? All that shows without the package: -EINVAL or -ENOTSUP with "function.ini:LINE: ...". */
int function_facts_check(const char *text, size_t len, struct diag *d);
