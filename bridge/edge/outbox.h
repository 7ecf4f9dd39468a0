/* Commands that were handed over in this turn of the loop and go into the ZeroMQ socket together at its end: each
 * message of its own wakes ZeroMQ's thread, which costs more than the message. They wait on only when ZeroMQ takes no
 * more, in order and bounded. */
#ifndef EDGE_OUTBOX_H
#define EDGE_OUTBOX_H

#include "base/check.h"
#include "core/command.h"

#include <stdbool.h>

#define OUTBOX_OK (-1)

struct outbox;

NODISCARD struct outbox *outbox_new (void);

/* What still waits is gone. */
void outbox_destroy (struct outbox **self_p);

/* Copy a command. OUTBOX_OK, or a COMMAND_DROP_: no_memory, or backpressure when `zmq` takes nothing and all places are
 * taken. */
NODISCARD int outbox_put (struct outbox *self, void *zmq, const struct command *command);

/* Hand to `zmq` what it takes. True when there was something to hand over. */
bool outbox_flush (struct outbox *self, void *zmq);

/* Forget what still waits: how many commands. */
int outbox_clear (struct outbox *self);

#endif
