/* init_text.c: texts for the end record without stdio, which would double the size of fn-init. */
#include "fn_init.h"

#include <string.h>

char *init_puts(char *buf, size_t size, const char *text)
{
    size_t len = strnlen(buf, size), n = strlen(text);

    if (len + n >= size)
        n = size - 1 - len;
    memcpy(buf + len, text, n);
    buf[len + n] = '\0';
    return buf;
}

char *init_putn(char *buf, size_t size, uint64_t number)
{
    char digits[24];
    size_t at = sizeof(digits);

    digits[--at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    return init_puts(buf, size, digits + at);
}
