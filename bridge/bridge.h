/* The bridge: owns every part, builds them in order, and has the pulse.
 *
 *           up  ->                                            (core/upstream.c)
 *   browser ====== edge/http.c, edge/ws.c ====== core ====== edge/link.c ====== runtime
 *                                                             (core/downstream.c)  <- down
 */
#ifndef BRIDGE_H
#define BRIDGE_H

#include "reload.h"

struct bridge;

/* Build everything; `key_files` as reload_read_keys left it. Takes `config` and `keys` when it succeeds. NULL with a
 * line in `error` when a port, an endpoint or a certificate cannot be used. */
NODISCARD struct bridge *bridge_new (struct config *config, struct keys *keys, const struct file_watch *key_files,
                                     struct buf *error);
void bridge_destroy (struct bridge **self_p);

/* Run until a drain that a signal asked for is done. The exit code. */
int bridge_run (struct bridge *self);

/* How SIGHUP reads the configuration again. */
void bridge_on_reload (struct bridge *self, reload_fn *load, void *arg);

#endif
