/* The admin port: probes, metrics, drain. */
#ifndef EDGE_ADMIN_H
#define EDGE_ADMIN_H

#include "core/drain.h"
#include "edge/http.h"

struct admin;

NODISCARD struct admin *admin_new (uv_loop_t *loop, struct hub *hub, struct drain *drain, struct buf *error);
void admin_destroy (struct admin **self_p);

/* The drain is done: answer those that wait for it. */
void admin_drained (struct admin *self);

#endif
