/* clock.h: one internal clock, monotonic nanoseconds; wall-clock time only where a person or another host reads it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US         1000ULL
#define NS_PER_MS         1000000ULL
#define NS_PER_SEC        1000000000ULL
#define CLOCK_RFC3339_MAX 32

uint64_t clock_mono_ns(void);
uint64_t clock_real_ns(void);

/* "2026-11-20T19:46:02.123Z" (RFC 3339, UTC, milliseconds) into buf of CLOCK_RFC3339_MAX bytes. */
void clock_format_rfc3339(uint64_t real_ns, char *buf);
