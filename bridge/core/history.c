#include "core/history.h"
#include "base/metrics.h"
#include "base/pages.h"

#include <stdalign.h>

/* Entries side by side, in their order: one allocation for many events. It is freed with the last of them. */
struct history_block {
    uint32_t size, used; /* of bytes */
    uint32_t live;       /* entries that are still held */
    bool paged;          /* from base/pages.h */
    alignas (struct history_entry) uint8_t bytes[];
};

void history_init (struct history *self)
{
    *self = (struct history){0};
}

void history_fini (struct history *self)
{
    history_clear (self, EVICTION_total);
}

static size_t cost (const struct history_entry *entry)
{
    return sizeof *entry + entry->n + sizeof entry;
}

static struct history_entry *entry_at (const struct history *self, uint32_t i)
{
    return self->ring[(self->head + i) & (self->cap - 1)];
}

static void release (struct history *self, struct history_block *block)
{
    if (--block->live > 0)
        return;
    if (self->last == block)
        self->last = NULL;
    if (block->paged)
        pages_put (block);
    else
        free (block);
}

static void drop_oldest (struct history *self, unsigned reason)
{
    struct history_entry *entry = entry_at (self, 0);
    self->head = (self->head + 1) & (self->cap - 1);
    self->n--;
    self->lost = entry->offset;
    self->bytes -= cost (entry);
    metric_add (M_HISTORY_BYTES, 0, -(double) cost (entry));
    metric_add (M_HISTORY_EVENTS, 0, -1);
    metric_inc (M_HISTORY_EVICTED, reason);
    release (self, entry->block);
}

void history_clear (struct history *self, unsigned reason)
{
    while (self->n)
        drop_oldest (self, reason);
    free (self->ring);
    self->ring = NULL;
    self->cap = self->head = 0;
}

void history_expire (struct history *self, const struct history_limits *limits, int64_t now)
{
    while (self->n && entry_at (self, 0)->at + limits->ttl_ns <= now)
        drop_oldest (self, EVICTION_age);
    if (self->n == 0)
        history_clear (self, EVICTION_age);
}

static bool make_slot (struct history *self)
{
    if (self->n < self->cap)
        return true;
    uint32_t cap = self->cap ? self->cap * 2 : 8;
    struct history_entry **ring = malloc (cap * sizeof *ring);
    if (!ring)
        return false;
    for (uint32_t i = 0; i < self->n; i++)
        ring[i] = entry_at (self, i);
    free (self->ring);
    self->ring = ring;
    self->cap = cap;
    self->head = 0;
    return true;
}

/* Blocks grow with what the user holds, so that one with few events does not take a page. */
static struct history_block *new_block (const struct history *self, size_t wanted)
{
    const size_t most = PAGES_BLOCK - sizeof (struct history_block);
    bool paged = self->bytes >= most && wanted <= most;
    size_t size = paged ? most : self->bytes < most && self->bytes > wanted ? self->bytes : wanted;
    struct history_block *block = paged ? pages_get () : malloc (sizeof *block + size);
    if (block)
        *block = (struct history_block){.size = (uint32_t) size, .paged = paged};
    return block;
}

/* Room for an entry with n bytes; NULL when memory is out. */
static struct history_entry *place (struct history *self, size_t n)
{
    size_t step = alignof (struct history_entry);
    size_t wanted = (sizeof (struct history_entry) + n + step - 1) / step * step;
    if (!self->last || self->last->size - self->last->used < wanted) {
        struct history_block *block = new_block (self, wanted);
        if (!block)
            return NULL;
        self->last = block;
    }
    struct history_entry *entry = (struct history_entry *) (self->last->bytes + self->last->used);
    self->last->used += (uint32_t) wanted;
    self->last->live++;
    entry->block = self->last;
    return entry;
}

static bool keep (struct history *self, const struct event *event, uint64_t offset, int64_t now)
{
    struct history_entry *entry = make_slot (self) ? place (self, event->bytes.n) : NULL;
    if (!entry)
        return false;
    *entry = (struct history_entry){.block = entry->block,
                                    .offset = offset,
                                    .at = now,
                                    .timestamp = event->timestamp,
                                    .type = event->type,
                                    .synthetic = event->synthetic,
                                    .n = (uint32_t) event->bytes.n};
    memcpy (entry->bytes, event->bytes.p, event->bytes.n);
    self->ring[(self->head + self->n++) & (self->cap - 1)] = entry;
    self->bytes += cost (entry);
    metric_add (M_HISTORY_BYTES, 0, (double) cost (entry));
    metric_add (M_HISTORY_EVENTS, 0, 1);
    return true;
}

bool history_append (struct history *self, const struct history_limits *limits, const struct event *event,
                     uint64_t offset, int64_t now)
{
    bool fits = limits->events && sizeof (struct history_entry) + event->bytes.n + sizeof (void *) <= limits->bytes;
    if (!fits || !keep (self, event, offset, now)) {
        history_clear (self, fits ? EVICTION_memory : EVICTION_bytes);
        metric_add (M_HISTORY_EVICTED, EVICTION_memory, fits); /* the event itself, which never was there */
        self->lost = offset;
        return false;
    }
    while (self->n > limits->events)
        drop_oldest (self, EVICTION_events);
    while (self->bytes > limits->bytes)
        drop_oldest (self, EVICTION_bytes);
    history_expire (self, limits, now);
    return true;
}

bool history_covers (const struct history *self, uint64_t offset)
{
    return offset >= self->lost;
}

/* Offsets rise along the ring: halve until found. */
const struct history_entry *history_after (const struct history *self, uint64_t offset)
{
    uint32_t low = 0, high = self->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (entry_at (self, middle)->offset > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low < self->n ? entry_at (self, low) : NULL;
}
