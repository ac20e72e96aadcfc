/* config_text.h: values of keys as people write them, such that they are read the same again. Private to the table of keys. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void config_format_duration(uint64_t ns, char *buf, size_t size);
void config_format_size(uint64_t bytes, char *buf, size_t size);
void config_format_allow(uint64_t bits, char *buf, size_t size);

/* "https://HOST" or "http://HOST:PORT", nothing behind it: its port. -EINVAL. */
int config_url_port(const char *url, uint32_t *ret_port);

/* Where https is, as seen from outside: by the public URL, or as we listen. 0: nowhere. */
uint32_t config_https_port(const char *public_url, const char *tls_listen);
