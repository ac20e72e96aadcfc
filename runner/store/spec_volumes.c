/* spec_volumes.c: the gate of a spec's volumes: which places a volume may take. */
#include "spec_parts.h"

#include "diag.h"
#include "names.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define VOLUME_MIN   (16ULL << 20) /* what an ext4 with a journal needs to be of use */
#define VOLUME_MAX   (1ULL << 44)
#define VOLUME_DEPTH 8 /* each directory is a step of the plan */

/* Covering one of these would undo what the sandbox has put there, or what it writes there for every start. */
static const char *const reserved[] = {"/proc", "/dev", "/sys", "/tmp", "/run", "/etc"};

static bool below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

/* Absolute, no empty component, none that is "." or "..", no blank or control character, not the root itself. */
static bool path_ok(const char *path)
{
    if (path[0] != '/' || path[1] == '\0')
        return false;
    while (*path) {
        size_t n;

        path++;
        n = strcspn(path, "/");
        if (n == 0 || n > 255 || (n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)path[i] <= 0x20 || path[i] == 0x7f)
                return false;
        path += n;
    }
    return true;
}

/* The package must be seen, and by both its names. */
static bool hides_package(const struct spec *s, const struct spec_volume *v)
{
    return s->runtime[0] && (strcmp(v->path, SPEC_APP) == 0 || below(v->path, SPEC_CODE));
}

static int check_path(const struct spec *s, const struct spec_volume *v, struct diag *d)
{
    unsigned depth = 0;

    for (const char *p = v->path; *p; p++)
        depth += *p == '/';
    if (depth > VOLUME_DEPTH)
        return diag_set(d, EINVAL, "volume %s: %.100s lies deeper than %d directories", v->name, v->path, VOLUME_DEPTH);
    if (!path_ok(v->path))
        return diag_set(d, EINVAL, "volume %s: %.100s is not an absolute path without . and .. and blanks", v->name, v->path);
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        if (below(v->path, reserved[i]))
            return diag_set(d, EINVAL, "volume %s: %.100s: %s is the sandbox's own: choose another path, such as /data", v->name, v->path, reserved[i]);
    if (hides_package(s, v))
        return diag_set(d, EINVAL, "volume %s: %.100s is where the package is: choose another path, such as " SPEC_APP "/data", v->name, v->path);
    return 0;
}

int spec_check_volumes(const struct spec *s, struct diag *d)
{
    for (uint32_t i = 0; i < s->nvolumes; i++) {
        const struct spec_volume *v = &s->volumes[i];
        int r;

        if (strnlen(v->name, sizeof(v->name)) == sizeof(v->name) || strnlen(v->path, sizeof(v->path)) == sizeof(v->path))
            return diag_set(d, EPROTO, "spec: a text of volume %u is not terminated", i);
        if (!name_valid(v->name))
            return diag_set(d, EINVAL, "volume \"%s\": use letters, digits, '-' and '_', beginning and ending with a letter or digit, at most 57", v->name);
        if (v->bytes < VOLUME_MIN || v->bytes > VOLUME_MAX)
            return diag_set(d, EINVAL, "volume %s: its size must be 16M to 16384G", v->name);
        r = check_path(s, v, d);
        if (r < 0)
            return r;
        for (uint32_t k = 0; k < i; k++) {
            const struct spec_volume *o = &s->volumes[k];

            if (strcasecmp(o->name, v->name) == 0)
                return diag_set(d, EINVAL, "volume %s is there twice", v->name);
            if (below(v->path, o->path) || below(o->path, v->path))
                return diag_set(d, EINVAL, "volumes %s and %s: %.60s and %.60s lie in each other", o->name, v->name, o->path, v->path);
        }
    }
    return 0;
}
