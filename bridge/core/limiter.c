#include "core/limiter.h"
#include "base/bucket.h"

struct limited_key {
    struct list use_link;
    struct bucket bucket;
    uint8_t n;
    char key[];
};

static struct slice key_of (const void *value)
{
    const struct limited_key *entry = value;
    return slice_of (entry->key, entry->n);
}

static struct limited_key *oldest (const struct limiter *self)
{
    return LIST_ENTRY (self->by_use.next, struct limited_key, use_link);
}

static void forget (struct limiter *self, struct limited_key *entry)
{
    list_remove (&entry->use_link);
    map_remove (&self->buckets, key_of (entry));
    free (entry);
    metric_add (M_RATES_TRACKED, self->of, -1);
}

void limiter_init (struct limiter *self, enum limited of)
{
    *self = (struct limiter){.of = of};
    map_init (&self->buckets, key_of);
    list_init (&self->by_use);
}

void limiter_fini (struct limiter *self)
{
    while (!list_empty (&self->by_use))
        forget (self, oldest (self));
    map_fini (&self->buckets);
}

static struct limited_key *add (struct limiter *self, struct slice key, double burst, int64_t now)
{
    CHECK (key.n <= LIMITER_KEY_MAX);
    if (map_size (&self->buckets) >= LIMITER_MAX) {
        forget (self, oldest (self));
        metric_inc (M_RATES_EVICTED, self->of);
    }
    struct limited_key *entry = malloc (sizeof *entry + key.n);
    if (!entry)
        return NULL;
    entry->n = (uint8_t) key.n;
    memcpy (entry->key, key.p, key.n);
    bucket_init (&entry->bucket, burst, now);
    if (!map_put (&self->buckets, entry)) {
        free (entry);
        return NULL;
    }
    list_init (&entry->use_link);
    metric_add (M_RATES_TRACKED, self->of, 1);
    return entry;
}

bool limiter_take (struct limiter *self, struct slice key, double rate, double burst, int64_t now)
{
    if (key.n == 0)
        return true;
    struct limited_key *entry = map_get (&self->buckets, key);
    if (!entry)
        entry = add (self, key, burst, now);
    if (!entry)
        return true;
    list_remove (&entry->use_link);
    list_append (&self->by_use, &entry->use_link);
    return bucket_take (&entry->bucket, rate, burst, now);
}

void limiter_expire (struct limiter *self, double rate, double burst, int64_t now)
{
    for (int i = 0; i < LIMITER_EXPIRE_BATCH && !list_empty (&self->by_use); i++) {
        if (rate > 0 && !bucket_is_full (&oldest (self)->bucket, rate, burst, now))
            return;
        forget (self, oldest (self));
    }
}
