/*
 * volume.h: persistent data of functions: STATE/volumes/ENV/NAME/VOLUME.ext4, a file system of bounded size in a sparse file.
 *
 * A file system of its own is what bounds it on every host: project quotas need a file system that was made and mounted for them. It is mounted through a loop device (loop(4), LOOP_CONFIGURE of Linux 5.8) in the
 * runner's own mount namespace at RUN/volumes/ENV.NAME.VOLUME, nosuid and nodev; the host does not see it. On it, as in images, inner id N is id N of the image range, so that instances mount it through the idmap
 * of their slots. The file is locked (flock(2)) as long as the loop device has it: no two daemons, and no daemon beside what a killed one left, can have it mounted at the same time. `mount -o loop` shows an
 * administrator what is in it while the daemon is stopped.
 *
 * All of this blocks for the time of some disk writes; mke2fs(8) of a new one, or resize2fs(8), for some 10 ms; one that grows, for at most a second until the kernel has let go of it.
 */
#pragma once

#include "names.h"
#include "spec.h"

#include <stdbool.h>
#include <stdint.h>

struct config;
struct diag;
struct volumes;

/* Makes the directories and removes mount points that a killed daemon left. */
int volumes_open(const struct config *c, struct volumes **ret, struct diag *d);
/* Unmounts everything. */
void volumes_close(struct volumes *v);

/*
 * Mounts what is not mounted yet, making and growing files as the spec says; its top directory belongs to the function's user. *ret_dirs (SPEC_VOLUMES_MAX places) are O_PATH descriptors of the volumes' roots in the order of the
 * spec, for sandbox_volume_mount(); borrowed, good until volumes_close() or volumes_remove(). -EFBIG: a volume that is there is larger than the spec wants it (they do not shrink); -EBUSY: somebody else has it mounted, or it
 * would have to grow while instances of the function use it (in_use); -ENOSPC, -ENOENT: no mke2fs.
 */
int volumes_mount(struct volumes *v, const struct fn_id *id, const struct spec *spec, bool in_use, int *ret_dirs, struct diag *d);

/* Could volumes_mount() grow or make all of them? Changes nothing: for a deploy, before anything is published. */
int volumes_check(struct volumes *v, const struct fn_id *id, const struct spec *spec, struct diag *d);

/* Unmounts a function's volumes (no instance of it is left), and with `erase` removes their files. Returns how many files are kept or were removed. */
int volumes_remove(struct volumes *v, const struct fn_id *id, bool erase, struct diag *d);
