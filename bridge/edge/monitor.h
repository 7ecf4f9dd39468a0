/* How many peers a ZeroMQ socket has, from its monitor (zmq_socket_monitor): a peer counts from the end of its handshake
 * until it disconnects. */
#ifndef EDGE_MONITOR_H
#define EDGE_MONITOR_H

#include "base/check.h"

#include <stdbool.h>
#include <uv.h>

struct monitor;

/* The number of peers has changed; `renewed` when one has arrived since the last call. */
typedef void monitor_peers_fn (void *arg, size_t peers, bool renewed);

/* A peer's CURVE handshake has failed. */
typedef void monitor_auth_fn (void *arg);

/* Watch `zmq` (a libzmq socket), from before its first endpoint is attached. NULL when that fails. */
NODISCARD struct monitor *monitor_new (uv_loop_t *loop, void *zmq, monitor_peers_fn *peers_fn, monitor_auth_fn *auth_fn,
                                       void *arg);

/* Before the watched socket is closed. */
void monitor_destroy (struct monitor **self_p);

#endif
