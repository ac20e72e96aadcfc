/* claims.c: hosts and paths belong to one function each: who comes second is refused before anything has changed. What versions on disk claim after all (put there by hand) the gateway gives to the first by name. */
#include "manager.h"

#include "diag.h"

#include <errno.h>

static int check_version(const struct function *f, const struct version *v, const struct spec *spec, struct diag *d)
{
    const struct spec_http *h = &spec->http;
    char claim[SPEC_HTTP_CLAIM_MAX], name[NAME_FUNCTION_MAX + 1];

    if (!v || !spec_http_overlap(h, &v->v.spec->http, claim))
        return 0;
    return diag_set(d, EEXIST, "function.ini:%u: [http] %s: %s belongs to the function %s: take it away there first, or choose another",
                    h->hosts_line ? h->hosts_line : h->paths_line, h->hosts_line ? "hosts" : "paths", claim, name_format(&f->id, name));
}

int claims_check(const struct function *f, const struct spec *spec, struct diag *d)
{
    for (const struct function *other = f->manager->functions; other; other = other->next) {
        int r = other == f ? 0 : check_version(other, other->version, spec, d);

        if (r == 0 && other != f && other->deploy)
            r = check_version(other, deploy_version(other->deploy), spec, d);
        if (r < 0)
            return r;
    }
    return 0;
}
