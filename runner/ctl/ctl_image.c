/*
 * ctl_image.c: the archive of an image (an OCI layout, docker save) in the order in which it is unpacked: what says which layers there are, then these from the lowest on. Tools write it in any order, the names of layers
 * being digests. The daemon takes every order, but must store layers until it knows their turn; in this one it unpacks them while they come, which halves its work.
 *
 * An OCI layout in a directory is packed in that order (ctl_pack.c).
 *
 * Nothing is promised by it, and nothing is judged: whole entries change their places, byte for byte, and an archive that is not quite understood goes as it is. No JSON is parsed: layers are sent in the order in which
 * their digests occur in the manifest.
 */
#include "ctl.h"

#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK       512
#define ENTRIES_MAX 4096U
#define SMALL_MAX   (4U << 20)  /* what the jail takes for a manifest at most (IMAGE_JSON_MAX) */
#define TEXTS_MAX   (16U << 20) /* of all that may be one */
#define HEX         64
#define BLOBS       "blobs/sha256"

struct piece {
    off_t at;
    uint64_t len;
    size_t rank; /* they are sent by it; those of one rank as they lay */
    char hex[HEX + 1];
};

struct image_order {
    struct piece *list;
    size_t count, next;
    uint64_t sent;                       /* of the piece that is next */
    void (*packed_done)(struct body *b); /* of a directory */
};

struct scan {
    int fd;
    uint64_t size; /* of the file */
    struct piece *list;
    size_t count;
    struct strbuf text, manifest; /* of small blobs; of docker save's manifest */
    bool image;
};

/* ---- reading the tar ---- */

