/* The bridge: owns every part, builds them in order, and has the pulse.
 *
 *           up  ->                                            (core/upstream.c)
 *   browser ====== edge/http.c, edge/ws.c ====== core ====== edge/link.c ====== runtime
 *                                                             (core/downstream.c)  <- down
 */
#ifndef BRIDGE_H
#define BRIDGE_H

#include "base/config.h"
#include "base/file_watch.h"
#include "core/keys.h"

struct bridge;

/* Build everything; `key_files` as bridge_load_keys left it. Takes `config` and `keys` when it succeeds. NULL with a
 * line in `error` when a port, an endpoint or a certificate cannot be used. */
NODISCARD struct bridge *bridge_new (struct config *config, struct keys *keys, const struct file_watch *key_files,
                                     struct buf *error);
void bridge_destroy (struct bridge **self_p);

/* Run until a drain that a signal asked for is done. The exit code. */
int bridge_run (struct bridge *self);

/* How SIGHUP reads the configuration again: NULL with lines in `error` when it is faulty. */
void bridge_on_reload (struct bridge *self, struct config *(*load) (void *arg, struct buf *error), void *arg);

/* The token keys that `config` names, and in `files` the files that they were read from (borrows the paths); NULL with
 * a line in `error`. Keys that are not used are logged. */
NODISCARD struct keys *bridge_load_keys (const struct config *config, struct file_watch *files, struct buf *error);

#endif
