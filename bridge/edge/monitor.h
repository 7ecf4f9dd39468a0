/* How many peers a ZeroMQ socket has, from its monitor (zmq_socket_monitor): a peer counts from the end of its
 * handshake until it disconnects. */
#ifndef EDGE_MONITOR_H
#define EDGE_MONITOR_H

#include "base/check.h"
#include "base/wheel.h"

#include <stdbool.h>
#include <uv.h>

struct monitor;

/* All in the loop's thread, all get the `arg` of monitor_new. */
struct monitor_events {
    /* The number of peers has changed; `renewed` when one has just arrived. */
    void (*peers) (void *arg, size_t peers, bool renewed);

    /* A peer's handshake has failed (CURVE keys, or it does not speak ZMTP). */
    void (*refused) (void *arg);

    /* A peer has gone and libzmq does not try again by itself: it gives an endpoint up after a message over
     * ZMQ_MAXMSGSIZE or bytes that are not ZMTP. */
    void (*given_up) (void *arg);
};

/* Watch `zmq` (a libzmq socket), from before its endpoint is attached. NULL when that fails. */
NODISCARD struct monitor *monitor_new (uv_loop_t *loop, struct wheel *wheel, void *zmq,
                                       const struct monitor_events *events, void *arg);

/* Before the watched socket is closed. */
void monitor_destroy (struct monitor **self_p);

#endif
