/* IP addresses and networks (CIDR). An IPv4 address inside IPv6 (::ffff:192.0.2.1) is an IPv4 address everywhere, so
 * that a listener on [::] sees the same clients as one on 0.0.0.0. */
#ifndef BASE_IP_H
#define BASE_IP_H

#include "base/check.h"
#include "base/slice.h"

#include <stdint.h>

#define IP_TEXT_LEN   46 /* with its NUL */
#define IP_GROUP_BITS 64 /* of IPv6: what one customer has at least (RFC 6177), so what counts as one client */
#define CIDRS_MAX     128

struct sockaddr_storage;

struct ip {
    uint8_t n; /* bytes in use: 4, 16, or 0 for no address */
    uint8_t bytes[16];
};

struct cidr {
    struct ip ip;
    uint8_t bits;
};

struct cidrs {
    size_t n;
    struct cidr cidr[CIDRS_MAX];
};

/* The address alone: no port, no brackets, no zone. False, and nothing is written, when it is none. */
NODISCARD bool ip_parse (struct slice text, struct ip *out);

/* Of a socket; `n` is 0 when it is no IP socket. */
struct ip ip_of_socket (const struct sockaddr_storage *socket);

/* NUL-terminated, "" for no address. */
void ip_format (const struct ip *self, char out[IP_TEXT_LEN]);

bool ip_is_loopback (const struct ip *self);

/* What limits per address go by: the address of IPv4, the first 64 bits of IPv6. Borrows; empty for no address. */
struct slice ip_group (const struct ip *self);

/* ADDRESS/BITS or an address, which means all of its bits. NULL, or what is wrong with it (static text). */
const char *cidr_parse (struct slice text, struct cidr *out);

bool cidr_has (const struct cidr *self, const struct ip *ip);

/* A comma list, which may be empty; entries that are no network, or too many, are left out: the configuration has
 * refused them. */
void cidrs_parse (struct cidrs *self, const char *list);

bool cidrs_have (const struct cidrs *self, const struct ip *ip);

#endif
