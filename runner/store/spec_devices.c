/* spec_devices.c: the gate of the devices in a spec. */
#include "spec_parts.h"

#include "device.h"
#include "diag.h"

#include <errno.h>
#include <string.h>

int spec_check_devices(const struct spec *s, struct diag *d)
{
    for (uint32_t i = 0; i < s->ndevices; i++) {
        int r = device_path_check(s->devices[i].path, d);

        if (r < 0) {
            diag_prefix(d, "spec: devices");
            return r;
        }
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(s->devices[i].path, s->devices[k].path) == 0)
                return diag_set(d, EINVAL, "spec: device %s comes twice", s->devices[i].path);
    }
    return 0;
}
