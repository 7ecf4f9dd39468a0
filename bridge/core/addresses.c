#include "core/addresses.h"

struct address {
    struct ip ip; /* the first that came of its group */
    uint32_t conns;
};

static struct slice key_of (const void *value)
{
    return ip_group (&((const struct address *) value)->ip);
}

void addresses_init (struct addresses *self)
{
    map_init (&self->map, key_of);
}

void addresses_fini (struct addresses *self)
{
    CHECK (map_size (&self->map) == 0);
    map_fini (&self->map);
}

static struct address *add (struct addresses *self, const struct ip *ip)
{
    struct address *address = malloc (sizeof *address);
    if (!address)
        return NULL;
    *address = (struct address){.ip = *ip};
    if (map_put (&self->map, address))
        return address;
    free (address);
    return NULL;
}

bool addresses_join (struct addresses *self, const struct ip *ip, int64_t limit, struct address **joined)
{
    *joined = NULL;
    if (ip->n == 0)
        return true;
    struct address *address = map_get (&self->map, ip_group (ip));
    if (address && limit && address->conns >= limit)
        return false;
    if (!address)
        address = add (self, ip);
    if (address)
        address->conns++;
    *joined = address;
    return true;
}

void addresses_leave (struct addresses *self, struct address **joined_p)
{
    struct address *address = *joined_p;
    *joined_p = NULL;
    if (!address || --address->conns)
        return;
    map_remove (&self->map, key_of (address));
    free (address);
}
