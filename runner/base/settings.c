#include "settings.h"

#include "clock.h"

void settings_init(struct settings *s)
{
    *s = (struct settings){
        .head_timeout_ns = 30 * NS_PER_SEC,
        .idle_timeout_ns = 75 * NS_PER_SEC,
        .stall_timeout_ns = 60 * NS_PER_SEC,
    };
}
