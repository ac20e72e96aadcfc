/*
 * permits.c: what a function.ini asks for and the administrator decides: words of [sandbox] allow, and devices. An archive may come from a stranger, who would otherwise loosen his own sandbox.
 *
 * Asked at deploy, before anything is published, and at every start, since the configuration can have become stricter.
 */
#include "manager.h"

#include "allow.h"
#include "device.h"
#include "diag.h"
#include "str.h"

#include <errno.h>

int permits_check(const struct config *c, const struct spec *spec, struct diag *d)
{
    const uint64_t beyond = spec->allow & ~c->allow;

    if (beyond) {
        cleanup_strbuf struct strbuf words = {0};

        sandbox_allow_format(beyond, &words);
        return diag_set(d, EPERM,
                        "[sandbox] allow: this host does not permit %s: leave it out, or have the administrator add it to runner.allow in fnd.ini "
                        "(fnctl(1) tells the price)",
                        words.data ? words.data : "");
    }
    for (uint32_t i = 0; i < spec->ndevices; i++)
        if (!device_list_has(c->devices, spec->devices[i].path))
            return diag_set(d, EPERM,
                            "[sandbox] devices: this host does not permit %s: leave it out, or have the administrator add it to runner.devices in fnd.ini",
                            spec->devices[i].path);
    return 0;
}

int permits_devices(const struct spec *spec, dev_t numbers[SPEC_DEVICES_MAX], struct diag *d)
{
    for (uint32_t i = 0; i < spec->ndevices; i++) {
        int r = device_find(spec->devices[i].path, &numbers[i], d);

        if (r < 0) {
            diag_prefix(d, "[sandbox] devices");
            return r;
        }
    }
    return 0;
}
