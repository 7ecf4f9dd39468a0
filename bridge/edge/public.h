/* The public port: upgrades on ws-paths, health for those who cannot reach the admin port. */
#ifndef EDGE_PUBLIC_H
#define EDGE_PUBLIC_H

#include "edge/http.h"
#include "edge/ws.h"

struct public;

NODISCARD struct public *public_new (uv_loop_t *loop, struct hub *hub, struct ws *ws, struct buf *error);
void public_destroy (struct public **self_p);

/* The runtime links have changed: upgrades that wait for the runtime (auth-failure = http) may go on. */
void public_link_changed (struct public *self);

#endif
