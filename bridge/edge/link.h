/* The link to the runtimes: one DEALER per command endpoint (a lane), one SUB for all event endpoints. The only user of
 * ZeroMQ. Whether a runtime is there is read from the sockets' monitors, so a runtime needs no SDK. */
#ifndef EDGE_LINK_H
#define EDGE_LINK_H

#include "core/hub.h"

#include <uv.h>

struct link;

/* Connect or bind what the configuration says, and become hub->runtime. NULL with one line in `error` when an endpoint
 * or certificate cannot be used. */
NODISCARD struct link *link_new (uv_loop_t *loop, struct hub *hub, struct buf *error);

/* Close the sockets. The loop has to run once more, which frees the link. */
void link_destroy (struct link **self_p);

/* Then: end ZeroMQ in this process. What was handed over and not sent yet has a second to go out. */
void link_shutdown (void);

/* Take what has arrived, at most a batch per socket. Called by the pulse. */
void link_pulse (struct link *self);

/* Send the commands that were handed over since. Called at the end of the pulse. */
void link_flush (struct link *self);

/* Must the pulse come again without waiting, as there is more than a batch? */
bool link_has_work (const struct link *self);

/* Tell `fn` after lanes or events have come up or gone down, when the sessions know already. */
void link_on_change (struct link *self, void (*fn) (void *arg), void *arg);

#endif
