/*
 * device.h: devices of the host that a function may ask for by name: [sandbox] devices = /dev/dri/renderD128.
 *
 * Three gates: the form of the name and a list of what nobody gets (fnd-unpack, and the runner's check of the record), the administrator's list (runner.devices in fnd.ini), and what the name is on the host at the moment of
 * the start. The sandbox gets a node with the same number in its /dev; it can make none itself (mknod needs a capability over the host), so no device controller of the cgroup is needed: whoever has no node opens nothing.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct diag;

#define DEVICE_PATH_MAX 64 /* spec.h */

/* Is this a name below /dev, written plainly, and none that is always refused? -EINVAL. Looks at no file. */
int device_path_check(const char *path, struct diag *d);

/* The next of a list with blanks or commas between its items, at *at, which moves on: 1 and path, 0 at the end, -EINVAL for one that is too long. */
int device_list_next(const char **at, char path[DEVICE_PATH_MAX], struct diag *d);
/* Every item passes device_path_check(). */
int device_list_check(const char *list, struct diag *d);
bool device_list_has(const char *list, const char *path);

/* What it is on this host now, without following any symlink: a character device, of no kind that is always refused, whatever its name. -ENODEV, -EPERM. */
int device_find(const char *path, dev_t *ret, struct diag *d);
/* The second half of it: may a function have a device of this mode and number? */
int device_kind_check(mode_t mode, dev_t number, struct diag *d);
