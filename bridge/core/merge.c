#include "core/merge.h"
#include "base/metrics.h"
#include "core/encode.h"

bool merge_suits (const struct event *event)
{
    if (event->run_id.n == 0)
        return false;
    switch (event->type) {
    case EVENT_agent_started:
    case EVENT_tool_executing:
    case EVENT_tool_completed:
    case EVENT_agent_completed:
    case EVENT_agent_error:
        return false;
    case EVENT_agent_thinking:
    case EVENT_progress_update:
        return !event->odd_delta;
    default:
        return event->has_delta;
    }
}

/* A slice of the event in the copy of its bytes. */
static struct slice moved (struct slice part, const struct event *event, const struct buf *copy)
{
    return part.n ? slice_of (copy->p + (part.p - event->bytes.p), part.n) : part;
}

/* What is asked of the last event, as it stands in the copy. */
static void keep (struct merge *self, const struct event *event, uint64_t offset)
{
    self->event = (struct event){.bytes = buf_slice (&self->bytes),
                                 .type = event->type,
                                 .type_name = moved (event->type_name, event, &self->bytes),
                                 .run_id = moved (event->run_id, event, &self->bytes),
                                 .thread_id = moved (event->thread_id, event, &self->bytes),
                                 .agent_name = moved (event->agent_name, event, &self->bytes),
                                 .delta = moved (event->delta, event, &self->bytes),
                                 .timestamp = event->timestamp,
                                 .has_delta = event->has_delta};
    self->offset = offset;
}

static void count (struct merge *self)
{
    size_t before = self->size;
    self->size = self->bytes.n + self->text.n;
    metric_add (M_QUEUE_BYTES, 0, (double) self->size - (double) before);
}

struct merge *merge_new (const struct event *event, uint64_t offset)
{
    struct merge *self = calloc (1, sizeof *self);
    if (self && !merge_add (self, event, offset))
        merge_destroy (&self);
    return self;
}

void merge_destroy (struct merge **self_p)
{
    struct merge *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    buf_fini (&self->bytes);
    buf_fini (&self->text);
    count (self);
    free (self);
}

bool merge_takes (const struct merge *self, const struct event *event, size_t limit)
{
    const struct event *last = &self->event;
    return event->has_delta == last->has_delta && slice_eq (event->run_id, last->run_id) &&
           slice_eq (event->type_name, last->type_name) && slice_eq (event->thread_id, last->thread_id) &&
           slice_eq (event->agent_name, last->agent_name) && event->bytes.n + self->text.n <= limit;
}

bool merge_add (struct merge *self, const struct event *event, uint64_t offset)
{
    buf_reset (&self->bytes);
    buf_put (&self->bytes, event->bytes.p, event->bytes.n);
    buf_put (&self->text, event->delta.p, event->delta.n);
    if (self->bytes.failed || self->text.failed)
        return false;
    keep (self, event, offset);
    count (self);
    return true;
}

struct msg *merge_encode (const struct merge *self, struct buf *scratch, enum form form)
{
    if (self->text.n == self->event.delta.n) /* nothing that its own delta does not say */
        return encode_event (scratch, form, &self->event, self->offset);
    return encode_merged (scratch, form, &self->event, self->offset, buf_slice (&self->text));
}
