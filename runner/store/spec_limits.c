/* spec_limits.c: limits that must fit to each other. Asked by the jail, whose message names the keys, and again by the runner. */
#include "spec.h"

#include "clock.h"
#include "diag.h"
#include "str.h"

#include <errno.h>

#define HIGH_MIN_BYTES     (1ULL << 20) /* below it a process hardly gets through its start */
#define IO_MIN_BYTES       (64ULL << 10)
#define STREAM_IDLE_MAX_NS (24 * 3600 * NS_PER_SEC)

int spec_check_limits(const struct spec *s, struct diag *d)
{
    char high[16], most[16];

    if (s->memory_high_bytes > 0 && s->memory_high_bytes < HIGH_MIN_BYTES)
        return diag_set(d, EINVAL, "[limits] memory_high = %s is too small: at least 1M, or 0 for none",
                        str_format_size(s->memory_high_bytes, high, sizeof(high)));
    if (s->memory_high_bytes > 0 && s->memory_high_bytes >= s->memory_bytes)
        return diag_set(d, EINVAL, "[limits] memory_high = %s is not below memory = %s: who reaches memory is killed before it can be slowed down",
                        str_format_size(s->memory_high_bytes, high, sizeof(high)), str_format_size(s->memory_bytes, most, sizeof(most)));
    if (s->io_bytes > 0 && s->io_bytes < IO_MIN_BYTES)
        return diag_set(d, EINVAL, "[limits] io = %s is too small: at least 64K (a second), or 0 for none", str_format_size(s->io_bytes, high, sizeof(high)));
    if (s->stream_idle_ns != SPEC_AS_CONFIGURED && s->stream_idle_ns > STREAM_IDLE_MAX_NS)
        return diag_set(d, EINVAL, "[limits] stream_idle is too long: at most 24h, or 0 for no limit");
    return 0;
}
