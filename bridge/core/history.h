/* The last events of one user, as the runtime sent them, for connections that resume or are not ready yet.
 * Bounded per user in number, bytes and age; the registry bounds all users together. */
#ifndef CORE_HISTORY_H
#define CORE_HISTORY_H

#include "core/event.h"

struct history_block;

struct history_entry {
    struct history_block *block; /* where it lies */
    uint64_t offset;
    int64_t at;       /* monotonic ns */
    double timestamp; /* of the event */
    enum event_type type;
    bool synthetic;
    uint32_t n;
    uint8_t bytes[]; /* msgpack map */
};

struct history {
    struct history_entry **ring; /* NULL while empty */
    struct history_block *last;  /* that new entries go to; NULL while empty */
    uint32_t cap, head, n;       /* cap: a power of two */
    uint64_t lost;               /* highest offset that is no longer held */
    size_t bytes;                /* entries with their overhead; the blocks that they lie in hold up to 8 KiB more */
};

struct history_limits {
    uint32_t events;
    size_t bytes;
    int64_t ttl_ns;
};

void history_init (struct history *self);
void history_fini (struct history *self);

/* Keep a copy of an event; older ones make room. False when it could not be kept (limits of 0, bigger than the limit,
 * memory): then it and everything before it counts as lost. */
NODISCARD bool history_append (struct history *self, const struct history_limits *limits, const struct event *event,
                               uint64_t offset, int64_t now);

/* Let go of what is older than the limit. */
void history_expire (struct history *self, const struct history_limits *limits, int64_t now);

/* Let go of everything, counted under `reason` (EVICTION_ value). */
void history_clear (struct history *self, unsigned reason);

/* Is every event after `offset` still here? */
bool history_covers (const struct history *self, uint64_t offset);

/* The first entry with an offset above `offset`; NULL when there is none. Borrowed until the next change. */
const struct history_entry *history_after (const struct history *self, uint64_t offset);

#endif
