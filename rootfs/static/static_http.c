/* static_http.c: conditions, ranges, types and paths of files that are served; it opens none. */
#include "static_http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
    const char *suffix, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".htm", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".json", "application/json"},
    {".map", "application/json"},
    {".webmanifest", "application/manifest+json"},
    {".xml", "text/xml; charset=utf-8"},
    {".txt", "text/plain; charset=utf-8"},
    {".md", "text/markdown; charset=utf-8"},
    {".csv", "text/csv; charset=utf-8"},
    {".ics", "text/calendar; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".jpg", "image/jpeg"},
    {".jpeg", "image/jpeg"},
    {".gif", "image/gif"},
    {".webp", "image/webp"},
    {".avif", "image/avif"},
    {".ico", "image/vnd.microsoft.icon"},
    {".woff", "font/woff"},
    {".woff2", "font/woff2"},
    {".ttf", "font/ttf"},
    {".otf", "font/otf"},
    {".mp3", "audio/mpeg"},
    {".ogg", "audio/ogg"},
    {".wav", "audio/wav"},
    {".mp4", "video/mp4"},
    {".webm", "video/webm"},
    {".pdf", "application/pdf"},
    {".wasm", "application/wasm"},
    {".zip", "application/zip"},
    {".gz", "application/gzip"},
};

/* The usual form of RFC 9110 5.6.7; the two obsolete ones are as no date at all. */
static const char date_form[] = "%a, %d %b %Y %H:%M:%S GMT";

void static_describe(struct static_file *f, const char *name, const struct stat *st, const char *version)
{
    const char *dot = strrchr(name, '.');
    struct tm tm;

    *f = (struct static_file){.type = "application/octet-stream", .mtime = st->st_mtime, .size = (uint64_t)st->st_size};
    for (size_t i = 0; dot && i < COUNT(types); i++)
        if (strcasecmp(dot, types[i].suffix) == 0)
            f->type = types[i].type;
    /* packages may have all times 0: the version and the time of unpacking tell two apart then */
    snprintf(f->etag, sizeof(f->etag), "\"%.8s-%llx-%llx-%llx\"", version,
             (unsigned long long)st->st_ctim.tv_sec * 1000000000 + (unsigned long long)st->st_ctim.tv_nsec, (unsigned long long)st->st_mtime,
             (unsigned long long)f->size);
    if (st->st_mtime > 0 && gmtime_r(&st->st_mtime, &tm))
        strftime(f->modified, sizeof(f->modified), date_form, &tm);
}

static bool parse_date(const char *s, size_t len, time_t *ret)
{
    char text[40];
    struct tm tm = {0};
    const char *end;

    if (len >= sizeof(text))
        return false;
    memcpy(text, s, len);
    text[len] = '\0';
    end = strptime(text, date_form, &tm);
    if (!end || *end)
        return false;
    *ret = timegm(&tm);
    return true;
}

static bool is_gap(char c)
{
    return c == ' ' || c == '\t' || c == ',';
}

/* Is the tag one of the list, or the list `*`? Weak and strong ones alike. */
static bool has_tag(const char *list, size_t len, const char *etag)
{
    const char *end = list + len, *at = list;
    size_t n = strlen(etag);

    if (len == 1 && *list == '*')
        return true;
    while ((size_t)(end - at) >= n && (at = memmem(at, (size_t)(end - at), etag, n))) {
        if ((at == list || is_gap(at[-1]) || at[-1] == '/') && (at + n == end || is_gap(at[n])))
            return true;
        at++;
    }
    return false;
}

static bool not_modified(const struct conn *c, const struct static_file *f)
{
    const char *value;
    size_t len;
    time_t since;

    if (http_field(c, "If-None-Match", &value, &len))
        return has_tag(value, len, f->etag);
    return *f->modified && http_field(c, "If-Modified-Since", &value, &len) && parse_date(value, len, &since) && f->mtime <= since;
}

/* ---- ranges ---- */

enum range { RANGE_NONE, RANGE_PART, RANGE_OUTSIDE };

/* Digits, at least one; stops at the first other character. A number beyond all files is one beyond all files. */
static bool parse_number(const char **at, const char *end, uint64_t *ret)
{
    const char *begin = *at;

    for (*ret = 0; *at < end && **at >= '0' && **at <= '9'; (*at)++)
        *ret = *ret > UINT64_MAX / 20 ? UINT64_MAX / 10 : *ret * 10 + (uint64_t)(**at - '0');
    return *at > begin;
}

