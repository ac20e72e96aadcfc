#include "clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t clock_read(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

uint64_t clock_real_ns(void)
{
    return clock_read(CLOCK_REALTIME);
}

void clock_format_rfc3339(uint64_t real_ns, char *buf)
{
    time_t sec = (time_t)(real_ns / NS_PER_SEC);
    unsigned ms = (unsigned)(real_ns % NS_PER_SEC / NS_PER_MS);
    char date[24];
    struct tm tm;

    gmtime_r(&sec, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf, CLOCK_RFC3339_MAX, "%s.%03uZ", date, ms);
}
