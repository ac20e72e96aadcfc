/* volume_keys.c: [volumes] NAME = PATH SIZE. */
#include "unpack_internal.h"

#include "diag.h"
#include "names.h"
#include "str.h"

#include <errno.h>
#include <string.h>

int volume_keys_put(struct spec *s, const char *name, const char *value, struct diag *d)
{
    const size_t n = strcspn(value, " \t");
    const char *size = value + n + strspn(value + n, " \t");
    struct spec_volume *v = &s->volumes[s->nvolumes];

    if (s->nvolumes == SPEC_VOLUMES_MAX)
        return diag_set(d, EINVAL, "[volumes] %s: at most %d volumes", name, SPEC_VOLUMES_MAX);
    if (!name_valid(name))
        return diag_set(d, EINVAL, "[volumes] \"%.60s\" is no name: use letters, digits, '-' and '_', beginning and ending with a letter or digit, at most 57",
                        name);
    if (n == 0 || n >= sizeof(v->path) || !*size || str_parse_size(size, &v->bytes) < 0)
        return diag_set(d, EINVAL, "[volumes] %s: \"%.80s\" is not PATH SIZE (/data 1G)", name, value);
    str_copy(v->name, sizeof(v->name), name);
    memcpy(v->path, value, n);
    v->path[n] = '\0';
    s->nvolumes++;
    return 0;
}
