/* TLS in front of the public port. libwebsockets takes over plain sockets only, so each TLS connection has a relay:
 *
 *     client ==TLS== relay ==socket pair== edge/http.c, then libwebsockets
 *
 * The relay does the handshake and then carries bytes both ways. It holds at most one record each way, and stops
 * reading one side while the other takes nothing, so that a slow client is as slow to the bridge as without TLS. */
#ifndef EDGE_TLS_H
#define EDGE_TLS_H

#include "base/ip.h"
#include "core/hub.h"
#include "edge/tls_identity.h"

#include <uv.h>

struct tls;

/* A handshake is done: `fd`, the receiver's from now on, carries in clear text what the client sends and is sent. */
typedef void tls_opened (void *owner, int fd, const struct ip *peer);

/* The client does not speak TLS but HTTP; `fd` is its own socket, the receiver's from now on. */
typedef void tls_plain_http (void *owner, int fd, const struct ip *peer);

/* Reads the pair that the configuration names. NULL with a line in `error` when it cannot be used. */
NODISCARD struct tls *tls_new (uv_loop_t *loop, struct hub *hub, struct buf *error);

/* Who gets what tls_accept leads to. */
void tls_serve (struct tls *self, tls_opened *opened, tls_plain_http *plain_http, void *owner);

/* Sends what the bridge has left to send, as far as the sockets take it, and closes them. The loop has to run once more
 * to free them. */
void tls_destroy (struct tls **self_p);

/* Take a socket that was just accepted. */
void tls_accept (struct tls *self, int fd, const struct ip *peer);

/* Sockets that have not come through their handshake yet. */
size_t tls_pending (const struct tls *self);

/* New handshakes use this from now on; takes what it holds. */
void tls_set_identity (struct tls *self, struct tls_identity *identity);

#endif
