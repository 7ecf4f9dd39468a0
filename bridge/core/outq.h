/* What waits to be written on one connection: references to frames, in order, bounded in number and bytes.
 * An idle connection holds no memory for it beyond the structure. */
#ifndef CORE_OUTQ_H
#define CORE_OUTQ_H

#include "core/msg.h"

#define OUTQ_INLINE 2

struct outq {
    struct msg **ring; /* NULL while the inline slots suffice */
    struct msg *slots[OUTQ_INLINE];
    uint32_t cap, head, n; /* cap: a power of two */
    uint32_t bytes;
};

enum outq_result {
    OUTQ_OK,
    OUTQ_FULL,
    OUTQ_NO_MEMORY
};

void outq_init (struct outq *self);
void outq_fini (struct outq *self);

/* Append a frame; on OUTQ_OK the queue holds a reference of its own. A queue that is empty takes one frame of any size.
 */
NODISCARD enum outq_result outq_push (struct outq *self, struct msg *msg, size_t max_msgs, size_t max_bytes);

/* The frame `i` from the front, borrowed; NULL beyond the end. */
struct msg *outq_peek (const struct outq *self, uint32_t i);

/* Take the frame at the front off the queue; the caller gets its reference. NULL when empty. */
NODISCARD struct msg *outq_pop (struct outq *self);

#endif
