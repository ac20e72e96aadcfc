/*
 * rate.h: token buckets, as one number each: the time at which the bucket will be full again (the theoretical arrival time of GCRA, ITU-T I.371). No lock: threads change it by compare and exchange.
 */
#pragma once

#include "spec_http.h"

#include <stdbool.h>
#include <stdint.h>

/* One request at now_ns. False: too many; *ret_wait_ns: when the next one may come. */
bool rate_take(_Atomic uint64_t *full_ns, const struct spec_rate *r, uint64_t now_ns, uint64_t *ret_wait_ns);

/* One bucket a client, in bounded memory: who has not been here for longest makes room. A client is its address as inet_ntop(3) writes it; an IPv6 client its /64. */
struct rate_table;
struct rate_table *rate_table_new(void); /* NULL: no memory */
void rate_table_free(struct rate_table *t);
bool rate_table_take(struct rate_table *t, const char *client, const struct spec_rate *r, uint64_t now_ns, uint64_t *ret_wait_ns);
