/* The jail's spec: whatever passes spec_check() can be planned and printed. */
#include "fuzz_patch.h"

#include "names.h"
#include "sandbox.h"
#include "spec.h"
#include "str.h"

#include <stdlib.h>

#define STRINGS "/server\0--port\0003000\0A=1\0B=2"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fn_id id = {.env = "default", .name = "hello"};
    struct patches p = {.at = data, .left = size};
    size_t len = sizeof(struct spec) + sizeof(STRINGS);
    struct spec *s = calloc(1, len);

    if (!s)
        return 0;
    spec_init(s);
    memcpy(s->strings, STRINGS, sizeof(STRINGS));
    s->strings_len = sizeof(STRINGS);
    s->argc = 3;
    s->envc = 2;
    while (p.left > 0)
        patch_apply(&p, s, len);
    if (spec_check(s, size % 16 == 15 ? size % (len + 1) : len, NULL) == 0) {
        const struct plan_input in = {.spec = s, .id = &id, .instance = "hello-000000", .version = 1, .uid_base = 0x70000000};
        cleanup_strbuf struct strbuf out = {0};
        struct plan *plan = NULL;

        if (plan_make(&in, &plan, NULL) == 0) {
            plan_format(plan, &out);
            plan_free(plan);
        }
    }
    free(s);
    return 0;
}
