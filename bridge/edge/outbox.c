#include "edge/outbox.h"
#include "base/metrics.h"

#include <stdlib.h>
#include <zmq.h>

#define PLACES 64

struct outbox {
    int n;
    zmq_msg_t commands[PLACES][COMMAND_FRAMES];
};

struct outbox *outbox_new (void)
{
    return calloc (1, sizeof (struct outbox));
}

void outbox_destroy (struct outbox **self_p)
{
    if (*self_p)
        outbox_clear (*self_p);
    free (*self_p);
    *self_p = NULL;
}

static void close_frames (zmq_msg_t *frames, int n)
{
    while (n > 0)
        zmq_msg_close (&frames[--n]);
}

/* All of them before the first is sent: a message must not break off for want of memory. */
static bool make_frames (zmq_msg_t frames[COMMAND_FRAMES], const struct command *command)
{
    const struct slice bytes[COMMAND_FRAMES] = {slice_str (command_text (command->name)), command->connection_id,
                                                command->user_id, command->headers, command->body};
    for (int i = 0; i < COMMAND_FRAMES; i++) {
        if (zmq_msg_init_size (&frames[i], bytes[i].n) != 0) {
            close_frames (frames, i);
            return false;
        }
        slice_copy (zmq_msg_data (&frames[i]), bytes[i]);
    }
    return true;
}

int outbox_put (struct outbox *self, void *zmq, const struct command *command)
{
    if (self->n == PLACES)
        outbox_flush (self, zmq);
    if (self->n == PLACES)
        return COMMAND_DROP_backpressure;
    if (!make_frames (self->commands[self->n], command))
        return COMMAND_DROP_no_memory;
    self->n++;
    return OUTBOX_OK;
}

/* Only the first frame can be refused: then none has gone. */
static bool send_frames (zmq_msg_t *frames, void *zmq)
{
    for (int i = 0; i < COMMAND_FRAMES; i++) {
        int more = i < COMMAND_FRAMES - 1 ? ZMQ_SNDMORE : 0;
        if (zmq_msg_send (&frames[i], zmq, more | ZMQ_DONTWAIT) < 0)
            return false;
    }
    return true;
}

/* The first `n` have gone. Messages are moved by ZeroMQ's own means only. */
static void close_up (struct outbox *self, int n)
{
    self->n -= n;
    for (int at = 0; n && at < self->n; at++) {
        for (int i = 0; i < COMMAND_FRAMES; i++) {
            zmq_msg_init (&self->commands[at][i]);
            zmq_msg_move (&self->commands[at][i], &self->commands[at + n][i]);
            zmq_msg_close (&self->commands[at + n][i]);
        }
    }
}

bool outbox_flush (struct outbox *self, void *zmq)
{
    int n = 0;
    bool any = self->n > 0;
    while (n < self->n && send_frames (self->commands[n], zmq))
        n++;
    close_up (self, n);
    return any;
}

int outbox_clear (struct outbox *self)
{
    int n = self->n;
    while (self->n)
        close_frames (self->commands[--self->n], COMMAND_FRAMES);
    return n;
}
