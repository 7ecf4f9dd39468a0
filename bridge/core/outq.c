#include "core/outq.h"
#include "base/metrics.h"

void outq_init (struct outq *self)
{
    *self = (struct outq){.cap = OUTQ_INLINE};
}

void outq_fini (struct outq *self)
{
    for (struct msg *msg; (msg = outq_pop (self));)
        msg_unref (&msg);
    free (self->ring);
    self->ring = NULL;
}

static struct msg **slots_of (struct outq *self)
{
    return self->ring ? self->ring : self->slots;
}

static bool grow (struct outq *self)
{
    struct msg **ring = malloc (2 * self->cap * sizeof *ring);
    if (!ring)
        return false;
    for (uint32_t i = 0; i < self->n; i++)
        ring[i] = outq_peek (self, i);
    free (self->ring);
    self->ring = ring;
    self->cap *= 2;
    self->head = 0;
    return true;
}

enum outq_result outq_push (struct outq *self, struct msg *msg, size_t max_msgs, size_t max_bytes)
{
    if (self->n && (self->n >= max_msgs || self->bytes + (size_t) msg->n > max_bytes))
        return OUTQ_FULL;
    if (self->n == self->cap && !grow (self))
        return OUTQ_NO_MEMORY;
    slots_of (self)[(self->head + self->n++) & (self->cap - 1)] = msg_ref (msg);
    self->bytes += msg->n;
    metric_add (M_QUEUE_BYTES, 0, msg->n);
    return OUTQ_OK;
}

struct msg *outq_peek (const struct outq *self, uint32_t i)
{
    struct msg *const *slots = self->ring ? self->ring : self->slots;
    return i < self->n ? slots[(self->head + i) & (self->cap - 1)] : NULL;
}

struct msg *outq_pop (struct outq *self)
{
    struct msg *msg = outq_peek (self, 0);
    if (!msg)
        return NULL;
    self->head = (self->head + 1) & (self->cap - 1);
    self->n--;
    self->bytes -= msg->n;
    metric_add (M_QUEUE_BYTES, 0, -(double) msg->n);
    if (self->n == 0) { /* nothing waits: give the memory back */
        free (self->ring);
        outq_init (self);
    }
    return msg;
}
