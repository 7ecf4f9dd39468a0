/* Hash map from texts to values. The key lives in the value, so that nothing is kept twice: an entry is the
 * key's hash and the value's pointer. Linear probing, backward-shift deletion; gives memory back when it gets
 * sparse. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/check.h"
#include "base/slice.h"

#include <stdint.h>

/* The key of a value. It must not change while the value is in the map. */
typedef struct slice map_key_fn (const void *value);

struct map {
    struct map_entry *entries; /* owned; NULL until the first put */
    size_t cap;                /* slots, a power of two or 0 */
    size_t size;               /* values */
    map_key_fn *key_of;
};

void map_init (struct map *self, map_key_fn *key_of);

/* The values are borrowed and stay as they are. */
void map_fini (struct map *self);

/* NULL when there is none. */
void *map_get (const struct map *self, struct slice key);

/* Borrow `value`, whose key must not be there yet. False when memory is out; the map is then as before. */
NODISCARD bool map_put (struct map *self, void *value);

/* Take the value of `key` out and return it; NULL when there is none. */
void *map_remove (struct map *self, struct slice key);

/* Every value once: start with *cursor 0, until NULL. Not to be mixed with put and remove. */
void *map_next (const struct map *self, size_t *cursor);

static inline size_t map_size (const struct map *self)
{
    return self->size;
}

#endif
