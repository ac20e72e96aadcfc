/* unpack_corpus.h: tar archives made byte by byte, so that they can say what no tar would write. */
#pragma once

#include "str.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAR_BLOCK 512

struct tar_entry {
    const char *name, *link, *data;
    char type; /* '0' file, '1' hard link, '2' symlink, '3' '4' devices, '5' directory, '6' fifo, 'x' pax header */
    unsigned mode, uid, gid;
    size_t size;              /* of data; 0: its length */
    unsigned long long claim; /* the size that the header says, where it is not the data's */
};

static inline void tar_octal(char *field, size_t size, unsigned long long v)
{
    char buf[32];

    snprintf(buf, sizeof(buf), "%0*llo", (int)size - 1, v);
    memcpy(field, buf, size);
}

static inline void tar_pad(struct strbuf *out)
{
    static const char zeros[TAR_BLOCK];

    if (out->len % TAR_BLOCK)
        strbuf_add(out, zeros, TAR_BLOCK - out->len % TAR_BLOCK);
}

static inline void tar_add(struct strbuf *out, const struct tar_entry *e)
{
    size_t size = e->size ? e->size : e->data ? strlen(e->data) : 0;
    char h[TAR_BLOCK] = {0};
    unsigned sum = 0;

    strncpy(h, e->name, 100);
    tar_octal(h + 100, 8, e->mode ? e->mode : e->type == '5' ? 0755 : 0644);
    tar_octal(h + 108, 8, e->uid);
    tar_octal(h + 116, 8, e->gid);
    tar_octal(h + 124, 12, e->claim ? e->claim : size);
    tar_octal(h + 136, 12, 0);
    memset(h + 148, ' ', 8);
    h[156] = e->type ? e->type : '0';
    if (e->link)
        strncpy(h + 157, e->link, 100);
    memcpy(h + 257, "ustar\00000", 8);
    for (size_t i = 0; i < sizeof(h); i++)
        sum += (unsigned char)h[i];
    tar_octal(h + 148, 7, sum);
    strbuf_add(out, h, sizeof(h));
    if (e->data)
        strbuf_add(out, e->data, size);
    tar_pad(out);
}

/* One attribute for the entry that follows. */
static inline void tar_pax(struct strbuf *out, const char *key, const char *value)
{
    size_t len = strlen(key) + strlen(value) + 3, total = len + 1;
    char digits[24];
    struct strbuf body = {0};

    while (total != len + (size_t)snprintf(digits, sizeof(digits), "%zu", total))
        total = len + strlen(digits);
    strbuf_printf(&body, "%zu %s=%s\n", total, key, value);
    tar_add(out, &(struct tar_entry){.name = "PaxHeaders/x", .type = 'x', .data = body.data});
    strbuf_done(&body);
}

static inline void tar_end(struct strbuf *out)
{
    static const char zeros[2 * TAR_BLOCK];

    strbuf_add(out, zeros, sizeof(zeros));
}

/* The bytes through one of libarchive's filters: "gzip", "xz", "zstd". */
static inline void tar_compress(const struct strbuf *in, const char *filter, struct strbuf *out)
{
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    size_t room = in->len + (1 << 20), used = 0;

    archive_write_add_filter_by_name(a, filter);
    archive_write_set_format_raw(a);
    archive_write_set_bytes_in_last_block(a, 1);
    archive_write_open_memory(a, strbuf_reserve(out, room), room, &used);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_write_header(a, e);
    archive_write_data(a, in->data, in->len);
    archive_write_close(a);
    out->len = used;
    archive_entry_free(e);
    archive_write_free(a);
}
