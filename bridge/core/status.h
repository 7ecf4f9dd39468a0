/* What the status page shows: one JSON document, cheap enough to be asked for each second. It has no secret, user id or
 * connection id. */
#ifndef CORE_STATUS_H
#define CORE_STATUS_H

#include "core/hub.h"

#define STATUS_RUNS_MAX 10000 /* looked at for their age, the longest silent first */

struct status;

/* What the page's Try tab needs to know. */
struct status_try {
    unsigned port; /* of the public port */
    bool tls;
};

/* Shares `hub`, whose wheel has a timer of it. NULL when memory is out. */
NODISCARD struct status *status_new (const struct hub *hub, struct wheel *wheel, struct status_try try);
void status_destroy (struct status **self_p);

/* Append the document; of the samples those behind number `after`. */
void status_write (const struct status *self, uint64_t after, struct buf *out);

/* May this bridge make tokens: not in production, and it has a secret to sign with. */
const struct key *status_signing_key (const struct hub *hub);

#endif
