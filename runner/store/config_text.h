/* config_text.h: values of keys as people write them, such that they are read the same again. Private to the table of keys. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void config_format_duration(uint64_t ns, char *buf, size_t size);
void config_format_size(uint64_t bytes, char *buf, size_t size);
void config_format_allow(uint64_t bits, char *buf, size_t size);
