/* image_json.c: the JSON of an image's archive, within bounds, and its blobs by their digest. Everything here was written by whoever made the archive. */
#include "image.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define BLOBS "blobs/sha256/"

/* The parser recurses: what is nested deeper is not given to it. */
static bool too_deep(const char *text, size_t len)
{
    unsigned depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        if (quoted) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                quoted = false;
        } else if (text[i] == '"') {
            quoted = true;
        } else if (text[i] == '[' || text[i] == '{') {
            if (++depth > IMAGE_JSON_DEPTH)
                return true;
        } else if ((text[i] == ']' || text[i] == '}') && depth > 0) {
            depth--;
        }
    }
    return false;
}

json_t *image_json_parse(const char *what, const char *text, size_t len, struct diag *d)
{
    json_error_t error;
    json_t *j;

    if (len > IMAGE_JSON_MAX) {
        diag_set(d, EFBIG, "the image's %.100s is larger than %u bytes", what, IMAGE_JSON_MAX);
        return NULL;
    }
    if (too_deep(text, len)) {
        diag_set(d, EINVAL, "the image's %.100s is nested more than %u deep", what, IMAGE_JSON_DEPTH);
        return NULL;
    }
    j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (!j)
        diag_set(d, EINVAL, "the image's %.100s is not JSON: line %d: %.120s", what, error.line, error.text);
    return j;
}

const char *image_json_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static bool is_hex(const char *s)
{
    return strnlen(s, 65) == 64 && strspn(s, "0123456789abcdef") == 64;
}

int image_blob_of_digest(const char *digest, struct image_blob *ret, struct diag *d)
{
    if (!digest)
        return diag_set(d, EINVAL, "the image names a blob without a digest");
    if (strncmp(digest, "sha256:", 7) != 0 || !is_hex(digest + 7))
        return diag_set(d, EINVAL, "the image's digest \"%.100s\" is not sha256: and 64 hexadecimal digits", digest);
    memcpy(ret->sha256, digest + 7, 65);
    memcpy(ret->path, BLOBS, sizeof(BLOBS));
    memcpy(ret->path + sizeof(BLOBS) - 1, digest + 7, 65);
    return 0;
}

int image_blob_of_path(const char *path, struct image_blob *ret, struct diag *d)
{
    char plain[PATH_MAX];
    const char *base;
    int r = entry_path(path, 16, plain, d);

    if (r == 0 && (!*plain || str_copy(ret->path, sizeof(ret->path), plain) < 0))
        r = diag_set(d, EINVAL, "\"%.100s\" is no path in the image's archive", path);
    if (r < 0)
        return diag_prefix(d, "manifest.json");
    base = strrchr(plain, '/') ? strrchr(plain, '/') + 1 : plain;
    ret->sha256[0] = '\0';
    if (strlen(base) == 64 + 5 && strcmp(base + 64, ".json") == 0)
        plain[strlen(plain) - 5] = '\0';
    if (is_hex(base))
        memcpy(ret->sha256, base, 65);
    return 0;
}

int image_blob_open(int dir_fd, const struct image_blob *b, struct diag *d)
{
    cleanup_fd int fd = openat(dir_fd, b->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0 && errno == ENOENT)
        return diag_set(d, EINVAL, "the image's archive has no %.200s: it is not all there, save it again", b->path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return diag_errno(d, errno, "%.200s of the image", b->path);
    if (!S_ISREG(st.st_mode))
        return diag_set(d, EINVAL, "%.200s of the image is not a file", b->path);
    return take_fd(&fd);
}

int image_digest_check(const char *what, const char *want, const char *got, struct diag *d)
{
    if (strcmp(want, got) == 0)
        return 0;
    return diag_set(d, EINVAL, "%.200s of the image has another digest, sha256:%s, than it should have (sha256:%s): the archive is damaged, save it again",
                    what, got, want);
}

static int check_text(const struct image_blob *b, const char *text, size_t len, struct diag *d)
{
    struct digest *g = NULL;
    char hex[65];
    int r = digest_new(&g, d);

    if (r < 0)
        return r;
    digest_data(g, text, len);
    r = digest_finish(g, hex, d);
    digest_free(g);
    return r < 0 ? r : image_digest_check(b->path, b->sha256, hex, d);
}

int image_blob_read(int dir_fd, const struct image_blob *b, char **ret, size_t *ret_len, struct diag *d)
{
    cleanup_fd int fd = image_blob_open(dir_fd, b, d);
    cleanup_free char *text = NULL;
    ssize_t n;
    int r;

    if (fd < 0)
        return fd;
    n = fd_read_all(fd, IMAGE_JSON_MAX, &text);
    if (n == -EFBIG)
        return diag_set(d, EFBIG, "%.200s of the image is larger than %u bytes", b->path, IMAGE_JSON_MAX);
    if (n < 0)
        return diag_errno(d, (int)-n, "%.200s of the image", b->path);
    r = *b->sha256 ? check_text(b, text, (size_t)n, d) : 0;
    if (r < 0)
        return r;
    *ret = take_ptr(text);
    *ret_len = (size_t)n;
    return 0;
}

json_t *image_blob_json(int dir_fd, const struct image_blob *b, struct diag *d)
{
    cleanup_free char *text = NULL;
    size_t len = 0;

    return image_blob_read(dir_fd, b, &text, &len, d) < 0 ? NULL : image_json_parse(b->path, text, len, d);
}
