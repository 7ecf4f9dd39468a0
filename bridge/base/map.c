#include "base/map.h"
#include "base/hash.h"

#define CAP_MIN 16 /* slots of the smallest table */

struct map_entry {
    uint64_t hash;
    void *value; /* NULL marks a free slot */
};

void map_init (struct map *self, map_key_fn *key_of)
{
    *self = (struct map){.key_of = key_of};
}

void map_fini (struct map *self)
{
    free (self->entries);
    map_init (self, self->key_of);
}

/* The slot of `key`, or the free one where it would go. The table is never full. */
static size_t find (const struct map *self, struct slice key, uint64_t hash)
{
    size_t mask = self->cap - 1, at = hash & mask;
    for (;; at = (at + 1) & mask) {
        const struct map_entry *entry = &self->entries[at];
        if (!entry->value || (entry->hash == hash && slice_eq (self->key_of (entry->value), key)))
            return at;
    }
}

void *map_get (const struct map *self, struct slice key)
{
    if (self->size == 0)
        return NULL;
    return self->entries[find (self, key, hash_bytes (key))].value;
}

static bool resize (struct map *self, size_t cap)
{
    struct map_entry *entries = calloc (cap, sizeof *entries);
    if (!entries)
        return false;
    for (size_t i = 0; i < self->cap; i++) {
        if (!self->entries[i].value)
            continue;
        size_t at = self->entries[i].hash & (cap - 1);
        while (entries[at].value)
            at = (at + 1) & (cap - 1);
        entries[at] = self->entries[i];
    }
    free (self->entries);
    self->entries = entries;
    self->cap = cap;
    return true;
}

/* Grows at three quarters. Where memory for that is out, a table that still has a free slot to end every
 * search may go on; only a fuller one refuses. */
static bool make_room (struct map *self)
{
    if (self->size < self->cap / 4 * 3)
        return true;
    return resize (self, self->cap ? self->cap * 2 : CAP_MIN) || self->size + 1 < self->cap;
}

bool map_put (struct map *self, void *value)
{
    CHECK (value);
    if (!make_room (self))
        return false;
    struct slice key = self->key_of (value);
    uint64_t hash = hash_bytes (key);
    struct map_entry *entry = &self->entries[find (self, key, hash)];
    CHECK (!entry->value);
    *entry = (struct map_entry){.hash = hash, .value = value};
    self->size++;
    return true;
}

/* Entries behind a hole move up into it, unless that would put them before the slot their hash asks for. */
static void close_hole (struct map *self, size_t hole)
{
    size_t mask = self->cap - 1;
    for (size_t at = (hole + 1) & mask; self->entries[at].value; at = (at + 1) & mask) {
        size_t home = self->entries[at].hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            self->entries[hole] = self->entries[at];
            hole = at;
        }
    }
    self->entries[hole].value = NULL;
}

/* Gives half back when less than an eighth is used; no harm when the smaller table cannot be had. */
static void shrink (struct map *self)
{
    if (self->cap > CAP_MIN && self->size < self->cap / 8)
        (void) resize (self, self->cap / 2);
}

void *map_remove (struct map *self, struct slice key)
{
    if (self->size == 0)
        return NULL;
    size_t at = find (self, key, hash_bytes (key));
    void *value = self->entries[at].value;
    if (!value)
        return NULL;
    close_hole (self, at);
    self->size--;
    shrink (self);
    return value;
}

void *map_next (const struct map *self, size_t *cursor)
{
    while (*cursor < self->cap) {
        void *value = self->entries[(*cursor)++].value;
        if (value)
            return value;
    }
    return NULL;
}
