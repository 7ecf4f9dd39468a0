/* The runtime's side of ZMTP 3.0 (rfc.zeromq.org/spec/23), NULL mechanism: binds, and talks with the one peer that has
 * connected last. Written by hand so that the load's thread is the only one on its core, and what it costs to publish
 * does not vary. */
#ifndef LOAD_ZMTP_H
#define LOAD_ZMTP_H

#include "loop.h"

#define ZMTP_FRAMES_MAX 8

struct zmtp {
    struct watcher listener;
    struct pipe peer;
    struct loop *loop;
    const char *type; /* PUB, ROUTER, PULL */
    enum {
        ZMTP_NO_PEER,
        ZMTP_GREETING,
        ZMTP_HANDSHAKE,
        ZMTP_READY
    } state;
    void (*message_fn) (void *arg, const struct slice *frames, size_t n);
    void *message_arg;
};

/* `fn` gets each message: its frames are borrowed. Of a SUB peer these are its subscriptions. */
void zmtp_bind (struct zmtp *self, struct loop *loop, const char *type, unsigned port,
                void (*fn) (void *arg, const struct slice *frames, size_t n), void *arg);

/* Append a frame to what goes to the peer; pipe_flush (&self->peer) sends. */
void zmtp_put (struct zmtp *self, struct slice frame, bool more);

#endif
