/* What is sent and checked: one map, in JSON or msgpack,
 *
 *   {"type": T, "user_id": U, "seq": n, "ts": ns, "data": {"text": "…"}}
 *
 * so that every byte that arrives can be told right or wrong. `seq` counts per user, from 1. */
#ifndef LOAD_BODY_H
#define LOAD_BODY_H

#include "loop.h"

enum body_form {
    BODY_JSON,
    BODY_MSGPACK
};

enum body_fault {
    BODY_OK,
    BODY_MALFORMED,
    BODY_FOREIGN /* another user's */
};

struct stamp {
    uint64_t seq;
    int64_t ts; /* now_ns() when it was written */
};

/* All bodies from now on have about so many bytes as JSON. */
void body_set_size (size_t bytes);

void body_write (struct buf *out, enum body_form form, const char *type, const char *user, struct stamp stamp);

/* Is this, byte for byte, what body_write() made for `user`? A member `_offset` may have been added at the end. */
enum body_fault body_read (enum body_form form, const char *type, const char *user, struct slice bytes,
                           struct stamp *stamp);

#endif
