/* An event as a frame, in one of the forms that clients ask for. */
#ifndef CORE_ENCODE_H
#define CORE_ENCODE_H

#include "core/msg.h"
#include "core/subprotocol.h"

/* A frame with one reference that the caller owns; NULL when memory is out. `offset` 0: none is written.
 * `scratch` is overwritten. */
NODISCARD struct msg *encode_event (struct buf *scratch, enum form form, const struct event *event, uint64_t offset);

/* The same with `delta` in the place of the event's own. Not for FORM_RAW. */
NODISCARD struct msg *encode_merged (struct buf *scratch, enum form form, const struct event *event, uint64_t offset,
                                     struct slice delta);

#endif
