/* Who the client is, when the peer is a proxy: Forwarded (RFC 7239) and X-Forwarded-For.
 *
 *   X-Forwarded-For: 203.0.113.9, 198.51.100.7, 10.0.0.2      peer 10.0.0.1, trusted 10.0.0.0/8
 *                    anybody's    the client    a proxy
 *
 * Each proxy appends whom it has heard, so the list is read from its end, and only as long as those named are trusted
 * proxies themselves: what a client has written stands further left, and is not even looked at. */
#ifndef CORE_FORWARDED_H
#define CORE_FORWARDED_H

#include "base/ip.h"
#include "core/request.h"

enum forwarded_header {
    FORWARDED_ANY, /* Forwarded, when there is none X-Forwarded-For */
    FORWARDED_ONLY,
    X_FORWARDED_FOR_ONLY
};

enum forwarded {
    FORWARDED_ABSENT,  /* no header, or the peer is no trusted proxy */
    FORWARDED_NAMED,   /* the header says who */
    FORWARDED_UNUSABLE /* malformed, hidden or `unknown`: nobody knows who */
};

/* The client's address into *client: the peer's own unless FORWARDED_NAMED. When all that are named are trusted, it is
 * the first of them. */
NODISCARD enum forwarded forwarded_client (const struct request *request, enum forwarded_header header,
                                           const struct cidrs *proxies, const struct ip *peer, struct ip *client);

#endif
