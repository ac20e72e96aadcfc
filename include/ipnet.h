/* ipnet.h: addresses and networks of IPv4 and IPv6 in one form, pure: IPv4 is ::ffff:a.b.c.d, so that one address has one form on every kind of socket. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr_storage;

struct ip {
    uint8_t b[16];
};

struct ip_net {
    struct ip ip;
    uint32_t bits; /* of 128 */
};

#define IP_NETS_MAX  32U
#define IP_NETS_TEXT 512U /* with its end */

struct ip_nets {
    uint32_t count;
    struct ip_net nets[IP_NETS_MAX];
};

/* "192.0.2.1" or "2001:db8::1", nothing around it. -EINVAL. */
int ip_parse(const char *text, size_t len, struct ip *ret);
int ip_of(const struct sockaddr_storage *addr, struct ip *ret); /* -EAFNOSUPPORT: a unix socket */
bool ip_is_v4(const struct ip *ip);
const char *ip_format(const struct ip *ip, char buf[INET6_ADDRSTRLEN]);

/* ADDRESS or ADDRESS/BITS, by spaces or commas; "" is none. -EINVAL (also: bits behind the prefix), -E2BIG: too many, or more than IP_NETS_TEXT to print. */
int ip_nets_parse(const char *text, struct ip_nets *ret);
void ip_nets_format(const struct ip_nets *nets, char buf[IP_NETS_TEXT]);
bool ip_nets_hold(const struct ip_nets *nets, const struct ip *ip);
