/* The WebSocket edge: the only user of libwebsockets. It takes over sockets whose upgrade request the bridge has
 * accepted, feeds what clients send to core/upstream.c, and writes what waits in the connections' queues. */
#ifndef EDGE_WS_H
#define EDGE_WS_H

#include "core/hub.h"

#include <uv.h>

struct ws;

/* NULL when libwebsockets cannot start (its libuv plug-in is missing); it has logged why. */
NODISCARD struct ws *ws_new (uv_loop_t *loop, struct hub *hub);

/* Begin to leave, when no connection is left: closes what libwebsockets holds in the loop. */
void ws_close (struct ws *self);

/* After the loop has run out. */
void ws_destroy (struct ws **self_p);

/* Go on with an accepted handshake: sends the 101 and gives the connection its socket. Takes `fd`. `key` is the
 * client's Sec-WebSocket-Key, `rest` what came behind the request head. On failure the connection ends. */
void ws_adopt (struct ws *self, struct conn *conn, int fd, struct slice key, struct slice rest);

/* Look at every connection in hub->dirty. Called by the pulse, outside all callbacks. */
void ws_flush_all (struct ws *self);

#endif
