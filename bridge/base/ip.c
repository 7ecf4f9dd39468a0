#include "base/ip.h"

#include <arpa/inet.h>
#include <sys/socket.h>

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:0:0/96, RFC 4291 section 2.5.5.2 */

static struct ip ip_of (const void *bytes, size_t n)
{
    struct ip ip = {.n = (uint8_t) n};
    if (n == 16 && memcmp (bytes, mapped, sizeof mapped) == 0)
        return ip_of ((const uint8_t *) bytes + sizeof mapped, 4);
    memcpy (ip.bytes, bytes, n);
    return ip;
}

bool ip_parse (struct slice text, struct ip *out)
{
    char copy[IP_TEXT_LEN];
    uint8_t bytes[16];
    if (text.n == 0 || text.n >= sizeof copy || memchr (text.p, '\0', text.n))
        return false;
    memcpy (copy, text.p, text.n);
    copy[text.n] = '\0';
    bool v6 = strchr (copy, ':') != NULL;
    if (inet_pton (v6 ? AF_INET6 : AF_INET, copy, bytes) != 1)
        return false;
    *out = ip_of (bytes, v6 ? 16 : 4);
    return true;
}

struct ip ip_of_socket (const struct sockaddr_storage *socket)
{
    if (socket->ss_family == AF_INET)
        return ip_of (&((const struct sockaddr_in *) socket)->sin_addr, 4);
    if (socket->ss_family == AF_INET6)
        return ip_of (&((const struct sockaddr_in6 *) socket)->sin6_addr, 16);
    return (struct ip){0};
}

void ip_format (const struct ip *self, char out[IP_TEXT_LEN])
{
    out[0] = '\0';
    if (self->n)
        inet_ntop (self->n == 4 ? AF_INET : AF_INET6, self->bytes, out, IP_TEXT_LEN);
}

bool ip_is_loopback (const struct ip *self)
{
    static const uint8_t v6[16] = {[15] = 1};
    return self->n == 4 ? self->bytes[0] == 127 : self->n == 16 && memcmp (self->bytes, v6, sizeof v6) == 0;
}

struct slice ip_group (const struct ip *self)
{
    return slice_of (self->bytes, self->n == 16 ? IP_GROUP_BITS / 8 : self->n);
}

/* --- networks ------------------------------------------------------------------------------------------------ */

static bool same_bits (const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned rest = bits % 8;
    if (memcmp (a, b, bits / 8) != 0)
        return false;
    return rest == 0 || (a[bits / 8] ^ b[bits / 8]) >> (8 - rest) == 0;
}

/* One to three digits, no leading zero; -1 otherwise. */
static int number_of (struct slice text)
{
    int value = 0;
    if (text.n == 0 || text.n > 3 || (text.n > 1 && text.p[0] == '0'))
        return -1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -1;
        value = value * 10 + (text.p[i] - '0');
    }
    return value;
}

/* Are all bits behind the first `bits` zero? Otherwise somebody meant another network. */
static bool is_network (const struct cidr *self)
{
    struct ip first = {.n = self->ip.n};
    memcpy (first.bytes, self->ip.bytes, self->bits / 8);
    if (self->bits % 8)
        first.bytes[self->bits / 8] = (uint8_t) (self->ip.bytes[self->bits / 8] & 0xff00 >> self->bits % 8);
    return memcmp (first.bytes, self->ip.bytes, sizeof first.bytes) == 0;
}

const char *cidr_parse (struct slice text, struct cidr *out)
{
    struct slice address = text, rest = text;
    bool whole = !slice_cut (&rest, '/', &address);
    if (!ip_parse (address, &out->ip))
        return "is not an IP address or ADDRESS/BITS";
    int most = out->ip.n * 8;
    int bits = whole ? most : number_of (rest);
    if (!whole && out->ip.n == 4 && memchr (address.p, ':', address.n))
        bits -= 96; /* it was written as IPv6 */
    if (bits < 0 || bits > most)
        return "has a wrong number of bits";
    out->bits = (uint8_t) bits;
    return is_network (out) ? NULL : "has bits set behind the network's";
}

bool cidr_has (const struct cidr *self, const struct ip *ip)
{
    return ip->n == self->ip.n && same_bits (self->ip.bytes, ip->bytes, self->bits);
}

void cidrs_parse (struct cidrs *self, const char *list)
{
    struct slice rest = slice_str (list), entry;
    self->n = 0;
    while (self->n < CIDRS_MAX && slice_next_item (&rest, &entry))
        if (!cidr_parse (entry, &self->cidr[self->n]))
            self->n++;
}

bool cidrs_have (const struct cidrs *self, const struct ip *ip)
{
    for (size_t i = 0; i < self->n; i++)
        if (cidr_has (&self->cidr[i], ip))
            return true;
    return false;
}
