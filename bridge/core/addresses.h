/* How many connections each client address has (IPv6 by /64, ip_group). An address is known while it has one, so there
 * are never more of them than connections. */
#ifndef CORE_ADDRESSES_H
#define CORE_ADDRESSES_H

#include "base/ip.h"
#include "base/map.h"

struct address; /* with at least one connection */

struct addresses {
    struct map map;
};

void addresses_init (struct addresses *self);

/* Nobody may be there any more. */
void addresses_fini (struct addresses *self);

/* One connection more, unless there are `limit` (0 = no limit): false then. *joined is what addresses_leave wants; NULL
 * when it is not counted: refused, no address, or memory is out. */
NODISCARD bool addresses_join (struct addresses *self, const struct ip *ip, int64_t limit, struct address **joined);

/* One less; *joined_p becomes NULL. Harmless on NULL. */
void addresses_leave (struct addresses *self, struct address **joined_p);

#endif
