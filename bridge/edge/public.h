/* The public port: upgrades on ws-paths, health for those who cannot reach the admin port. */
#ifndef EDGE_PUBLIC_H
#define EDGE_PUBLIC_H

#include "edge/http.h"
#include "edge/ws.h"

struct public;

/* `tls` (borrowed): NULL for a plain port. */
NODISCARD struct public *public_new (uv_loop_t *loop, struct hub *hub, struct ws *ws, struct tls *tls,
                                     struct buf *error);
void public_destroy (struct public **self_p);

/* The port that it listens on. */
unsigned public_port (const struct public *self);

/* The runtime links have changed or a drain has begun: upgrades that wait for the runtime (auth-failure = http) go on,
 * or are refused. */
void public_settle (struct public *self);

#endif
