#include "edge/peer.h"

#include <arpa/inet.h>

struct peer peer_of (const struct sockaddr_storage *address)
{
    struct peer self = {0};
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *) address;
        inet_ntop (AF_INET, &in->sin_addr, self.text, sizeof self.text);
        self.loopback = (ntohl (in->sin_addr.s_addr) >> 24) == 127;
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) address;
        const uint8_t *bytes = in6->sin6_addr.s6_addr;
        inet_ntop (AF_INET6, &in6->sin6_addr, self.text, sizeof self.text);
        self.loopback =
            IN6_IS_ADDR_LOOPBACK (&in6->sin6_addr) || (IN6_IS_ADDR_V4MAPPED (&in6->sin6_addr) && bytes[12] == 127);
    }
    return self;
}