/* "bytes=FIRST-LAST", "FIRST-", "-COUNT"; of several ranges, and of what is no range, the whole is the answer (RFC 9110 14.2). */
static enum range parse_range(const char *s, size_t len, uint64_t size, uint64_t *ret_at, uint64_t *ret_length)
{
    const char *end = s + len;
    uint64_t first, last;
    bool has_first, has_last;

    if (len < 6 || strncasecmp(s, "bytes=", 6) != 0)
        return RANGE_NONE;
    s += 6;
    has_first = parse_number(&s, end, &first);
    if (s == end || *s++ != '-')
        return RANGE_NONE;
    has_last = parse_number(&s, end, &last);
    if (s != end || (!has_first && !has_last) || (has_first && has_last && last < first))
        return RANGE_NONE;
    if (!has_first) {
        first = last < size ? size - last : 0;
        if (last == 0)
            return RANGE_OUTSIDE;
        last = UINT64_MAX;
    }
    if (first >= size)
        return RANGE_OUTSIDE;
    *ret_at = first;
    *ret_length = (has_last && last < size - 1 ? last : size - 1) - first + 1;
    return RANGE_PART;
}

static enum range find_range(const struct conn *c, const struct static_file *f, uint64_t *ret_at, uint64_t *ret_length)
{
    const char *value;
    size_t len;

    if (!http_method_is(c, "GET") || !http_field(c, "Range", &value, &len))
        return RANGE_NONE;
    if (http_field(c, "If-Range", &value, &len) && !http_is(value, len, f->etag) && !(*f->modified && http_is(value, len, f->modified)))
        return RANGE_NONE;
    http_field(c, "Range", &value, &len);
    return parse_range(value, len, f->size, ret_at, ret_length);
}

void static_answer(struct conn *c, int fd, const struct static_file *f)
{
    char lines[HTTP_LINES_MAX];
    uint64_t at = 0, length = f->size;
    int n = snprintf(lines, sizeof(lines), "ETag: %s\r\nCache-Control: no-cache\r\nAccept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\n%s%s%s", f->etag,
                     *f->modified ? "Last-Modified: " : "", f->modified, *f->modified ? "\r\n" : "");
    enum range range;

    if (not_modified(c, f)) {
        http_head(c, "304 Not Modified", NULL, lines, HTTP_NO_LENGTH);
        close(fd);
        return;
    }
    range = find_range(c, f, &at, &length);
    if (range == RANGE_OUTSIDE) {
        snprintf(lines, sizeof(lines), "Content-Range: bytes */%llu\r\n", (unsigned long long)f->size);
        http_head(c, "416 Range Not Satisfiable", NULL, lines, 0);
        close(fd);
        return;
    }
    if (range == RANGE_PART)
        snprintf(lines + n, sizeof(lines) - (size_t)n, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)at, (unsigned long long)(at + length - 1),
                 (unsigned long long)f->size);
    http_head(c, range == RANGE_PART ? "206 Partial Content" : "200 OK", f->type, lines, length);
    http_file(c, fd, at, length);
}

/* ---- paths ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Of the segment that ends before `end`: names that begin with a dot are nobody's but .well-known (RFC 8615). */
static bool segment_ok(const char *begin, const char *end)
{
    static const char known[] = ".well-known";

    return begin == end || *begin != '.' || ((size_t)(end - begin) == sizeof(known) - 1 && memcmp(begin, known, sizeof(known) - 1) == 0);
}

bool static_path(const char *path, size_t len, char *ret, size_t size)
{
    const char *end = path + len;
    char *out = ret, *segment = ret;

    while (path < end) {
        int octet = (unsigned char)*path++;

        if (octet == '%') {
            if (end - path < 2 || hex(path[0]) < 0 || hex(path[1]) < 0)
                return false;
            octet = hex(path[0]) * 16 + hex(path[1]);
            path += 2;
        }
        if (octet < 0x20 || octet == 0x7f || (size_t)(out - ret) + 1 >= size)
            return false;
        *out = (char)octet;
        if (*out++ == '/') {
            if (!segment_ok(segment, out - 1))
                return false;
            segment = out;
        }
    }
    *out = '\0';
    return segment_ok(segment, out);
}
