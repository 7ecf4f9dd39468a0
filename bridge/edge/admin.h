/* The admin port: probes, metrics, drain, the status page. */
#ifndef EDGE_ADMIN_H
#define EDGE_ADMIN_H

#include "core/drain.h"
#include "core/status.h"
#include "edge/http.h"

struct admin;

/* NULL with a line in `error` when the port cannot be used. */
NODISCARD struct admin *admin_new (uv_loop_t *loop, struct hub *hub, struct drain *drain, struct status_try try,
                                   struct buf *error);
void admin_destroy (struct admin **self_p);

/* The drain is done: answer those that wait for it. */
void admin_drained (struct admin *self);

#endif
