/* resolver.h: addresses of DNS resolvers, as people and resolv.conf(5) write them. */
#pragma once

#include "record.h"

#include <stdbool.h>
#include <stddef.h>

/* ADDRESS, ADDRESS:PORT, [IPV6]:PORT; an IPv6 address may have %INTERFACE behind it. -EINVAL; unspecified and multicast addresses are none. */
int resolver_parse(const char *word, struct record_resolver *ret);

/* Words by spaces or commas: how many there were; -EINVAL, -E2BIG. */
int resolver_list(const char *text, struct record_resolver ret[RECORD_RESOLVERS_MAX]);

/* The nameserver lines of resolv.conf(5): how many (the first RECORD_RESOLVERS_MAX); lines that are none are passed over, as resolvers do. *ret_stub: only systemd-resolved's stub (127.0.0.53, 127.0.0.54) is there. */
unsigned resolver_conf(const char *text, size_t len, struct record_resolver ret[RECORD_RESOLVERS_MAX], bool *ret_stub);
