/*
 * unpacker.h: the runner's side of the jail: starts fnd-unpack for one archive, then once more to survey what became of it (unpack.h), and believes what it says only after a look at it.
 *
 * Nothing here blocks but, for as long as the kernel needs to end a killed process, the end of it. Needs the privileges to make and map a user namespace and to clone a mount.
 */
#pragma once

#include "unpack.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct diag;
struct spec;

enum unpacker_job { UNPACKER_EXTRACT, UNPACKER_SURVEY, UNPACKER_EXPORT, UNPACKER_JOB_COUNT };

struct unpacker {
    enum unpacker_job job;
    uint32_t kind; /* enum unpack_kind */
    pid_t pid;
    int pid_fd;
    int socket_fd;  /* non-blocking: watch it for reading */
    int staging_fd; /* private */
    bool have_result;
    struct unpack_limits limits;
    struct unpack_result result;
};

#define UNPACKER_NONE                                                                                                                                          \
    {                                                                                                                                                          \
        .pid = -1, .pid_fd = -1, .socket_fd = -1, .staging_fd = -1                                                                                             \
    }

struct unpacker_start {
    enum unpacker_job job;
    const char *program; /* path of fnd-unpack */
    int archive_fd;      /* EXTRACT: read to its end; SURVEY: not used; EXPORT: written to */
    int staging_fd; /* EXTRACT: an empty directory owned by image_uid_base (uid and gid), opened as usual; SURVEY: what is there after it; EXPORT: a version's tree */
    uint32_t image_uid_base;
    int cgroup_fd;         /* v2 directory: the process is born in it; -1: the caller's own */
    const int *attach_fds; /* cgroup.procs files of v1 hierarchies, to which it writes "0" before anything else */
    unsigned nattach;
    const struct spec *spec; /* EXPORT alone, as the next two */
    int runtime_fd;          /* the tree below; -1: none */
    int program_fd;          /* what serves stdio; -1: none */
};

/* The descriptors stay the caller's and may be closed at once; req is copied. *ret is untouched on failure. The request must have limits above 0. */
int unpacker_start(const struct unpacker_start *s, const struct unpack_request *req, struct unpacker *ret, struct diag *d);

/*
 * Call when socket_fd is readable. -EAGAIN: nothing final yet. 0: everything is unpacked and checked (the record of the spec; rootfs/ and function.ini in the staging directory are what they should be), and
 * the process is gone, so that nothing changes the tree any more; *ret_spec is the caller's (free), NULL for a runtime and after a survey, which alone fills the result's sha256. Other errors: refused, with the reason in d; the staging directory may hold anything and is to be removed.
 */
int unpacker_on_socket(struct unpacker *u, struct unpack_result *ret, struct spec **ret_spec, struct diag *d);

/* Ends the process if it still runs, reaps it, closes everything. Can be called again. */
void unpacker_kill_close(struct unpacker *u);
