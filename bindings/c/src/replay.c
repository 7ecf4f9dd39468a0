#include "replay.h"

#include <stdlib.h>
#include <string.h>

void abr_replay_init (struct abr_replay *self, size_t max_events, size_t max_bytes)
{
    *self = (struct abr_replay){.max_events = max_events, .max_bytes = max_bytes};
}

static size_t size_of (struct abr_held *held)
{
    return sizeof *held + zmq_msg_size (&held->user) + zmq_msg_size (&held->event);
}

static void evict (struct abr_replay *self)
{
    struct abr_held *oldest = &self->ring[self->first];
    self->bytes -= size_of (oldest);
    zmq_msg_close (&oldest->user);
    zmq_msg_close (&oldest->event);
    self->first = (self->first + 1) % self->cap;
    self->n--;
    self->evicted++;
}

void abr_replay_fini (struct abr_replay *self)
{
    while (self->n)
        evict (self);
    free (self->ring);
    self->ring = NULL;
}

bool abr_replay_reserve (struct abr_replay *self)
{
    if (self->n < self->cap || self->cap >= self->max_events)
        return true;
    size_t cap = self->cap ? self->cap * 2 : 64;
    if (cap > self->max_events)
        cap = self->max_events;
    struct abr_held *ring = malloc (cap * sizeof *ring);
    if (!ring)
        return false;
    for (size_t i = 0; i < self->n; i++) /* zmq_msg_t may be moved as bytes by nobody but ZeroMQ */
        for (int part = 0; part < 2; part++) {
            struct abr_held *from = &self->ring[(self->first + i) % self->cap];
            zmq_msg_t *to = part ? &ring[i].event : &ring[i].user;
            zmq_msg_init (to);
            zmq_msg_move (to, part ? &from->event : &from->user);
        }
    free (self->ring);
    self->ring = ring;
    self->cap = cap;
    self->first = 0;
    return true;
}

void abr_replay_push (struct abr_replay *self, zmq_msg_t *user, zmq_msg_t *event)
{
    if (self->max_events == 0) {
        self->evicted++;
        return;
    }
    if (self->n == self->cap)
        evict (self);
    struct abr_held *held = &self->ring[(self->first + self->n++) % self->cap];
    zmq_msg_init (&held->user);
    zmq_msg_init (&held->event);
    zmq_msg_copy (&held->user, user);
    zmq_msg_copy (&held->event, event);
    self->bytes += size_of (held);
    while (self->n && self->bytes > self->max_bytes)
        evict (self);
}

struct abr_held *abr_replay_at (struct abr_replay *self, uint64_t age)
{
    return &self->ring[(self->first + self->n - 1 - (size_t) age) % self->cap];
}
