/* The event at the tail of a slow connection's queue, not encoded yet, so that its neighbours can still go into it
 * (proto/README.md, "Slow clients"). What it holds counts in outbound_queue_bytes. */
#ifndef CORE_MERGE_H
#define CORE_MERGE_H

#include "core/msg.h"
#include "core/subprotocol.h"

struct merge {
    struct event event; /* the last one; its slices lie in `bytes` */
    uint64_t offset;    /* of the last one */
    size_t size;        /* bytes that wait, as counted in the gauge */
    struct buf bytes;   /* the last one as the runtime sent it */
    struct buf text;    /* the deltas of all */
};

/* Is this an event that may go into a later one, or take an earlier one in? Those that make up the course of a run
 * never are. */
bool merge_suits (const struct event *event);

/* Begin with one event (copied). NULL when memory is out. */
NODISCARD struct merge *merge_new (const struct event *event, uint64_t offset);
void merge_destroy (struct merge **self_p);

/* Would this event, which suits, continue it, without making more than `limit` bytes of it? */
bool merge_takes (const struct merge *self, const struct event *event, size_t limit);

/* Take it in (copied). False when memory is out; then it is good for nothing but merge_destroy. */
NODISCARD bool merge_add (struct merge *self, const struct event *event, uint64_t offset);

/* The frame that says it all, with one reference that the caller owns; NULL when memory is out. `scratch` is
 * overwritten. */
NODISCARD struct msg *merge_encode (const struct merge *self, struct buf *scratch, enum form form);

#endif
