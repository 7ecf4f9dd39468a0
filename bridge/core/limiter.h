/* Token buckets by key, in a table of bounded size: rates of addresses and users, who may be more than memory has room
 * for. A bucket that is full again is as good as none, so it is forgotten; beyond LIMITER_MAX the one that was used the
 * longest time ago goes first, and its key begins anew with a full one. Keys are hashed under the process's own key. */
#ifndef CORE_LIMITER_H
#define CORE_LIMITER_H

#include "base/list.h"
#include "base/map.h"
#include "base/metrics.h"

#define LIMITER_MAX          65536
#define LIMITER_KEY_MAX      255  /* bytes */
#define LIMITER_EXPIRE_BATCH 4096 /* buckets that one limiter_expire frees */

struct limiter {
    struct map buckets;
    struct list by_use; /* the one used the longest time ago comes first */
    enum limited of;    /* whose: label of its metrics */
};

void limiter_init (struct limiter *self, enum limited of);
void limiter_fini (struct limiter *self);

/* Take a token of this key's bucket, see bucket_take; false when there is none. An empty key is not limited, and
 * neither is a new one when memory is out: whatever comes next will notice. `now`: monotonic ns. */
NODISCARD bool limiter_take (struct limiter *self, struct slice key, double rate, double burst, int64_t now);

/* Forget buckets that are full again; all of them when `rate` is 0. A bounded number a call. */
void limiter_expire (struct limiter *self, double rate, double burst, int64_t now);

#endif
