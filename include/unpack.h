/*
 * unpack.h: the contract of the jail `fnd-unpack`.
 *
 * The runner makes an empty staging directory owned by the image range, starts fnd-unpack in a user namespace that maps only that range (inner 0..65535), with these descriptors:
 *   0 the archive (a pipe or a file; read to its end)      3 the staging directory, as a detached mount      4 a SEQPACKET socket      2 the runner's standard error
 * sends one struct unpack_request and receives exactly one struct unpack_result, followed (if it succeeded, and a function was asked for) by one message that is the spec record (spec.h).
 *
 * That process has read what a stranger wrote, and its word is not taken for what the tree is. So a second one is started (argument UNPACK_SURVEY) over the finished, now read-only staging directory: it has parsed
 * nothing, looks at every entry, refuses what must not be there, flushes the tree to disk, and its SHA-256 is what names the image. Otherwise an archive that takes the first process over could claim the digest of
 * another function's image, and be run in its place by whoever deploys that image next.
 *
 * An export (argument UNPACK_EXPORT) reads no archive: it gets a version's tree as descriptor 3 and, where there are, the tree of its runtime as 5, both as read-only mounts, the program that serves stdio as 6, and the pipe that
 * the image's archive is written to as descriptor 0. After the request comes one more message: the spec.
 *
 * fnd-unpack detaches itself from everything but the staging directory before it reads the first byte of the request.
 * A package that names a runtime becomes a tree of app/ and code -> app alone, to lie over the runtime's image.
 * In the staging directory it leaves `rootfs/` (the tree; / is 0755, /dev /proc /tmp /run /etc are there, no setuid bit, others have the owner's r and x) and `function.ini` as it came (absent if there
 * was none). Whatever it says is believed only after a check: it may have been taken over by the archive.
 */
#pragma once

#include "diag.h"
#include "names.h"

#include <stdint.h>

#define UNPACK_MAGIC      0x6b706e75U /* "unpk" */
#define UNPACK_SURVEY     "survey"    /* argument of the second process; it gets no archive, and sends no spec */
#define UNPACK_EXPORT     "export"
#define UNPACK_FD_INPUT   0
#define UNPACK_FD_OUTPUT  0
#define UNPACK_FD_STAGING 3
#define UNPACK_FD_SOCKET  4
#define UNPACK_FD_RUNTIME 5
#define UNPACK_FD_PROGRAM 6
#define UNPACK_VARS_MAX   32768
#define UNPACK_SETS_MAX   8192
#define UNPACK_NOTES_MAX  2048
#define UNPACK_ROOTFS     "rootfs"
#define UNPACK_INI        "function.ini"

struct unpack_limits {
    uint64_t max_bytes; /* of all files together, unpacked */
    uint64_t max_entries;
    uint32_t max_depth;
    uint32_t max_seconds; /* of CPU */
};

enum unpack_kind {
    UNPACK_FUNCTION,
    UNPACK_RUNTIME, /* a tree for functions to lie over: there is no spec; id, vars and sets say nothing */
    UNPACK_KIND_COUNT
};

/* Of an export; request.id is whose it is. */
struct unpack_export {
    uint32_t version, has_runtime, has_program, reserved;
    uint64_t deployed_real_ns;
};

struct unpack_request {
    uint32_t magic;
    uint32_t kind; /* enum unpack_kind */
    uint32_t vars_len, sets_len;
    struct unpack_limits limits;
    struct unpack_export exported;
    struct fn_id id;            /* id.name may be empty: taken from function.ini; an error if that has none either */
    char vars[UNPACK_VARS_MAX]; /* --env K=V, each NUL-terminated; they win over function.ini's [env] */
    char sets[UNPACK_SETS_MAX]; /* --set SECTION.KEY=VALUE, each NUL-terminated; they win over function.ini */
};

struct unpack_result {
    uint32_t magic;
    uint32_t spec_bytes; /* of the message that follows; 0 after a failure, and for a runtime */
    struct diag diag;    /* err 0: success */
    uint64_t bytes;      /* of all files */
    uint64_t entries;
    char notes[UNPACK_NOTES_MAX]; /* of the first process: lines for whoever deployed it, about what was not taken over as it came; the runner makes them printable */
    char sha256[65]; /* of the survey alone: lower-case hex over the tree in the order of its names: type, mode, ids, name, link target, size, content; not times */
};
