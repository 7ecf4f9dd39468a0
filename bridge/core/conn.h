/* One WebSocket connection: one id from accept to close, one checked state machine, one way to end it.
 *
 * A connection never touches its socket. What it has to say waits in `outq`, and it stands in the hub's `dirty` list
 * until the WebSocket edge has looked at it (edge/ws.c, ws_flush). */
#ifndef CORE_CONN_H
#define CORE_CONN_H

#include "base/bucket.h"
#include "base/ip.h"
#include "base/log.h"
#include "base/utf8.h"
#include "base/wheel.h"
#include "core/errors.h"
#include "core/ident.h"
#include "core/merge.h"
#include "core/outq.h"
#include "core/subprotocol.h"

struct address;
struct hub;
struct user;

enum conn_state {
#define CONN_STATE(symbol, next) CONN_##symbol,
#include "tbl/conn_states.h"
#undef CONN_STATE
    CONN_STATE_COUNT
};

enum close_reason {
#define CLOSE_REASON(symbol, label, code, frame, text) CLOSE_##symbol,
#include "tbl/close_reasons.h"
#undef CLOSE_REASON
    CLOSE_REASON_COUNT,
    CLOSE_NONE = CLOSE_REASON_COUNT
};

/* Code and text of the close frame. */
struct close_frame {
    uint16_t code; /* 0: none is sent */
    uint8_t n;
    char text[123]; /* RFC 6455 section 5.5: control frames carry 125 bytes */
};

/* A frame from the client that came before the connection was ready. */
struct early_frame {
    struct list link;
    enum ws_opcode opcode;
    size_t n;
    char bytes[];
};

struct conn {
    char id[CONN_ID_LEN + 1];
    enum conn_state state;
    enum subprotocol subprotocol; /* echoed; SUBPROTOCOL_NONE: none */
    enum form form;
    struct hub *hub;
    struct ip ip;            /* the client's, not the proxy's */
    struct address *address; /* where it counts as a connection; NULL: nowhere */
    struct user *user;       /* counted in user->refs; NULL until the token was good */
    int lane;                /* whose runtime has been told of it by CONNECT; LANE_NONE: none */
    struct list user_link;   /* in user->conns */
    struct list work_link;   /* in hub->dirty or hub->reap */
    struct timer timer;
    void *wire; /* the edge's; NULL before the upgrade and after the socket has gone */
    struct outq outq;
    struct merge *merge; /* owned; comes behind the queue. NULL unless the client is slow, and when it is ending */

    /* What CONNECT tells the runtime, and what is checked again on refresh. */
    char *connect_headers; /* owned msgpack pairs without the map's head; see session.c */
    uint32_t connect_headers_n;
    uint32_t connect_pairs;
    char *traceparent; /* owned; of the upgrade, for the log. NULL when it came without, or log-trace was off */

    /* Upstream. */
    uint64_t seq; /* of the last MESSAGE */
    struct bucket bucket;
    struct list early; /* struct early_frame */
    uint32_t early_n;
    struct utf8_progress text;
    bool reading;        /* false: the edge reads no more until it is true again */
    struct buf *partial; /* a message that is still arriving; lent from first to last fragment */

    /* Downstream. */
    uint64_t cursor;       /* offset of the last event put on the queue; while `behind`, the rest is in history */
    uint64_t resync_first; /* behind: events were lost after this offset, which is still to be told; 0: none */
    uint64_t resync_last;  /* the same for the last of several such places; 0: there is no second one */
    bool behind;
    enum recovery {
        RECOVERY_NOT_ASKED,
        RECOVERY_OK,
        RECOVERY_UNKNOWN_EPOCH,
        RECOVERY_EXPIRED
    } recovery;
    uint64_t losses; /* registry.losses when recovery was judged */

    /* Ends. */
    enum error_code refusal; /* ERROR_NONE: welcome */
    enum close_reason closing;
    struct close_frame *close_frame; /* owned; NULL: that of the reason */
    bool kill;                       /* the edge cuts the socket without further ado */
    bool paused;                     /* the edge's: it does not read at the moment */
    bool established;                /* connection_established was queued */

    /* Times, monotonic ns; 0 = not set. */
    int64_t opened_at, wait_until, last_rx, ping_at, pong_until, blocked_since, drain_at;
    int64_t expires; /* `exp`, Unix seconds */
};

/* A connection in state connecting, with its id, known to the registry. NULL when memory is out. */
NODISCARD struct conn *conn_new (struct hub *hub);

/* Free it: only for closed ones, and only the hub's pulse does (never inside a callback of the edge). */
void conn_destroy (struct conn **self_p);

/* Whose it is. Once, before state authenticated. */
void conn_bind_user (struct conn *self, struct user *user);

/* Move to another state. This alone changes the gauges and the membership in its user's connections. An illegal
 * move changes nothing, is counted and logged; false then. */
bool conn_move (struct conn *self, enum conn_state to);

/* The one way to end a connection: logs, counts, tells the runtime, and has the edge send the close frame.
 * Does nothing when it is ending already. */
void conn_close (struct conn *self, enum close_reason reason);

/* The same with code and text of the runtime's choice. */
void conn_close_with (struct conn *self, enum close_reason reason, uint16_t code, struct slice text);

/* The edge's last word: the socket has gone (or never was). Ends the connection if it was not ending, and frees it
 * at the next pulse. */
void conn_gone (struct conn *self, enum close_reason reason);

/* Queue a frame (borrowed). At the full queue the connection closes 4008; false then, and when it is ending: the frame
 * was not queued. */
bool conn_send (struct conn *self, struct msg *msg);

/* The same for a replayed frame, of any size: the replay pauses at half of the queue by itself (session_catch_up). */
bool conn_send_replay (struct conn *self, struct msg *msg);

/* Shall this event wait unencoded, because the client is slow and its neighbours can go into it? */
bool conn_merges (const struct conn *self, const struct event *event);

/* Put such an event at the end of the queue, or into the one that waits there. Counts it as delivered or as coalesced.
 * Fails as conn_send does. */
void conn_merge (struct conn *self, const struct event *event, uint64_t offset);

/* When the queue has run empty: put on it what has merged. */
void conn_send_merged (struct conn *self);

/* Have the edge look at it in this pulse. */
void conn_mark_dirty (struct conn *self);

/* May events be put on it? */
bool conn_is_live (const struct conn *self);

/* Has it begun to end? */
static inline bool conn_is_ending (const struct conn *self)
{
    return self->closing != CLOSE_NONE;
}

/* What the close frame says. */
struct close_frame conn_close_frame (const struct conn *self);

struct log_ctx conn_log (const struct conn *self);
const char *conn_state_name (enum conn_state state);

#endif
