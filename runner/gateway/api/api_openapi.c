/* api_openapi.c: GET /openapi.json: the description of the API, contrib/openapi.json, which the binary holds. */
#include "api_private.h"

/* The assembler finds it from the top of the tree, where make runs. */
__asm__(".section .rodata\n"
        ".global api_openapi_begin\n"
        ".global api_openapi_end\n"
        "api_openapi_begin:\n"
        ".incbin \"contrib/openapi.json\"\n"
        "api_openapi_end:\n"
        ".previous\n");

extern const char api_openapi_begin[], api_openapi_end[];

void api_get_openapi(struct api_call *c)
{
    struct exchange *ex = c->ex;

    api_call_free(c);
    exchange_reply(ex, 200, "application/json", NULL, api_openapi_begin, (size_t)(api_openapi_end - api_openapi_begin));
}
