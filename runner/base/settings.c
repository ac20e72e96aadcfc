#include "settings.h"

#include "clock.h"

#include <string.h>

void settings_init(struct settings *s)
{
    memset(s, 0, sizeof(*s)); /* what lies between the fields too: it is sent as it is */
    s->head_timeout_ns = 30 * NS_PER_SEC;
    s->idle_timeout_ns = 75 * NS_PER_SEC;
    s->stall_timeout_ns = 60 * NS_PER_SEC;
    s->connect_timeout_ns = 3 * NS_PER_SEC;
    s->max_head_bytes = 16384;
    s->max_target_bytes = 8192;
    s->max_fields = 100;
    s->h2 = true;
    s->h2_streams = 100;
    s->h2_requests = 10000;
    s->h2_resets = 200;
    s->h2_idle_frames = 1000;
    s->h2_head_bytes = 16384;
    s->h2_stream_window_bytes = 256 * 1024;
    s->h2_window_bytes = 1024 * 1024;
}