static bool read_at(int fd, void *buf, size_t len, off_t at)
{
    char *p = buf;

    while (len > 0) {
        ssize_t n = pread(fd, p, len, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* Octal digits; other forms are of files that no image has. */
static bool parse_octal(const char *s, size_t len, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;

    while (i < len && s[i] == ' ')
        i++;
    for (; i < len && s[i] >= '0' && s[i] <= '7'; i++)
        v = v * 8 + (uint64_t)(s[i] - '0');
    *ret = v;
    return i == len || s[i] == '\0' || s[i] == ' ';
}

static bool is_zero(const char *block)
{
    for (size_t i = 0; i < BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

static size_t hex_len(const char *s)
{
    return strspn(s, "0123456789abcdef");
}

/* Names that the archives of images have; with the digest that stands in it. */
static bool image_name(const char *name, char hex[HEX + 1])
{
    static const char *const words[] = {"", "blobs/", "blobs/sha256/", "index.json", "oci-layout", "manifest.json", "repositories"};

    *hex = '\0';
    while (strncmp(name, "./", 2) == 0)
        name += 2;
    if (strcmp(name, ".") == 0 || strcmp(name, "blobs") == 0 || strcmp(name, "blobs/sha256") == 0)
        return true;
    for (size_t i = 0; i < CTL_COUNT(words); i++)
        if (strcmp(name, words[i]) == 0)
            return true;
    if (strncmp(name, "blobs/sha256/", 13) == 0)
        name += 13;
    if (hex_len(name) != HEX)
        return false;
    memcpy(hex, name, HEX);
    hex[HEX] = '\0';
    return true;
}

static bool add_text(struct scan *s, struct strbuf *to, off_t at, uint64_t size)
{
    char *text = s->text.len + s->manifest.len + size <= TEXTS_MAX ? malloc((size_t)size + 1) : NULL;
    bool good = text && read_at(s->fd, text, (size_t)size, at);

    if (good)
        strbuf_add(to, text, (size_t)size);
    free(text);
    return good && !to->failed;
}

static bool is_file(char type)
{
    return type == '0' || type == '\0';
}

/* What the entry says of the others. False: this archive goes as it is. */
static bool look(struct scan *s, struct piece *p, const char *head, uint64_t size, off_t data)
{
    char name[101];

    memcpy(name, head, 100);
    name[100] = '\0';
    if (!image_name(name, p->hex))
        return false;
    if (!is_file(head[156]))
        return head[156] >= '1' && head[156] <= '5';
    if (size > SMALL_MAX) {
        p->rank = SIZE_MAX;
        return *p->hex;
    }
    if (str_ends_with(name, "manifest.json"))
        s->image = true;
    if (str_ends_with(name, "oci-layout"))
        s->image = true;
    if (size == 0 || str_ends_with(name, ".tar"))
        return true;
    return add_text(s, str_ends_with(name, "manifest.json") ? &s->manifest : &s->text, data, size);
}

static struct piece *piece_new(struct scan *s, off_t at)
{
    if (s->count % 64 == 0) {
        struct piece *list = reallocarray(s->list, s->count + 64, sizeof(*list));

        if (!list)
            return NULL;
        s->list = list;
    }
    s->list[s->count] = (struct piece){.at = at};
    return &s->list[s->count++];
}

/* All entries, and what is behind them as a last piece. */
static bool scan_all(struct scan *s)
{
    char head[BLOCK];
    off_t at = 0;

    while (s->count < ENTRIES_MAX) {
        struct piece *p = piece_new(s, at);
        uint64_t size;

        if (!p || !read_at(s->fd, head, BLOCK, at))
            return false;
        if (is_zero(head)) {
            p->len = s->size - (uint64_t)at;
            return s->image && s->count > 1;
        }
        if (memcmp(head + 257, "ustar", 5) != 0 || !parse_octal(head + 124, 12, &size) || size > s->size || !look(s, p, head, size, at + BLOCK))
            return false;
        p->len = BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK;
        if (p->len > s->size - (uint64_t)at)
            return false;
        at += (off_t)p->len;
    }
    return false;
}

/* ---- the order ---- */

static void rank_pieces(struct scan *s)
{
    const struct strbuf *text = s->manifest.len ? &s->manifest : &s->text;

    for (size_t i = 0; i < s->count; i++) {
        struct piece *p = &s->list[i];
        const char *found = p->rank && text->len ? memmem(text->data, text->len, p->hex, HEX) : NULL;

        if (found)
            p->rank = 1 + (size_t)(found - text->data);
    }
}

static int compare_pieces(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* ---- the body ---- */

static ssize_t image_read(struct body *b, char *buf, size_t size)
{
    struct image_order *o = b->more;
    const struct piece *p;
    ssize_t n;

    while (o->next < o->count && o->sent == o->list[o->next].len) {
        o->next++;
        o->sent = 0;
    }
    if (o->next == o->count)
        return 0;
    p = &o->list[o->next];
    if (size > p->len - o->sent)
        size = (size_t)(p->len - o->sent);
    n = pread(b->fd, buf, size, p->at + (off_t)o->sent);
    if (n < 0 && errno == EINTR)
        return -EAGAIN;
    if (n < 0)
        return diag_errno(&b->diag, errno, "reading the image");
    if (n == 0)
        return diag_set(&b->diag, EIO, "reading the image: the file became shorter while it was read");
    o->sent += (uint64_t)n;
    return n;
}

static void image_body_done(struct body *b)
{
    struct image_order *o = b->more;

    free(o->list);
    free(o);
    b->more = NULL;
}

void ctl_body_image(struct body *b)
{
    struct scan s = {.fd = b->fd, .size = (uint64_t)b->size};
    struct image_order *o = NULL;

    if (b->size > 0 && lseek(b->fd, 0, SEEK_CUR) == 0 && scan_all(&s))
        o = calloc(1, sizeof(*o));
    if (o) {
        rank_pieces(&s);
        s.list[s.count - 1].rank = SIZE_MAX; /* the end; behind all others, since it lay there */
        qsort(s.list, s.count, sizeof(*s.list), compare_pieces);
        *o = (struct image_order){.list = s.list, .count = s.count};
        s.list = NULL;
        b->more = o;
        b->read = image_read;
        b->done = image_body_done;
    }
    free(s.list);
    strbuf_done(&s.text);
    strbuf_done(&s.manifest);
}

/* ---- a directory ---- */

static const struct piece *find_piece(const struct image_order *o, const char *name)
{
    for (size_t i = 0; i < o->count; i++)
        if (strcmp(o->list[i].hex, name) == 0)
            return &o->list[i];
    return NULL;
}

/* In blobs/sha256 by rank, elsewhere directories' contents last: of a layout these are the blobs. */
static size_t rank_of(const struct image_order *o, const char *path, const char *name)
{
    const struct piece *p = strcmp(path, BLOBS) == 0 ? find_piece(o, name) : NULL;

    return p ? p->rank : !*path && strcmp(name, "blobs") == 0;
}

struct ranked {
    size_t rank, at;
    char *name;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

void ctl_image_arrange(const struct image_order *o, const char *path, char **names, size_t count)
{
    cleanup_free struct ranked *list = calloc(count, sizeof(*list));

    if (!list) /* as it is, then */
        return;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct ranked){.rank = rank_of(o, path, names[i]), .at = i, .name = names[i]};
    qsort(list, count, sizeof(*list), compare_ranked);
    for (size_t i = 0; i < count; i++)
        names[i] = list[i].name;
}

/* A blob that is not understood keeps its place: it is sent all the same, or refused by whoever packs it. */
static void look_at_blob(struct scan *s, int dir, const char *name)
{
    cleanup_fd int fd = hex_len(name) == HEX && !name[HEX] && s->count < ENTRIES_MAX ? openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
    struct piece *p;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    p = piece_new(s, 0);
    if (!p)
        return;
    memcpy(p->hex, name, HEX + 1);
    s->fd = fd;
    if (st.st_size > SMALL_MAX)
        p->rank = SIZE_MAX;
    else if (st.st_size > 0)
        (void)add_text(s, &s->text, 0, (uint64_t)st.st_size);
}

static void look_at_blobs(struct scan *s, const char *path)
{
    cleanup_free char *blobs = NULL;
    struct dirent *e;
    DIR *dir;

    if (asprintf(&blobs, "%s/" BLOBS, path) < 0) {
        blobs = NULL;
        return;
    }
    dir = opendir(blobs);
    while (dir && (e = readdir(dir)))
        look_at_blob(s, dirfd(dir), e->d_name);
    if (dir)
        closedir(dir);
    rank_pieces(s);
}

static void directory_done(struct body *b)
{
    struct image_order *o = b->arranged;

    o->packed_done(b);
    free(o->list);
    free(o);
    b->arranged = NULL;
}

int ctl_image_directory(struct body *b, const char *path, struct diag *d)
{
    struct image_order *o = calloc(1, sizeof(*o));
    struct scan s = {.fd = -1};
    int r;

    if (!o)
        return diag_set(d, ENOMEM, "out of memory");
    look_at_blobs(&s, path);
    strbuf_done(&s.text);
    *o = (struct image_order){.list = s.list, .count = s.count};
    r = ctl_pack_with(b, path, &(struct pack_options){.order = o}, d);
    if (r < 0) {
        free(o->list);
        free(o);
        return r;
    }
    o->packed_done = b->done;
    b->arranged = o;
    b->done = directory_done;
    return 0;
}
