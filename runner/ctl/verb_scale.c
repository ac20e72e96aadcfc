#include "ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SCALE_MAX 100000 /* the daemon knows how many this host holds */

int verb_scale(struct ctl *ctl, const struct text_list *args)
{
    const char *text = args->items[1];
    char body[64];
    uint64_t n = 0;

    if (strcmp(text, "auto") == 0)
        snprintf(body, sizeof(body), "{\"replicas\": \"auto\"}");
    else if (str_parse_uint(text, SCALE_MAX, &n) == 0)
        snprintf(body, sizeof(body), "{\"replicas\": %" PRIu64 "}", n);
    else
        return ctl_fail(CTL_USAGE, "scale %.40s: a number from 0 to %d, or auto, is needed", text, SCALE_MAX);
    return ctl_api_change(ctl, "PUT", args->items[0], "scale", body, NULL);
}
