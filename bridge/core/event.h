/* An event of the runtime, read once: checked whole, with the fields that the bridge acts on. */
#ifndef CORE_EVENT_H
#define CORE_EVENT_H

#include "core/mp.h"

enum drop_reason {
#define DROP_REASON(symbol, label) DROP_##symbol,
#include "tbl/drop_reasons.h"
#undef DROP_REASON
    DROP_REASON_COUNT,
    DROP_NONE = DROP_REASON_COUNT
};

enum event_type {
#define EVENT_TYPE(symbol) EVENT_##symbol,
#include "tbl/event_types.h"
#undef EVENT_TYPE
    EVENT_other,
    EVENT_TYPE_COUNT
};

/* Slices borrow from the bytes that were parsed; absent fields are empty. */
struct event {
    struct slice bytes;         /* the whole msgpack map */
    enum event_type type;       /* for metrics; type_name is the text */
    struct slice type_name;     /* never empty */
    struct slice connection_id; /* narrows the delivery; a value that is no string is malformed */
    struct slice run_id;
    struct slice thread_id;
    struct slice agent_name;
    struct slice tool_name;
    struct slice execution_id;
    struct slice delta; /* string `delta`; has_delta tells an empty one from none */
    double timestamp;   /* Unix seconds; 0 when absent or no number */
    bool has_delta;
    bool odd_delta;    /* `delta` is there, neither string nor nil */
    bool has_reserved; /* top-level keys that begin with `_` */
    bool synthetic;    /* made by the bridge, whose keys with `_` stay */
};

/* Read `bytes` as an event for `user` (frame 0). DROP_NONE when it is good; else why not:
 * MALFORMED (not exactly one msgpack map), TOO_DEEP, NO_TYPE (`type` missing, no string or empty), DUPLICATE_KEY (one
 * of type, user_id, connection_id, run_id twice), ISOLATION (`user_id` there and not the same string as `user`),
 * MALFORMED (connection_id neither string nor nil; nil means absent). Size is not checked here. */
NODISCARD enum drop_reason event_parse (struct event *self, struct slice bytes, struct slice user);

/* The label of a type name. */
enum event_type event_type_of (struct slice name);

#endif
