/* sandbox_keys.c: the keys of [sandbox]: words of allow.h, names of device.h. What of it is permitted is the administrator's decision, and the runner's check. */
#include "unpack_internal.h"

#include "allow.h"
#include "device.h"
#include "diag.h"
#include "str.h"

#include <errno.h>
#include <string.h>

int sandbox_keys_allow(struct function_ini *f, const char *value, struct diag *d)
{
    return sandbox_allow_parse(value, &f->spec.allow, d);
}

int sandbox_keys_devices(struct function_ini *f, const char *value, struct diag *d)
{
    struct spec *s = &f->spec;
    char path[DEVICE_PATH_MAX];
    int r;

    while ((r = device_list_next(&value, path, d)) > 0) {
        r = device_path_check(path, d);
        if (r < 0)
            return r;
        for (uint32_t i = 0; i < s->ndevices; i++)
            if (strcmp(s->devices[i].path, path) == 0)
                return diag_set(d, EINVAL, "%s comes twice", path);
        if (s->ndevices == SPEC_DEVICES_MAX)
            return diag_set(d, EINVAL, "more than %d devices", SPEC_DEVICES_MAX);
        str_copy(s->devices[s->ndevices++].path, sizeof(s->devices[0].path), path);
    }
    return r;
}
