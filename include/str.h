/* str.h: numbers, sizes and durations as people write them, and a growing buffer. Parsers are strict: the whole text, no sign, no blanks, no overflow. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits up to max. 0, -EINVAL or -ERANGE; the output is untouched on failure. */
int str_parse_uint(const char *s, uint64_t max, uint64_t *ret);

/* "64M", "1G", "512Ki", "4096": binary units K M G, with or without i. In bytes. */
int str_parse_size(const char *s, uint64_t *ret_bytes);

/* "500ms", "60s", "5m", "1h"; bare numbers are seconds; decimals are allowed ("1.5s"). In nanoseconds. */
int str_parse_duration(const char *s, uint64_t *ret_ns);

/* "1.0", "0.25", "500m": CPUs in thousandths. */
int str_parse_cpu(const char *s, uint64_t *ret_milli);

/* "yes no true false on off 1 0". */
int str_parse_bool(const char *s, bool *ret);

/* "128M", "1.5G", "17 B" for people; buf of at least 16 bytes. Returns buf. */
const char *str_format_size(uint64_t bytes, char *buf, size_t size);

/* Copies with truncation reported: 0, or -ENAMETOOLONG with dst empty. */
int str_copy(char *dst, size_t size, const char *src);

bool str_ends_with(const char *s, const char *suffix);

/*
 * A buffer that grows; `data` is NUL-terminated after every call. After a failed allocation it keeps what it had and `failed` stays set, so that a builder checks once at its end.
 */
struct strbuf {
    char *data;
    size_t len, room;
    bool failed;
};

void strbuf_done(struct strbuf *b);
void strbuf_add(struct strbuf *b, const void *data, size_t len);
void strbuf_puts(struct strbuf *b, const char *s);
void strbuf_printf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Makes room for n more bytes and returns where they go; the caller then adds to len. NULL without memory. */
char *strbuf_reserve(struct strbuf *b, size_t n);

#define cleanup_strbuf __attribute__((cleanup(strbuf_done)))
