/* Fetches jwks-url, with libcurl in a thread of its own, so that no name server and no slow peer stops the loop. The
 * set is read there too: to judge hundreds of keys takes long. The only user of libcurl. */
#ifndef EDGE_JWKS_FETCH_H
#define EDGE_JWKS_FETCH_H

#include "core/jwks.h"

#include <uv.h>

struct jwks_fetch;

/* Make the thread and hub->jwks, which begins to fetch when jwks_start() says so. ZeroMQ is up already (edge/link.h).
 * NULL with a line in `error`. */
NODISCARD struct jwks_fetch *jwks_fetch_new (uv_loop_t *loop, struct hub *hub, struct buf *error);

/* Breaks off what is under way. The loop has to run once more, which ends the thread and frees the rest. */
void jwks_fetch_destroy (struct jwks_fetch **self_p);

/* For a program without a loop: fetch now, in this thread. */
void jwks_fetch_once (const struct config *config, struct jwks_answer *answer);
void jwks_answer_fini (struct jwks_answer *answer);

#endif
